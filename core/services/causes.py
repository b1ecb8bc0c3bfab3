"""What the column ``cause`` can say, and how it is drawn: taken from the causes and faults that there are."""

from __future__ import annotations

from dataclasses import replace

from core.causes import UNDETERMINED, UNDETERMINED_LOOK, ordered_causes
from core.faults import ordered_faults
from core.plugins import kinds
from core.types import PIPELINE, Look

# Words for a confidence end here: above it 281 of 282 verdicts were right on real worlds that the weights had not seen,
# and none of them reached 0.99 (docs/causes.md).
SURE = 0.95


def values() -> tuple[str, ...]:
    """Every value of the column in the order to list them: the causes, undetermined, faults of the pipeline."""
    faults = (PIPELINE.of(fault.name) for fault in ordered_faults())
    return (*(cause.name for cause in ordered_causes()), UNDETERMINED, *faults)


def look(value: str) -> Look:
    """How a value is drawn; one whose file is gone is shown by its name."""
    if value in kinds("causes"):
        cause = kinds("causes")[value]
        return replace(cause.look, label=cause.label)
    code = PIPELINE.member(value)
    if code is not None and code in kinds("faults"):
        fault = kinds("faults")[code]
        return replace(fault.look, label=f"Pipeline: {fault.label[:1].lower()}{fault.label[1:]}")
    return UNDETERMINED_LOOK if value == UNDETERMINED else replace(UNDETERMINED_LOOK, label=value)


def needs(value: str) -> str:
    """What a run must have for a cause to be judged, in words that follow "lacks"."""
    return kinds("causes")[value].needs if value in kinds("causes") else "its evidence"


def meaning(value: str) -> str:
    """What a cause says, in one sentence; empty for one whose file is gone, and for a fault, whose reason says it."""
    if value == UNDETERMINED:
        return "No cause is sure enough, or rounding may decide whether it is learned."
    return kinds("causes")[value].help if value in kinds("causes") else ""
