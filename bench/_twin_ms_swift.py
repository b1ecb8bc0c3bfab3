"""ms-swift's own ``Template.encode`` on single rows, with what it asks for of other packages left empty."""

from __future__ import annotations

import copy
import importlib.abc
import importlib.machinery
import json
import logging
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from typing import Any

from bench._twins import Case, Rows, Theirs

PACKAGES = ("ms-swift==4.6.0",)
NAMED = ("qwen2_5", "qwen3", "qwen3_thinking", "chatml", "llama3", "llama3_2", "llama", "gemma", "phi4", "deepseek_r1",
         "default", "zephyr", "mistral_nemo", "mistral_2501", "internlm2")  # fmt: skip
VARIED: tuple[dict[str, Any], ...] = (
    {},
    {"loss_scale": "last_round"},
    {"loss_scale": "all"},
    {"loss_scale": "default+ignore_empty_think"},
    {"loss_scale": "last_round+hermes+ignore_empty_think"},
    {"loss_scale": "ignore_think_prefix"},
    {"max_length": 40},
    {"max_length": 40, "truncation_strategy": "right"},
    {"max_length": 40, "truncation_strategy": "left"},
    {"system": "You answer."},
    {"add_non_thinking_prefix": False},
    {"preserve_thinking": "false"},
)


class _Stub(types.ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _logger if name == "get_logger" else type(name, (), {})


def _logger(*_: Any, **__: Any) -> logging.Logger:
    logger = logging.getLogger("modelscope")
    if not logger.handlers:
        logger.addHandler(logging.StreamHandler())
    return logger


class _Stubs(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Stands in for packages that only other parts of ms-swift use."""

    NAMES = ("modelscope", "json_repair", "binpacking", "oss2", "addict", "simplejson", "zstandard", "attrdict")

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        known = name.split(".")[0] in self.NAMES
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if known else None

    def create_module(self, spec: Any) -> types.ModuleType:
        return _Stub(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        module.__path__ = []


class Trainer:
    def __init__(self) -> None:
        sys.meta_path.insert(0, _Stubs())
        from swift.template import TEMPLATE_MAPPING

        logging.disable(logging.WARNING)
        self._metas = TEMPLATE_MAPPING

    def settings(self) -> Iterator[tuple[str, dict[str, Any]]]:
        from core.presets._ms_swift_encode import swift_names

        for name in swift_names():
            for chosen in VARIED if name in NAMED else ({},):
                yield "slots", {"template": name, **chosen}

    def prepared(self, tokenizers: Any, name: str, chosen: Mapping[str, Any]) -> Any:
        from core.presets._ms_swift_encode import swift_template
        from core.rendering.templates import DEFAULT_DAY

        own = copy.deepcopy(tokenizers(name))
        own.model_info = types.SimpleNamespace(config=None, task_type="causal_lm", max_model_len=None)
        own.model_meta = types.SimpleNamespace(is_multimodal=False)
        meta = copy.deepcopy(self._metas[chosen["template"]])
        dated = swift_template(chosen["template"], DEFAULT_DAY)  # the day stands still, as in the presets
        if "2024" in json.dumps([dated.prefix, dated.default_system]):
            meta.prefix, meta.system_prefix = list(dated.prefix), list(dated.system_prefix or ())
            meta.default_system = dated.default_system
        keeps = {"true": True, "false": False}.get(chosen.get("preserve_thinking", "auto"))
        try:
            template = meta.template_cls(
                own,
                meta,
                default_system=chosen.get("system"),
                max_length=chosen.get("max_length"),
                truncation_strategy=chosen.get("truncation_strategy", "raise"),  # delete leaves out what is raised
                loss_scale=chosen.get("loss_scale", "default"),
                preserve_thinking=keeps,
                add_non_thinking_prefix=chosen.get("add_non_thinking_prefix", True),
            )
            template.set_mode("train")
        except Exception as error:  # whatever it stops with
            return f"{type(error).__name__}: {error}"
        return template

    def case(self, row: Any, sample: Any, kept: bool, name: str, chosen: Mapping[str, Any], prepare: Any) -> Case:
        return Case(row, sample, name, chosen, self.theirs(row, sample, prepare()), kept)

    def theirs(self, row: Mapping[str, Any], sample: Any, template: Any) -> Theirs:
        if isinstance(template, str):
            return Theirs(error=template)
        try:
            out = template.encode(_standard(row, sample), return_length=True)
        except (AssertionError, ValueError) as error:  # such rows are left out, with a warning
            name = type(error).__name__
            return Theirs() if name in ("AssertionError", "MaxLengthError") else Theirs(error=f"{name}: {error}")
        return Theirs(out["input_ids"], out["labels"])


def _standard(row: Mapping[str, Any], sample: Any) -> dict[str, Any]:
    """The row as ms-swift's preprocessors give it: messages with its roles, calls as turns of their own."""
    messages = []
    written = row.get("messages") or [{} for _ in sample.messages]
    written = written if len(written) == len(sample.messages) else [{} for _ in sample.messages]
    for message, own in zip(sample.messages, written, strict=True):
        extra = {k: own[k] for k in ("loss", "loss_scale") if k in own}
        if message.content or not message.tool_calls:
            messages.append({"role": message.role, "content": message.content, **extra})
        for call in json.loads(message.tool_calls or "[]"):
            text = json.dumps(call.get("function", call), ensure_ascii=False)
            messages.append({"role": "tool_call", "content": text, **extra})
    tools = json.loads(sample.tools) if sample.tools else None
    return {"messages": messages, **({"tools": tools} if tools else {})}


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
    if 14 <= row <= 19 and not chosen["template"].startswith("qwen"):
        return False  # tools, which are rebuilt for the agent template of Qwen models only
    if len(chosen) > 1:
        return row in (1, 2, 18)
    return row < 30 and row not in (9, 10, 11) if chosen["template"] in ("qwen2_5", "qwen3", "llama3") else row == 2
