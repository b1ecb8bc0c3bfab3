"""What a fault is.

A fault says of every sample: 1.0 it explains why the sample was not learned, 0.0 it does not, NaN cannot tell. It says
of the run: pass, fail, or unknown. Both are pure functions of signals and of what else is known of the run. A sample
whose missing reproduction a fault explains gets the cause ``pipeline:<name>``, and no other cause is looked for.

Missing evidence never passes: where nothing was measured, a sample is NaN and the run unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

import numpy as np

from core.types import Reason, RunFacts, SignalTable

State = Literal["pass", "fail", "unknown"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a fault says of the run: state, sentence, numbers; ``needs`` where another input would let it tell."""

    state: State
    text: str
    measured: str = ""
    needs: str = ""


@dataclass(frozen=True, slots=True)
class RunFinding:
    """A finding with the fault it belongs to, as the run's summary keeps it.

    ``n``: samples that were not learned and that the fault explains.
    """

    code: str
    label: str
    scope: Literal["sample", "run"]
    state: State
    text: str
    measured: str
    needs: str
    n: int = 0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Fault(Protocol):
    """One file in this folder; ``name`` is the code.

    Attributes:
        label, help: heading, and the question in one sentence.
        needs: what would let it tell where it cannot.
        scope: ``sample`` (some rows), ``run`` (all of them).
        unjudged: whether it may also explain a row that has no status because nothing of it could be judged.
        symptom: whether a fault of the whole run produces the same signs; it then does not count as an explanation.
    """

    name: str
    label: str
    help: str
    needs: str
    scope: Literal["sample", "run"]
    unjudged: bool
    symptom: bool

    def explains(self, table: SignalTable, facts: RunFacts) -> np.ndarray:
        """(n,) float64: 1, 0 or NaN, as above. Leaves its arguments alone and goes by rows, not by their order."""
        ...

    def judge(self, table: SignalTable, facts: RunFacts, missed: np.ndarray) -> Finding:
        """The whole run. ``missed``: (n,) bool, samples to be explained."""
        ...

    def reason(self, row: Mapping[str, float]) -> Reason:
        """The sentence for one sample that the fault explains."""
        ...


class SampleFault:
    """A fault that some rows have: the run's finding counts the missed samples it explains."""

    label = help = needs = ""
    scope = "sample"
    unjudged = False
    symptom = False

    def explains(self, table: SignalTable, facts: RunFacts) -> np.ndarray:
        raise NotImplementedError

    def judge(self, table: SignalTable, facts: RunFacts, missed: np.ndarray) -> Finding:
        said, n = self.explains(table, facts)[missed], int(missed.sum())
        hit, unknown = int((said == 1).sum()), int(np.isnan(said).sum())
        if not n:
            return Finding("unknown", "No sample is left to explain.", "", "")
        counted = f"{hit} of {n}, unknown for {unknown}"
        if hit:
            return Finding("fail", f"{hit:,} of {n:,} samples that were not learned: {self.help}", counted, "")
        if unknown:
            text = f"Cannot tell for {unknown:,} of {n:,} samples that were not learned."
            return Finding("unknown", text, counted, self.needs)
        return Finding("pass", f"Explains none of {n:,} samples that were not learned.", counted, "")


class RunFault:
    """A fault of the whole run: what holds for the run holds for every sample."""

    label = help = needs = ""
    scope = "run"
    unjudged = False
    symptom = False

    def look(self, table: SignalTable, facts: RunFacts) -> Finding:
        raise NotImplementedError

    def judge(self, table: SignalTable, facts: RunFacts, missed: np.ndarray) -> Finding:
        return self.look(table, facts)

    def explains(self, table: SignalTable, facts: RunFacts) -> np.ndarray:
        value = {"fail": 1.0, "pass": 0.0, "unknown": np.nan}[self.look(table, facts).state]
        return np.full(len(table.keys), value)

    def reason(self, row: Mapping[str, float]) -> Reason:
        return Reason(self.help, favours="for")


def flags(hit: np.ndarray, known: np.ndarray) -> np.ndarray:
    """(n,) float64: 1 where hit, 0 where known and not hit, NaN elsewhere."""
    return np.where(hit, 1.0, np.where(known, 0.0, np.nan))


def paired(worse: np.ndarray, better: np.ndarray) -> tuple[int, float, float, float, float]:
    """Two losses of the same rows: rows with both, the two means, share of rows where the second is lower, and its
    one-sided p of a sign test (ties left out)."""
    from scipy.special import betainc

    both = np.isfinite(worse) & np.isfinite(better)
    a, b = worse[both], better[both]
    wins, losses = int((b < a).sum()), int((b > a).sum())
    n = wins + losses
    # P(X >= wins) for X ~ Binomial(n, 1/2) is the incomplete beta function at 1/2.
    p = float(betainc(wins, n - wins + 1, 0.5)) if wins else 1.0
    mean = (float(a.mean()), float(b.mean())) if len(a) else (np.nan, np.nan)
    return len(a), *mean, (wins / len(a) if len(a) else np.nan), p
