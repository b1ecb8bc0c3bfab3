"""Do template and trainer take the row's roles?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from core.faults._base import SampleFault, flags
from core.signals import _columns as col
from core.types import RunFacts, SignalTable


class RoleError(SampleFault):
    name = "role_error"
    label = "Role error"
    place = 110
    help = "the template refuses the row, or its roles hide the answer."
    advice = "Rename the roles to those that the chat template knows."
    needs = "how the trainer treats rows whose turns do not alternate"
    unjudged = True

    def explains(self, table: SignalTable, facts: RunFacts) -> np.ndarray:
        """Refused by the template; or no answer found in a row whose roles are unknown to templates.

        A row that was rendered whole with unusual turns cannot be told: trainers differ.
        """
        refused, known_roles = table.get(col.REFUSED), table.get(col.ROLES_KNOWN)
        hidden = (known_roles == 0) & (table.get(col.ANSWER_TURNS) == 0)
        proper = (refused == 0) & (known_roles == 1) & (table.get(col.ROLES_ALTERNATE) == 1)
        return flags((refused == 1) | hidden, proper)

    def sentence(self, row: Mapping[str, float]) -> str:
        if row.get(col.REFUSED) == 1:
            return "The chat template refuses this row, so no trainer that renders with it saw it."
        return "No turn of this row has the role of an assistant: its answer is hidden behind another name."


KIND = RoleError()
