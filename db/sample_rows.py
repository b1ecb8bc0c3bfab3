"""A sample as rows of two tables, and back."""

from __future__ import annotations

import json
from dataclasses import fields
from operator import attrgetter
from typing import Any

from sqlalchemy import Row

from core.types import Message, Sample, Tokens
from db.text import folded, storable

# Characters of prompt and response kept beside the columns, for tables.
PREVIEW = 300
# A message as the list of its fields: dataclasses.asdict copies deeply and took a third of an import's time.
_as_list = attrgetter(*(f.name for f in fields(Message)))


def row_of(dataset_id: int, sample: Sample) -> dict[str, Any]:
    """The row of ``samples``; ``copies`` is counted when the dataset is complete."""
    prompt, response = sample.prompt, sample.response
    return {
        "dataset_id": dataset_id,
        "ordinal": sample.ordinal,
        "sid": storable(sample.id),
        "row": sample.row,
        "content_hash": sample.content_hash,
        "stage": None if sample.stage is None else storable(sample.stage),
        "source": None if sample.source is None else storable(sample.source),
        "shape": sample.shape,
        "n_turns": sum(m.role in ("assistant", "text") for m in sample.messages),
        "prompt_chars": len(prompt),
        "response_chars": len(response),
        "prompt": storable(prompt[:PREVIEW]),
        "response": storable(response[:PREVIEW]),
        "copies": 1,
    }


def body_of(dataset_id: int, sample: Sample) -> dict[str, Any]:
    """The row of ``sample_bodies``."""
    messages = [_as_list(m) for m in sample.messages]
    body: dict[str, Any] = {"messages": messages, "tools": sample.tools, "notes": sample.notes}
    if sample.tokens is not None:
        body["tokens"] = [sample.tokens.ids, "".join("01"[trained] for trained in sample.tokens.trained)]
    text = json.dumps(body, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate; escaped it goes there and back
        text = json.dumps(body)
    words = [sample.id, *(part for m in sample.messages for part in (m.content, m.tool_calls)), sample.tools]
    return {
        "dataset_id": dataset_id,
        "ordinal": sample.ordinal,
        "search": folded("\n".join(w for w in words if w)),
        "body": text,
        "raw": sample.raw,
    }


def sample_of(row: Row[Any]) -> Sample:
    """The sample that a joined row of both tables holds."""
    body = json.loads(row.body)
    return Sample(
        id=row.sid,
        row=row.row,
        ordinal=row.ordinal,
        messages=tuple(Message(*m) for m in body["messages"]),
        shape=row.shape,
        tools=body["tools"],
        stage=row.stage,
        source=row.source,
        content_hash=row.content_hash,
        raw=row.raw,
        notes=tuple(body["notes"]),
        tokens=_tokens(body.get("tokens")),
    )


def _tokens(stored: list[Any] | None) -> Tokens | None:
    return None if stored is None else Tokens(tuple(stored[0]), tuple(mark == "1" for mark in stored[1]))
