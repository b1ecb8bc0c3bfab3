"""What proofs of a run's recipes say about single samples: a column beside the verdicts, and a sentence.

The newest finished proof of the recipe made for a sample's cause speaks for it; training again from the base answers
another question and is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.plugins import kind, kinds
from core.proof.brought_back import pattern, sentence
from core.proof.numbers import sentences
from core.types import Column, Proof, Reason, Run
from db import proofs as table
from db import verdicts as verdict_table
from db.session import database

COLUMN = Column(
    "proof", "category", "Brought back by", "What brought the sample back when its cause's recipe was tried.",
    indexed=True,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class SampleOutcome:
    """What one proof did to one sample; ``shares`` is its sentence over all its samples."""

    pattern: str
    shares: str


# Cause to sample id to what the newest proof of that cause's recipe did.
Outcomes = Mapping[str, Mapping[str, SampleOutcome]]


def outcomes_of(conn: Any, run: Run) -> Outcomes:
    """What the run's finished proofs did, sample by sample."""
    outcomes: dict[str, dict[str, SampleOutcome]] = {}
    for proof in reversed(table.list_proofs(conn, run.id)):
        if (
            proof.request.get("retrain")
            or proof.result is None
            or "samples" not in proof.result
            or proof.recipe not in kinds("recipes")
        ):
            continue
        shares = _shares(proof)
        arms = [proof.arms[arm]["right"] for arm in ("treatment", "control", "off_target")]
        for cause in kind("recipes", proof.recipe).causes:
            for sid, *right in zip(proof.result["samples"], *arms, strict=True):
                outcomes.setdefault(cause, {})[sid] = SampleOutcome(pattern(*right), shares)
    return outcomes


def _shares(proof: Proof) -> str:
    recipe = kind("recipes", proof.recipe)
    return sentences(proof.result or {}, f"“{recipe.label}”", f"“{kind('recipes', recipe.against).label}”")[0]


def write(conn: Any, run: Run) -> None:
    """Fills the column of the run's verdict table with what its proofs say now; without proofs it is left out."""
    names = {c.name for c in run.columns}
    outcomes = outcomes_of(conn, run)
    if "cause" not in names or not (outcomes or COLUMN.name in names):
        return
    run = verdict_table.add_columns(conn, run, (COLUMN,))
    sids = list({sid for by_sid in outcomes.values() for sid in by_sid})
    rows = verdict_table.of_sids(conn, run, sids, ("cause",))
    patterns = {
        row["ordinal"]: outcomes[row["cause"]][sid].pattern
        for sid, row in rows.items()
        if sid in outcomes.get(row["cause"], {})
    }
    verdict_table.fill_column(conn, run, COLUMN.name, patterns)


def reasons(outcomes: Outcomes, sid: str, cause: str | None) -> tuple[Reason, ...]:
    """The sentence that the proof of its cause's recipe says of one sample; none where there is no such proof."""
    outcome = outcomes.get(cause or "", {}).get(sid)
    return () if outcome is None else (Reason(f"{sentence(outcome.pattern)} {outcome.shares}"),)


def reasons_of(run: Run, sid: str, cause: str | None) -> tuple[Reason, ...]:
    """``reasons`` for one sample of the run."""
    with database().reading() as conn:
        return reasons(outcomes_of(conn, run), sid, cause)
