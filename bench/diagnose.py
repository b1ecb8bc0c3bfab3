"""Whole diagnoses of a real world, by stage: time, tokens that had to be read, share of the measured matrix rate.

    python -m bench.diagnose WORLD [--rows 120] [--grown 6] [--dtype bfloat16] [--against FILE] [--out FILE]

WORLD holds ``dataset.jsonl``, ``base/``, ``final/`` and ``checkpoints/`` (see docs/lab.md). ``--rows`` are taken evenly
over the dataset; the last ``--grown`` of them join for a second run, which measures what is new.

*Tokens that had to be read* are the distinct beginnings of all rows and answers of a stage, of each model it asks:
whatever begins alike needs to be read once. *Matrix rate* is what this machine does in tokens a second with nothing
but the model's own matrices, 1,024 tokens at a time. Times are CPU seconds of this process, which a busy machine
stretches less than the clock; ``wall`` is beside them. Verdicts are compared with those of ``--against``, an earlier
result.

Result: one JSON object on stdout; with ``--out`` to a file as well.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

PACKAGES = ("torch", "transformers", "tokenizers", "numpy")
TOKENS, REPEATS = 1024, 3


class Stages:
    """CPU and wall seconds of each measurement, and what was read for it."""

    def __init__(self) -> None:
        self.done: list[dict[str, Any]] = []
        self._rows: dict[int, list[bytes]] = {}

    def install(self) -> None:
        from core.backends.hf import HfBackend
        from core.services import diagnosis

        measure, score, generate = diagnosis._measure, HfBackend.score, HfBackend.generate

        def timed(work: Any, run: Any, what: Any, *rest: Any) -> None:
            self._rows, cpu, wall = {}, time.process_time(), time.perf_counter()
            measure(work, run, what, *rest)
            spent = {"cpu": round(time.process_time() - cpu, 2), "wall": round(time.perf_counter() - wall, 2)}
            role = what.role.kind if what.role is not None else ""
            tokens = sum(map(beginnings, self._rows.values()))
            self.done.append({"signal": what.signal, "role": role, **spent, "tokens": tokens})

        def scored(backend: Any, rows: Sequence[Any]) -> Any:
            # The last scored token is predicted by what stands before it and needs no pass of its own.
            read = self._rows.setdefault(id(backend), [])
            read += [kept(r.ids[: r.positions.max()]) for r in rows if len(r.positions)]
            return score(backend, rows)

        def generated(backend: Any, prompts: Sequence[Any], *rest: Any) -> Any:
            out = generate(backend, prompts, *rest)
            read = self._rows.setdefault(id(backend), [])
            read += [kept(np.concatenate([p, g.tokens[:-1]])) for p, g in zip(prompts, out, strict=True)]
            return out

        for owner, name, wrapped in (
            (diagnosis, "_measure", timed), (HfBackend, "score", scored), (HfBackend, "generate", generated)
        ):  # fmt: skip
            setattr(owner, name, wrapped)


def kept(ids: np.ndarray) -> bytes:
    return ids.astype(">i4").tobytes()


def beginnings(rows: list[bytes]) -> int:
    """Distinct non-empty beginnings of rows of four-byte ids: the nodes of their tree."""
    total, before = 0, b""
    for row in sorted(rows):
        n = min(len(row), len(before))
        same = next((i for i in range(0, n, 4) if row[i : i + 4] != before[i : i + 4]), n)
        total, before = total + (len(row) - same) // 4, row
    return total


def matrix_rate(folder: Path, dtype: str) -> float:
    """Tokens a second through the model's matrices alone, without the vocabulary projection."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    shapes = [m.weight.shape for n, m in model.named_modules() if type(m).__name__ == "Linear" and n != "lm_head"]
    kind = getattr(torch, dtype)
    made = {shape: torch.randn(shape).to(kind) for shape in set(shapes)}
    given = {shape: torch.randn(TOKENS, shape[1]).to(kind) for shape in made}
    best = float("inf")
    with torch.no_grad():
        for _ in range(REPEATS + 1):
            began = time.process_time()
            for shape in shapes:
                torch.nn.functional.linear(given[shape], made[shape])
            best = min(best, time.process_time() - began)
    return TOKENS / best


def diagnosed(world: Path, lines: Sequence[bytes], name: str, dtype: Any, stages: Stages) -> dict[str, Any]:
    from core.checkpoint.folders import as_checkpoint
    from core.services import datasets, exports, runs, specs
    from core.services.jobs import Terminal
    from core.settings import settings
    from core.worker.here import run_here

    path = settings().data_dir / f"{name}.jsonl"
    path.write_bytes(b"".join(lines))
    dataset = datasets.import_files([path], [path.name], name, None, Terminal(lambda *_: None))
    steps = sorted((world / "checkpoints").iterdir(), key=lambda p: int(p.name.rpartition("-")[2]))
    spec = specs.make_spec(
        dataset.id, as_checkpoint(world / "final", None, "final"), as_checkpoint(world / "base", None, "base"),
        [as_checkpoint(p, None, p.name) for p in steps], dtype=dtype,
    )  # fmt: skip
    stages.done = []
    cpu, wall = time.process_time(), time.perf_counter()
    run_id, job = runs.start(runs.store_run(name, spec))
    run_here(job, lambda stage, done, total, unit: print(f"{stage} {done}/{total}", file=sys.stderr))
    total = {"cpu": round(time.process_time() - cpu, 1), "wall": round(time.perf_counter() - wall, 1)}
    verdicts = [json.loads(line) for line in exports.verdict_lines(run_id)]
    return {
        "rows": len(lines), **total, "stages": stages.done,
        "verdicts": {v["id"]: [v["status"], v["cause"], v["confidence"]] for v in verdicts},
    }  # fmt: skip


def same_verdicts(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    ids = one.keys() & other.keys()
    moved = [abs((one[i][2] or 0.0) - (other[i][2] or 0.0)) for i in ids]
    return {
        "rows": len(ids),
        "same_status": sum(one[i][0] == other[i][0] for i in ids),
        "same_cause": sum(one[i][1] == other[i][1] for i in ids),
        "largest_move_of_confidence": round(max(moved, default=0.0), 4),
    }


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("world", type=Path)
    parser.add_argument("--rows", type=int, default=120)
    parser.add_argument("--grown", type=int, default=0)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--against", type=Path)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args(argv)
    folder = tempfile.TemporaryDirectory(prefix="lacuna-diagnose-")
    os.environ["LACUNA_DATA_DIR"] = folder.name

    from bench._machine import machine, versions

    every = (args.world / "dataset.jsonl").read_bytes().splitlines(keepends=True)
    chosen = [every[i] for i in np.linspace(0, len(every) - 1, min(args.rows, len(every))).round().astype(int)]
    stages = Stages()
    stages.install()
    rate = matrix_rate(args.world / "final", args.dtype)

    first = diagnosed(args.world, chosen[: len(chosen) - args.grown], "first", args.dtype, stages)
    shares(first, rate)
    result = {"machine": machine(), "versions": versions(PACKAGES), "dtype": args.dtype,
              "matrix_rate": round(rate), "first": first}  # fmt: skip
    if args.grown:
        result["grown"] = diagnosed(args.world, chosen, "grown", args.dtype, stages)
        shares(result["grown"], rate)
        result["grown_share"] = round(result["grown"]["cpu"] / first["cpu"], 4)
        result["grown_verdicts"] = same_verdicts(result["grown"]["verdicts"], first["verdicts"])
    if args.against:
        before = json.loads(args.against.read_text())
        result["against"] = {
            "cpu": before["first"]["cpu"],
            "share": round(first["cpu"] / before["first"]["cpu"], 3),
            "verdicts": same_verdicts(first["verdicts"], before["first"]["verdicts"]),
        }
    text = json.dumps(result, indent=1)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")
    folder.cleanup()
    return 0


def shares(result: dict[str, Any], rate: float) -> None:
    """Adds to each stage the share of its time that the matrices alone would take for what had to be read."""
    for stage in result["stages"]:
        needed = stage["tokens"] / rate
        stage["share_of_rate"] = round(needed / stage["cpu"], 3) if stage["cpu"] > 0.5 and stage["tokens"] else None


if __name__ == "__main__":
    raise SystemExit(main())
