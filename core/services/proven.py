"""What proofs of a run's recipes say about single samples: columns beside the verdicts, and sentences.

The newest finished proof of the recipe made for a sample's cause speaks for it. Verdicts that are written anew ask
again, so what was proven is never lost; the machine's own confidence stands beside the moved one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.plugins import kind, kinds
from core.proof.causal import moved, pattern, reason
from core.proof.numbers import sentences
from core.types import Column, Proof, Reason, Run
from db import proofs as table
from db import verdicts as verdict_table
from db.session import database

COLUMNS: tuple[Column, ...] = (
    Column("confidence_before_proof", "number", "Confidence before the proof", "The verdict's own confidence, where a "
           "proof was made of this sample.", "", "high"),
    Column("proof", "category", "Brought back by", "What brought the sample back when its cause's recipe was tried.",
           indexed=True),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Shown:
    """What one proof showed of one sample. ``said``: what it found over all its samples."""

    pattern: str
    said: str


# Cause to sample id to what the newest proof of that cause's recipe showed.
Tried = Mapping[str, Mapping[str, Shown]]


def of_run(conn: Any, run: Run) -> Tried:
    """What the run's finished proofs showed, sample by sample."""
    out: dict[str, dict[str, Shown]] = {}
    for proof in reversed(table.list_proofs(conn, run.id)):
        if proof.result is None or "samples" not in proof.result or proof.recipe not in kinds("recipes"):
            continue
        said = _said(proof)
        arms = [_counted(proof, arm) for arm in ("treatment", "control", "off_target")]
        for cause in kind("recipes", proof.recipe).causes:
            mine = out.setdefault(cause, {})
            for sid, *shown in zip(proof.result["samples"], *arms, strict=True):
                mine[sid] = Shown(pattern(*shown), said)
    return out


def _counted(proof: Proof, arm: str) -> list[int]:
    return list(proof.arms[arm]["right"])


def _said(proof: Proof) -> str:
    recipe = kind("recipes", proof.recipe)
    return sentences(proof.result or {}, f"“{recipe.label}”", f"“{kind('recipes', recipe.against).label}”")[0]


def columns_for(
    conn: Any, run: Run, sids: Sequence[str], cause: np.ndarray, confidence: np.ndarray
) -> tuple[tuple[Column, ...], dict[str, np.ndarray]]:
    """Columns for a verdict table that is written anew, with the moved ``confidence`` among them.

    Args:
        sids, cause, confidence: (n,) of all samples, as judged without any proof.
    """
    tried = of_run(conn, run)
    if not tried:
        return (), {}
    n = len(sids)
    own, after, seen = np.full(n, np.nan), confidence.astype(np.float64).copy(), np.full(n, None, dtype=object)
    for i, (sid, name) in enumerate(zip(sids, cause, strict=True)):
        shown = tried.get(name, {}).get(sid)
        if shown is not None:
            own[i], seen[i] = confidence[i], shown.pattern
            after[i] = moved(name, float(confidence[i]), shown.pattern)
    return COLUMNS, {"confidence": after, "confidence_before_proof": own, "proof": seen}


def write(conn: Any, run: Run) -> None:
    """Writes what the run's proofs say into the verdict table that stands; takes back what no proof says any more."""
    if not {"cause", "confidence"} <= {c.name for c in run.columns}:
        return
    run = verdict_table.add_columns(conn, run, COLUMNS)
    rows: dict[int, dict[str, Any]] = {}
    for old in verdict_table.known(conn, run, "proof", ("confidence", "confidence_before_proof")):
        own = old["confidence_before_proof"]
        rows[old["ordinal"]] = {"confidence": own, "confidence_before_proof": None, "proof": None}
    tried = of_run(conn, run)
    sids = list(dict.fromkeys(sid for mine in tried.values() for sid in mine))
    for sid, row in verdict_table.of_sids(conn, run, sids, ("cause", "confidence")).items():
        shown = tried.get(row["cause"], {}).get(sid)
        if shown is None:
            continue
        own = rows[row["ordinal"]]["confidence"] if row["ordinal"] in rows else row["confidence"]
        after = None if own is None else moved(row["cause"], own, shown.pattern)
        rows[row["ordinal"]] = {"confidence": after, "confidence_before_proof": own, "proof": shown.pattern}
    verdict_table.set_cells(conn, run, rows)


def reasons(tried: Tried, sid: str, row: Mapping[str, Any]) -> tuple[Reason, ...]:
    """The sentence that the proof of its cause's recipe says of one sample; none where there is no such proof."""
    shown = tried.get(row["cause"] or "", {}).get(sid)
    if shown is None:
        return ()
    before, after = row.get("confidence_before_proof"), row["confidence"]
    known = before is not None and after is not None and not math.isnan(before)
    return (reason(shown.pattern, shown.said, before if known else None, after if known else None),)


def told(run: Run, sid: str, row: Mapping[str, Any]) -> tuple[Reason, ...]:
    """``reasons`` for one row of the verdict table."""
    with database().reading() as conn:
        return reasons(of_run(conn, run), sid, row)
