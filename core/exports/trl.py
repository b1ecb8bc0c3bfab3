"""TRL's command line: ``trl sft --config trl.yaml``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.exports._base import DATA, Bundle, Export, Lora, configuration, inexpressible, names, remarks, steps
from core.formats._layouts import Conversation, Pair, Plain
from core.presets._trl_templates import has_generation_markers, training_template
from core.rendering.markers import with_generation_markers

TEMPLATE = "chat_template.jinja"
MARKED = (
    "The run put loss on answers only. TRL finds them by generation markers, which the chat template lacks: "
    f"{TEMPLATE} has them. The trained model is saved with it: before serving it outside transformers, put the run's "
    "own template back. With some tokenizers TRL puts no loss on an answer that begins with a space, or stops with an "
    "error."
)
UNMARKED = (
    "The run put loss on answers only. TRL cannot: the chat template has no generation markers, and none were added, "
    "because {why}. Add them and set assistant_only_loss to true, or the prompts are trained too."
)


class Trl(Export):
    name = "trl"
    label = "TRL"
    version = "1.16"

    def files(self, bundle: Bundle) -> Mapping[str, str]:
        """See ``Export.files``."""
        at_once, gathered = steps(bundle.training)
        loss, notes = self._loss(bundle)
        marked = None
        if loss.get("assistant_only_loss") is False:
            marked, why = _marked(bundle)
            notes.append(UNMARKED.format(why=why) if marked is None else MARKED)
            loss["assistant_only_loss"] = marked is not None
        templated = bundle.templated if marked is None else TEMPLATE
        values: dict[str, Any] = {
            "model_name_or_path": bundle.model,
            "datasets": [{"path": "json", "data_files": DATA, "split": "train", "columns": list(bundle.columns)}],
            "output_dir": "out-trl",
            "num_train_epochs": bundle.training.epochs,
            "per_device_train_batch_size": at_once,
            "gradient_accumulation_steps": gathered,
            "learning_rate": bundle.learning_rate,
            **_adapter(bundle.lora),
            "max_length": bundle.max_length,
            "packing": False,
            "train_sampling_strategy": "sequential" if bundle.training.sequential else "random",
            "seed": bundle.seed,
            "report_to": "none",
            **loss,
            **({"chat_template_path": templated} if templated else {}),
        }
        head = [*remarks(bundle), f"TRL {self.version}. Run in this folder: trl sft --config trl.yaml", *notes]
        if bundle.base is not None:
            head.append(f"{bundle.model} is an adapter of {bundle.base}: merge it first, or name the base here.")
        return {"trl.yaml": configuration(head, values)} | ({} if marked is None else {TEMPLATE: marked})

    def _loss(self, bundle: Bundle) -> tuple[dict[str, Any], list[str]]:
        """Which tokens carry loss, and what a person must do before TRL can read the rows."""
        conversion = f"TRL does not read {bundle.format} rows by itself: convert them to messages first."
        match bundle.layout:
            case Conversation(role="role", text="content") as turns if _has_own_names(turns):
                if bundle.loss_on_prompt:
                    return {}, _renaming({"messages": turns.column})
                return _assistant_only(bundle.template, _renaming({"messages": turns.column}))
            case Conversation() | Pair(templated=True, lists=False):
                return {}, [conversion]
            case Pair() as pair:
                renaming = _renaming({"prompt": pair.prompt, "completion": pair.answer})
                return {"completion_only_loss": not bundle.loss_on_prompt}, renaming
            case Plain(column):
                return {"dataset_text_field": column}, []
            case _:
                raise inexpressible(self, bundle)


def _marked(bundle: Bundle) -> tuple[str | None, str]:
    """The run's template with markers, or None and why there is none."""
    if not bundle.template:
        return None, "no chat template of the run is on this machine"
    if not bundle.plain:
        return None, "rows hold calls of tools, reasoning or content in parts"
    if bundle.templated:  # from a folder TRL takes tokens and end of text too, from a file the template alone
        return None, "the base has another template or none"
    return with_generation_markers(bundle.template), "no place for them was found"


def _adapter(lora: Lora | None) -> dict[str, Any]:
    if lora is None:
        return {}
    shape = {"use_peft": True, "lora_r": lora.r, "lora_alpha": lora.alpha}
    targets = names(lora) or "all-linear"
    dropout = {} if lora.dropout is None else {"lora_dropout": lora.dropout}
    return {**shape, **dropout, "lora_target_modules": targets}


def _has_own_names(turns: Conversation) -> bool:
    return all(name == written for name, written in turns.names.items())


def _renaming(columns: Mapping[str, str]) -> list[str]:
    """What to say where TRL looks for other columns than the rows have."""
    others = {name: column for name, column in columns.items() if name != column}
    return [f"TRL looks for a column {name!r}: rename {column!r} first." for name, column in others.items()]


def _assistant_only(template: str, notes: list[str]) -> tuple[dict[str, Any], list[str]]:
    """Loss on answers alone; TRL finds them by the template's markers, or renders with a variant that has them."""
    return {"assistant_only_loss": has_generation_markers(template) or training_template(template) is not None}, notes


KIND = Trl()
