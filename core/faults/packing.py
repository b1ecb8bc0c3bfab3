"""Were rows trained in one sequence with others that they could see?"""

from __future__ import annotations

from core.faults._base import Finding
from core.faults._renderings import Rendering
from core.types import RunFacts, SignalTable


class Packing(Rendering):
    name = "packing"
    label = "Packing"
    place = 470
    help = "Rows were packed into one sequence and saw the rows before them."
    needs = "the trainer's packing setting, and at least 8 rows that have one before them in training order"
    renderings = ("packed",)
    change = 4

    def examine(self, table: SignalTable, facts: RunFacts) -> Finding:
        finding = super().examine(table, facts)
        strategy = facts.arguments.get("packing")
        if finding.state == "pass" and strategy not in (None, "none", False):
            text = f"Rows were packed ({strategy}); which rows stood before which is not known."
            return Finding("unknown", text, finding.measured, "the packed order of the rows")
        return finding


KIND = Packing()
