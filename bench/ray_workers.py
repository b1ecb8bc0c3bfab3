"""Two workers of the backend ``ray`` against one process of ``hf`` with the same threads in all; many by simulation.

    .venv/bin/python bench/ray_workers.py --checkpoint FOLDER [--rows 48] [--repeats 3] [--out FILE]

Both score the same rows of random ids in turn, in float32. Wall-clock rates are fair on an idle machine only; processor
seconds (of this process and of the workers) are given beside them, with the load that was there.

What this process does for each row while workers wait (rendering, reading rows, writing chunks) is measured with a
backend that answers at once. The simulation of a large cluster takes these two measured costs and the spread of the
pieces; how fast one worker reads is an argument, since it depends on the accelerator.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

WORKERS = 2


def rows_of(n: int, vocab: int, seed: int = 0) -> list[Any]:
    """n rows of 24 common ids and 40 to 400 of their own; the second half of each is scored."""
    from core.backends._base import ScoreRow

    rng = np.random.default_rng(seed)
    start = rng.integers(3, vocab, 24)
    rows = []
    for length in rng.integers(40, 400, n):
        ids = np.concatenate([start, rng.integers(3, vocab, length)])
        rows.append(ScoreRow(ids, np.arange(24 + length // 2, 24 + length)))
    return rows


def processor_seconds(processes: list[int]) -> float:
    ticks = 0
    for process in processes:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def timed(score: Any, rows: list[Any], processes: list[int]) -> tuple[float, float, list[Any]]:
    """Wall-clock and processor seconds, and the scores."""
    before, began = processor_seconds(processes), time.perf_counter()
    scores = score(rows)
    return time.perf_counter() - began, processor_seconds(processes) - before, scores


def compared(folder: Path, n: int, repeats: int) -> dict[str, Any]:
    import torch

    os.environ["LACUNA_RAY"] = str(WORKERS)
    from core.backends._ray_pool import close_pools
    from core.plugins import kind
    from core.settings import settings
    from core.types import Checkpoint

    settings.cache_clear()
    checkpoint = Checkpoint(str(folder), None, None, folder.name, "0" * 64)
    threads = max(1, len(os.sched_getaffinity(0)) // WORKERS)
    spread = kind("backends", "ray").open(checkpoint, "float32", "cpu")
    torch.set_num_threads(WORKERS * threads)
    alone = kind("backends", "hf").open(checkpoint, "float32", "cpu")
    import ray

    workers = ray.get([worker.process.remote() for worker in spread._workers.workers])
    rows = rows_of(n, alone.vocab_size)
    tokens = sum(len(row.ids) for row in rows)
    for backend in (alone, spread):
        backend.score(rows[:2])
    walls: dict[str, list[float]] = {"hf": [], "ray": []}
    spent: dict[str, list[float]] = {"hf": [], "ray": []}
    load = os.getloadavg()[0]
    for _ in range(repeats):
        for name, backend in (("hf", alone), ("ray", spread)):
            wall, processor, scores = timed(backend.score, rows, [os.getpid(), *workers])
            walls[name].append(wall)
            spent[name].append(processor)
            if name == "hf":
                expected = scores
    largest = max(float(np.abs(a.logprobs - b.logprobs).max()) for a, b in zip(scores, expected, strict=True))
    same = all(np.array_equal(a.argmax, b.argmax) for a, b in zip(scores, expected, strict=True))
    close_pools()
    middle = {name: statistics.median(values) for name, values in walls.items()}
    processor = {name: statistics.median(values) for name, values in spent.items()}
    return {
        "rows": n, "tokens": tokens, "repeats": repeats, "threads_in_all": WORKERS * threads,
        "load_before": round(load, 1),
        "tokens_a_second": {name: round(tokens / seconds, 1) for name, seconds in middle.items()},
        "rate_ratio": round(middle["hf"] / middle["ray"], 3),
        "tokens_a_processor_second": {name: round(tokens / seconds, 1) for name, seconds in processor.items()},
        "processor_ratio": round(processor["hf"] / processor["ray"], 3),
        "largest_difference": largest, "argmax_equal": same,
        "seconds": walls, "processor_seconds": spent,
    }  # fmt: skip


class Instant:
    """A backend whose model costs nothing: what is left is this process's own work."""

    device, dtype, stop_ids, context_length, vocab_size = "cuda", "float32", (), None, None

    def score(self, rows: Any) -> list[Any]:
        from core.types import TEMPERATURES, TokenScores

        answers = []
        for row in rows:
            t = len(row.positions)
            zeros = np.zeros(t, dtype=np.float32)
            lognorm = np.zeros((t, len(TEMPERATURES)), dtype=np.float32)
            answers.append(TokenScores(row.positions, zeros, row.ids[row.positions], zeros, lognorm))
        return answers

    def close(self) -> None:
        pass


def own_work(folder: Path, n: int) -> dict[str, Any]:
    """Processor seconds a row of everything but the model, in the signal that reads every row."""
    from core.plugins import kind
    from core.services import artefacts, datasets, jobs
    from core.settings import settings
    from core.signals._instruments import Instruments
    from core.types import Checkpoint, RunSpec
    from db import samples as sample_table
    from db import signals as signal_table
    from db.session import database

    words = [f"word{i}" for i in range(5_000)]
    draw = random.Random(0)
    with tempfile.TemporaryDirectory() as data:
        os.environ["LACUNA_DATA_DIR"] = data
        settings.cache_clear()
        path = Path(data) / "rows.jsonl"
        with path.open("w", encoding="utf-8") as out:
            for _ in range(n):
                texts = [" ".join(draw.choices(words, k=k)) for k in (40, 40)]
                turns = [{"role": r, "content": t} for r, t in zip(("user", "assistant"), texts, strict=True)]
                out.write(json.dumps({"messages": turns}) + "\n")
        dataset = datasets.import_files([path], [path.name], "rows", None, jobs.Terminal(lambda *_: None))
        final = Checkpoint(str(folder), None, None, folder.name, "0" * 64)
        instruments = Instruments(RunSpec(dataset.id, dataset.fingerprint, final))
        instruments._open = (final.fingerprint, Instant())
        signal = kind("signals", "likelihood")
        (measure,) = signal.plan(instruments.spec)
        instruments.tokenizer()
        began, tokens = time.process_time(), 0
        with database().reading() as conn:
            samples = list(sample_table.iter_samples(conn, dataset.id, range(n)))
        with database().writing() as conn:
            measure_id = signal_table.measure_id(conn, measure.key, measure.signal, "0" * 64, dict(measure.depends))
        for chunk in signal.measure(measure, samples, instruments, lambda: False):
            name = artefacts.write(chunk.details)
            tokens += int(chunk.columns["n_tokens"].sum())
            with database().writing() as conn:
                signal_table.store_chunk(conn, measure_id, chunk, name)
        seconds = time.process_time() - began
        database().close()
    return {"rows": n, "tokens_a_row": round(tokens / n, 1), "seconds_a_row": seconds / n}


def simulated(own: float, tokens_a_row: float, worker_rate: float, workers: int, rows: int) -> dict[str, Any]:
    """Scoring of many rows: chunks of two pieces a worker, this process's own work between them.

    Args:
        own: seconds a row of this process.
        worker_rate: tokens a second of one worker.
    """
    rng = np.random.default_rng(0)
    chunk = min(256, int(65_536 // tokens_a_row)) * workers
    seconds, busy, done = 0.0, 0.0, 0
    while done < rows:
        n = min(chunk, rows - done)
        # Rows of a piece differ in length as in the rows above (40 to 400): pieces differ less.
        piece = n * tokens_a_row / worker_rate / (2 * workers)
        spread = 0.48 / np.sqrt(max(1.0, n / (2 * workers)))
        times = np.sort(piece * (1 + spread * rng.standard_normal(2 * workers)).clip(0.1))[::-1]
        free = np.zeros(workers)
        for one in times:
            free[free.argmin()] += one
        seconds += free.max() + own * n
        busy += times.sum()
        done += n
    return {
        "workers": workers, "rows": rows, "tokens_a_worker_second": worker_rate, "hours": round(seconds / 3600, 2),
        "share_of_time_workers_read": round(busy / (seconds * workers), 3),
        "hours_of_own_work": round(own * rows / 3600, 2),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder of a model with a chat template")
    parser.add_argument("--rows", type=int, default=48)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--own-rows", type=int, default=2_000, help="rows to measure this process's own work with")
    parser.add_argument("--out", type=Path, default=ROOT / "bench" / "results" / "ray_workers.json")
    args = parser.parse_args()
    from bench._machine import machine, versions

    own = own_work(args.checkpoint, args.own_rows)
    result = {
        "machine": machine(),
        "versions": versions(["lacuna", "ray", "torch", "transformers", "numpy"]),
        "checkpoint": args.checkpoint.name,
        "two_workers": compared(args.checkpoint, args.rows, args.repeats),
        "own_work": own,
        "simulated": [
            simulated(own["seconds_a_row"], own["tokens_a_row"], rate, 64, 10_000_000)
            for rate in (500.0, 2_000.0, 8_000.0, 32_000.0)
        ],
    }
    args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
