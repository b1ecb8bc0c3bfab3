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
            "aside": share(arm["aside"]),
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
    """``specific``: better than every other arm beyond doubt; ``works``: than the plainest; ``open``: neither way;
    ``against``: the plainest is better beyond doubt. The plainest is training again unchanged, or the uniform mix."""
    against = result["against"]
    plainest = "again" if "again" in against else "control"
    if against[plainest]["high"] < 0:
        return "against"
    if against[plainest]["low"] <= 0:
        return "open"
    return (
        "specific" if all(against.get(name, {"low": -1.0})["low"] > 0 for name in (*against, "off_target")) else "works"
    )


_WORDS = {
    "specific": "The recipe brings these samples back, more than the uniform mix and more than another cause's recipe.",
    "works": "The recipe brings these samples back more than the uniform mix; another cause's recipe does about as "
    "well, so this does not tell the causes apart.",
    "open": "The recipe does no better than the uniform mix that could be told from chance.",
    "against": "The uniform mix brings back more of these samples than the recipe does.",
}
_AGAIN_WORDS = {
    "specific": "Trained again with the recipe, these samples are learned more often than with unchanged data, with "
    "rows repeated uniformly, and with another cause's recipe.",
    "works": "Trained again with the recipe, these samples are learned more often than with unchanged data.",
    "open": "Trained again with the recipe, these samples are learned no more often than with unchanged data that "
    "could be told from chance.",
    "against": "Trained again with unchanged data, more of these samples are learned than with the recipe.",
}
_NAMES = {"control": "the uniform mix"}
_AGAIN_NAMES = {"again": "training again unchanged", "control": "the uniform repeat"}


def cheapest(result: Mapping[str, Any]) -> str | None:
    """The plainest arm that cannot be told from the recipe: ``again``, then ``control``; None where there is none."""
    against = result["against"]
    return next((name for name in ("again", "control") if name in against and against[name]["low"] <= 0), None)


def sentences(result: Mapping[str, Any], label: str, other: str) -> tuple[str, ...]:
    """The finding as a person reads it: the shares, what they mean, the damage.

    Args:
        label, other: what the treatment and the recipe set against it are called.
    """
    again = "again" in result["arms"]
    words = {"treatment": label, "off_target": other, **(_AGAIN_NAMES if again else _NAMES)}
    shares = [
        f"{words[name]} restored {_percent(arm['recovered']['share'])}% ({_percent(arm['recovered']['low'])} to "
        f"{_percent(arm['recovered']['high'])})"
        for name, arm in result["arms"].items()
    ]
    told = f"Of {result['n']:,} samples {', '.join(shares)}."
    meaning = (_AGAIN_WORDS if again else _WORDS)[result["outcome"]]
    plain = cheapest(result) if again else None
    if plain is not None:
        meaning += f" The cheapest that does about as well is {words[plain]}."
    if mended := result.get("mended"):
        meaning += (
            f" {mended:,} of the {result['n']:,} are judged by an answer that a decision or a repair wrote: no other "
            "arm trains on it, so for them the difference says only that it was taught."
        )
    lost = result["arms"]["treatment"]["lost"]
    damage = (
        f"Of {lost['n']:,} learned samples {lost['k']:,} were lost ({_percent(lost['share'])}%)."
        if lost
        else "Damage on learned samples was not measured."
    )
    if again and lost:
        chance = result["arms"]["again"]["lost"]
        damage += f" Training again unchanged loses {chance['k']:,} of them by chance."
    return told, meaning, f"{damage}{_kept(result['arms']['treatment'].get('training', {}))}"


def _kept(training: Mapping[str, Any]) -> str:
    """How much of the training was kept, where learned rows limited it."""
    guard = training.get("guard")
    if not guard or guard["held"] is None or (guard["scale"] == 1.0 and not guard["stopped"]):
        return ""
    stopped = f" The training stopped after {guard['stopped']:,} steps." if guard["stopped"] else ""
    held = f"{_percent(guard['held_trained'])}% of {guard['rows']:,} other learned samples held after it"
    if guard["scale"] == 0.0:
        return f"{stopped} Nothing of it is kept: only {held}."
    return f"{stopped} {_percent(guard['scale'])}% of the change is kept, because {held}."


def _percent(value: float) -> str:
    return f"{100 * value:.0f}"
