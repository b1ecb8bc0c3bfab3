"""Rows for comparing presets with the trainers' own code, and tokenizers that know every family's special tokens."""

from __future__ import annotations

import json
import random
from functools import cache
from typing import Any

from transformers import PreTrainedTokenizerFast

from core.plugins import kind
from core.presets import _llama_factory_slots as slots
from core.types import Sample, content_hash
from tests.presets import families

# Tokens of chat templates, beside the stop words and slots of LLaMA-Factory's.
CHAT_TOKENS = (
    "<s>", "</s>", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|eot_id|>", "<|start_header_id|>",
    "<|end_header_id|>", "<|begin_of_text|>", "<|end_of_text|>", "<|user|>", "<|assistant|>", "<|system|>",
    "<start_of_turn>", "<end_of_turn>", "<｜User｜>", "<｜Assistant｜>", "[INST]", "[/INST]", "<unused0>",
)  # fmt: skip


@cache
def _tokens() -> tuple[str, ...]:
    texts = dict.fromkeys(CHAT_TOKENS)
    for name in slots.template_names():
        template = slots.named_template(name)
        texts |= dict.fromkeys(template.stop)
        parts = (template.user, template.assistant, template.system, template.observation, template.prefix)
        texts |= {
            slot["token"]: None for part in parts for slot in part if not isinstance(slot, str) and "token" in slot
        }
    return tuple(texts)


def tokenizer(name: str) -> PreTrainedTokenizerFast:
    """``slots``: knows every token that a template of LLaMA-Factory needs; other names are families."""
    if name != "slots":
        return families.tokenizer(name)
    backend = families._byte_level(_tokens(), ("<think>", "</think>", "<tool_call>", "</tool_call>"), None, False)
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", pad_token="<unused0>")


def sample_of(row: dict[str, Any], number: int = 0) -> Sample:
    """The row as Lacuna reads it: ``conversations`` as ShareGPT, ``instruction`` as Alpaca, else messages or text.

    Raises:
        RowError: the row is rejected.
    """
    names = {"conversations": "sharegpt", "instruction": "alpaca", "prompt": "prompt_completion", "text": "text"}
    name = next((form for column, form in names.items() if column in row), "messages")
    form = kind("formats", name)
    raw = json.dumps(row, ensure_ascii=False).encode()
    _, mapping = form.find({column: [value] for column, value in row.items()})
    read = form.parse(json.loads(raw), mapping)
    messages = tuple(read.messages)
    key = content_hash(messages, read.shape, read.tools)
    return Sample(f"{key[:12]}-{number}", number, number, messages, read.shape, read.tools, None, None, key, raw)


_WORDS = ("river", "lantern", "harbour", "Zürich", "café", "東京", "42 apples", "counts 1,234", "don't", "  blank ",
          "\n", "a\tb", "🦉", "### User:", "<|im_end|>", "{{content}}", "</s>", "assistant", ".", "is")  # fmt: skip
_TOOL = {
    "type": "function",
    "function": {
        "name": "tide",
        "description": "When the tide is high",
        "parameters": {
            "type": "object",
            "properties": {
                "port": {"type": "string", "description": "The port", "enum": ["Oslo", "Bergen"]},
                "days": {"type": "array", "items": {"type": "integer"}},
            },
            "required": ["port"],
        },
    },
}
_BARE_TOOL = {**_TOOL["function"], "name": "wind", "parameters": {"type": "object", "properties": {}}}
_CALL = {"name": "tide", "arguments": {"port": "Bergen", "days": [1, 2], "exact": True, "note": "é"}}


def made_up(seed: int = 7, n: int = 60) -> list[dict[str, Any]]:
    """Rows of every kind that trainers treat apart: turns, tools, reasoning, odd orders, empty and long answers."""
    rng = random.Random(seed)

    def words(most: int) -> str:
        text = " ".join(rng.choice(_WORDS) for _ in range(rng.randint(1, most)))
        return text if text.strip() else "so"

    rows: list[dict[str, Any]] = [*_by_hand()]
    while len(rows) < n:
        turns = []
        for _ in range(rng.randint(1, 4)):
            turns += [("user", words(12)), ("assistant", _reasoned(rng, words(14)))]
        system = [("system", words(6))] if rng.random() < 0.4 else []
        match rng.randint(0, 2):
            case 0:
                rows.append({"messages": [{"role": r, "content": c} for r, c in [*system, *turns]]})
            case 1:
                names = {"user": "human", "assistant": "gpt", "system": "system"}
                rows.append({"conversations": [{"from": names[r], "value": c} for r, c in [*system, *turns]]})
            case _:
                history = [[turns[i][1], turns[i + 1][1]] for i in range(0, len(turns) - 2, 2)]
                rows.append({
                    "instruction": turns[-2][1], "input": words(4) if rng.random() < 0.5 else "",
                    "output": turns[-1][1], "system": system[0][1] if system else "", "history": history,
                })  # fmt: skip
    return rows


def _reasoned(rng: random.Random, text: str) -> str:
    return f"<think>\nIt {text[:9]}\n</think>\n\n{text}" if rng.random() < 0.2 else text


def _by_hand() -> list[dict[str, Any]]:
    def chat(*turns: tuple[str, str]) -> dict[str, Any]:
        return {"messages": [{"role": r, "content": c} for r, c in turns]}

    long = "the river crosses the harbour " * 12
    call = json.dumps(_CALL, ensure_ascii=False)
    calls = {"type": "function", "function": _CALL}
    with_tools = [
        {"from": "human", "value": "How high is it?"},
        {"from": "function_call", "value": call},
        {"from": "observation", "value": '{"high": "12:30"}'},
        {"from": "gpt", "value": "At 12:30."},
    ]
    return [
        chat(("user", "One?"), ("assistant", "two")),
        chat(("system", "Be brief."), ("user", "One?"), ("assistant", "two"), ("user", "Three?"), ("assistant", "4")),
        chat(("user", "a"), ("assistant", "<think>\nIt is so.\n</think>\n\nb"), ("user", "c"), ("assistant", "d")),
        chat(("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "<think>\nNo.\n</think>\n\nd")),
        chat(("user", "a"), ("user", "b"), ("assistant", "c")),
        chat(("user", "a"), ("assistant", "b"), ("user", "c")),
        chat(("assistant", "a"), ("user", "b"), ("assistant", "c")),
        chat(("user", "a"), ("assistant", "b"), ("assistant", "c")),
        chat(("user", "empty"), ("assistant", "")),
        chat(("user", long), ("assistant", "short")),
        chat(("user", "short"), ("assistant", long)),
        chat(("user", long), ("assistant", long)),
        chat(("user", "a"), ("assistant", long), ("user", long), ("assistant", "b"), ("user", "c"), ("assistant", "d")),
        chat(("user", "a"), ("assistant", "b<|im_end|>c</s>d"), ("user", "\n\n{{content}}"), ("assistant", " e \n")),
        {"conversations": with_tools, "tools": json.dumps([_TOOL, _BARE_TOOL])},
        {"conversations": with_tools, "tools": "[]"},
        {"conversations": with_tools, "tools": "", "system": "Be brief."},
        {
            "conversations": [
                with_tools[0],
                {"from": "function_call", "value": f"<think>\nI look.\n</think>\n\n{call}"},
                *with_tools[2:],
            ],
            "tools": json.dumps([_TOOL]),
        },
        {
            "conversations": [
                with_tools[0],
                {"from": "function_call", "value": f"I look. <tool_call>{call}</tool_call>"},
                *with_tools[2:],
            ],
            "tools": json.dumps([_BARE_TOOL]),
        },
        {
            "messages": [
                {"role": "user", "content": "How high?"},
                {"role": "assistant", "content": "", "tool_calls": [calls, calls]},
                {"role": "tool", "content": "12:30"},
                {"role": "tool", "content": "0:45"},
                {"role": "assistant", "content": "At 12:30 and 0:45."},
            ]
        },
        {
            "messages": [
                {"role": "user", "content": "One?", "training": True},
                {"role": "assistant", "content": "two", "training": False},
                {"role": "user", "content": "Three?"},
                {"role": "assistant", "content": "four", "training": True},
            ]
        },
        {
            "messages": [
                {"role": "user", "content": "One?"},
                {
                    "role": "assistant",
                    "content": "the river crosses the harbour",
                    "detail": [
                        {"begin_offset": 0, "end_offset": 8, "train": True},
                        {"begin_offset": 9, "end_offset": 28, "train": False},
                    ],
                },
                {"role": "user", "content": "Three?"},
                {"role": "assistant", "content": "four", "detail": []},
            ]
        },
        {
            "messages": [
                {"role": "user", "content": "How high?"},
                {"role": "assistant", "content": "It is so.", "reasoning_content": "The river is low."},
                {"role": "user", "content": "And now?"},
                {"role": "assistant", "content": "It is not so.", "reasoning_content": "The river is high."},
            ]
        },
        {"instruction": "Correct it.", "input": "freind", "output": "friend"},
        {"instruction": "Correct it.", "input": "", "output": "It is right.", "history": [["a", "b"]]},
    ]
