"""unsloth_zoo's own ``train_on_responses_only`` on rows that the chat template rendered."""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import io
import json
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from typing import Any

from bench._twins import IGNORED, Case, Rows, Theirs

PACKAGES = ("unsloth_zoo==2026.10.9",)
FAMILIES = ("qwen2_5", "qwen3", "llama3", "olmo2", "llama2", "marked", "bare")
VARIED: tuple[dict[str, Any], ...] = (
    {},
    {"last_response_only": True},
    {"mask_out_tokens": "</think>,is"},
    {"max_length": 40},
    {"max_length": 61, "last_response_only": True},
)
GIVEN = {
    "qwen2_5": ("<|im_start|>user\n", "<|im_start|>assistant\n"),
    "llama3": ("<|start_header_id|>user<|end_header_id|>\n\n", "<|start_header_id|>assistant<|end_header_id|>\n\n"),
    "olmo2": ("<|user|>\n", "<|assistant|>\n"),
    "bare": ("### user\n", "### assistant\n"),
}


class Trainer:
    def __init__(self) -> None:
        spec = importlib.util.find_spec("unsloth_zoo")
        if spec is None or spec.submodule_search_locations is None:
            raise SystemExit("unsloth_zoo is not on the path.")
        bare = types.ModuleType("unsloth_zoo")  # the package itself asks for an accelerator
        bare.__path__ = list(spec.submodule_search_locations)
        sys.modules["unsloth_zoo"] = bare

    def settings(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for family in FAMILIES:
            for chosen in VARIED:
                yield family, dict(chosen)
            if family in GIVEN:
                parts = (text.replace("\n", "\\n") for text in GIVEN[family])
                yield family, dict(zip(("instruction_part", "response_part"), parts, strict=True))

    def prepared(self, tokenizers: Any, name: str, chosen: Mapping[str, Any]) -> Any:
        """The tokenizer and the function for it, or the text of the error."""
        from unsloth_zoo.dataset_utils import train_on_responses_only

        own = copy.deepcopy(tokenizers(name))
        parts = {k: chosen[k].replace("\\n", "\n") for k in ("instruction_part", "response_part") if k in chosen}
        out = [part for part in chosen.get("mask_out_tokens", "").split(",") if part]
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                made = train_on_responses_only(
                    None,
                    **parts,
                    tokenizer=own,
                    return_function=True,
                    last_response_only=chosen.get("last_response_only", False),
                    mask_out_tokens=out or None,
                )
        except Exception as error:  # whatever it stops with
            return f"{type(error).__name__}: {error}"
        return own, made

    def case(self, row: Any, sample: Any, kept: bool, name: str, chosen: Mapping[str, Any], prepare: Any) -> Case:
        return Case(row, sample, name, chosen, self.theirs(sample, chosen, prepare()), kept)

    def theirs(self, sample: Any, chosen: Mapping[str, Any], prepared: Any) -> Theirs:
        if isinstance(prepared, str):
            return Theirs(error=prepared)
        tokenizer, function = prepared
        messages = [message.as_dict() for message in sample.messages]
        tools = json.loads(sample.tools) if sample.tools else None
        try:
            text = tokenizer.apply_chat_template(messages, tools=tools, tokenize=False)
        except Exception as error:  # whatever the template raises
            return Theirs(error=f"{type(error).__name__}: {error}")
        ids = tokenizer(text, add_special_tokens=False)["input_ids"][: chosen.get("max_length", 2048)]
        labels = function({"input_ids": [ids]})["labels"][0]
        return Theirs(ids, labels) if any(label != IGNORED for label in labels) else Theirs()


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
    return row in (1, 2, 12, 13, 18) if chosen else row not in (9, 10, 11) and row < 34
