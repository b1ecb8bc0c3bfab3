"""How verdicts compare with a world's truth. Pure: lists in, numbers out, so that worlds can be pooled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from core.intervals import wilson
from core.lab.rows import CAUSES, INCONSISTENT

UNDETERMINED = "undetermined"


def joined(truth: Iterable[Mapping[str, Any]], verdicts: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Truth records with the verdict on each, ``cause`` and ``confidence``; a row without a verdict has None.

    Verdicts carry ``id``, ``cause`` (a name, ``undetermined`` or null) and, if any, ``confidence`` in 0..1.
    """
    by_id: dict[str, Mapping[str, Any]] = {str(v["id"]): v for v in verdicts}
    named = ((t, by_id.get(t["id"], {})) for t in truth)
    return [{**t, "cause": v.get("cause"), "confidence": v.get("confidence")} for t, v in named]


def _named(row: Mapping[str, Any]) -> str:
    return row["cause"] or UNDETERMINED


def _primary(row: Mapping[str, Any]) -> str:
    """The cause a row counts for: the one named where it is among the true ones, else the first of them."""
    return row["cause"] if row["cause"] in row["planted"] else row["planted"][0]


def _share(k: int, n: int) -> dict[str, Any]:
    interval = wilson(k, n) if n else None
    return {
        "n": n,
        "value": round(k / n, 4) if n else None,
        "interval": None if interval is None else [round(x, 4) for x in interval],
    }


def calibration_error(rows: Sequence[Mapping[str, Any]], bins: int = 10) -> float | None:
    """Expected calibration error (Guo et al., 2017): mean |confidence - share right| over equal bins, by size.

    Over rows whose verdict names a cause and carries a confidence; None if there are none.
    """
    told = [r for r in rows if _named(r) != UNDETERMINED and isinstance(r["confidence"], int | float)]
    if not told:
        return None
    total = 0.0
    for b in range(bins):
        inside = [r for r in told if min(int(r["confidence"] * bins), bins - 1) == b]
        if inside:
            right = sum(r["cause"] in r["planted"] for r in inside) / len(inside)
            total += len(inside) * abs(right - sum(r["confidence"] for r in inside) / len(inside))
    return total / len(told)


def score(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Scores of joined records (see ``joined``), of one world or of several put together.

    Judged are rows that were not learned and whose truth is verified. A verdict is right if the cause it names is
    among the true ones; rows with several true causes count for the one named, or else for the first. Names that are
    no cause, a pipeline fault say, count as wrong verdicts of their own name.

    Returns:
        ``confusion`` (true cause to named cause to rows), ``causes`` (per cause precision and recall with their 95 %
        Wilson intervals, and F1), ``macro_f1`` (mean over causes with scored rows), ``coverage`` (share of judged
        rows whose verdict is not undetermined), ``accuracy`` (share right among those), ``calibration_error``,
        ``learned_given_a_cause`` and ``controls_called_inconsistent`` (unlearned rows made as controls that are
        accused of a contradiction).
    """
    judged = [r for r in rows if r["scored"] and not r["learned"] and r["planted"]]
    confusion: dict[str, Counter[str]] = {c: Counter() for c in CAUSES}
    for r in judged:
        confusion[_primary(r)][_named(r)] += 1
    causes, f1s = {}, []
    for c in CAUSES:
        hit, true = confusion[c][c], sum(confusion[c].values())
        named = sum(row[c] for row in confusion.values())
        f1 = 2 * hit / (true + named) if true + named else None
        if true:
            f1s.append(f1)
        causes[c] = {
            "precision": _share(hit, named),
            "recall": _share(hit, true),
            "f1": None if f1 is None else round(f1, 4),
        }
    given = [r for r in judged if _named(r) != UNDETERMINED]
    learned = [r for r in rows if r["learned"]]
    controls = [r for r in rows if not r["learned"] and not r["planted"] and r.get("made_for") is None]
    error = calibration_error(judged)
    return {
        "rows": len(rows),
        "judged": len(judged),
        "macro_f1": round(sum(f1s) / len(f1s), 4) if f1s else None,
        "coverage": _share(len(given), len(judged)),
        "accuracy": _share(sum(r["cause"] in r["planted"] for r in given), len(given)),
        "calibration_error": None if error is None else round(error, 4),
        "learned_given_a_cause": _share(sum(_named(r) != UNDETERMINED for r in learned), len(learned)),
        "controls_called_inconsistent": _share(sum(r["cause"] == INCONSISTENT for r in controls), len(controls)),
        "causes": causes,
        "confusion": {c: dict(sorted(row.items())) for c, row in confusion.items()},
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
