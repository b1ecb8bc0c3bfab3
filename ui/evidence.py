"""One sample's evidence: tokens with masks and loss, target against output, reasons.

Everything drawn here is row text or a model's output, so everything goes through ``ui.markup``.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from core.services.causes import look as cause_look
from core.services.views import ContradictionSide, FaultView, NeighbourView, TokenPiece
from core.text.counts import counted
from core.types import Finding, Look, Reason, Sample
from ui import charts, markup
from ui.markup import Node, node

# Tokens drawn at once; longer rows are read in parts.
WINDOW = 1500
# Words compared; beyond this the two texts stand side by side undivided.
WORDS = 1500
RAW_LIMIT = 200_000

STYLE = (Path(__file__).resolve().parent / "evidence.css").read_text()
_CHECKS = {"fail": ("✗", "#C54B37"), "warn": ("!", "#B8860B"), "unknown": ("?", "#8793A0"), "pass": ("✓", "#3E9B6E")}
_BINS = (0.1, 0.7, 2.3, 4.6)  # nats: p about 0.9, 0.5, 0.1, 0.01
_LEGEND = ("p ≥ 0.9", "≥ 0.5", "≥ 0.1", "≥ 0.01", "less")


def _draw(*parts: Node | str) -> None:
    markup.draw(node("div", *parts), STYLE)


def badges(looks: Iterable[tuple[Look, str]]) -> None:
    """Statuses or causes beside each other, each as a mark, a word and a colour, with a note."""
    cells: list[Node | str] = []
    for look, note in looks:
        style = f"background:{look.colour};color:{look.ink}"
        cells += [node("span", charts.label_of(look), class_="lac-status", style=style), f" {note}  "]
    _draw(*cells)


def text(value: str, heading: str = "") -> None:
    """Row text as it is, with its spaces and line breaks."""
    head = [node("div", heading, class_="lac-head")] if heading else []
    _draw(*head, node("div", markup.clip(value) or "(empty)", class_="lac-text"))


def reasons(listed: Iterable[Reason]) -> None:
    """Sentences of evidence, each marked as for, against or a note."""
    marks = {"for": "+", "against": "−", "note": "·"}
    cells = [
        cell
        for r in listed
        for cell in (
            node("span", marks[r.favours], class_="lac-mark", title=r.favours),
            node("span", markup.clip(r.text, 2000)),
        )
    ]
    _draw(node("div", *cells, class_="lac-reasons"))


def strengths(findings: Iterable[Finding]) -> None:
    """A bar a cause; what was not judged is said, never drawn as zero."""
    cells: list[Node | str] = []
    for finding in findings:
        look = cause_look(finding.cause)
        known = not math.isnan(finding.strength)
        fill = node("div", class_="lac-fill", style=f"width:{finding.strength:.1%};background:{look.colour}")
        cells.append(node("span", f"{look.mark} {look.label}"))
        cells.append(node("div", *([fill] if known else []), class_="lac-bar" if known else "lac-bar lac-none"))
        cells.append(node("span", f"{finding.strength:.2f}" if known else "not judged", class_="lac-number"))
    _draw(node("div", *cells, class_="lac-strengths"))


def _line(state: str, word: str, text: str, more: str) -> tuple[Node, Node]:
    mark, colour = _CHECKS[state]
    chip = node("span", f"{mark} {word}", class_="lac-chip", style=f"border-color:{colour};background:{colour}2E")
    return chip, node("span", markup.clip(text, 2000), node("span", f"  {more}", class_="lac-more"))


def checks(lines: Iterable[Mapping[str, Any]]) -> None:
    """A sanity card's lines, what needs attention first; unknown is never drawn as a pass."""
    cells: list[Node] = []
    for check in sorted(lines, key=lambda c: list(_CHECKS).index(c["state"])):
        more = " ".join(t for t in (check.get("measured"), check.get("todo")) if t)
        cells += _line(check["state"], check["state"], check["text"], more)
    _draw(node("div", *cells, class_="lac-checks"))


def faults(views: Iterable[FaultView]) -> None:
    """One line a fault: whether it explains the sample, what it says of the run, what would let it tell."""
    looks = {"explains": ("fail", "explains it"), "unknown": ("unknown", "cannot tell"), "no": ("pass", "does not")}
    cells: list[Node] = []
    for fault in views:
        text = f"{fault.label}. {fault.text}" if fault.text else fault.label
        cells += _line(*looks[fault.state], text, f"needs {fault.needs}" if fault.needs else "")
    _draw(node("div", *cells, class_="lac-checks"))


# --------------------------------------------------------------------------------------------------------- tokens


def loss_class(logprob: float) -> int:
    """0 (sure) to 4 (below one in a hundred): the bin of −logprob in nats."""
    return sum(-logprob > edge for edge in _BINS)


def _shown(piece: TokenPiece) -> str:
    return piece.text.replace("\n", "⏎\n").replace("\t", "⇥\t")


def _mask_piece(piece: TokenPiece) -> Node:
    names = ["lac-lost"] if piece.target and not piece.trained else ["lac-target"] if piece.target else []
    names += ["lac-trained"] if piece.trained else []
    words = [
        w for on, w in ((piece.target, "target"), (piece.trained, "trained on"), (not piece.trained, "no loss")) if on
    ]
    return node("span", _shown(piece), class_=" ".join(names) or "lac-off", title=f"id {piece.id}: {', '.join(words)}")


def _loss_piece(piece: TokenPiece) -> Node:
    if piece.logprob is None:
        return node("span", _shown(piece), class_="lac-off", title=f"id {piece.id}: not scored")
    names = f"lac-l{loss_class(piece.logprob)}" + (" lac-miss" if piece.hit is False else "")
    first = {True: "the model's first choice", False: "not the model's first choice", None: "first choice unknown"}
    title = f"id {piece.id}: log-probability {piece.logprob:.3f}, p {math.exp(piece.logprob):.3g}, {first[piece.hit]}"
    return node("span", _shown(piece), class_=names, title=title)


def _key(class_: str, sample: str, words: str) -> Node:
    return node("span", node("span", sample, class_=f"k {class_}"), words)


def mask_legend(pieces: Iterable[TokenPiece]) -> None:
    """What the masks' marks mean; a target without loss is explained where there is one."""
    legend = [
        _key("lac-target lac-trained", "abc", "target, trained on"),
        _key("lac-trained", "abc", "trained on, not target"),
        _key("lac-off", "abc", "context, no loss"),
    ]
    if any(p.target and not p.trained for p in pieces):
        legend.insert(1, _key("lac-lost", "abc", "target without loss: not supervised"))
    _draw(node("div", *legend, class_="lac-legend"))


def mask_strip(pieces: Sequence[TokenPiece], start: int = 0) -> None:
    """The rendered row with its special tokens, trained and target masks."""
    _draw(node("div", *map(_mask_piece, pieces[start : start + WINDOW]), class_="lac-strip"))


def loss_strip(pieces: Sequence[TokenPiece], start: int = 0) -> None:
    """The same tokens coloured by probability; a bar below marks what greedy decoding would get wrong."""
    legend = [_key(f"lac-l{i}", "abc", words) for i, words in enumerate(_LEGEND)]
    legend.append(_key("lac-miss", "abc", "not the first choice"))
    window = pieces[start : start + WINDOW]
    _draw(node("div", *legend, class_="lac-legend"), node("div", *map(_loss_piece, window), class_="lac-strip"))


def tokens_table(pieces: Sequence[TokenPiece], start: int = 0) -> list[dict[str, Any]]:
    """The strip as rows, for reading without colour."""
    return [
        {
            "place": start + i,
            "token": markup.line(markup.visible(p.text).replace("\n", "⏎").replace(" ", "␣"), 60),
            "id": p.id,
            "trained": p.trained,
            "target": p.target,
            "log-probability": p.logprob,
            "first choice": p.hit,
        }
        for i, p in enumerate(pieces[start : start + WINDOW])
    ]


# ----------------------------------------------------------------------------------------------------------- diff


def _words(value: str) -> list[str]:
    return re.findall(r"\s+|\w+|[^\w\s]", value)


def diff(target: str, output: str) -> tuple[Node, Node]:
    """Target and output with what differs marked: only in the target (deleted), only in the output (inserted)."""
    left, right = _words(markup.clip(target)), _words(markup.clip(output))
    if max(len(left), len(right)) > WORDS:
        plain = [node("div", markup.clip(t) or "(empty)", class_="lac-text") for t in (target, output)]
        return plain[0], plain[1]
    ours: list[Node | str] = []
    theirs: list[Node | str] = []
    for kind, a, b, c, d in difflib.SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        was, now = "".join(left[a:b]), "".join(right[c:d])
        if kind == "equal":
            ours.append(was)
            theirs.append(now)
            continue
        if was:
            ours.append(node("del", was))
        if now:
            theirs.append(node("ins", now))
    return (
        node("div", *(ours or ["(empty)"]), class_="lac-text"),
        node("div", *(theirs or ["(empty)"]), class_="lac-text"),
    )


def comparison(target: str, output: str, names: tuple[str, str] = ("Target", "Output")) -> None:
    """Target and output, or two other texts under those names, beside each other."""
    ours, theirs = diff(target, output)
    left, right = st.columns(2)
    with left:
        _draw(node("div", names[0], class_="lac-head"), ours)
    with right:
        _draw(node("div", names[1], class_="lac-head"), theirs)


# ----------------------------------------------------------------------------------------------------- neighbours


def neighbours(rows: Iterable[NeighbourView]) -> None:
    """Rows near the one looked at: how near, what they ask and answer, which words only one of the two has."""
    cells: list[Node | str] = [
        node("span", name, class_="lac-head") for name in ("same question", "cosine", "asks", "answers")
    ]
    for near in rows:
        words = [
            node("span", f"{sign} {' '.join(side[:4])}", class_="lac-more")
            for sign, side in (("only in this row:", near.left), ("only in that row:", near.right))
            if side
        ]
        asks = node("div", markup.line(near.prompt, 240), node("div", *words, class_="lac-only") if words else "")
        cells += [
            node("span", f"{near.same:.2f}"),
            node("span", f"{near.similarity:.2f}"),
            node("div", asks, node("span", f"id {markup.line(near.sid, 40)}", class_="lac-more")),
            node("span", markup.line(near.answer, 240)),
        ]
    _draw(node("div", *cells, class_="lac-near"))


def sides(
    shown: Sequence[ContradictionSide], question: str, final: str | None, base: str | None, most: int = 6
) -> None:
    """The answers of a group beside each other, what differs from the first one marked.

    Args:
        question: what stands above them; a side that asks in other words shows its own.
        final, base: the letter of the side that each takes.
    """
    cards: list[Node] = []
    total = sum(s.weight for s in shown) or 1.0
    for place, side in enumerate(shown[:most]):
        marks = [
            node("span", f"● the {who} gives this answer", class_="lac-takes")
            for who, taken in (("fine-tuned model", final), ("base", base))
            if taken == side.letter
        ]
        head = node(
            "div",
            node("span", side.letter, class_="lac-letter"),
            f"{counted(round(side.weight), 'row')} · {side.weight / total:.0%}",
            *marks,
            class_="lac-sidehead",
        )
        if len(shown) > 1:
            other = shown[1 if place == 0 else 0]
            ours, theirs = diff(shown[0].answer, side.answer if place else other.answer)
            answer = theirs if place else ours
        else:
            answer = node("div", markup.clip(side.answer) or "(empty)", class_="lac-text")
        prompts = [prompt for prompt in dict.fromkeys(prompt for prompt, _ in side.wordings) if prompt != question]
        wordings = [node("div", markup.line(p, 300), class_="lac-more") for p in prompts[:3]]
        if len(prompts) > 3:
            wordings.append(node("div", f"and {counted(len(prompts) - 3, 'more wording')}", class_="lac-more"))
        ids = ", ".join(f"{markup.line(sid, 24)} ({status})" for sid, status, _ in side.rows[:4])
        more = f" and {len(side.rows) - 4:,} more" if len(side.rows) > 4 else ""
        rows = node("div", f"{'Row' if len(side.rows) == 1 else 'Rows'} {ids}{more}", class_="lac-more")
        cards.append(node("div", head, answer, *wordings, rows, class_="lac-side"))
    _draw(node("div", *cards, class_="lac-sides"))


# ------------------------------------------------------------------------------------------------------------ raw


def conversation(messages: Iterable[tuple[str, str]], limit: int = markup.LIMIT) -> None:
    """Turns of a row before any template, (role, text) each, in one block."""
    cells: list[Node | str] = []
    for role, content in messages:
        cells.append(node("span", markup.line(role, 24), class_="lac-role"))
        cells.append(node("span", markup.clip(content, limit) or "(empty)", class_="lac-said"))
    _draw(node("div", *cells, class_="lac-talk"))


def turns(sample: Sample) -> list[tuple[str, str]]:
    """The turns of a sample for ``conversation``; tool calls stand below their text."""
    return [(m.role, "\n".join(p for p in (m.content, m.tool_calls) if p)) for m in sample.messages]


def raw(value: bytes) -> None:
    """The row as it came, not set anew: what is exported is this."""
    shown = markup.clip(value.decode("utf-8", "replace"), RAW_LIMIT)
    st.code(markup.visible(shown), language=None, wrap_lines=True, height="content" if len(shown) < 1500 else 320)
