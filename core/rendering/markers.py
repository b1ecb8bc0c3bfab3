"""Generation markers put into a chat template that has none.

``{% generation %}`` says which part of a rendered conversation the model wrote; trainers that put loss on answers only
look for it. Templates are programs, and no rule reads all of them. So markers are put where an output holds the content
of a turn, and what comes of it is rendered beside the template itself: it is taken only where every text stays the same
and every answer is marked from its first character to the end of its turn.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from core.rendering.templates import Chat, Text, render_chats

_ASSISTANT = "{message}['role'] == 'assistant'"
_FOR = re.compile(r"\{%[-+]?\s*for\s+(\w+)\s+in\b(.*)", re.S)
_END_FOR = re.compile(r"\{%[-+]?\s*endfor\b")
_CONTENT = re.compile(r"\bcontent\b")
_TERNARY = re.compile(r"\bif\b")
# Templates of known models have a few thousand characters; a stranger's may have any number.
_LONGEST = 100_000


@dataclass(frozen=True, slots=True)
class _Block:
    """``{{ … }}``, ``{% … %}`` or ``{# … #}``, told by ``kind``, the second character of them; source[start:end]."""

    kind: str
    start: int
    end: int


def with_generation_markers(template: str) -> str | None:
    """The template with markers around what the model wrote, None where no way was found that keeps every text."""
    if len(template) > _LONGEST or re.search(r"\{%[-+]?\s*raw\b", template):
        return None
    blocks = list(_blocks(template))
    # An end of turn may be an output of its own, or plain text, behind that of the content.
    for to_next_statement in (False, True):
        marked = _marked(template, blocks, to_next_statement)
        if marked != template and _keeps(template, marked):
            return marked
    return None


# ------------------------------------------------------------------------------------------------------- the source


def _blocks(source: str) -> Iterator[_Block]:
    at = 0
    while (start := source.find("{", at)) >= 0:
        kind = source[start + 1 : start + 2]
        if kind == "#":
            end = source.find("#}", start + 2)
            end = len(source) if end < 0 else end + 2
        elif kind in ("{", "%"):
            end = _closed(source, start + 2, "}}" if kind == "{" else "%}")
        else:
            at = start + 1
            continue
        yield _Block(kind, start, end)
        at = end


def _closed(source: str, at: int, closing: str) -> int:
    """The place behind ``closing``, outside texts and inner braces."""
    for place, depth in _bare(source, at):
        if depth == 0 and source.startswith(closing, place):
            return place + 2
    return len(source)


def _bare(source: str, at: int) -> Iterator[tuple[int, int]]:
    """(place, how many brackets are open there) of each character outside of quoted texts."""
    depth, quote = 0, ""
    while at < len(source):
        character = source[at]
        if quote:
            if character == "\\":
                at += 1
            elif character == quote:
                quote = ""
        elif character in "'\"":
            quote = character
        else:
            if character in "([{":
                depth += 1
            yield at, depth
            if character in ")]}":
                depth = max(0, depth - 1)
        at += 1


def _marked(source: str, blocks: list[_Block], to_next_statement: bool) -> str:
    loops: list[tuple[str, str]] = []
    parts, done = [], 0
    for i, block in enumerate(blocks):
        text = source[block.start : block.end]
        if block.kind == "%":
            if found := _FOR.match(text):
                loops.append((found[1], found[2]))
            elif _END_FOR.match(text) and loops:
                loops.pop()
        if block.kind != "{" or block.start < done or not loops:
            continue
        cut = _cut(text)
        if cut is None:
            continue
        end, cutting = block.end, ""
        if to_next_statement:
            end = next((b.start for b in blocks[i + 1 :] if b.kind == "%"), len(source))
            cutting = source[end + 2 : end + 3] if source[end + 2 : end + 3] in ("-", "+") else ""
        message = next((name for name, over in reversed(loops) if "message" in over), loops[-1][0])
        before, written = cut
        written += source[block.end : end]
        parts += [source[done : block.start], _both(before, written, message, cutting)]
        done = end
    return "".join((*parts, source[done:]))


def _cut(output: str) -> tuple[str, str] | None:
    """``{{ a + content + b }}`` as ``{{ a }}`` (or nothing) and ``{{ content + b }}``; None where it has no content."""
    left = 3 if output[2:3] in ("-", "+") else 2
    right = len(output) - (3 if output[-3:-2] in ("-", "+") else 2)
    body = output[left:right]
    places = [(place, depth) for place, depth in _bare(body, 0)]
    starts = [0, *(place + 1 for place, depth in places if depth == 0 and body[place] in "+~")]
    ends = [*(start - 1 for start in starts[1:]), len(body)]
    outside = "".join(body[place] if depth == 0 else " " for place, depth in places)
    first = next((n for n, (a, b) in enumerate(zip(starts, ends, strict=True)) if _is_content(body[a:b])), None)
    if first is None or _TERNARY.search(outside):
        return None
    opening, closing = output[:left], output[right:]
    before = f"{opening}{body[: ends[first - 1]].rstrip()} }}}}" if first else ""
    return before, f"{'{{' if first else opening} {body[starts[first] :].strip()} {closing}"


def _is_content(term: str) -> bool:
    text = term.strip()
    quoted = text[:1] in ("'", '"') and all(place == 0 for place, _ in _bare(text, 0))
    return bool(_CONTENT.search(text)) and not quoted


def _both(before: str, written: str, message: str, cutting: str) -> str:
    """What stands in place of an output: the written part marked where the turn is the model's, as it was elsewhere.

    ``cutting`` is the sign of the statement behind it, which says what becomes of the white space before it.
    """
    # A sign on the outermost tags keeps the white space around them as it was around the output.
    opening = "" if before else ("-" if written.startswith("{{-") else "+")
    closing = "-" if written.endswith("-}}") else "+"
    return (
        f"{before}{{%{opening} if {_ASSISTANT.format(message=message)} %}}{{% generation %}}{written}"
        f"{{%{cutting} endgeneration %}}{{% else %}}{written}{{%{cutting} endif {closing}%}}"
    )


# ------------------------------------------------------------------------------------------------------- the proof

_CALL = {"type": "function", "function": {"name": "qzcall", "arguments": {"qzkey": "qzvalue"}}}


def _turns(*roles: str) -> list[dict[str, object]]:
    return [{"role": role, "content": f"Qz{i} said."} for i, role in enumerate(roles)]


_PROBES: tuple[list[dict[str, object]], ...] = (
    _turns("user", "assistant"),
    _turns("user", "assistant", "user", "assistant"),
    _turns("system", "user", "assistant"),
    _turns("system", "user", "assistant", "user", "assistant"),
    [*_turns("user"), {"role": "assistant", "content": "Qz1 said.", "tool_calls": [_CALL]},
     {"role": "tool", "name": "qzcall", "content": "Qz2 said."}, *_turns("user", "user", "user", "assistant")[3:]],
)  # fmt: skip


def _keeps(template: str, marked: str) -> bool:
    """Whether both render the same, and every answer is marked, with the end of its turn."""
    chats = [Chat(probe) for probe in _PROBES] + [Chat(probe[:-1], True) for probe in _PROBES]
    variables = {"bos_token": "<qz_bos>", "eos_token": "<qz_eos>", "unk_token": "<qz_unk>", "pad_token": "<qz_pad>"}
    was, now = (render_chats(source, chats, variables=variables) for source in (template, marked))
    for chat, one, other in zip(chats, was, now, strict=True):
        if not isinstance(one, Text):
            continue  # a template may refuse a system turn, or calls
        if not isinstance(other, Text) or one.text != other.text:
            return False
        if not chat.add_generation_prompt and not _all_marked(chat, other):
            return False
    # A conversation of two questions and two answers is what every template takes.
    return isinstance(was[0], Text) and isinstance(was[1], Text)


def _all_marked(chat: Chat, rendered: Text) -> bool:
    text, spans = rendered.text, [span for span in rendered.generation if span[1] > span[0]]
    answers = [str(turn["content"]) for turn in chat.messages if turn["role"] == "assistant"]
    if len(spans) != len(answers) or text[spans[-1][1] :].strip():
        return False
    endings = set()
    for (start, end), answer in zip(spans, answers, strict=True):
        written = text[start:end]
        if not written.startswith(answer):
            return False
        ending = written[len(answer) :]
        if "qzcall" in ending:
            continue
        endings.add(ending.strip())
    calls = [at.start() for at in re.finditer("qzvalue", text)]
    return len(endings) == 1 and all(any(start <= at < end for start, end in spans) for at in calls)
