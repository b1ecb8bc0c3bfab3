"""How verdicts compare with a world's truth. Pure: lists in, numbers out, so that worlds can be pooled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.lab.rows import CAUSES, INCONSISTENT
from core.statistics import calibration_error, share

UNDETERMINED = "undetermined"
BINS = 10

Confusion = Mapping[str, Counter[str]]
"""True cause to named cause to rows."""


@dataclass(frozen=True, slots=True)
class Tally:
    """How often a cause was named rightly, named at all, and true."""

    hits: int
    named: int
    true: int

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall; None where the cause neither occurs nor is named."""
        return 2 * self.hits / (self.named + self.true) if self.named + self.true else None


def confusion(named: Iterable[str | None], truth: Iterable[Sequence[str]]) -> Confusion:
    """A row with several true causes counts for the one named, or else for the first; no name is ``undetermined``."""
    counts: dict[str, Counter[str]] = {c: Counter() for c in CAUSES}
    for name, causes in zip(named, truth, strict=True):
        counts[name if name is not None and name in causes else causes[0]][name or UNDETERMINED] += 1
    return counts


def tallies(counts: Confusion) -> dict[str, Tally]:
    return {
        c: Tally(counts[c][c], sum(row[c] for row in counts.values()), counts[c].total()) for c in CAUSES
    }  # fmt: skip


def macro_f1(counts: Confusion, causes: Sequence[str]) -> float:
    """Mean F1 over those of ``causes`` that are true or named somewhere; NaN where none is."""
    scores = [t.f1 for c, t in tallies(counts).items() if c in causes and t.f1 is not None]
    return float(np.mean(scores)) if scores else float("nan")


def joined(truth: Iterable[Mapping[str, Any]], verdicts: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Truth records with the verdict on each, ``cause`` and ``confidence``; a row without a verdict has None.

    Verdicts carry ``id``, ``cause`` (a name, ``undetermined`` or null) and, if any, ``confidence`` in 0..1.
    """
    by_id: dict[str, Mapping[str, Any]] = {str(v["id"]): v for v in verdicts}
    named = ((t, by_id.get(t["id"], {})) for t in truth)
    return [{**t, "cause": v.get("cause"), "confidence": v.get("confidence")} for t, v in named]


def _is_named(row: Mapping[str, Any]) -> bool:
    return row["cause"] not in (None, UNDETERMINED)


def _share(k: int, n: int) -> dict[str, Any]:
    part = share(k, n)
    return {
        "n": n,
        "value": round(part.value, 4) if n else None,
        "interval": [round(part.low, 4), round(part.high, 4)] if n else None,
    }


def _plain(value: float | None) -> float | None:
    return None if value is None or np.isnan(value) else round(value, 4)


def score(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Scores of joined records (see ``joined``), of one world or of several put together.

    Judged are rows that were not learned and whose truth is verified. A verdict is right if the cause it names is
    among the true ones. Names that are no cause, a pipeline fault say, count as wrong verdicts of their own name.

    Returns:
        ``confusion`` (true cause to named cause to rows), ``causes`` (per cause precision and recall with their 95 %
        Wilson intervals, and F1), ``macro_f1`` (mean over causes with scored rows), ``coverage`` (share of judged
        rows whose verdict is not undetermined), ``accuracy`` (share right among those), ``calibration_error`` (of
        those with a confidence), ``learned_given_a_cause`` and ``controls_called_inconsistent`` (unlearned rows made
        as controls that are accused of a contradiction).
    """
    judged = [r for r in rows if r["scored"] and not r["learned"] and r["planted"]]
    counts = confusion((r["cause"] for r in judged), (r["planted"] for r in judged))
    by_cause = tallies(counts)
    named = [r for r in judged if _is_named(r)]
    sure = [r for r in named if isinstance(r["confidence"], int | float)]
    learned = [r for r in rows if r["learned"]]
    controls = [r for r in rows if not r["learned"] and not r["planted"] and r.get("made_for") is None]
    right = np.array([r["cause"] in r["planted"] for r in sure])
    error = calibration_error(np.array([r["confidence"] for r in sure], dtype=np.float64), right, BINS)
    return {
        "rows": len(rows),
        "judged": len(judged),
        "macro_f1": _plain(macro_f1(counts, [c for c, t in by_cause.items() if t.true])),
        "coverage": _share(len(named), len(judged)),
        "accuracy": _share(sum(r["cause"] in r["planted"] for r in named), len(named)),
        "calibration_error": _plain(error),
        "learned_given_a_cause": _share(sum(map(_is_named, learned)), len(learned)),
        "controls_called_inconsistent": _share(sum(r["cause"] == INCONSISTENT for r in controls), len(controls)),
        "causes": {
            c: {"precision": _share(t.hits, t.named), "recall": _share(t.hits, t.true), "f1": _plain(t.f1)}
            for c, t in by_cause.items()
        },
        "confusion": {c: dict(sorted(row.items())) for c, row in counts.items()},
    }


def table(result: Mapping[str, Any]) -> str:
    """The scores as lines to read."""

    def text(share: Mapping[str, Any]) -> str:
        if share["value"] is None:
            return f"{'-':>18}"
        low, high = share["interval"]
        return f"{share['value']:5.2f} ({low:.2f}-{high:.2f})"

    named = [*CAUSES, *sorted({n for row in result["confusion"].values() for n in row} - set(CAUSES))]
    lines = [f"{'true, then named':22}" + "".join(f"{n[:12]:>13}" for n in named)]
    for c, row in result["confusion"].items():
        lines.append(f"{c:22}" + "".join(f"{row.get(n, 0):13d}" for n in named))
    lines += ["", f"{'':22}{'precision':>18}{'recall':>18}{'F1':>8}"]
    for c, one in result["causes"].items():
        f1 = "-" if one["f1"] is None else f"{one['f1']:.2f}"
        lines.append(f"{c:22}{text(one['precision']):>18}{text(one['recall']):>18}{f1:>8}")
    lines.append("")
    for name in ("coverage", "accuracy", "learned_given_a_cause", "controls_called_inconsistent"):
        lines.append(f"{name.replace('_', ' '):30}{text(result[name])}  of {result[name]['n']}")
    for name in ("macro_f1", "calibration_error"):
        value = result[name]
        lines.append(f"{name.replace('_', ' '):30}{'-' if value is None else format(value, '5.2f')}")
    return "\n".join(lines)
