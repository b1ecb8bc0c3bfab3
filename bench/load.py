"""Many people at once: pages of a run of 100,000 samples for one session, for twenty, and beside stalled uploads.

    .venv/bin/python bench/load.py [--only PART] [--samples 100000] [--seconds 600] [--work FOLDER]
        [--out bench/results/load.json]

The run is seeded as ``bench/pages.py`` does it, and judged a second time with other thresholds, for *Compare*. Then the
real ``serve`` runs, web process and workers, and sessions walk: overview, samples, a filter, two page turns, a sample,
the comparison, jobs. A session speaks what Streamlit's page speaks to its server, over the same WebSocket; a page takes
from the request until the script has run to its end and everything it drew has come. A filter is drawn from 240, so
that few answers are ones that were kept. Parts, each stored when it ends; a second call goes on behind them:

    alone    one session, 1 to 3 s between pages, so that there are enough of them
    browser  one real Chromium, 1 to 3 s between pages
    twenty   nineteen sessions and the Chromium, 5 to 30 s between pages, while a worker diagnoses 100,000 samples
    short    as alone, beside that diagnosis
    stalled  as alone, beside 100 uploads: half send a byte every two seconds, half nothing

An error is an exception or a red box on a page, a page that does not end in a minute, a lost connection, in Chromium
also a script error or an answer of 400 and above.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench import pages  # noqa: E402
from bench._visitors import RUN, WARM, Record, Session, Stalls, chromium  # noqa: E402

BRISK, HUMAN = (1.0, 3.0), (5.0, 30.0)
STALLED = 100
POLL = 5.0


def seed(folder: Path, n: int) -> None:
    """The run of ``bench/pages.py``, the same judged otherwise, and one over another model, not yet measured."""
    from core.checkpoint.folders import as_checkpoint
    from core.lab import tiny
    from core.services import judging, runs, specs
    from core.signals._plan import plan
    from core.types import Thresholds
    from db import signals as table
    from db.session import database

    if not (folder / "data").exists():
        pages.seed(folder, n)
    if len(runs.list_runs()) > 2:
        return
    first = runs.get_run(RUN)
    other = runs.store_run("large again", first.spec)
    with database().writing() as conn:
        measures = table.find_measures(conn, [m.key for m in plan(first.spec)])
        table.link_run(conn, other.id, measures.values())
    judging.write_judgement(other, Thresholds(unlearned_below=0.02))
    pages._untrained(folder / "busy", tiny.build_tokenizer(["a b c d e"], 500))
    checkpoint = as_checkpoint(folder / "busy", None, "busy")
    runs.store_run("busy", specs.make_spec(first.spec.dataset_id, checkpoint, scorer="normalised"))


# ------------------------------------------------------------------------------------------------------------ parts


class Watched:
    """Memory of the web process every few seconds, and what every process has worked."""

    def __init__(self, serve: int) -> None:
        children = psutil.Process(serve).children()
        named = {"web": "streamlit", "long": "core.worker long"}
        self.pids = {k: next(p.pid for p in children if v in " ".join(p.cmdline())) for k, v in named.items()}
        self.memory: list[tuple[float, float]] = []
        self.began, self.before, self.over = time.monotonic(), self.cpu(), threading.Event()
        self.thread = threading.Thread(target=self._poll, daemon=True)
        self.thread.start()

    def cpu(self) -> dict[str, float]:
        own = {name: pages.cpu_seconds(pid) for name, pid in self.pids.items()}
        return own | {"driver": time.process_time(), "chromium": sum(os.times()[2:4])}  # of children that have ended

    def _poll(self) -> None:
        while not self.over.wait(POLL):
            self.memory.append(((time.monotonic() - self.began) / 60, pages.rss_mb(self.pids["web"])))

    def summary(self) -> dict[str, Any]:
        self.over.set()
        self.thread.join()
        wall = time.monotonic() - self.began
        worked = {k: round(v - self.before[k], 1) for k, v in self.cpu().items()}
        half = [(t, mb) for t, mb in self.memory if t >= self.memory[-1][0] / 2]
        return {
            "wall_seconds": round(wall), "cpu_seconds": worked, "cores_busy": round(sum(worked.values()) / wall, 2),
            "rss_mb": [round(mb) for _, mb in self.memory[::6]], "rss_second_half": slope(half),
        }  # fmt: skip


def slope(points: list[tuple[float, float]]) -> dict[str, float]:
    """MB a minute by least squares; its standard error allows for neighbours that resemble each other."""
    t, mb = np.array(points).T
    (rise, level), n = np.polyfit(t, mb, 1), len(t)
    rest = mb - (rise * t + level)
    alike = max(0.0, float(np.corrcoef(rest[:-1], rest[1:])[0, 1])) if rest.std() > 0 else 0.0
    free = max(3.0, n * (1 - alike) / (1 + alike))
    error = float(rest.std() / t.std() / np.sqrt(free - 2))
    return {"mb_a_minute": round(float(rise), 2), "standard_error": round(error, 2), "minutes": round(t[-1] - t[0], 1)}


@contextmanager
def serving(data: Path) -> Iterator[tuple[int, int]]:
    """``serve`` over the data folder: port and process."""
    port = pages.free_port()
    with (data.parent / "serve.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "core", "serve", "--port", str(port)], cwd=ROOT, stdout=log, stderr=log,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        try:
            pages._wait_for(port, process)
            time.sleep(3.0)
            yield port, process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def part(name: str, data: Path, seconds: float, samples: int) -> dict[str, Any]:
    """Runs one part over a server of its own."""
    from core.services import jobs, runs

    busy = name in ("twenty", "short")
    think, sessions = (HUMAN, 19) if name == "twenty" else (BRISK, 0 if name == "browser" else 1)
    job = runs.start(runs.get_run(3))[1] if busy else None
    over, browsing = Record(), Record()
    result: dict[str, Any] = {"seconds_between_pages": think, "sessions": sessions}
    with serving(data) as (port, pid):
        watched, until = Watched(pid), time.monotonic() + WARM + seconds
        browser = threading.Thread(target=chromium, args=(port, browsing, until, think, samples), daemon=True)
        if name in ("browser", "twenty"):
            browser.start()
        stalls = Stalls(port) if name == "stalled" else None

        async def everyone() -> None:
            walks = [Session(port, over, random.Random(f"{name} {i}"), samples) for i in range(sessions)]
            held = [stalls.hold(until, i % 2 == 0) for i in range(STALLED)] if stalls else []
            await asyncio.gather(*(w.run(until, think) for w in walks), *held)

        asyncio.run(everyone())
        if browser.ident:
            browser.join()
        result |= watched.summary()
        if job is not None:
            now = jobs.get_job(job)
            result["diagnosis"] = {"state": now.state, "stage": now.stage, "done": now.done, "total": now.total}
            jobs.cancel_job(job)
    if sessions:
        result["pages"] = over.summary()
    if browsing.seconds or browsing.errors:
        result["chromium"] = browsing.summary()
    if stalls:
        result["uploads"] = {"held_at_a_time": STALLED, "ended_by_the_server": dict(stalls.ended)}
    failed = re.findall(r"Traceback|process was ended.*|died", (data.parent / "serve.log").read_text(errors="replace"))
    return result | {"in_the_log": dict(Counter(failed))}


def targets(parts: dict[str, Any]) -> dict[str, Any]:
    """What the parts together say about what is asked: errors, times of many over one, memory."""

    def p95(name: str, who: str = "pages") -> float | None:
        return parts[name][who]["all"]["p95"] if name in parts else None

    def ratio(a: float | None, b: float | None) -> float | None:
        return round(a / b, 2) if a and b else None

    return {
        "errors": sum(p[w]["errors"] for p in parts.values() for w in ("pages", "chromium") if w in p),
        "p95_twenty_over_one": ratio(p95("twenty"), p95("alone")),
        "p95_twenty_over_one_beside_the_diagnosis": ratio(p95("twenty"), p95("short")),
        "p95_chromium_over_alone": ratio(p95("twenty", "chromium"), p95("browser", "chromium")),
        "p95_stalled_over_one": ratio(p95("stalled"), p95("alone")),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    lengths: dict[str, Callable[[float], float]] = {
        "alone": lambda s: s * 0.2, "browser": lambda s: s * 0.15, "short": lambda s: s * 0.15, "twenty": lambda s: s,
        "stalled": lambda s: s * 0.25,
    }  # fmt: skip
    parser.add_argument("--only", choices=tuple(lengths))
    parser.add_argument("--samples", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=600.0, help="of twenty sessions; the other parts are shorter")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "lacuna-load")
    parser.add_argument("--out", type=Path, default=ROOT / "bench/results/load.json")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    os.environ |= {"LACUNA_DATA_DIR": str(args.work / "data"), "LACUNA_DEMO": "0"}
    seed(args.work, args.samples)
    from bench._machine import machine, versions

    out: dict[str, Any] = json.loads(args.out.read_text()) if args.out.exists() else {"parts": {}}
    for name, length in lengths.items():
        if name in out["parts"] or args.only not in (None, name):
            continue
        (args.work / "serve.log").unlink(missing_ok=True)
        out["parts"][name] = part(name, args.work / "data", length(args.seconds), args.samples)
        out |= {"case": f"load on a run of {args.samples:,} samples", "targets": targets(out["parts"])}
        out |= {"machine": machine(), "versions": versions(["streamlit", "starlette", "uvicorn", "sqlalchemy"])}
        args.out.write_text(json.dumps(out, indent=1) + "\n")
        print(json.dumps({name: out["parts"][name], "targets": out["targets"]}, indent=1), flush=True)


if __name__ == "__main__":
    main()
