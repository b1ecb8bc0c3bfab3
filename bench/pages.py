"""How fast pages answer on a large run, and what the web process weighs.

    .venv/bin/python bench/pages.py [--samples 100000] [--repeat 20] [--keep FOLDER] [--out bench/results/pages.json]

A dataset of that many rows is imported through the real service; its measurements are random numbers stored as the
worker would store them (this is a load test: nothing here is a result). Then the real web process is started, every
page is opened in headless Chromium, and each of these is timed from the click on: first paint (heading and count
stand), filter changes and page turns (the table shows other rows), and again until the whole page has settled. Beside
it stands the CPU time that the web process took; ``bare`` is the same on a page of a table and a button, which no page
of this kind can undercut. The imports of the live process are read from its own
``-X importtime`` log.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
HEAVY = ("torch", "transformers", "numba", "umap")
# Signals that are measured on a few rows, however many there are.
SAMPLED = ("alternatives", "precision")


def seed(folder: Path, n: int) -> int:
    """A judged run over ``n`` samples in the data folder; returns its id."""
    from core.checkpoint.folders import as_checkpoint
    from core.lab import tiny
    from core.services import datasets, jobs, judging, runs, specs
    from core.signals import alternatives
    from core.signals._plan import plan
    from core.types import Chunk
    from db import signals as table
    from db.session import database

    rng = np.random.default_rng(0)
    words = np.array(
        ["river", "stone", "garden", "letter", "window", "harbour", "copper", "winter", "signal", "orchard"]
    )
    rows = folder / "rows.jsonl"
    with rows.open("w") as file:
        for i in range(n):
            prompt, answer = (" ".join(rng.choice(words, k)) for k in rng.integers(4, 60, 2))
            messages = [{"role": "user", "content": f"{i} {prompt}?"}, {"role": "assistant", "content": answer}]
            row = {
                "id": f"row-{i}",
                "stage": f"stage {i * 3 // n + 1}",
                "source": f"source {i % 7}",
                "messages": messages,
            }
            file.write(json.dumps(row) + "\n")
    dataset = datasets.import_files([rows], ["rows.jsonl"], "large", None, jobs.Terminal(lambda *_: None))
    model = folder / "model"
    tokenizer = tiny.build_tokenizer(["a b c d"], 400)
    _untrained(model, tokenizer)
    run = runs.store_run("large", specs.make_spec(dataset.id, as_checkpoint(model, None, "model"), scorer="normalised"))
    with database().reading() as conn:
        from db import samples

        hashes = samples.content_hashes(conn, dataset.id)
    exact = rng.random(n) < 0.7
    for measure in plan(run.spec):
        columns = random_columns(measure.signal, exact, rng)
        chosen = np.arange(n) if measure.signal == "likelihood" else np.flatnonzero(~exact)
        if measure.signal in SAMPLED:
            chosen = chosen[: alternatives.ROWS]
        with database().writing() as conn:
            measure_id = table.measure_id(conn, measure.key, measure.signal, measure.checkpoint.fingerprint, {})
            table.link_run(conn, run.id, [measure_id])
            for block in np.array_split(chosen, max(1, len(chosen) // 1000)):
                keys = tuple(hashes[i] for i in block)
                table.store_chunk(conn, measure_id, Chunk(measure.key, keys, {k: v[block] for k, v in columns.items()}))
    judging.write_judgement(run, run.thresholds)
    return run.id


def _untrained(folder: Path, tokenizer) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from core.lab import tiny

    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(tiny.tiny_config("llama", len(tokenizer), hidden=32, layers=1)).save_pretrained(
        folder
    )
    tokenizer.save_pretrained(folder)


def random_columns(signal: str, exact: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """(n,) random values of the columns that pages read."""
    from core.plugins import kind

    n = len(exact)
    if signal not in ("likelihood", "reproduction"):
        return {c.name: rng.random(n).round() if c.kind == "flag" else rng.random(n)
                for c in kind("signals", signal).columns}  # fmt: skip
    if signal == "likelihood":
        nll = rng.gamma(1.2, 0.5, n) + (~exact) * 0.8
        target = rng.integers(4, 200, n).astype(float)
        logp = -nll * target
        columns = {"nll": nll, "nll_trained": nll, "token_accuracy": np.exp(-nll), "greedy_exact": exact.astype(float),
                   "n_tokens": target + 20, "n_target": target, "n_trained": target, "turns": np.ones(n),
                   "turns_exact": exact.astype(float), "first_miss": rng.integers(0, 4, n).astype(float)}  # fmt: skip
        return columns | {f"logp_{t}": logp / (int(t) / 10) for t in ("03", "05", "07", "10")}
    hits = rng.binomial(10, 0.05, n).astype(float)
    columns = {"score": rng.random(n), "draws": np.full(n, 10.0), "turns_asked": np.ones(n)}
    for cut in (50, 60, 70, 80, 90, 100):
        columns |= {f"right_{cut}": (rng.random(n) < 0.1).astype(float), f"hits_{cut}": hits}
    return columns


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def rss_mb(pid: int) -> float:
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text()).group(1)) / 1024


# The app's script has run to its end and nothing drawn is out of date.
SETTLED = """() => document.querySelector('[data-test-script-state="notRunning"]')
  && !document.querySelector('[data-stale="true"]')"""
# What a reader waits for: the heading, and the line that counts the samples.
PAINTED = """() => [...document.querySelectorAll('[data-testid="stMain"] h3')].some(
  h => /^[\\d,]+( of [\\d,]+)? samples$/.test(h.innerText.trim()))"""
# The rows of the samples' table, which stand in a component of their own; else the cells behind a table's canvas.
CELLS = """(() => {
  const own = [...document.querySelectorAll('[data-testid="stMain"] *')].filter(e => e.shadowRoot);
  const rows = own.flatMap(e => [...e.shadowRoot.querySelectorAll('tr.row')]);
  const cells = rows.length ? rows : [...document.querySelectorAll('[data-testid="stDataFrame"] canvas td')];
  return cells.map(c => c.textContent).join('|');
})()"""
# The line below an open row's title, which names the row.
FACTS = """(() => {
  const own = [...document.querySelectorAll('[data-testid="stMain"] *')].filter(e => e.shadowRoot);
  return own.map(e => e.shadowRoot.querySelector('.card .facts')?.textContent ?? '').join('');
})()"""
STATUSES = ("learned", "partly", "unlearned", "unknown")


class Watch:
    """Seconds of every step, and what the web process worked for it."""

    def __init__(self, page, pid: int) -> None:
        self.page, self.pid = page, pid
        self.seconds: dict[str, list[float]] = {}
        self.cpu: dict[str, list[float]] = {}

    def step(self, name: str, act, done: str) -> None:
        """Times ``act`` until the expression ``done`` holds, then lets the page settle."""
        cpu, began = cpu_seconds(self.pid), time.perf_counter()
        act()
        self.page.wait_for_function(done, timeout=60_000)
        self.seconds.setdefault(name, []).append(time.perf_counter() - began)
        self.page.wait_for_function(SETTLED, timeout=60_000)
        self.seconds.setdefault(f"{name}, settled", []).append(time.perf_counter() - began)
        self.cpu.setdefault(name, []).append(cpu_seconds(self.pid) - cpu)

    def changed(self, name: str, act, shown: str = CELLS) -> None:
        """Times ``act`` until the table shows other rows, or ``shown`` gives another text."""
        self.page.wait_for_function(f"() => {shown}", timeout=60_000)
        before = self.page.evaluate(shown)
        self.step(name, act, f"() => {{ const now = {shown}; return now && now !== {json.dumps(before)}; }}")


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def watching(pid: int) -> Iterator[Watch]:
    """A tab of a fresh Chromium and the clock beside it."""
    from playwright.sync_api import sync_playwright

    flags = ["--headless", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync",
             "--disable-component-update", *(["--no-sandbox"] if os.geteuid() == 0 else [])]  # fmt: skip
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path="/usr/bin/chromium", args=flags)
        yield Watch(browser.new_page(viewport={"width": 1400, "height": 1000}), pid)
        browser.close()


def bare(repeat: int) -> Watch:
    """The same clicks on a page that holds a table and two buttons: the part that is Streamlit and the browser."""
    port = free_port()
    command = [sys.executable, "-m", "streamlit", "run", str(ROOT / "bench/_bare_page.py"), "--server.port", str(port)]
    web = subprocess.Popen(
        [*command, "--server.headless", "true"], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait_for(port, web)
        with watching(web.pid) as watch:
            for _ in range(repeat):
                watch.step("bare: open", lambda: watch.page.goto(f"http://127.0.0.1:{port}"), f"() => {CELLS}")
            for name, label in (("bare: page turn", "Next"), ("bare: filter change", "Other")):
                button = watch.page.get_by_role("button", name=label)
                for _ in range(repeat):
                    watch.changed(name, button.click)
    finally:
        web.terminate()
        web.wait()
    return watch


def measure(url: str, run_id: int, pid: int, repeat: int) -> Watch:
    """Opens pages, turns them and filters, ``repeat`` times each."""
    with watching(pid) as watch:
        page = watch.page

        def opens(name: str, path: str, done: str = PAINTED) -> None:
            watch.step(f"open {name}", lambda: page.goto(f"{url}/{path}"), done)

        for i in range(repeat):
            # Another filter each time, so that no answer is one that was kept.
            opens("overview", f"overview?run={run_id}&nll=..{50 + i}")
            opens("samples", f"samples?run={run_id}&nll=..{50 + i}")
        for name in ("clusters", "contradictions", "knowledge", "dynamics", "routes", "mitigation", "review", "compare",
                     "selftest", "jobs", "storage", "start"):  # fmt: skip
            # The first time the process imports and computes what it keeps; that is told apart.
            opens(f"{name}, first", f"{name}?run={run_id}", "() => document.querySelector('h1')")
            for _ in range(3):
                opens(name, f"{name}?run={run_id}", "() => document.querySelector('h1')")

        page.goto(f"{url}/samples?run={run_id}")
        page.wait_for_function(SETTLED)
        turn = page.get_by_role("button", name="Next")
        for _ in range(repeat):
            watch.changed("page turn", turn.click)
        for i in range(repeat):
            # A stage or a source that stands already makes other counts of the same click.
            page.goto(f"{url}/samples?run={run_id}&n_target={4 + i}..{120 + i}&sort=-nll")
            page.wait_for_function(SETTLED)
            page.get_by_test_id("stPopoverButton").filter(has_text=re.compile("^Status")).click()
            pill = page.get_by_role("button", name=re.compile(STATUSES[i % 3], re.I)).last
            pill.wait_for()
            watch.changed("filter change", pill.click)
        for query in ("q=harbour+copper+river", "q=no+such+words", "q=77777"):
            opens("search", f"samples?run={run_id}&{query}")
        page.goto(f"{url}/samples?run={run_id}")
        page.wait_for_function(SETTLED)
        field = page.get_by_role("textbox", name="Text")
        for i in range(repeat):

            def search(text: str = f"{31 * i + 1000} ") -> None:
                field.fill(text)
                field.press("Enter")

            watch.changed("search typed", search)
        for i, query in enumerate(("status=unlearned", "q=harbour+copper", "greedy_exact=0", "source=source+3")):
            opens("filtered table", f"samples?run={run_id}&{query}&nll=..{90 + i}")
        # From the overview to the first relevant sample: a bar, then a row; then along the rows, as a reader walks.
        page.goto(f"{url}/overview?run={run_id}")
        page.wait_for_function(SETTLED)
        bar = page.locator("[data-testid=stPlotlyChart]").nth(0).locator("g.bars .point path").first
        watch.step("click 1: a status", lambda: bar.click(force=True), "() => location.pathname.endsWith('/samples')")
        watch.step("click 2: a row", page.locator("tr.row").first.click, f"() => {FACTS}")
        for _ in range(repeat):
            watch.changed("row to row", lambda: page.keyboard.press("j"), FACTS)
    return watch


def summary(seconds: list[float]) -> dict[str, float]:
    """Median, 95th percentile (the smallest value that 95 % lie at or below) and the worst."""
    ordered = sorted(seconds)
    p95 = ordered[math.ceil(0.95 * len(ordered)) - 1]
    values = {"median": median(ordered), "p95": p95, "worst": ordered[-1]}
    return {k: round(v, 3) for k, v in values.items()} | {"n": len(ordered)}


def over_bare(seconds: dict[str, list[float]]) -> dict[str, float]:
    """Median of a step over the median of the same on the bare page; every opening beside opening that."""
    medians = {name: median(values) for name, values in seconds.items()}
    beside = {n: "bare: open" for n in medians if n.startswith("open ") and not n.endswith(", settled")}
    beside |= {"page turn": "bare: page turn", "filter change": "bare: filter change"}
    return {n: round(medians[n] / medians[b], 2) for n, b in beside.items() if n in medians}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", type=int, default=100_000)
    parser.add_argument("--repeat", type=int, default=20)
    parser.add_argument("--keep", type=Path, help="folder for the seeded data; used again where it is there already")
    parser.add_argument("--out", type=Path, default=ROOT / "bench/results/pages.json")
    args = parser.parse_args()
    from bench._machine import machine

    with tempfile.TemporaryDirectory() as passing:
        folder = (args.keep or Path(passing)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        os.environ["LACUNA_DATA_DIR"] = str(folder / "data")
        os.environ["LACUNA_DEMO"] = "0"
        if not (folder / "data").exists():
            began = time.perf_counter()
            seed(folder, args.samples)
            print(f"seeded {args.samples:,} samples in {time.perf_counter() - began:.0f} s", file=sys.stderr)
        no_grouping_waits()
        port = free_port()
        log = (folder / "web.log").open("wb")
        web = subprocess.Popen(
            [sys.executable, "-X", "importtime", "-m", "streamlit", "run", str(ROOT / "ui/server.py"),
             "--server.port", str(port)],
            cwd=ROOT, stderr=log, stdout=log, env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        try:
            _wait_for(port, web)
            before = rss_mb(web.pid)
            watch = measure(f"http://127.0.0.1:{port}", 1, web.pid, args.repeat)
            after = rss_mb(web.pid)
            floor = bare(args.repeat)
        finally:
            web.terminate()
            web.wait()
        imported = set(re.findall(r"^import time:.*\|\s+(\S+)$", Path(log.name).read_text(errors="replace"), re.M))
    result = {
        "case": f"pages on a run of {args.samples:,} samples",
        "over_the_bare_page": over_bare(watch.seconds | floor.seconds),
        "seconds": {k: summary(v) for k, v in (watch.seconds | floor.seconds).items()},
        "web_process_cpu_seconds": {k: summary(v) for k, v in watch.cpu.items()},
        "web_process": {
            "rss_mb_started": round(before), "rss_mb_after_every_page": round(after),
            "heavy_imports": sorted(m for m in imported if m.split(".")[0] in HEAVY),
        },
        "machine": machine(),
    }  # fmt: skip
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def no_grouping_waits() -> None:
    """The clusters page asks for groups by itself; no worker runs here, and every page would poll for the job."""
    from core.services import clusters, jobs

    if not any(j.kind == "cluster" for j in jobs.list_jobs()):
        clusters.request(1)
    for job in jobs.list_jobs():
        jobs.cancel_job(job.id)


def _wait_for(port: int, process: subprocess.Popen) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if process.poll() is not None:
            raise SystemExit("the web process ended")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise SystemExit("the web process did not start")


if __name__ == "__main__":
    main()
