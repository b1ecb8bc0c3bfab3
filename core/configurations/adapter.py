"""PEFT's ``adapter_config.json``: which model an adapter was trained on."""

from __future__ import annotations

from core.configurations._base import Document, Place, Statements, text


class Adapter:
    name = "adapter"
    label = "PEFT adapter"
    help = "adapter_config.json, which PEFT writes beside an adapter's weights."
    leads = False
    examples = ({"adapter_config.json": '{"peft_type": "LORA", "base_model_name_or_path": "model", "r": 8}'},)

    def fits(self, document: Document) -> bool:
        """See ``Configuration.fits``."""
        return "peft_type" in document.values

    def read(self, document: Document, place: Place) -> Statements:
        """See ``Configuration.read``."""
        says = Statements(document)
        says.take("base", "base_model_name_or_path", text(document.values, "base_model_name_or_path") or None)
        return says


KIND = Adapter()
