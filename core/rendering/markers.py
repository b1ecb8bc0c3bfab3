"""Generation markers put into a chat template that has none.

``{% generation %}`` says which part of a rendered conversation the model wrote; trainers that put loss on answers only
look for it. A template is a program, and no rule reads all of them. So every output that holds the content of a turn is
cut in two, and the second half is marked where the turn is the assistant's. Both templates then render some plain
conversations. The new one counts only where all texts are equal and each answer is marked with the end of its turn.

Calls of tools, reasoning and content in parts are rendered by other statements, which are not looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from core.rendering.templates import Chat, Text, render_chats

_FOR = re.compile(r"\{%[-+]?\s*for\s+(\w+)\s+in\b")
_END_FOR = re.compile(r"\{%[-+]?\s*endfor\b")
_RAW = re.compile(r"\{%[-+]?\s*raw\b")
_CONTENT = re.compile(r"\bcontent\b")
# message['content'], message.content, messages[i]["content"]: what stands before is the turn.
_TURN = re.compile(r"(\w+(?:\[\w+\])?)(?:\.content\b|\[(['\"])content\2\])")
# What binds less than a sum: "a + content if b else c".
_LOOSER = re.compile(r"\b(?:if|or|and|not|in|is)\b|[<>=!]")
# Templates of known models have some thousand characters and a few such outputs; a stranger's may have any number.
_LONGEST, _MOST_OUTPUTS = 100_000, 50


def with_generation_markers(template: str) -> str | None:
    """The template with markers around what the model wrote, for conversations of plain text.

    Returns:
        None where no place for them was found that leaves the texts of the probes as they are and marks every answer
        to the end of its turn.
    """
    if len(template) > _LONGEST or _RAW.search(template) or not _is_unicode(template):
        return None
    texts = _rendered(template)
    if texts is None:
        return None
    blocks = list(_blocks(template))
    # The end of a turn may be an output of its own, or plain text, behind the content.
    for up_to_statement in (False, True):
        marked = _marked(template, blocks, up_to_statement)
        if marked is not None and _keeps(texts, marked):
            return marked
    return None


def _is_unicode(template: str) -> bool:
    try:
        template.encode()
    except UnicodeEncodeError:  # half a surrogate pair could not be written to a file
        return False
    return True


# ------------------------------------------------------------------------------------------------------- the source


@dataclass(frozen=True, slots=True)
class _Block:
    """``{{ … }}``, ``{% … %}`` or ``{# … #}`` in ``source[start:end]``; ``kind`` is its second character."""

    kind: str
    start: int
    end: int


def _blocks(source: str) -> Iterator[_Block]:
    position = 0
    while (start := source.find("{", position)) >= 0:
        kind = source[start + 1 : start + 2]
        if kind == "#":
            end = source.find("#}", start + 2)
            end = len(source) if end < 0 else end + 2
        elif kind in ("{", "%"):
            end = _closed(source, start + 2, "}}" if kind == "{" else "%}")
        else:
            position = start + 1
            continue
        yield _Block(kind, start, end)
        position = end


def _closed(source: str, start: int, closing: str) -> int:
    """The position behind ``closing``, outside string literals and inner brackets."""
    for position, depth in _code(source, start):
        if depth == 0 and source.startswith(closing, position):
            return position + 2
    return len(source)


def _code(source: str, position: int) -> Iterator[tuple[int, int]]:
    """(position, open brackets) of each character outside string literals."""
    depth, quote = 0, ""
    while position < len(source):
        character = source[position]
        if quote:
            if character == "\\":
                position += 1
            elif character == quote:
                quote = ""
        elif character in "'\"":
            quote = character
        else:
            if character in "([{":
                depth += 1
            yield position, depth
            if character in ")]}":
                depth = max(0, depth - 1)
        position += 1


def _marked(source: str, blocks: Sequence[_Block], up_to_statement: bool) -> str | None:
    """The source with every output of content wrapped; None where there are none, or too many."""
    loops: list[str] = []
    parts: list[str] = []
    done = count = 0
    for i, block in enumerate(blocks):
        text = source[block.start : block.end]
        if block.kind == "%":
            if found := _FOR.match(text):
                loops.append(found[1])
            elif _END_FOR.match(text) and loops:
                loops.pop()
        if block.kind != "{" or block.start < done or not loops or (halves := _cut(text)) is None:
            continue
        count += 1
        if count > _MOST_OUTPUTS:
            return None
        before, written = halves
        end, control = block.end, ""
        if up_to_statement:
            end = next((b.start for b in blocks[i + 1 :] if b.kind == "%"), len(source))
            written += source[block.end : end]
            control = source[end + 2 : end + 3] if source[end + 2 : end + 3] in ("-", "+") else ""
        turn = _TURN.search(written)
        parts += [source[done : block.start], _wrapped(before, written, turn[1] if turn else loops[-1], control)]
        done = end
    return "".join((*parts, source[done:])) if count else None


def _cut(output: str) -> tuple[str, str] | None:
    """``{{ a + content + b }}`` as ``{{ a }}`` (or nothing) and ``{{ content + b }}``; None where it has no content."""
    left = 3 if output[2:3] in ("-", "+") else 2
    right = len(output) - (3 if output[-3:-2] in ("-", "+") else 2)
    body = output[left:right]
    top = [position for position, depth in _code(body, 0) if depth == 0]
    joints = [position for position in top if body[position] in "+~"]
    terms = list(zip([0, *(j + 1 for j in joints)], [*joints, len(body)], strict=True))
    first = next((n for n, (start, end) in enumerate(terms) if _is_content(body[start:end])), None)
    if first is None or (
        first and _LOOSER.search("".join(body[p] if p in set(top) else " " for p in range(len(body))))
    ):
        return None
    opening, closing = output[:left], output[right:]
    if not first:
        return "", output
    before = body[: terms[first - 1][1]].rstrip()
    return f"{opening}{before} }}}}", f"{{{{ {body[terms[first][0] :].strip()} {closing}"


def _is_content(term: str) -> bool:
    """Whether it names the content, not only in a string literal that is all of it."""
    text = term.strip()
    literal = text[:1] in ("'", '"') and not any(True for _ in _code(text, 0))
    return bool(_CONTENT.search(text)) and not literal


def _wrapped(before: str, written: str, turn: str, control: str) -> str:
    """What stands in place of an output: its second half, marked where the turn is the assistant's.

    Whitespace control on the outermost tags keeps the white space around them as it was around the output; ``control``
    is that of the statement behind it.
    """
    opening = "" if before else ("-" if written.startswith("{{-") else "+")
    closing = "-" if written.endswith("-}}") else "+"
    return (
        f"{before}{{%{opening} if {turn}['role'] == 'assistant' %}}{{% generation %}}{written}"
        f"{{%{control} endgeneration %}}{{% else %}}{written}{{%{control} endif {closing}%}}"
    )


# ------------------------------------------------------------------------------------------------------- the probes


def _turns(*roles: str) -> list[dict[str, str]]:
    return [{"role": role, "content": f"Qz{i} said."} for i, role in enumerate(roles)]


# The first two are what every template takes; one may refuse a system turn.
_PROBES = (
    _turns("user", "assistant"),
    _turns("user", "assistant", "user", "assistant"),
    _turns("system", "user", "assistant"),
    _turns("system", "user", "assistant", "user", "assistant"),
)
_CHATS = [Chat(probe) for probe in _PROBES] + [Chat(probe[:-1], True) for probe in _PROBES]
_BOS, _EOS = "<qz_bos>", "<qz_eos>"


def _rendered(template: str) -> list[Text | None] | None:
    """Each of the probes; None in place of one that the template refuses, and of all where it refuses the first two."""
    variables = {"bos_token": _BOS, "eos_token": _EOS, "unk_token": "<qz_unk>", "pad_token": "<qz_pad>"}
    texts = [t if isinstance(t, Text) else None for t in render_chats(template, _CHATS, variables=variables)]
    return texts if texts[0] and texts[1] else None


def _keeps(texts: Sequence[Text | None], marked: str) -> bool:
    """Whether it renders these texts, and marks every answer to the end of its turn."""
    others = _rendered(marked)
    if others is None:
        return False
    for chat, text, other in zip(_CHATS, texts, others, strict=True):
        if (text is None) != (other is None):
            return False
        if text is None or other is None:
            continue
        if text.text != other.text or not (chat.add_generation_prompt or _all_marked(chat, other)):
            return False
    return True


def _all_marked(chat: Chat, rendered: Text) -> bool:
    text = rendered.text
    spans = [(start, end) for start, end in rendered.generation if start < end]
    answers = [turn["content"] for turn in chat.messages if turn["role"] == "assistant"]
    if len(spans) != len(answers) or text[spans[-1][1] :].strip():
        return False
    written = [text[start:end] for start, end in spans]
    if not all(w.startswith(answer) for w, answer in zip(written, answers, strict=True)):
        return False
    ends = {w[len(answer) :].strip() for w, answer in zip(written, answers, strict=True)}
    if len(ends) != 1 or "" in ends:  # without an end a model would not learn to stop
        return False
    # What stands between an answer and the next question opens the first one too; the end of an answer does not.
    first, *later = [text.index(turn["content"]) for turn in chat.messages if turn["role"] == "user"]
    before, end_of_turn = text[:first], ends.pop().split()[-1]
    gaps = [text[end:start] for (_, end), start in zip(spans, later, strict=False)]
    return not before.rstrip().endswith(end_of_turn) and all(before.endswith(gap.lstrip()) for gap in gaps)
