"""The front matter of a saved model's ``README.md``: base, datasets, and which trainer wrote it."""

from __future__ import annotations

from core.configurations._base import Document, Place, Statements, names_in

# The tag that a trainer gives a model, and its preset.
_TAGS = {"llama-factory": "llama_factory", "axolotl": "axolotl", "swift": "ms_swift", "sft": "trl"}
_UNSLOTH = "Unsloth leaves no file that says which tokens carried loss. Choose the preset that fits the script."


class ModelCard:
    name = "model_card"
    label = "Model card"
    help = "README.md beside a saved model: the lines between --- at its top."
    leads = False
    examples = (
        {
            "README.md": (
                "---\nlibrary_name: peft\nlicense: other\nbase_model: model\ntags:\n- llama-factory\n- lora\n"
                "- generated_from_trainer\nmodel-index:\n- name: sft\n  results: []\n---\n\n# sft\n"
            ),
        },
    )

    def fits(self, document: Document) -> bool:
        """See ``Configuration.fits``."""
        return document.name.lower().endswith(".md") and not document.inner and "base_model" in document.values

    def read(self, document: Document, place: Place) -> Statements:
        """See ``Configuration.read``."""
        says = Statements(document)
        values = document.values
        bases = names_in(values.get("base_model"))
        if bases:
            says.take("base", "base_model", bases[0])
        tags = names_in(values.get("tags"))
        if "unsloth" in tags:
            says.leave("tags", _UNSLOTH, "unsloth")
        elif preset := next((_TAGS[tag] for tag in _TAGS if tag in tags), ""):
            says.take("preset", "tags", preset)
        for name in names_in(values.get("datasets")):
            says.take("dataset", "datasets", name)
        return says


KIND = ModelCard()
