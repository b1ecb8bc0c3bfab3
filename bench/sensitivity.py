"""How much each constant of the contradictions matters: precision and recall on read pairs when it moves by a quarter.

    python -m bench.sensitivity --data FOLDER [--out bench/results/sensitivity.json]

Works on the pairs of ``bench/contradictions.py`` (both halves) and what is stored of their wording; no model runs, the
encoder on answers alone. Every constant is moved alone, down and up. Those that count words are moved to the nearest
whole number.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from bench.contradictions import Rows, labelled, opened, scores
from bench.neighbours import ROOT
from core.pairs import answers, labels, stated
from core.signals import _disputes

CONSTANTS: dict[ModuleType, tuple[str, ...]] = {
    _disputes: (
        "LOOKED_AT", "FORMS_AGREE", "FORMS_DIFFER", "FRAMED", "FRAME_WEIGHT", "FRAME_MOST", "FRAME_LEAST",
        "ANSWERED_ALIKE", "TOLD_APART", "STATED_APART", "OTHER", "ABOUT",
    ),
    labels: ("MANY", "SHARE"),
    stated: ("ABOUT", "AROUND", "MOST_WORDS", "MOST_CAPITALS"),
    answers: ("LONG", "CERTAIN"),
}  # fmt: skip
# Only a checkpoint's answers bring these in, and published rows have none.
UNMOVED = ("ANSWERED_ALIKE", "TOLD_APART")
BY = 0.25


def forgotten(world: Rows) -> None:
    """Drops what the world has kept of pairs; what it has read of texts stays."""
    world._shown, world._differences, world._parts, world.of = {}, {}, {}, {}
    world._labels = labels.Labels(world._texts, [world.answer(i).words for i in range(len(world.samples))])


def measured(world: Rows, pairs: list[dict[str, Any]], places: list[tuple[int, int]]) -> dict[str, float]:
    forgotten(world)
    by_place = {(p.a, p.b): p.contradiction for p in world.pairs(lambda: False) or ()}
    found = scores(pairs, [by_place.get(place, 0.0) for place in places])
    return {name: found[name] for name in ("precision", "recall")}


def moved(value: float, share: float) -> float:
    new = value * (1 + share)
    return round(new) if isinstance(value, int) else new


def cases() -> Iterator[tuple[str, Any, str, float]]:
    """(name, owner, attribute or key, value) of every constant."""
    for module, names in CONSTANTS.items():
        for name in names:
            yield f"{module.__name__.removeprefix('core.')}.{name}", module, name, getattr(module, name)
    weights = answers.parameters()["weights"]
    for name in ("intercept", "reworded"):
        yield f"answers.json {name}", answers.parameters(), name, answers.parameters()[name]
    for name, value in weights.items():
        yield f"answers.json {name}", weights, name, value


def put(owner: Any, name: str, value: float) -> None:
    if isinstance(owner, dict):
        owner[name] = value
    else:
        setattr(owner, name, value)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.sensitivity", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=ROOT / "bench/results/sensitivity.json")
    options = parser.parse_args()
    pairs = labelled()
    world, places = opened(options.data, pairs)
    result: dict[str, Any] = {"made_by": "python -m bench.sensitivity", "as it is": measured(world, pairs, places)}
    for name, owner, key, value in cases():
        if key in UNMOVED:
            result[name] = {"value": value, "not moved": "needs a checkpoint's answers"}
            continue
        result[name] = {"value": value}
        for share in (-BY, BY):
            put(owner, key, moved(value, share))
            result[name][f"{share:+.0%}"] = measured(world, pairs, places)
        put(owner, key, value)
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
