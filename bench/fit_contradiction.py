"""Fits the rule that says whether two answers to one question can both be right (``core/pairs/answers.json``).

    python -m bench.fit_contradiction WORLD [WORLD …] --data FOLDER [--write]

Examples are the pairs of published rows that a person has read (``bench/contradictions.py``; those of the half that may
be fitted, where both rows ask the same), and the planted disputes of lab worlds. Signs of the weights are fixed
(``EVIDENCE``, ``OPENNESS`` in ``core/pairs/answers.py``). Pairs that agree count more than pairs that do not: most
rows of a dataset contradict none, and a false contradiction accuses two.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench._published import rows
from bench.contradictions import Rows, labelled, opened
from core.causes._fit import logistic
from core.pairs import answers
from core.pairs.wording import Rarity, words

# Reasons for "none" where both rows ask the same: the others say nothing about answers.
SAME_QUESTION = (
    "open request", "the same in other words", "another name of the same thing", "rounded otherwise",
    "several right answers", "the same equation solved for y",
)  # fmt: skip
# How much each kind of example weighs; within a kind all weigh alike.
WEIGHTS = {
    ("published", 1): 0.2, ("published", 0): 0.7, ("planted", 1): 0.1, ("framed", 1): 0.25, ("framed", 0): 0.05,
}  # fmt: skip
FRAMES = ("{}", "It is {}.", "The answer is {}.", "You will find {} there.")
PENALTY = 1e-3
NAMES = (*answers.EVIDENCE, *answers.OPENNESS)


def pieces_of(
    a: answers.Answer, b: answers.Answer, prompts: Sequence[str], verbatim: bool, n: int, rarity: Rarity
) -> dict[str, float] | None:
    """Evidence of one pair; None where nothing has to be weighed."""
    asked = frozenset(w for p in prompts for w in words(p).stems)
    if answers._certain(a, b) is not None:
        return None
    seen = answers.evidence(a, b, asked, rarity)
    if not seen.pieces:
        return None
    return {**seen.pieces, **answers.openness(prompts, verbatim, n, seen.kind)}


def published(world: Rows, pairs: Sequence[Mapping[str, Any]], places: Sequence[tuple[int, int]]) -> Iterator[Any]:
    """(pieces, label, half) of the pairs that ask the same."""
    for pair, (i, j) in zip(pairs, places, strict=True):
        true = pair["label"] == "contradiction"
        if pair["label"] == "cannot tell" or (not true and pair["reason"] not in SAME_QUESTION):
            continue
        verbatim = pair["wording"]["verbatim"]
        n = max(world._distinct[world._texts[i]], world._distinct[world._texts[j]]) if verbatim else 1
        prompts = (world.samples[i].prompt, world.samples[j].prompt)
        pieces = pieces_of(world.answer(i), world.answer(j), prompts, verbatim, n, world._rarity)
        if pieces is not None:
            yield pieces, int(true), pair["half"]


def planted(folder: Path) -> Iterator[Any]:
    """(pieces, 1) of the disputes of a world whose truth numbers them."""
    truth = {t["id"]: t for t in map(json.loads, (folder / "truth.jsonl").read_text(encoding="utf-8").splitlines())}
    lines = [json.loads(line) for line in (folder / "dataset.jsonl").read_text(encoding="utf-8").splitlines()]
    said = [(r["id"], r["messages"][-2]["content"], r["messages"][-1]["content"]) for r in lines]
    rarity = Rarity(words(answer) for _, _, answer in said)
    disputes: dict[int, list[tuple[str, str]]] = {}
    for name, prompt, answer in said:
        if (number := truth[name].get("dispute")) is not None:
            disputes.setdefault(number, []).append((prompt, answer))
    for sides in disputes.values():
        for k, (p, a) in enumerate(sides):
            for q, b in sides[:k]:
                if a != b and (pieces := pieces_of(answers.read(a), answers.read(b), (p, q), p == q, 2, rarity)):
                    yield pieces, 1


def framed(folder: Path) -> Iterator[Any]:
    """(pieces, label) of answers of EntityQuestions in two frames: one value, or two."""
    rng = random.Random(5)
    known = sorted({answer for (name, _), _, answer in rows(folder) if "entityquestions" in name})
    # Values that hardly recur, and some that recur often.
    for size in (300, 40):
        values = rng.sample(known, size)
        said = [rng.choice(values) for _ in range(300)]
        rarity = Rarity(words(rng.choice(FRAMES).format(v)) for v in said)
        for one, two in itertools.pairwise(said):
            a, b, c = (f.format(v) for f, v in zip(rng.sample(FRAMES, 3), (one, one, two), strict=True))
            plain, denied = f"It is {one}.", f"It is not {one}."
            lists = [", ".join(rng.sample(part, 3)) for part in (values[: size // 2], values[size // 2 :])]
            cases = [(a, b, 0), (plain, denied, 1), (*lists, 1), *([(a, c, 1)] if one != two else [])]
            for left, right, y in cases:
                pieces = pieces_of(answers.read(left), answers.read(right), ("Which is it?",) * 2, True, 2, rarity)
                if pieces is not None:
                    yield pieces, y


def matrix(examples: Sequence[Mapping[str, float]]) -> np.ndarray:
    return np.array([[e.get(n, 0.0) for n in NAMES] for e in examples])


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.fit_contradiction", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("worlds", nargs="+", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    pairs = labelled()
    world, places = opened(options.data, pairs)
    read = list(published(world, pairs, places))
    fitted = [("published", y, e) for e, y, half in read if half == "fitted"]
    fitted += [("planted", y, e) for folder in options.worlds for e, y in planted(folder)]
    fitted += [("framed", y, e) for e, y in framed(options.data)]
    kinds = [(k, y) for k, y, _ in fitted]
    x = matrix([e for *_, e in fitted])
    y = np.array([y for _, y, _ in fitted], dtype=float)
    w = np.array([WEIGHTS[k] / kinds.count(k) for k in kinds])
    signs = {**answers.EVIDENCE, **answers.OPENNESS}
    bounds = [(0.0, None) if signs[n] > 0 else (None, 0.0) for n in NAMES]
    intercept, slopes = logistic(x, y, w, PENALTY, bounds, np.zeros(len(NAMES)))
    content: dict[str, Any] = {
        "intercept": round(intercept, 3),
        "weights": {n: round(float(s), 3) + 0.0 for n, s in zip(NAMES, slopes, strict=True)},
        "made_by": "python -m bench.fit_contradiction " + " ".join(f.name for f in options.worlds) + " --write",
        "data": {f"{k}, {'contradiction' if y else 'none'}": kinds.count((k, y)) for k, y in sorted(set(kinds))},
    }
    for half in ("fitted", "held out"):
        own = [(e, y) for e, y, h in read if h == half]
        called = [answers.weighed(e, content) >= 0 for e, _ in own]
        true = [y for _, y in own]
        hits = sum(c and t for c, t in zip(called, true, strict=True))
        content[half] = {
            "pairs": len(own), "contradictions": sum(true), "precision": round(hits / max(1, sum(called)), 3),
            "recall": round(hits / max(1, sum(true)), 3),
        }  # fmt: skip
    print(json.dumps(content, indent=1))
    if options.write:
        answers.FILE.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
