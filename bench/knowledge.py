"""Knowledge classes from forward passes against actual sampling, and the time of both in the same run.

    python -m bench.knowledge WORLD [--rows 100] [--out FILE]
    python -m bench.knowledge --quiz [--rows 100] [--out FILE]

WORLD is a folder with ``dataset.jsonl``, ``base/`` and ``final/`` (a lab world, or the demo project). ``--quiz`` trains
a base of its own in about half a minute: it has read questions and answers line by line, some of them in two versions,
some never, so that all four classes occur, and answers behind examples.

Sampled: for each prompt one greedy answer and 16 draws at temperature 0.5, right by the normalised scorer, and from
their counts the class as the paper that defines the classes has it (arXiv 2405.05904): greedy always right, sometimes,
never but a draw, never at all. The classes of one row differ by chance where 16 draws per prompt may or may not contain
the answer; how often they must is computed from the same probabilities and printed as ``expected_agreement``.

Result: one JSON object on stdout; with ``--out`` to a file as well.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench._machine import machine, versions
from core.checkpoint.folders import as_checkpoint
from core.intake.datasets import read, scan
from core.plugins import kind
from core.signals._asking import AskedModel
from core.signals._base import seed_of
from core.signals._instruments import Instruments
from core.signals._questions import PROMPTS, Question, Questions
from core.signals.knowledge import CLASSES, DRAWS, HIGHLY, MAYBE, UNKNOWN, WEAKLY, known
from core.text.words import normalised
from core.types import BASE, FINAL, Decoding, Message, RunSpec, Sample, SignalTable, content_hash

LONGEST = 32
PACKAGES = ("torch", "transformers", "tokenizers", "numpy")


class Rows:
    """Rows in memory in place of a stored run."""

    def __init__(self, rows: Sequence[Sample]) -> None:
        self.rows, self.columns = list(rows), {}

    def samples(self) -> list[Sample]:
        return self.rows

    def measured(self) -> SignalTable:
        return SignalTable(tuple(s.content_hash for s in self.rows), self.columns)

    def details(self, *_: Any) -> None:
        return None


def of_world(folder: Path) -> tuple[list[Sample], Path, Path]:
    """Rows, base and final checkpoint of a world."""
    path = [folder / "dataset.jsonl"]
    rows = [s for s in read(path, scan(path).reading) if isinstance(s, Sample)]
    return rows, folder / "base", folder / "final"


def quiz(folder: Path, seed: int = 0) -> tuple[list[Sample], Path, Path]:
    """Rows about 120 subjects and a base that read of most of them; it is its own final checkpoint."""
    from core.lab import tiny
    from core.lab.words import coin

    rng, taken = random.Random(seed), set()
    subjects, rivers = coin(rng, 120, taken), coin(rng, 40, taken)
    pages: list[str] = []
    told: list[tuple[str, str, str, float]] = []
    rows: list[Sample] = []
    for i, subject in enumerate(subjects):
        one, other = rng.sample(rivers, 2)
        # The share of readings that tell the dataset's version: always, mostly, about half, seldom, never.
        share = (1.0, 1.0, 0.6, 0.5, 0.3, 0.06, None, None)[i % 8]
        if share is not None:
            told.append((subject, one, other, share))
        messages = (Message("user", f"Which river does {subject} lie on?"), Message("assistant", f"The river {one}."))
        rows.append(
            Sample(f"row-{i}", i, i, messages, "chat", None, None, None, content_hash(messages, "chat", None), b"{}")
        )
    for _ in range(1600):
        lines = (
            f"Q: Which river does {s} lie on?\nA: The river {a if rng.random() < share else b}.\n"
            for s, a, b, share in rng.sample(told, 6)
        )
        pages.append("".join(lines))
    tokenizer = tiny.build_tokenizer([*pages, *(s + " " for s in subjects)], 900, None)
    model = tiny.tiny_model(tiny.tiny_config("llama", len(tokenizer), 128, 2), tokenizer, seed)
    tiny.train(
        model, tokenizer, [tiny.text_row(tokenizer, page) for page in pages], folder, lr=3e-3, batch=16, epochs=6,
        schedule="cosine", warmup=20, seed=seed, threads=1,
    )  # fmt: skip
    return rows, folder / "final", folder / "final"


def instruments_of(rows: Sequence[Sample], base: Path, final: Path) -> Instruments:
    checkpoint = as_checkpoint(final, base if final != base else None, "final")
    spec = RunSpec(dataset_id=1, dataset_fingerprint="0" * 64, final=checkpoint, base=as_checkpoint(base, None, "base"))
    return Instruments(spec, "auto", Rows(rows))


def learned(instruments: Instruments, rows: Sequence[Sample]) -> np.ndarray:
    """(n,) 1 where greedy decoding of the final checkpoint gives the target: examples are drawn from these."""
    [measure] = [m for m in kind("signals", "likelihood").plan(instruments.spec) if m.role == FINAL]
    chunks = kind("signals", "likelihood").measure(measure, rows, instruments, lambda: False)
    return np.concatenate([c.columns["greedy_exact"] for c in chunks])


def forward(instruments: Instruments, rows: Sequence[Sample]) -> tuple[list[dict[str, float]], float]:
    """Numbers of the signal and the seconds of its classes alone: belief and familiarity are left out."""
    [measure] = [m for m in kind("signals", "knowledge").plan(instruments.spec) if m.role == BASE]
    base = AskedModel(measure, instruments)
    began = time.perf_counter()
    found = known(rows, base)
    return found, time.perf_counter() - began


def sampled(instruments: Instruments, rows: Sequence[Sample]) -> tuple[list[dict[str, Any]], float]:
    """Class of each row from one greedy answer and 16 draws per prompt, all of them generated; and the seconds."""
    [measure] = [m for m in kind("signals", "knowledge").plan(instruments.spec) if m.role == BASE]
    base = AskedModel(measure, instruments)
    questions = [q for s in rows if (q := base.questions.of(s)) is not None]
    began = time.perf_counter()
    out = []
    for q in questions:
        prompts = [n % base.way.prompts for n in range(PROMPTS)]
        jobs = [(q, n, Decoding(max_new_tokens=LONGEST)) for n in prompts]
        jobs += [
            (q, n, Decoding(0.5, LONGEST, seed_of(repr(("bench", q.sample.content_hash, place, k)))))
            for place, n in enumerate(prompts)
            for k in range(DRAWS)
        ]
        right = [normalised(text or "") == normalised(q.answer) for text in base.generate(jobs)]
        greedy, draws = np.array(right[:PROMPTS]), np.array(right[PROMPTS:])
        out.append({"class": class_by_counts(greedy, draws), "greedy": greedy.mean(), "draws": draws.mean()})
    return out, time.perf_counter() - began


def class_by_counts(greedy: np.ndarray, draws: np.ndarray) -> int:
    if greedy.all():
        return HIGHLY
    if greedy.any():
        return MAYBE
    return WEAKLY if draws.any() else UNKNOWN


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("world", nargs="?", type=Path)
    parser.add_argument("--quiz", action="store_true")
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.quiz == (args.world is not None):
        parser.error("give a world or --quiz")
    with tempfile.TemporaryDirectory() as scratch:
        rows, base, final = quiz(Path(scratch)) if args.quiz else of_world(args.world)
        result = compare(rows, base, final, args.rows)
    result |= {"case": "quiz" if args.quiz else args.world.name, "machine": machine(), "versions": versions(PACKAGES)}
    text = json.dumps(result, indent=2)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")
    return 0


def compare(rows: list[Sample], base: Path, final: Path, most: int) -> dict[str, Any]:
    instruments = instruments_of(rows, base, final)
    try:
        stored: Rows = instruments._stored  # type: ignore[assignment]
        stored.columns["greedy_exact"] = learned(instruments, rows)
        some = _chosen(rows, most)
        fast, fast_seconds = forward(instruments, some)
        slow, slow_seconds = sampled(instruments, some)
    finally:
        instruments.close()
    same = [int(f["knowledge"]) == s["class"] for f, s in zip(fast, slow, strict=True)]
    any16 = np.array([f["known_any16"] for f in fast])
    never = np.array([f["known_greedy"] == 0 for f in fast])
    by_chance = np.where(never, np.maximum(any16, 1 - any16), 1.0)
    pairs = Counter((CLASSES[int(f["knowledge"])], CLASSES[s["class"]]) for f, s in zip(fast, slow, strict=True))
    return {
        "rows": len(same),
        "same_class": float(np.mean(same)),
        "expected_agreement": float(by_chance.mean()),
        "greedy_share_differs": int(sum(f["known_greedy"] != s["greedy"] for f, s in zip(fast, slow, strict=True))),
        "mean_p_forward": float(np.mean([f["known_sampled"] for f in fast])),
        "mean_p_sampled": float(np.mean([s["draws"] for s in slow])),
        "classes": {f"{a} / {b}": n for (a, b), n in sorted(pairs.items())},
        "seconds_forward": round(fast_seconds, 2),
        "seconds_sampled": round(slow_seconds, 2),
        "times_faster": round(slow_seconds / fast_seconds, 1),
    }


def _chosen(rows: Sequence[Sample], most: int) -> list[Sample]:
    questions = Questions(rows)
    found: list[Question] = [
        q for s in {s.content_hash: s for s in rows}.values() if (q := questions.of(s)) is not None
    ]
    found.sort(key=lambda q: seed_of(repr(("chosen", q.sample.content_hash))))
    return [q.sample for q in found[:most]]


if __name__ == "__main__":
    sys.exit(main())
