"""One rendering against another on the rows that were scored under both.

With c_i and a_i the nats per character of row i's answer under the run's rendering and under another one, the other
one *fits better* where all of these hold on at least ``ROWS`` rows:

    mean(a) <= (1 - DROP) mean(c)      a quarter of the loss goes
    mean(c) - mean(a) >= LEAST         and not by a trifle
    share(a_i < c_i) >= SHARE,  one-sided p of Wilcoxon's signed-rank test <= P

For ``packed`` they are SHARE_PACKED and P_PACKED, as the first row of a sequence had none before it and others more
than one: the rows that gain do so by far more than the others lose.

and, where the base was scored too (C_i, A_i), training lowered the loss further under the other rendering than under
the run's: mean(a)/mean(A) <= (1 - GAIN) mean(c)/mean(C). A model prefers the rendering it was trained on; a base that
has always preferred another one is not a fault of the pipeline.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.faults._base import Finding, RunFault, paired
from core.plugins import kinds
from core.signals import _columns as col
from core.signals._renderings import LABELS
from core.types import BASE, RunFacts, SignalTable

ROWS, DROP, LEAST, SHARE, P, GAIN = 8, 0.25, 0.005, 0.8, 1e-3, 0.2
SHARE_PACKED, P_PACKED = 0.6, 2e-2


@dataclass(frozen=True, slots=True)
class Against:
    """The run's rendering (``current``) against another one; means in nats per character of the answer."""

    name: str
    n: int
    current: float
    other: float
    share: float
    p: float
    gained: bool

    @property
    def fits(self) -> bool:
        return bool(
            self.n >= ROWS
            and self.other <= (1 - DROP) * self.current
            and self.current - self.other >= LEAST
            and self.share >= (SHARE_PACKED if self.name == "packed" else SHARE)
            and self.p <= (P_PACKED if self.name == "packed" else P)
            and self.gained
        )

    @property
    def ratio(self) -> float:
        return self.other / self.current if self.current > 0 else np.inf


def against(table: SignalTable, name: str) -> Against:
    """The comparison with one rendering; ``n`` is 0 where it was not scored."""
    reference = "rest" if name == "think_removed" else "current"
    current, other = _once(table, col.alt(reference)), _once(table, col.alt(name))
    n, current_mean, other_mean, share, _ = paired(current, other)
    p = _signed_rank(current, other)
    base_current, base_other = (_once(table, BASE.column(col.alt(n))) for n in (reference, name))
    four = np.isfinite(current) & np.isfinite(other) & np.isfinite(base_current) & np.isfinite(base_other)
    gained = True
    if four.sum() >= ROWS:
        with np.errstate(divide="ignore", invalid="ignore"):
            ours = current[four].mean() / base_current[four].mean()
            gained = bool(other[four].mean() / base_other[four].mean() <= (1 - GAIN) * ours)
    return Against(name, n, current_mean, other_mean, share, p, gained)


def _signed_rank(worse: np.ndarray, better: np.ndarray) -> float:
    """One-sided p of Wilcoxon's signed-rank test that the second loss is lower; 1 where nothing differs."""
    from scipy.stats import wilcoxon

    gain = (worse - better)[np.isfinite(worse) & np.isfinite(better)]
    return float(wilcoxon(gain, alternative="greater").pvalue) if (gain != 0).any() else 1.0


def _once(table: SignalTable, column: str) -> np.ndarray:
    """The column with exact duplicates counted once: a row repeated a hundred times is one piece of evidence."""
    values = table.get(column)
    known = np.flatnonzero(~np.isnan(values))  # renderings are measured on some hundred rows of what may be a million
    # Keys are content hashes; the first of equal ones speaks, and equal ones have equal values.
    _, first = np.unique(np.array([table.keys[i] for i in known], dtype=str), return_index=True)
    out = np.full(len(values), np.nan)
    out[known[first]] = values[known[first]]
    return out


def best(table: SignalTable) -> Against | None:
    """Of all renderings that fit better than the run's the one with the lowest loss; None where none does.

    Two may be the same tokens, as a template without a think block and this one with its block taken out; of renderings
    within a twentieth of the lowest loss the one that changes least is named.
    """
    faults = sorted((f for f in kinds("faults").values() if isinstance(f, Rendering)), key=lambda f: (f.change, f.name))
    better = [a for f in faults for name in f.renderings if (a := against(table, name)).fits]
    lowest = min((a.ratio for a in better), default=0.0)
    return next((a for a in better if a.ratio <= 1.05 * lowest), None)


def logged_gap(table: SignalTable, facts: RunFacts) -> str:
    """A sentence where the training log ended far below the loss measured here; empty elsewhere.

    Such a gap says that something differs between training and this measurement, not what.
    """
    log = facts.log
    losses = [v for _, v in log.losses[-max(1, len(log.losses) // 10) :]] if log else []
    measured = table.get(col.NLL_TRAINED)
    measured = measured[np.isfinite(measured)]
    if not losses or not measured.size or not np.isfinite(losses).all():
        return ""
    end, mean = float(np.mean(losses)), float(measured.mean())
    if mean > 3 * end and mean - end > 0.5:
        return f"Training ended at a loss of {end:.3g}; the same rows measure {mean:.3g} here."
    return ""


class Rendering(RunFault):
    """A fault that shows as another rendering fitting better; the best of all renderings names the fault.

    Attributes:
        renderings: those that show this fault, names of ``core/signals/_renderings.py``.
        change: rank of how much they change, 1 the least; of renderings that fit alike the least change is named.
    """

    renderings: tuple[str, ...] = ()
    change: int

    def examine(self, table: SignalTable, facts: RunFacts) -> Finding:
        needs = self.needs
        scored = [a for name in self.renderings if (a := against(table, name)).n]
        if not scored:
            return Finding("unknown", "No row was scored under another rendering of this kind.", needs=needs)
        lowest = min(scored, key=lambda a: (a.ratio, a.name))
        measured = (
            f"{lowest.current:.3g} nats per character as rendered, {lowest.other:.3g} with {LABELS[lowest.name]}, "
            f"lower in {lowest.share:.0%} of {lowest.n} rows"
        )
        first = best(table)
        if first is not None and first.name in self.renderings:
            return Finding("fail", f"{self.help} The answers fit {LABELS[first.name]} better.", measured)
        if lowest.n < ROWS:
            return Finding("unknown", f"Only {lowest.n} rows were scored under another rendering.", measured, needs)
        if first is not None:
            text = f"Not judged before the rendering itself is right: {LABELS[first.name]} fits better than the run's."
            return Finding("unknown", text, measured)
        if gap := logged_gap(table, facts):
            return Finding("unknown", f"No rendering tried fits better, yet something differs. {gap}", measured, needs)
        return Finding("pass", "No other rendering of this kind fits the answers better.", measured)
