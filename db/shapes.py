"""What the JSON columns of a row from anyone's file must look like, so that every reader of them can trust them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

Shape = Callable[[Any], bool]
# Epoch seconds beyond which no date is believed: some clocks cannot show them.
LATEST = 2**33
LARGEST = 2**31 - 1


def text(value: Any) -> bool:
    """Text that every database takes: no NUL, no lone surrogates."""
    if not isinstance(value, str) or "\x00" in value:
        return False
    return value.isascii() or not any("\ud800" <= c <= "\udfff" for c in value)


def whole(value: Any) -> bool:
    """A number that counts something."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST


def number(value: Any) -> bool:
    """A finite number."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    return abs(value) < 2**1000 and math.isfinite(value)


def time(value: Any) -> bool:
    """Epoch seconds that a clock can show."""
    return number(value) and 0 <= value <= LATEST


def flag(value: Any) -> bool:
    return isinstance(value, bool)


def an_object(value: Any) -> bool:
    return isinstance(value, dict)


def optional(shape: Shape) -> Shape:
    return lambda value: value is None or shape(value)


def each(shape: Shape) -> Shape:
    """A list of such."""
    return lambda value: isinstance(value, list) and all(map(shape, value))


def by_name(shape: Shape) -> Shape:
    """An object with any names and such values."""
    return lambda value: isinstance(value, dict) and all(text(k) and shape(v) for k, v in value.items())


def pair(first: Shape, second: Shape) -> Shape:
    """A list of two."""
    return lambda value: isinstance(value, list) and len(value) == 2 and first(value[0]) and second(value[1])


def fields(needed: Mapping[str, Shape], more: Mapping[str, Shape] | None = None) -> Shape:
    """An object with these fields and perhaps ``more``; other fields are for the reader to refuse."""
    known = {**needed, **(more or {})}

    def fits(value: Any) -> bool:
        return (
            isinstance(value, dict)
            and needed.keys() <= value.keys()
            and all(known[name](own) for name, own in value.items() if name in known)
        )

    return fits


def exactly(needed: Mapping[str, Shape], more: Mapping[str, Shape] | None = None) -> Shape:
    """``fields`` without any others, as what is made into an object of ours needs them."""
    fits, names = fields(needed, more), {*needed, *(more or {})}
    return lambda value: fits(value) and value.keys() <= names


def _texts(*names: str) -> dict[str, Shape]:
    return dict.fromkeys(names, text)


_CHECK = exactly(_texts("code", "state", "text"), _texts("measured", "todo"))
_CARD = fields(
    {},
    {
        "facts": optional(fields({}, {"dtypes": optional(by_name(number)), "notes": each(text)})),
        "checks": each(_CHECK),
    },
)
_GAP = fields(_texts("lack", "backend") | {"labels": each(text), "columns": each(text)}, _texts("of"))
_FAULT = fields(_texts("code", "scope", "state"), _texts("label", "text", "measured", "needs") | {"n": optional(whole)})
_COUNTS = ("refused", "dropped", "truncated", "near_ties", "unsupervised", "foreign")
_SUMMARY = fields(
    {"status": by_name(whole)},
    {
        "nll_edges": optional(each(number)),
        "length_edges": optional(each(number)),
        "hidden": each(text),
        "card": optional(_CARD),
        "gaps": each(_GAP),
        "faults": each(_FAULT),
        "causes": optional(an_object),
        "losses": each(pair(whole, number)),
        "notes": each(text),
        **dict.fromkeys(_COUNTS, whole),
    },
)
_SERVER = exactly(_texts("url", "model", "flavour"), {"context_length": optional(whole), "probe": optional(number)})
_CHECKPOINT = exactly(
    _texts("path", "label", "fingerprint") | {"base": optional(text), "step": optional(whole)},
    _texts("tokenizer") | {"gives": each(text), "files": each(text), "server": optional(_SERVER)},
)
_SPEC = fields(
    _texts("dataset_fingerprint") | {"final": _CHECKPOINT},
    {
        "base": optional(_CHECKPOINT),
        "trajectory": each(_CHECKPOINT),
        "preset_settings": an_object,
        "scorer_settings": an_object,
        "versions": by_name(text),
        "paper_mode": flag,
        "max_draws": whole,
        "seed": whole,
        "max_new_tokens": whole,
        "decoding_temperature": number,
        "origin": text,
        "examples_rows": whole,
        "examples_fingerprint": text,
        **_texts("preset", "scorer", "dtype", "device", "encoder", "backend"),
    },
)
_REVIEW = fields(
    _texts("author", "reason") | {"status": optional(text), "cause": optional(text), "created": time},
)
_CHANGE = fields(
    _texts("sid") | {"ordinal": whole, "tags": each(text)},
    {"before": optional(_REVIEW), "after": each(optional(text))},
)
_GROUP = fields(
    {"number": whole, "parent": whole, "title": text, "terms": each(text), "size": whole, "region": whole,
     "lift": number},
)  # fmt: skip
_READING = exactly(_texts("container", "format") | {"mapping": by_name(text)})
# Of one routes run on samples of a run: what else its source may name are files of the machine that it comes from.
SOURCE = fields(_texts("kind"), _texts("filter", "words") | {"matching": whole})

SHAPES: Mapping[tuple[str, str], Shape] = {
    ("datasets", "files"): each(text),
    ("datasets", "reading"): _READING,
    ("datasets", "stages"): each(text),
    ("datasets", "sources"): each(text),
    ("datasets", "notes"): each(text),
    ("runs", "spec"): _SPEC,
    ("runs", "thresholds"): by_name(number),
    ("runs", "columns"): each(an_object),
    ("runs", "summary"): _SUMMARY,
    ("measures", "spec"): an_object,
    ("proofs", "request"): an_object,
    ("proofs", "arms"): by_name(an_object),
    ("proofs", "result"): optional(an_object),
    ("groupings", "thresholds"): by_name(number),
    ("groupings", "groups"): each(_GROUP),
    ("label_files", "changes"): each(_CHANGE),
    ("contradiction_decisions", "kept"): each(text),
    ("contradiction_decisions", "members"): each(text),
    ("contradiction_comments", "sides"): each(each(text)),
    ("routes", "spec"): fields({"checkpoint": _CHECKPOINT, "settings": an_object, "source": SOURCE}),
}


def fits(table: str, column: str, value: Any) -> bool:
    """Whether a JSON column may hold the value; one that is not listed above may hold nothing."""
    shape = SHAPES.get((table, column))
    return shape is not None and shape(value)
