"""LLaMA-Factory's own converters, templates and ``SupervisedDatasetProcessor`` on single rows."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import cache, partial
from typing import Any

from bench._twins import Case, Rows, Theirs
from core.rendering.templates import DEFAULT_DAY

PACKAGES = ("llamafactory==0.9.5",)
# Templates that differ in what matters: stop words, prefix, reasoning, where the system prompt stands, efficient EOS.
CORE = (
    "alpaca", "chatml", "deepseekr1", "default", "empty", "gemma2", "glm4", "glm4_moe", "llama2", "llama3", "mistral",
    "qwen", "qwen3", "qwen3_5", "vicuna",
)  # fmt: skip
VARIED: tuple[dict[str, Any], ...] = (
    {},
    {"train_on_prompt": True},
    {"mask_history": True},
    {"mask_history": True, "preserve_thinking": True},
    {"cutoff_len": 24},
    {"cutoff_len": 61, "mask_history": True},
    {"cutoff_len": 61, "train_on_prompt": True},
    {"cutoff_len": 40, "packing": True},
    {"cutoff_len": 90, "neat_packing": True},
    {"enable_thinking": "false"},
    {"enable_thinking": "null", "mask_history": True},
    {"default_system": "You answer."},
    {"tool_format": "qwen"},
)


class _Day(datetime):
    """Stands still on the day that presets take by default."""

    @classmethod
    def now(cls, tz: Any = None) -> datetime:
        return datetime.fromisoformat(DEFAULT_DAY)


class Trainer:
    """Holds one template set up for one tokenizer at a time."""

    def __init__(self) -> None:
        os.environ["DISABLE_VERSION_CHECK"] = "1"
        import logging

        from llamafactory.data import template as templates
        from llamafactory.data import tool_utils

        logging.disable(logging.WARNING)
        tool_utils.datetime = _Day  # the format llama3 writes the day on which the data is prepared
        self._templates = templates
        self._registered = copy.deepcopy(templates.TEMPLATES)

    def names(self) -> list[str]:
        from core.presets._llama_factory_slots import template_names

        return [name for name in template_names() if name in self._registered]

    def settings(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Tokenizer and settings: everything for the core templates, the defaults for the others."""
        for name in self.names():
            varied = VARIED if name in CORE else ({}, {"cutoff_len": 61, "mask_history": True})
            for chosen in varied:
                yield "slots", {"template": name, **chosen}
        for family in ("qwen2_5", "qwen3", "llama3", "olmo2", "marked", "without_template"):
            for chosen in VARIED:
                yield family, {"template": "tokenizer", **chosen}

    def case(
        self,
        row: Mapping[str, Any],
        sample: Any,
        kept: bool,
        name: str,
        chosen: Mapping[str, Any],
        prepare: Callable[[], Any],
    ) -> Case:
        return Case(row, sample, name, chosen, self.theirs(json.loads(json.dumps(row)), prepare()), kept)

    def prepared(self, tokenizers: Any, name: str, chosen: Mapping[str, Any]) -> Any:
        """The processor for a tokenizer and settings, or the text of the error at which the trainer stops."""
        from llamafactory.data.mm_plugin import get_mm_plugin
        from llamafactory.data.processor.supervised import PackedSupervisedDatasetProcessor, SupervisedDatasetProcessor
        from llamafactory.hparams.data_args import DataArguments

        self._templates.TEMPLATES.clear()
        self._templates.TEMPLATES.update(copy.deepcopy(self._registered))
        values = {k: v for k, v in chosen.items() if k not in ("template", "tool_format", "formatting")}
        if "enable_thinking" in values:
            values["enable_thinking"] = {"true": True, "false": False, "null": None}[values["enable_thinking"]]
        if chosen.get("tool_format", "template") != "template":
            values["tool_format"] = chosen["tool_format"]
        named = chosen.get("template", "tokenizer")
        try:
            arguments = DataArguments(template=None if named == "tokenizer" else named, **values)
            own = copy.deepcopy(tokenizers(name))
            template = self._templates.get_template_and_fix_tokenizer(own, arguments)
        except Exception as error:  # whatever it stops with
            return f"{type(error).__name__}: {error}"
        template.mm_plugin = get_mm_plugin(name="base")  # rows without pictures; its own plugin asks for a processor
        whole = SupervisedDatasetProcessor(template=template, tokenizer=own, processor=None, data_args=arguments)
        if not arguments.packing:
            return whole
        return PackedSupervisedDatasetProcessor(template=template, tokenizer=own, processor=None, data_args=arguments)

    def theirs(self, row: Mapping[str, Any], processor: Any) -> Theirs:
        if isinstance(processor, str):
            return Theirs(error=processor)
        try:
            columns = _converted(row, processor.data_args)
            out = processor.preprocess_dataset({name: [value] for name, value in columns.items()})
        except Exception as error:  # whatever it stops with
            return Theirs(error=f"{type(error).__name__}: {error}")
        if not out.get("input_ids"):
            return Theirs()
        ids, labels = out["input_ids"][0], out["labels"][0]
        if processor.data_args.packing:  # the row is alone in its sequence; what fills it is cut off again
            n = len(processor._encode_data_example(
                columns["_prompt"], columns["_response"], columns["_system"], columns["_tools"], [], [], []
            )[0])  # fmt: skip
            ids, labels = ids[:n], labels[:n]
        return Theirs(ids, labels)


def _converted(row: Mapping[str, Any], arguments: Any) -> dict[str, Any]:
    from llamafactory.data import converter
    from llamafactory.data.parser import DatasetAttr

    attributes = DatasetAttr("file", dataset_name="rows")
    if "instruction" in row:
        attributes.join({"columns": {"prompt": "instruction", "query": "input", "response": "output",
                                     "system": "system", "history": "history", "tools": "tools"}})  # fmt: skip
        full = {"input": "", "system": "", "history": None, "tools": "", **row}
        return dict(converter.AlpacaDatasetConverter(attributes, arguments)(full))
    turns = "conversations" if "conversations" in row else "messages"
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant",
            "observation_tag": "tool", "function_tag": "function_call", "system_tag": "system"}  # fmt: skip
    named = {} if turns == "conversations" else {"tags": tags}
    attributes.join(
        {"formatting": "sharegpt", "columns": {"messages": turns, "system": "system", "tools": "tools"}, **named}
    )
    full = {"system": "", "tools": "", **row}
    by_calls = any(turn.get("tool_calls") for turn in row[turns])
    form = converter.OpenAIDatasetConverter if by_calls else converter.SharegptDatasetConverter
    return dict(form(attributes, arguments)(full))


def cases(rows: Rows, tokenizers: Any, kept_only: bool) -> Iterator[Callable[[], Case]]:
    """Every row under every setting, each made when it is called for; or only those that become fixtures."""
    trainer = Trainer()
    for name, chosen in trainer.settings():
        prepare = cache(partial(trainer.prepared, tokenizers, name, chosen))
        for row, sample, kept in rows:
            if kept_only and not (kept and _in_fixture(sample.row, chosen)):
                continue
            yield partial(trainer.case, row, sample, kept, name, chosen, prepare)


def _in_fixture(row: int, chosen: Mapping[str, Any]) -> bool:
    """A few rows under every setting, all rows under the defaults of some templates."""
    if len(chosen) > 1:
        wanted = (1, 12) if chosen.get("cutoff_len", 99) < 90 else (2,)
        return chosen["template"] in (*CORE, "tokenizer") and row in wanted
    whole = chosen["template"] in ("qwen", "qwen3", "glm4")
    return row < 22 and row not in (10, 11) if whole else row in (13, 18) and chosen["template"] != "tokenizer"
