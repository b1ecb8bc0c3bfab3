"""One sample's evidence: tokens with masks and loss, target against output, reasons.

Everything drawn here is row text or a model's output, so everything goes through ``ui.markup``.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

import streamlit as st

from core.services.views import TokenPiece
from core.types import Reason, Sample
from ui import charts, markup
from ui.markup import Node, node

# Tokens drawn at once; longer rows are read in parts.
WINDOW = 1500
# Words compared; beyond this the two texts stand side by side undivided.
WORDS = 1500
RAW_LIMIT = 200_000

STYLE = """
.lac-strip {font-family: var(--lac-mono); font-size: .82rem; line-height: 1.75; white-space: pre-wrap;
  overflow-wrap: anywhere; unicode-bidi: plaintext; max-height: 26rem; overflow-y: auto; padding: .5rem .6rem;
  border: 1px solid rgba(128,140,152,.35); border-radius: .3rem; --lac-mono: 'Source Code Pro', monospace}
.lac-strip span {padding: .08em 0; border-radius: 2px; unicode-bidi: isolate}
.lac-target {background: rgba(59,130,184,.26)}
.lac-trained {text-decoration: underline; text-decoration-thickness: 1.5px; text-underline-offset: 3px;
  text-decoration-color: rgba(128,140,152,.95)}
.lac-lost {background: rgba(200,80,60,.34); outline: 1px dashed rgba(200,80,60,.9)}
.lac-off {opacity: .62}
.lac-l0 {background: rgba(59,130,184,.16)} .lac-l1 {background: rgba(224,165,38,.20)}
.lac-l2 {background: rgba(224,165,38,.42)} .lac-l3 {background: rgba(200,80,60,.36)}
.lac-l4 {background: rgba(200,80,60,.62)}
.lac-miss {box-shadow: inset 0 -2px 0 currentColor}
.lac-legend {font-size: .82rem; opacity: .9; display: flex; flex-wrap: wrap; gap: .3rem 1.1rem; margin: .1rem 0 .35rem}
.lac-legend span.k {padding: 0 .5em; margin-right: .4em; border-radius: 2px; font-family: monospace}
.lac-text {white-space: pre-wrap; overflow-wrap: anywhere; unicode-bidi: plaintext; max-height: 22rem; overflow-y: auto;
  padding: .5rem .6rem; border: 1px solid rgba(128,140,152,.35); border-radius: .3rem; font-size: .92rem; margin: 0}
.lac-text del {background: rgba(200,80,60,.26); text-decoration: line-through}
.lac-text ins {background: rgba(59,130,184,.26); text-decoration: underline}
.lac-talk {display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .3rem .9rem; padding: .5rem .6rem;
  border: 1px solid rgba(128,140,152,.35); border-radius: .3rem; max-height: 22rem; overflow-y: auto}
.lac-role {opacity: .7; font-size: .82rem; padding-top: .1rem}
.lac-said {white-space: pre-wrap; overflow-wrap: anywhere; unicode-bidi: plaintext; font-size: .92rem}
.lac-head {font-size: .82rem; opacity: .8; margin: .2rem 0 .15rem}
.lac-reasons {margin: 0; padding: 0; list-style: none; overflow-wrap: anywhere}
.lac-reasons li {padding: .18rem 0 .18rem 1.4rem; text-indent: -1.4rem}
.lac-reasons b {display: inline-block; width: 1.4rem; text-indent: 0; font-weight: 600; opacity: .75}
.lac-status {display: inline-block; padding: .1rem .6rem; border-radius: .3rem; font-weight: 600; font-size: .95rem}
"""
_BINS = (0.1, 0.7, 2.3, 4.6)  # nats: p about 0.9, 0.5, 0.1, 0.01
_LEGEND = ("p ≥ 0.9", "≥ 0.5", "≥ 0.1", "≥ 0.01", "less")


def _draw(*parts: Node | str) -> None:
    markup.draw(node("div", *parts), STYLE)


def status(name: str, note: str = "") -> None:
    """The status as a mark, a word and a colour."""
    look = charts.STATUS[name]
    badge = node(
        "span", f"{look.mark} {look.label}", class_="lac-status", style=f"background:{look.colour};color:{look.ink}"
    )
    _draw(badge, f"  {note}" if note else "")


def text(value: str, heading: str = "") -> None:
    """Row text as it is, spaces and line feeds kept."""
    head = [node("div", heading, class_="lac-head")] if heading else []
    _draw(*head, node("div", markup.clip(value) or "(empty)", class_="lac-text"))


def reasons(found: Iterable[Reason]) -> None:
    """Sentences of evidence, each marked as for, against or a note."""
    marks = {"for": "+", "against": "−", "note": "·"}
    rows = [node("li", node("b", marks[r.favours], title=r.favours), markup.clip(r.text, 2000)) for r in found]
    _draw(node("ul", *rows, class_="lac-reasons"))


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
    first = "the model's first choice" if piece.hit else "not the model's first choice"
    title = f"id {piece.id}: log-probability {piece.logprob:.3f}, p {math.exp(piece.logprob):.3g}, {first}"
    return node("span", _shown(piece), class_=names, title=title)


def _key(class_: str, sample: str, words: str) -> Node:
    return node("span", node("span", sample, class_=f"k {class_}"), words)


def mask_strip(pieces: Sequence[TokenPiece], start: int = 0) -> None:
    """The rendered row with its special tokens, trained and target masks."""
    legend = [
        _key("lac-target lac-trained", "abc", "target, trained on"),
        _key("lac-trained", "abc", "trained on, not target"),
        _key("lac-off", "abc", "context, no loss"),
    ]
    if any(p.target and not p.trained for p in pieces):
        legend.insert(1, _key("lac-lost", "abc", "target without loss: not supervised"))
    window = pieces[start : start + WINDOW]
    _draw(node("div", *legend, class_="lac-legend"), node("div", *map(_mask_piece, window), class_="lac-strip"))


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


def comparison(target: str, output: str, source: str) -> None:
    """Target and output beside each other."""
    ours, theirs = diff(target, output)
    left, right = st.columns(2)
    with left:
        _draw(node("div", "Target", class_="lac-head"), ours)
    with right:
        _draw(node("div", f"Output ({source})" if source else "Output", class_="lac-head"), theirs)


# ------------------------------------------------------------------------------------------------------------ raw


def conversation(messages: Iterable[tuple[str, str]], limit: int = markup.LIMIT) -> None:
    """Turns of a row before any template, (role, text) each, in one block."""
    cells: list[Node | str] = []
    for role, said in messages:
        cells.append(node("span", markup.line(role, 24), class_="lac-role"))
        cells.append(node("span", markup.clip(said, limit) or "(empty)", class_="lac-said"))
    _draw(node("div", *cells, class_="lac-talk"))


def turns(sample: Sample) -> list[tuple[str, str]]:
    """The turns of a sample for ``conversation``; tool calls stand below their text."""
    return [(m.role, "\n".join(p for p in (m.content, m.tool_calls) if p)) for m in sample.messages]


def raw(value: bytes) -> None:
    """The row as it came, not set anew: what is exported is this."""
    shown = markup.clip(value.decode("utf-8", "replace"), RAW_LIMIT)
    st.code(markup.visible(shown), language=None, wrap_lines=True, height="content" if len(shown) < 1500 else 320)
