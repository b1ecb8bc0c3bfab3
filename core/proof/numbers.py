"""What a proof found, in numbers with their uncertainty, and in a sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from core.statistics import wilson


def paired_difference(one: Sequence[int], other: Sequence[int]) -> tuple[float, float, float]:
    """Difference of two shares over the same samples with its 95 % interval: Newcombe (1998), method 10.

    Wilson limits of both shares, joined with the correlation of the pairs; unlike Wald's interval it keeps a width
    where all pairs agree.
    """
    x, y = np.asarray(one, dtype=bool), np.asarray(other, dtype=bool)
    n = len(x)
    if not n:
        return math.nan, -1.0, 1.0
    a, b, c, d = (int(v) for v in ((x & y).sum(), (x & ~y).sum(), (~x & y).sum(), (~x & ~y).sum()))
    p, q = (a + b) / n, (a + c) / n
    (l1, u1), (l2, u2) = wilson(a + b, n), wilson(a + c, n)
    margins = (a + b) * (c + d) * (a + c) * (b + d)
    agreement = a * d - b * c
    corrected = max(agreement - n / 2, 0.0) if agreement > 0 else float(agreement)
    phi = corrected / math.sqrt(margins) if margins else 0.0
    low = math.sqrt(max(0.0, (p - l1) ** 2 - 2 * phi * (p - l1) * (u2 - q) + (u2 - q) ** 2))
    high = math.sqrt(max(0.0, (u1 - p) ** 2 - 2 * phi * (u1 - p) * (q - l2) + (q - l2) ** 2))
    return p - q, max(-1.0, p - q - low), min(1.0, p - q + high)


def mean_change(before: Sequence[float | None], after: Sequence[float | None]) -> dict[str, float] | None:
    """Mean of the paired differences with its 95 % t interval; None below two pairs."""
    from scipy.special import stdtrit

    pairs = [(b, a) for b, a in zip(before, after, strict=True) if b is not None and a is not None]
    if len(pairs) < 2:
        return None
    moved = np.array([a - b for b, a in pairs])
    half = float(stdtrit(len(moved) - 1, 0.975)) * float(moved.std(ddof=1)) / math.sqrt(len(moved))
    mean = float(moved.mean())
    return {"mean": mean, "low": mean - half, "high": mean + half, "n": len(moved)}


def share(values: Sequence[int | None]) -> dict[str, float] | None:
    """Share of ones with its interval; None where nothing was asked."""
    known = [v for v in values if v is not None]
    if not known:
        return None
    low, high = wilson(sum(known), len(known))
    return {"k": sum(known), "n": len(known), "share": sum(known) / len(known), "low": low, "high": high}


def summary(before: Mapping[str, Any], arms: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Everything a proof reports.

    Args:
        before, arms: as ``core.proof.training.Bench.measure`` gives them, the arms by name.
    """
    out: dict[str, Any] = {"arms": {}, "against": {}}
    for name, arm in arms.items():
        out["arms"][name] = {
            "recovered": share(arm["right"]),
            "asked_otherwise": share(arm["asked"]),
            "lost": share([1 - v for v in arm["kept"]]),
            "lost_outside": share([1 - v for v, seen in zip(arm["kept"], arm["in_mix"], strict=True) if not seen]),
            "loss": mean_change(before["nll"], arm["nll"]),
            "treated_loss": mean_change(before["treated_nll"], arm["treated_nll"]),
            "training": arm["training"],
            "seconds": arm["seconds"],
        }
    for name in arms:
        if name != "treatment":
            difference, low, high = paired_difference(arms["treatment"]["right"], arms[name]["right"])
            out["against"][name] = {"difference": difference, "low": low, "high": high}
    out["before"] = {"asked_otherwise": share(before["asked"])}
    out["outcome"], out["n"] = outcome(out), len(before["right"])
    return out


def outcome(result: Mapping[str, Any]) -> str:
    """``specific``: better than both other arms beyond doubt; ``works``: than the control; ``open``: neither way;
    ``against``: the control is better beyond doubt."""
    low = {name: d["low"] for name, d in result["against"].items()}
    if result["against"]["control"]["high"] < 0:
        return "against"
    if low["control"] <= 0:
        return "open"
    return "specific" if low.get("off_target", -1.0) > 0 else "works"


_WORDS = {
    "specific": "The recipe brings these samples back, more than the uniform mix and more than another cause's recipe.",
    "works": "The recipe brings these samples back more than the uniform mix; another cause's recipe does about as "
    "well, so this does not tell the causes apart.",
    "open": "The recipe does no better than the uniform mix that could be told from chance.",
    "against": "The uniform mix brings back more of these samples than the recipe does.",
}


def sentences(result: Mapping[str, Any], label: str, other: str) -> tuple[str, ...]:
    """The finding as a person reads it.

    Args:
        label, other: what the treatment and the recipe set against it are called.
    """
    words = {"treatment": label, "control": "the uniform mix", "off_target": other}
    shares = [
        f"{words[name]} restored {_percent(arm['recovered']['share'])} % ({_percent(arm['recovered']['low'])} to "
        f"{_percent(arm['recovered']['high'])})"
        for name, arm in result["arms"].items()
    ]
    told = f"Of {result['n']:,} samples {', '.join(shares)}."
    lost = result["arms"]["treatment"]["lost"]
    damage = (
        f"Of {lost['n']:,} learned samples {lost['k']:,} were lost ({_percent(lost['share'])} %)."
        if lost
        else "Damage on learned samples was not measured."
    )
    return told, _WORDS[result["outcome"]], damage


def _percent(value: float) -> str:
    return f"{100 * value:.0f}"
