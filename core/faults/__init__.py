"""Faults of the pipeline, judged before any cause. One file is one fault."""

from __future__ import annotations

import numpy as np

from core.faults._base import RunFinding
from core.plugins import kinds
from core.types import RunFacts, SignalTable

# Who speaks first where several faults explain a sample. First what the row itself shows; then answers that are right
# and were counted as wrong; then rows the trainer never saw whole (a cut is the narrower finding: long rows at the end
# look like a tail that was never reached); then what is wrong with the measurement of every row; last what is wrong
# with the training.
PRECEDENCE = (
    "role_error", "empty_target",
    "strict_scorer", "many_valid_answers",
    "target_truncated", "never_trained", "stop_not_learned", "multi_turn_mask", "not_supervised",
    "diverged", "adapter_not_applied", "tokenizer_mismatch", "think_block", "bos", "template_mismatch", "packing",
    "precision_or_merge", "wrong_checkpoint", "undertrained_run",
)  # fmt: skip


def ordered() -> list:
    """The faults by precedence; one that ``PRECEDENCE`` does not know comes last."""
    found = kinds("faults")
    return [found[n] for n in PRECEDENCE if n in found] + [f for n, f in found.items() if n not in PRECEDENCE]


def states(table: SignalTable, facts: RunFacts) -> dict[str, np.ndarray]:
    """Name of every fault to (n,) float64: 1 explains, 0 does not, NaN cannot tell."""
    return {fault.name: fault.explains(table, facts) for fault in ordered()}


def explain(
    table: SignalTable, facts: RunFacts, missed: np.ndarray, found: dict[str, np.ndarray] | None = None
) -> np.ndarray:
    """(n,) object: code of the fault that explains the sample, or None.

    Args:
        missed: (n,) bool, samples with a status that says not learned.
        found: what ``states`` gives, where it is known already.
    """
    found = states(table, facts) if found is None else found
    out = np.full(len(table.keys), None, dtype=object)
    faults = ordered()
    # Under a fault of every row, signs of lesser faults are its symptoms.
    whole = any(f.scope == "run" and bool((found[f.name] == 1).any()) for f in faults)
    for fault in faults:
        if fault.symptom and whole:
            continue
        asked = missed | nothing_to_judge(table) if fault.unjudged else missed
        out[asked & (found[fault.name] == 1) & np.equal(out, None)] = fault.name
    return out


def nothing_to_judge(table: SignalTable) -> np.ndarray:
    """(n,) bool: rows that were rendered, or refused, and hold no target."""
    return (table.get("refused") == 1) | ((table.get("refused") == 0) & ~(table.get("turns") > 0))


def judge_run(table: SignalTable, facts: RunFacts, status: np.ndarray) -> list[RunFinding]:
    """What every fault says of the run, by precedence.

    Args:
        status: (n,) of ``Status`` values.
    """
    missed = (status == "unlearned") | (status == "partly")
    codes = explain(table, facts, missed)
    out = []
    for fault in ordered():
        asked = missed | nothing_to_judge(table) if fault.unjudged else missed
        said = fault.judge(table, facts, asked)
        out.append(
            RunFinding(
                fault.name, fault.label, fault.scope, said.state, said.text, said.measured,
                said.needs or (fault.needs if said.state == "unknown" else ""), int((codes == fault.name).sum()),
            )
        )  # fmt: skip
    return out
