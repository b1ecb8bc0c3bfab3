"""Axolotl's own ``ChatTemplatePrompter`` and ``ChatTemplateStrategy`` on single rows."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from typing import Any

from bench._twins import IGNORED, Case, Rows, Theirs

PACKAGES = ("axolotl==0.19.0",)
FAMILIES = ("qwen2_5", "qwen3", "llama3", "marked", "olmo2")
VARIED: tuple[dict[str, Any], ...] = (
    {},
    {"train_on_inputs": True},
    {"roles_to_train": "assistant,user"},
    {"roles_to_train": "assistant,tool,system"},
    {"train_on_eos": "all"},
    {"train_on_eos": "last"},
    {"train_on_eos": "none"},
    {"eot_tokens": "<|im_end|>,<|eot_id|>", "train_on_eot": "all", "train_on_eos": "all"},
    {"eot_tokens": "<|im_end|>", "train_on_eot": "last", "train_on_eos": "turn"},
    {"sequence_len": 40},
    {"sequence_len": 40, "excess_length_strategy": "truncate"},
    {"sequence_len": 60, "excess_length_strategy": "raise"},
    {"message_field_training": "training"},
    {"message_field_training": "training", "message_field_training_detail": "detail", "train_on_inputs": True},
    {"drop_system_message": True},
    {"split_thinking": True},
)


class Trainer:
    def settings(self) -> Iterator[tuple[str, dict[str, Any]]]:
        logging.disable(logging.WARNING)
        for family in FAMILIES:
            for chosen in VARIED:
                yield family, dict(chosen)

    def prepared(self, tokenizers: Any, name: str, chosen: Mapping[str, Any], turns: str) -> Any:
        """The strategy for a tokenizer, settings and column of turns, or the text of the error."""
        from axolotl.prompt_strategies.chat_template import ChatTemplatePrompter, ChatTemplateStrategy

        own = copy.deepcopy(tokenizers(name))
        mappings = {"role": "from", "content": "value"} if turns == "conversations" else None
        prompter = ChatTemplatePrompter(
            own,
            own.chat_template,
            max_length=chosen.get("sequence_len", 512) + 1,
            message_property_mappings=mappings,
            message_field_training=chosen.get("message_field_training"),
            message_field_training_detail=chosen.get("message_field_training_detail"),
            field_messages=turns,
            drop_system_message=chosen.get("drop_system_message", False),
        )
        listed = {k: chosen[k].split(",") for k in ("roles_to_train", "eot_tokens") if k in chosen}
        try:
            return ChatTemplateStrategy(
                prompter,
                own,
                train_on_inputs=chosen.get("train_on_inputs", False),
                sequence_len=chosen.get("sequence_len", 512),
                roles_to_train=listed.get("roles_to_train", ["assistant"]),
                train_on_eos=chosen.get("train_on_eos", "turn"),
                train_on_eot=chosen.get("train_on_eot"),
                eot_tokens=listed.get("eot_tokens"),
                split_thinking=chosen.get("split_thinking", False),
            )
        except ValueError as error:
            return f"ValueError: {error}"

    def case(self, row: Any, sample: Any, kept: bool, name: str, chosen: Mapping[str, Any], prepare: Any) -> Case:
        return Case(row, sample, name, chosen, self.theirs(json.loads(json.dumps(row)), chosen, prepare), kept)

    def theirs(self, row: dict[str, Any], chosen: Mapping[str, Any], prepare: Callable[[str], Any]) -> Theirs:
        strategy = prepare("conversations" if "conversations" in row else "messages")
        if isinstance(strategy, str):
            return Theirs(error=strategy)
        longest, way = chosen.get("sequence_len", 512), chosen.get("excess_length_strategy", "drop")
        try:
            out = strategy.tokenize_prompt(row)
        except Exception as error:  # whatever it stops with
            return Theirs(error=f"{type(error).__name__}: {error}")
        # Its filters of whole datasets, said again: they pull in the whole trainer.
        ids, labels = out["input_ids"], out["labels"]
        if len(ids) > longest and way != "truncate":
            return Theirs(error=f"{len(ids)} tokens") if way == "raise" else Theirs()
        ids, labels = ids[:longest], labels[:longest]
        if len(ids) < 2 or all(label == IGNORED for label in labels):
            return Theirs()
        return Theirs(ids, labels)


def cases(rows: Rows, tokenizers: Any, kept_only: bool) -> Iterator[Callable[[], Case]]:
    """Every row of turns under every setting, each made when it is called for; or only those that become fixtures."""
    trainer = Trainer()
    for name, chosen in trainer.settings():
        prepare = cache(partial(trainer.prepared, tokenizers, name, chosen))
        for row, sample, kept in rows:
            if "instruction" in row or (kept_only and not (kept and _in_fixture(sample.row, chosen))):
                continue
            yield partial(trainer.case, row, sample, kept, name, chosen, prepare)


def _in_fixture(row: int, chosen: Mapping[str, Any]) -> bool:
    return row in (1, 3, 12, 18, 22, 23, 24) if chosen else row not in (9, 10, 11) and row < 32
