"""How often what is called a contradiction is one, on pairs of published rows that a person has read.

    python -m bench.contradictions --data FOLDER [--out bench/results/contradictions.json]

The pairs stand in ``tests/pairs/fixtures/real_pairs.json``: groups that the detector formed when they were drawn, near
misses that it rejected, and pairs whose numbers or verdicts differ; each with a label and its reason. Texts are not
copied: a pair names its rows by file, record and hash, and ``FOLDER`` (see ``bench/_published.py``) holds them. Half of
the pairs, by hash, took no part in any fit; figures are given for each half. Two later sets may all be fitted on: pairs
that version 6 called, and near misses, among the same rows and among prompts that models answered. Each set is looked
at on its own, so that later pairs change nothing for those held out. What wording says of a pair is kept with it, so
the encoder runs on answers alone; no checkpoint has answered these rows, so its behaviour adds nothing.

Contradictions planted in worlds that took no part in any fit (``bench/_planted.py``; the facts of some come from the
packages in requirements-real.txt) say what is still found, again by the texts alone.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import _planted
from bench import _published as published
from bench.neighbours import ROOT, NoCheckpoint
from core.signals._disputes import Disputes

PAIRS = ROOT / "tests/pairs/fixtures/real_pairs.json"
HALVES = ("fitted", "held out")
# The rows in which the pairs of each set stand. The halves are those of the first; the others may all be fitted on.
SETS = {"first": published.rows, "later": published.rows, "models": published.answered}
CUT = 0.5


class Rows(Disputes):
    """Rows that no checkpoint has answered."""

    def output(self, i: int) -> str | None:
        return None


def labelled(of: str = "first") -> list[dict[str, Any]]:
    """The pairs of one set."""
    pairs: list[dict[str, Any]] = json.loads(PAIRS.read_text(encoding="utf-8"))["pairs"]
    return [p for p in pairs if p.get("set", "first") == of]


def opened(folder: Path, pairs: Sequence[Mapping[str, Any]], of: str = "first") -> tuple[Rows, list[tuple[int, int]]]:
    """All rows of a set as a diagnosis sees them, and the places of both rows of each of its pairs."""
    found = list(SETS[of](folder))
    samples = published.samples(found)
    by_print = {published.fingerprint(found[s.row][1], found[s.row][2]): s for s in samples}
    world = Rows(NoCheckpoint(samples, published.near_rows(pairs, by_print)))  # type: ignore[arg-type]
    places = [tuple(sorted(world.place[by_print[t].content_hash] for t in p["texts"])) for p in pairs]
    return world, [(a, b) for a, b in places]


def scores(pairs: Sequence[Mapping[str, Any]], sure: Sequence[float]) -> dict[str, Any]:
    """Precision and recall among the decided pairs; ``sure``: how sure each is a contradiction."""
    called = [s >= CUT for s in sure]
    true = [p["label"] == "contradiction" for p in pairs]
    decided = [p["label"] != "cannot tell" for p in pairs]
    hits = sum(c and t for c, t in zip(called, true, strict=True))
    named = sum(c and d for c, d in zip(called, decided, strict=True))
    misses = Counter(p["reason"] for p, c, d, t in zip(pairs, called, decided, true, strict=True) if c and d and not t)
    return {
        "pairs": len(pairs), "contradictions": sum(true), "called": named,
        "precision": round(hits / max(1, named), 3), "recall": round(hits / max(1, sum(true)), 3),
        "cannot_tell_called": sum(c and not d for c, d in zip(called, decided, strict=True)),
        "wrongly_called": dict(misses.most_common()),
    }  # fmt: skip


def planted() -> dict[str, dict[str, int]]:
    """By generator: contradictions planted, those found, and rows accused that no contradiction was planted in."""
    result: dict[str, Counter[str]] = {}
    for _, generator, rows in _planted.worlds(_planted.TESTED):
        world, number = _planted.opened(rows)
        called = [p for p in world.pairs(lambda: False) or () if p.contradiction >= CUT]
        found = {number[p.a] for p in called if p.a in number and number[p.a] == number.get(p.b)}
        told = {m for p in called for m in (p.a, p.b)}
        result.setdefault(generator, Counter()).update(
            planted=len(set(number.values())), found=len(found), accused_beside=len(told - number.keys())
        )
    return {name: dict(counts) for name, counts in result.items()}


def told(folder: Path, of: str) -> tuple[int, list[dict[str, Any]], list[float]]:
    """Rows of a set, its pairs, and how sure each is a contradiction."""
    pairs = labelled(of)
    world, places = opened(folder, pairs, of)
    by_place = {(p.a, p.b): p.contradiction for p in world.pairs(lambda: False) or ()}
    return len(world.samples), pairs, [by_place.get(place, 0.0) for place in places]


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.contradictions", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=ROOT / "bench/results/contradictions.json")
    options = parser.parse_args()
    n, pairs, sure = told(options.data, "first")
    result: dict[str, Any] = {"made_by": "python -m bench.contradictions", "rows": n}
    for half in (*HALVES, "all"):
        rows = [i for i, p in enumerate(pairs) if half in (p["half"], "all")]
        result[half] = scores([pairs[i] for i in rows], [sure[i] for i in rows])
    sources = sorted({p["rows"][0][0].split("/")[1] for p in pairs})
    of = [p["rows"][0][0].split("/")[1] for p in pairs]
    result["by_source"] = {
        name: scores([p for p, s in zip(pairs, of, strict=True) if s == name],
                     [c for c, s in zip(sure, of, strict=True) if s == name])
        for name in sources
    }  # fmt: skip
    for name in list(SETS)[1:]:
        result[name] = scores(*told(options.data, name)[1:])
    result["planted"] = planted()
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
