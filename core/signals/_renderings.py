"""One row under other renderings than the run's: what trainers and servers commonly do otherwise.

Scored is the last answer's text alone, without its stop token, so that the same characters are compared under every
rendering. ``l`` tokens of a row, ``t`` scored ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from core.errors import UserError
from core.rendering.render import pieces, render_chat, render_joined
from core.types import Message, Sample, Supervision

THINK = "<think>\n\n</think>\n\n"
SYSTEM = "You are a helpful assistant."
Turns = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class View:
    """Token ids (l,) and scored positions (t,), ascending, each at least 1."""

    ids: np.ndarray
    positions: np.ndarray


def _chatml(turns: Turns) -> str:
    return "".join(f"<|im_start|>{r}\n{c}<|im_end|>\n" for r, c in turns) + "<|im_start|>assistant\n"


def _llama3(turns: Turns) -> str:
    text = "".join(f"<|start_header_id|>{r}<|end_header_id|>\n\n{c}<|eot_id|>" for r, c in turns)
    return text + "<|start_header_id|>assistant<|end_header_id|>\n\n"


def _gemma(turns: Turns) -> str:
    text = "".join(f"<start_of_turn>{'model' if r == 'assistant' else 'user'}\n{c}<end_of_turn>\n" for r, c in turns)
    return text + "<start_of_turn>model\n"


def _headings(turns: Turns) -> str:
    return "".join(f"### {r.capitalize()}:\n{c}\n" for r, c in turns) + "### Assistant:\n"


def _alpaca(turns: Turns) -> str:
    lead = "Below is an instruction that describes a task. Write a response that appropriately completes the request."
    names = {"assistant": "Response", "user": "Instruction"}
    return lead + "".join(f"\n\n### {names.get(r, 'Input')}:\n{c}" for r, c in turns) + "\n\n### Response:\n"


def _vicuna(turns: Turns) -> str:
    names = {"assistant": "ASSISTANT: ", "user": "USER: "}
    return " ".join(f"{names.get(r, '')}{c}" for r, c in turns) + " ASSISTANT:"


def _inst(turns: Turns) -> str:
    return " ".join(c if r == "assistant" else f"[INST] {c} [/INST]" for r, c in turns)


def _question(turns: Turns) -> str:
    return "".join(f"{'Answer' if r == 'assistant' else 'Question'}: {c}\n" for r, c in turns) + "Answer:"


def _contents(turns: Turns) -> str:
    return "\n".join(c for _, c in turns)


# Name to (prompt before the last answer, what joins it to the answer, tokens it needs).
TEXTS: dict[str, tuple[Callable[[Turns], str], str, tuple[str, ...]]] = {
    "chatml": (_chatml, "", ("<|im_start|>", "<|im_end|>")),
    "llama3": (_llama3, "", ("<|start_header_id|>", "<|eot_id|>")),
    "gemma": (_gemma, "", ("<start_of_turn>", "<end_of_turn>")),
    "headings": (_headings, "", ()),
    "alpaca": (_alpaca, "", ()),
    "vicuna": (_vicuna, " ", ()),
    "inst": (_inst, " ", ()),
    "question": (_question, " ", ()),
    "line": (_contents, "\n", ()),
    "space": (_contents, " ", ()),
    "bare": (_contents, "", ()),
}
LABELS = {
    "chatml": "ChatML", "llama3": "the Llama 3 template", "gemma": "the Gemma template",
    "headings": "'### User: / ### Assistant:' headings", "alpaca": "the Alpaca prompt", "vicuna": "the Vicuna prompt",
    "inst": "[INST] marks", "question": "'Question: / Answer:'", "line": "question and answer on two lines",
    "space": "question and answer joined by a space", "bare": "question and answer joined as they are",
    "system_added": f"the system prompt '{SYSTEM}'", "system_dropped": "no system prompt",
    "bos_added": "one more beginning-of-sequence token", "bos_removed": "one beginning-of-sequence token less",
    "think_added": "an empty think block before the answer", "think_removed": "no think block before the answer",
    "packed": "the row before it in front", "tokenizer_other": "the other reading of the folder's tokenizer",
    "tokenizer_base": "the base model's tokenizer",
}  # fmt: skip
NAMES = ("current", "rest", *LABELS)


def last_answer(supervision: Supervision, n_tokens: int) -> View | None:
    """The row as the run renders it; None where its last answer is missing or cut."""
    if not supervision.turns or supervision.cut_target:
        return None
    turn = supervision.turns[-1]
    stop = turn.stop - 1 if turn.has_stop_token else turn.stop
    at = np.arange(max(turn.start, 1), stop)
    return View(supervision.ids, at) if at.size and len(supervision.ids) <= n_tokens else None


def inserted(view: View, place: int, ids: Sequence[int]) -> View:
    """The row with ``ids`` before position ``place``; the same tokens are scored."""
    at = view.positions + np.where(view.positions >= place, len(ids), 0)
    return View(np.concatenate([view.ids[:place], np.asarray(ids, dtype=np.int64), view.ids[place:]]), at)


def without(view: View, start: int, stop: int) -> View | None:
    """The row without positions ``start`` to ``stop``, which are not scored; None where nothing is left to score."""
    at = view.positions[(view.positions < start) | (view.positions >= stop)]
    at = at - np.where(at >= stop, stop - start, 0)
    ids = np.concatenate([view.ids[:start], view.ids[stop:]])
    return View(ids, at[at >= 1]) if (at >= 1).any() else None


def id_views(view: View, tokenizer: Any, before: np.ndarray | None) -> dict[str, View]:
    """Renderings that put tokens in or take them out: beginning of sequence, think block, a neighbour in front."""
    first = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    out: dict[str, View] = {}
    if first is not None:
        out["bos_added"] = inserted(view, 0, [first])
        less = without(view, 0, 1) if int(view.ids[0]) == first else None
        # Position 0 is never scored, so losing it must not lose what both renderings score.
        if less is not None and len(less.positions) == len(view.positions):
            out["bos_removed"] = less
    start = int(view.positions[0])
    thought = _think_block(view, tokenizer)
    if thought is None:
        out["think_added"] = inserted(view, start, tokenizer.encode(THINK, add_special_tokens=False))
    else:
        rest = View(view.ids, view.positions[view.positions >= thought[1]])
        if rest.positions.size and (removed := without(rest, *thought)) is not None:
            out["rest"], out["think_removed"] = rest, removed
    if before is not None and len(before):
        out["packed"] = inserted(view, 0, before.tolist())
    return out


def _think_block(view: View, tokenizer: Any) -> tuple[int, int] | None:
    """Where a think block stands at the start of the answer: [start, stop) in positions, None where there is none.

    Looked for in the answer itself and right before it, where templates write an empty one. A tokenizer that does not
    know the marks spells them, so they may take a dozen tokens; one that the user wrote about is followed by more.
    """
    start = max(0, int(view.positions[0]) - 24)
    texts = pieces(tokenizer, view.ids[start:])
    whole = "".join(texts)
    answer = len("".join(texts[: int(view.positions[0]) - start]))
    opened, closed = whole.rfind("<think>", 0, answer), whole.rfind("</think>", 0, answer)
    if opened < 0 or closed < opened or whole[closed + len("</think>") : answer].strip():
        opened, closed = whole.find("<think>", answer), whole.find("</think>", answer)
    if opened < 0 or closed < opened:
        return None
    ends = np.cumsum([len(t) for t in texts])
    stop = closed + len("</think>")
    while stop < len(whole) and whole[stop].isspace():
        stop += 1
    first, last = int(np.searchsorted(ends, opened, side="right")), int(np.searchsorted(ends, stop, side="left"))
    return start + first, start + last + 1


def text_views(sample: Sample, tokenizer: Any, current: View) -> dict[str, View]:
    """The row through other templates than its own, written as text; those that give the same ids are left out."""
    turns, answer = _turns(sample)
    if not answer.strip() or sample.shape == "text" or sample.tools:
        return {}
    vocabulary = tokenizer.get_added_vocab()
    out = {}
    for name, (write, join, needed) in TEXTS.items():
        if any(token not in vocabulary for token in needed):
            continue
        rendered = render_joined(write(turns) + join, answer, tokenizer, None)
        if not rendered.turns:
            continue
        turn = rendered.turns[0]
        view = View(rendered.ids, np.arange(max(1, turn.start), turn.stop))
        n = int(current.positions[-1]) + 1
        if view.positions.size and not np.array_equal(view.ids, current.ids[:n]):
            out[name] = view
    return out


def _turns(sample: Sample) -> tuple[list[tuple[str, str]], str]:
    """The turns before the last answer, and that answer."""
    last = max((i for i, m in enumerate(sample.messages) if m.role == "assistant"), default=-1)
    return [(m.role, m.content) for m in sample.messages[: max(last, 0)]], sample.messages[last].content


def system_views(sample: Sample, tokenizer: Any, options: Mapping[str, Any]) -> dict[str, View]:
    """The row under its own template with a system prompt it lacks, or without the one it has."""
    if sample.shape != "chat":
        return {}
    has = sample.messages[0].role == "system"
    name = "system_dropped" if has else "system_added"
    messages = sample.messages[1:] if has else (Message("system", SYSTEM), *sample.messages)
    try:
        rendered = render_chat(messages, tokenizer, tools=sample.tools, **options)
    except UserError:
        return {}
    if not rendered.turns:
        return {}
    turn = rendered.turns[-1]
    stop = turn.stop - 1 if turn.has_stop_token else turn.stop
    at = np.arange(max(1, turn.start), stop)
    return {name: View(rendered.ids, at)} if at.size else {}


def within(view: View, limit: int | None, size: int | None) -> View | None:
    """The view where the model can take it, as far as is known: inside the context, every id in the vocabulary."""
    if (limit is not None and len(view.ids) > limit) or (size is not None and int(view.ids.max()) >= size):
        return None
    return replace(view, ids=np.ascontiguousarray(view.ids, dtype=np.int64))
