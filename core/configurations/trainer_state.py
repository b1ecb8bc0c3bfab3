"""transformers' ``trainer_state.json``: how long a training was and how far it came."""

from __future__ import annotations

from core.configurations._base import Document, Place, Statements, state_epochs


class TrainerState:
    name = "trainer_state"
    label = "Trainer state"
    help = "trainer_state.json, which transformers' Trainer writes into every checkpoint folder."
    leads = False
    examples = ({"trainer_state.json": '{"epoch": 2.0, "global_step": 40, "num_train_epochs": 3, "log_history": []}'},)

    def fits(self, document: Document) -> bool:
        """See ``Configuration.fits``."""
        return "log_history" in document.values and "global_step" in document.values

    def read(self, document: Document, place: Place) -> Statements:
        """See ``Configuration.read``."""
        says = Statements(document)
        state_epochs(says, "num_train_epochs", "epoch")
        return says


KIND = TrainerState()
