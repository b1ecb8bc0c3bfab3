"""Were rows trained in one sequence with others that they could see?"""

from __future__ import annotations

from core.faults._base import Finding
from core.faults._renderings import Rendering, best, logged_gap
from core.plugins import kind
from core.types import RunFacts, SignalTable

# What trainers call it, each with the values that mean no.
SETTINGS = ("packing", "sample_packing", "neat_packing")
OFF = (None, False, "none")


class Packing(Rendering):
    name = "packing"
    label = "Packing"
    place = 470
    help = "Rows were packed into one sequence and saw the rows before them."
    advice = "Keep packed rows from seeing each other, or train without packing."
    needs = "the trainer's packing setting, and at least 8 rows that have one before them in training order"
    renderings = ("packed",)
    change = 4

    def examine(self, table: SignalTable, facts: RunFacts) -> Finding:
        """By the row before in training order; where that shows nothing, by the trainer's setting and its log."""
        finding = super().examine(table, facts)
        setting = next((name for name in SETTINGS if facts.arguments.get(name) not in OFF), "")
        if finding.state == "fail" or not setting or best(table) is not None:
            return finding
        if _apart(facts):
            return Finding("pass", "Rows were packed, and the trainer kept them from seeing each other.", setting)
        if gap := logged_gap(table, facts):
            text = f"Rows were packed ({setting}), and training knew more than a row alone tells. {gap}"
            return Finding("fail", text, finding.measured)
        text = f"Rows were packed ({setting}); which rows stood before which is not known."
        return Finding("unknown", text, finding.measured, "the packed order of the rows, or the training log")


def _apart(facts: RunFacts) -> bool:
    """Whether the trainer's own setting says that packed rows do not see each other."""
    names = kind("presets", facts.spec.preset).packed_apart if facts.spec else ()
    return any(facts.arguments.get(name) not in OFF for name in names)


KIND = Packing()
