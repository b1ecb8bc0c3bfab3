"""What a fault of the pipeline is. One file in this folder is one fault.

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

from core.types import Look, RunFacts, SignalTable

State = Literal["pass", "fail", "unknown"]
Scope = Literal["sample", "run"]
LOOK = Look("#5C6873", "⚙", "+")


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
    scope: Scope
    state: State
    text: str
    measured: str
    needs: str
    n: int = 0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Fault(Protocol):
    """What ``KIND`` of a file in this folder is; ``SampleFault`` and ``RunFault`` bring most of it along.

    Attributes:
        name: the file's name and the fault's code; stands in URLs and exports, so it never changes.
        label, help: heading, and what is wrong in one sentence (of a sample fault: in lower case, after a colon).
        advice: what to do about it, in one sentence; empty where a kind of one's own has none.
        place: where several faults explain a sample, the lowest place speaks. By hundreds: from 100 on what the row
            itself shows; from 200 on answers that are right and were counted as wrong; from 300 on rows the trainer
            never saw whole (a cut is the narrower finding, so it comes first: long rows at the end look like a tail
            that was never reached); from 400 on what is wrong with the measurement of every row; from 500 on what is
            wrong with the training.
        needs: what would let it tell where it cannot.
        look: how it is drawn; the faults share one.
        scope: ``sample`` (some rows), ``run`` (all of them).
        unjudged: whether it may also explain a row that has no status because nothing of it could be judged.
        symptom: whether a fault of the whole run produces the same signs; it then does not count as an explanation.
    """

    name: str
    label: str
    help: str
    advice: str
    place: int
    needs: str
    look: Look
    scope: Scope
    unjudged: bool
    symptom: bool

    def explains(self, table: SignalTable, facts: RunFacts) -> np.ndarray:
        """(n,) float64: 1, 0 or NaN, as above. Leaves its arguments alone and goes by rows, not by their order."""
        ...

    def judge(self, table: SignalTable, facts: RunFacts, missed: np.ndarray) -> Finding:
        """The whole run. ``missed``: (n,) bool, samples to be explained."""
        ...

    def sentence(self, row: Mapping[str, float]) -> str:
        """What it says of one sample that it explains; any column of ``row`` may be missing."""
        ...


class _Declared:
    """What both kinds of faults declare alike; see ``Fault`` for the meanings."""

    name: str
    label: str
    help: str
    place: int
    needs: str
    advice: str = ""
    look: Look = LOOK
    unjudged: bool = False
    symptom: bool = False


class SampleFault(_Declared):
    """A fault that some rows have: the run's finding counts the missed samples it explains.

    A subclass gives ``name``, ``label``, ``help``, ``place``, ``needs``, ``explains`` and ``sentence``.
    """

    scope: Scope = "sample"

    def explains(self, table: SignalTable, facts: RunFacts) -> np.ndarray:
        raise NotImplementedError

    def judge(self, table: SignalTable, facts: RunFacts, missed: np.ndarray) -> Finding:
        values, n = self.explains(table, facts)[missed], int(missed.sum())
        explained, unknown = int((values == 1).sum()), int(np.isnan(values).sum())
        if not n:
            return Finding("unknown", "No sample is left to explain.", "", "")
        counts = f"{explained} of {n}, unknown for {unknown}"
        if explained:
            return Finding("fail", f"{explained:,} of {n:,} samples that were not learned: {self.help}", counts, "")
        if unknown:
            text = f"Cannot tell for {unknown:,} of {n:,} samples that were not learned."
            return Finding("unknown", text, counts, self.needs)
        return Finding("pass", f"Explains none of {n:,} samples that were not learned.", counts, "")

    def sentence(self, row: Mapping[str, float]) -> str:
        raise NotImplementedError


class RunFault(_Declared):
    """A fault of the whole run: what holds for the run holds for every sample.

    A subclass gives ``name``, ``label``, ``help``, ``place``, ``needs`` and ``examine``.
    """

    scope: Scope = "run"

    def examine(self, table: SignalTable, facts: RunFacts) -> Finding:
        """What it says of the run."""
        raise NotImplementedError

    def judge(self, table: SignalTable, facts: RunFacts, missed: np.ndarray) -> Finding:
        return self.examine(table, facts)

    def explains(self, table: SignalTable, facts: RunFacts) -> np.ndarray:
        value = {"fail": 1.0, "pass": 0.0, "unknown": np.nan}[self.examine(table, facts).state]
        return np.full(len(table.keys), value)

    def sentence(self, row: Mapping[str, float]) -> str:
        return self.help


def flags(hit: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """(n,) float64: 1 where hit, 0 where measured and not hit, NaN elsewhere."""
    return np.where(hit, 1.0, np.where(measured, 0.0, np.nan))


def paired(worse: np.ndarray, better: np.ndarray) -> tuple[int, float, float, float, float]:
    """Two losses of the same rows: rows with both, the two means, share of rows where the second is lower, and its
    one-sided p of a sign test (ties left out)."""
    from scipy.stats import binomtest

    both = np.isfinite(worse) & np.isfinite(better)
    a, b = worse[both], better[both]
    wins, losses = int((b < a).sum()), int((b > a).sum())
    n = wins + losses
    p = float(binomtest(wins, n, alternative="greater").pvalue) if n else 1.0
    mean = (float(a.mean()), float(b.mean())) if len(a) else (np.nan, np.nan)
    return len(a), *mean, (wins / len(a) if len(a) else np.nan), p
