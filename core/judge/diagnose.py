"""The method, top to bottom: plan what to measure, measure it, judge.

Measuring costs a model and happens once; judging is arithmetic over what was measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

import numpy as np

from core.causes import attribute, explain_cause, ordered_causes, parameters_of, strength_columns
from core.causes._evidence import evidence_columns
from core.derived import derive
from core.faults import explain, fault_columns, states
from core.judge.study import label as label_by_study
from core.plugins import kind, kinds
from core.signals._base import Measure
from core.status import STATUSES, cut_of, explain_status, judge_status
from core.types import (
    EVIDENCE,
    FAULT,
    PIPELINE,
    STRENGTH,
    Checkpoint,
    Column,
    Finding,
    Reason,
    RunFacts,
    RunSpec,
    Sample,
    SignalTable,
    Status,
    Supervision,
    Thresholds,
)

STUDY = Column(
    "study_cause", "category", "Cause by the study's rules", "By the rules and thresholds of arXiv 2604.10079; empty "
    "where they call the sample learned.", indexed=True,
)  # fmt: skip
VERDICT_COLUMNS: tuple[Column, ...] = (
    Column("status", "category", "Status", "Learned, partly, unlearned or unknown.", indexed=True, shown=True),
    Column("cause", "category", "Cause", "Why it was not learned; empty where nothing was judged.", indexed=True,
           shown=True),
    Column("confidence", "number", "Confidence", "Calibrated probability that the named cause is right.", "", "high",
           indexed=True, shown=True),
    Column("stage", "category", "Stage", "Training stage named by the row or its file.", indexed=True),
    Column("source", "category", "Source", "Origin named by the row.", indexed=True),
    Column("p_exact", "number", "p(exact)", "Chance of this exact token sequence in one draw at temperature 1.", "",
           "high", indexed=True, shown=True),
    Column("success_rate", "number", "Success rate", "Share of draws that were right.", "", "high", indexed=True),
)  # fmt: skip


def ordered_signals() -> list[Any]:
    """The signals, each after those it needs."""
    found, out = kinds("signals"), []
    while len(out) < len(found):
        ready = [s for s in found.values() if s not in out and all(found[n] in out for n in s.needs)]
        if not ready:
            raise RuntimeError(f"signals need each other in a circle: {sorted(set(found) - {s.name for s in out})}")
        out += ready
    return out


def plan(spec: RunSpec) -> list[Measure]:
    """All measurements of a run, in the order to make them; one checkpoint's stand together where needs allow it."""
    return [m for signal in ordered_signals() for m in signal.plan(spec)]


def columns_of(spec: RunSpec) -> tuple[Column, ...]:
    """Columns of the run's verdict table, as its kinds declare them."""
    out = list(VERDICT_COLUMNS)
    for signal in ordered_signals():
        out += signal.columns
    for derivation in kinds("derived").values():
        out += derivation.columns
    out += [*strength_columns(), *evidence_columns()]
    if spec.paper_mode:
        out.append(STUDY)
    for measure in plan(spec):
        if measure.role != "final" and measure.signal == "likelihood":
            label = measure.checkpoint.label
            out.append(Column(measure.column("nll"), "number", f"Loss {label}", f"Loss under {label}.", "nats", "low"))
            text = f"Greedy decoding under {label} gives the target token by token."
            out.append(Column(measure.column("greedy_exact"), "flag", f"Verbatim {label}", text))
    return (*out, *fault_columns())


class Stored(Protocol):
    """What the run's store lends to signals that compare samples or build on other signals."""

    def samples(self) -> Sequence[Sample]: ...

    def measured(self) -> SignalTable: ...

    def details(self, measure: Measure, content_hash: str) -> Mapping[str, Any] | None: ...


class Instruments:
    """Opens what signals ask for; one model at a time, so that two never share the memory."""

    def __init__(self, spec: RunSpec, device: str = "auto", stored: Stored | None = None) -> None:
        self.spec = spec
        self._device = device
        self._stored = stored
        self._samples: Sequence[Sample] | None = None
        self._tokenizer: Any = None
        self._context: int | None = None
        self._open: tuple[str, Any] | None = None
        self._supervise = lru_cache(maxsize=2048)(self._supervise_uncached)

    def tokenizer(self) -> Any:
        from core.rendering.tokenizers import open_tokenizer

        if self._tokenizer is None:
            self._tokenizer = open_tokenizer(tokenizer_folder(self.spec.final), self.spec.final.tokenizer)
        return self._tokenizer

    def backend(self, checkpoint: Checkpoint) -> Any:
        key = f"{checkpoint.fingerprint}:{self.spec.dtype}"
        if self._open is None or self._open[0] != key:
            self.close()
            device = self._device if self.spec.device == "auto" else self.spec.device
            opened = kind("backends", "hf").open(
                checkpoint, dtype=self.spec.dtype, device=device, tokenizer=self.tokenizer()
            )
            self._open = (key, opened)
        return self._open[1]

    def context_length(self) -> int | None:
        from core.checkpoint.folders import read_folder

        if self._context is None:
            folder = self.spec.final.base or self.spec.final.path
            self._context = read_folder(folder).context_length or 0
        return self._context or None

    def supervision(self, sample: Sample) -> Supervision:
        return self._supervise(sample)

    def _supervise_uncached(self, sample: Sample) -> Supervision:
        preset = kind("presets", self.spec.preset)
        return preset.supervise(sample, self.tokenizer(), self.spec.preset_settings, self.context_length())

    def samples(self) -> Sequence[Sample]:
        if self._samples is None:
            self._samples = self._run().samples()
        return self._samples

    def measured(self) -> SignalTable:
        return self._run().measured()

    def details(self, measure: Measure, content_hash: str) -> Mapping[str, Any] | None:
        return self._run().details(measure, content_hash)

    def _run(self) -> Stored:
        if self._stored is None:
            raise RuntimeError("these instruments were opened without a stored run")
        return self._stored

    def close(self) -> None:
        if self._open is not None:
            self._open[1].close()
            self._open = None


def tokenizer_folder(checkpoint: Checkpoint) -> str:
    """Where the tokenizer lies: in the checkpoint's folder, for an adapter without one in its base's."""
    from pathlib import Path

    here = Path(checkpoint.path)
    has_own = any((here / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "vocab.json"))
    return checkpoint.path if has_own or checkpoint.base is None else checkpoint.base


@dataclass(frozen=True, slots=True)
class Judgement:
    """Verdicts of n samples side by side.

    ``columns``: name to (n,) float64, NaN = not measured. ``study``: (n,) object, the cause by the study's own rules,
    None where it names none or multiple choice was not measured. ``judged_by``: the parameters that named the causes.
    """

    status: np.ndarray
    cause: np.ndarray
    columns: Mapping[str, np.ndarray]
    study: np.ndarray
    judged_by: Mapping[str, Any] = field(default_factory=dict)


def judge(spec: RunSpec, table: SignalTable, thresholds: Thresholds, facts: RunFacts | None = None) -> Judgement:
    """Status, fault and columns of every sample. Pure; no model, no clock.

    Args:
        table: signals of n samples, columns named as ``Measure.column`` names them.
        facts: what else is known of the run; the spec alone where it is left out.
    """
    facts = facts or RunFacts(spec)
    table = derive(spec, table)
    codes = judge_status(table, thresholds, spec.decoding_temperature)
    status = np.array([s.value for s in STATUSES], dtype=object)[codes]
    missed = (status == Status.UNLEARNED) | (status == Status.PARTLY)
    faults = states(table, facts)
    codes_of = explain(table, facts, missed, faults)
    cause = np.array([None if code is None else PIPELINE.of(code) for code in codes_of], dtype=object)
    found = attribute(spec, table, status == Status.LEARNED, missed & np.equal(cause, None))
    cause = np.where(np.equal(cause, None), found.cause, cause)
    hits, draws = table.get(f"hits_{cut_of(thresholds)}"), table.get("draws")
    with np.errstate(invalid="ignore", divide="ignore"):
        rate = np.where(draws > 0, hits / draws, np.nan)
    columns = {name: table.get(name) for name in table.columns}
    columns["p_exact"] = np.exp(table.get("logp_10"))
    columns["success_rate"] = rate
    columns["confidence"] = found.confidence
    columns |= STRENGTH.columns(found.strengths) | EVIDENCE.columns(found.evidence) | FAULT.columns(faults)
    return Judgement(status, cause, columns, label_by_study(table), parameters_of(spec, table))


def reasons(
    spec: RunSpec,
    row: Mapping[str, float],
    cause: str | None,
    thresholds: Thresholds,
    faults: Sequence[Mapping[str, Any]] = (),
) -> tuple[Reason, ...]:
    """Sentences behind one sample's status and cause. ``faults``: what the faults say of the run, by its summary."""
    label = kind("scorers", spec.scorer).label.lower()
    out = explain_status(dict(row), thresholds, spec.decoding_temperature, label)
    if (code := PIPELINE.member(cause)) is not None:
        said = [f for f in faults if f["code"] == code and f["scope"] == "run" and f["state"] == "fail"]
        # What holds for the whole run is said with the run's numbers; one row's are no evidence of it.
        out += tuple(Reason(" ".join(p for p in (f["text"], f["measured"]) if p), favours="for") for f in said)
        out += () if said else (kind("faults", code).reason(row),)
    return out


def findings(row: Mapping[str, float], judged_by: Mapping[str, Any]) -> tuple[Finding, ...]:
    """The causes of one row, strongest first, each with what speaks for and against it; those not judged last.

    Args:
        row: the row of the verdict table.
        judged_by: the parameters kept with the run.
    """
    found = [
        Finding(c.name, row.get(STRENGTH.of(c.name), np.nan), explain_cause(c.name, row, judged_by or None))
        for c in ordered_causes()
    ]
    return tuple(sorted(found, key=lambda f: (np.isnan(f.strength), -np.nan_to_num(f.strength))))


def chances(row: Mapping[str, float]) -> dict[str, dict[str, float | None]]:
    """The closed form per temperature: p of the exact sequence in one draw, at least once in 5, never in 5."""
    out: dict[str, dict[str, float | None]] = {}
    for name, temperature in (("logp_03", "0.3"), ("logp_05", "0.5"), ("logp_07", "0.7"), ("logp_10", "1.0")):
        logp = row.get(name, np.nan)
        if not np.isfinite(logp):
            out[temperature] = {"p": None, "once_in_5": None, "never_in_5": None}
            continue
        # log1p keeps (1-p)^5 exact for the tiny p of long targets.
        never = float(np.exp(5 * np.log1p(-min(np.exp(logp), 1.0)))) if logp < 0 else 0.0
        once = float(-np.expm1(5 * np.log1p(-np.exp(logp)))) if logp < 0 else 1.0
        out[temperature] = {"p": float(np.exp(logp)), "once_in_5": once, "never_in_5": never}
    return out
