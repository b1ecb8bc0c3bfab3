"""``{"input_ids", "labels"}``: rows that a trainer has tokenised already; the mask is given.

What the ids say is not known before a checkpoint brings its tokenizer: until then a turn's text is its ids.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from core.formats._base import Columns, Format, Role, named_columns
from core.formats._cells import Notes, RowError, list_of, needed, share
from core.types import Message, Shape, Tokens

# The label at a position without loss, as torch's cross entropy leaves it out.
IGNORED = -100
MASKS = ("completion_mask", "assistant_masks", "assistant_mask", "loss_mask")
_ROLES = (
    Role("ids", "Token ids", True, ("input_ids", "tokens", "token_ids"), "The row as token ids."),
    Role("labels", "Labels", False, ("labels",), f"The id to be learned at each position, {IGNORED} where none is."),
    Role("mask", "Loss mask", False, MASKS, "1 where a token carried loss; read where there are no labels."),
    Role("positions", "Positions", False, ("position_ids",), "Tells where one row holds several sequences."),
    Role("attention", "Attention mask", False, ("attention_mask",), "0 where the row is padding, which is left out."),
)
# What trainers store beside the ids and what follows from them.
_FOLLOWS = ("token_type_ids", "length")
# More than any model reads; a longer list is a mistake or an attack.
LONGEST = 2_000_000
LARGEST_ID = 2**31


def _find(columns: Columns) -> tuple[float, dict[str, str]]:
    mapping = named_columns(_ROLES, columns)
    if "ids" not in mapping:
        return 0.0, {}
    # Below rows that keep their turns: trainers write the ids beside them.
    return 0.55 * share(columns[mapping["ids"]], _is_row), mapping


def _is_row(value: Any) -> bool:
    if isinstance(value, str):
        return value.lstrip()[:1] == "["
    return isinstance(value, list) and bool(value) and all(isinstance(i, int) for i in value[:100])


def _tokenised(value: Mapping[str, Any], mapping: Mapping[str, str], notes: Notes) -> Tokens:
    column, cell = needed(value, mapping, "ids")
    ids = _whole_numbers(cell, column, notes)
    if any(not 0 <= i < LARGEST_ID for i in ids):
        wrong = next(i for i in ids if not 0 <= i < LARGEST_ID)
        raise RowError(column, f"holds {wrong}, which is no token id")
    trained = _trained(value, mapping, ids, notes)
    positions = _beside(value, mapping, "positions", ids, notes)
    if positions is not None and (n := sum(p == 0 for p in positions[1:])) and n + 1 < len(ids):
        raise RowError(mapping["positions"], f"starts again {n} times: give the rows as they were before packing")
    attention = _beside(value, mapping, "attention", ids, notes)
    if attention is not None and not all(attention):
        notes.add("padding is left out")
        kept = [i for i, attended in enumerate(attention) if attended]
        ids, trained = [ids[i] for i in kept], [trained[i] for i in kept]
    if not ids:
        raise RowError(column, "is empty")
    return Tokens(tuple(ids), tuple(trained))


def _trained(value: Mapping[str, Any], mapping: Mapping[str, str], ids: list[int], notes: Notes) -> list[bool]:
    labels = _beside(value, mapping, "labels", ids, notes)
    if labels is None:
        mask = _beside(value, mapping, "mask", ids, notes)
        if mask is None:
            notes.add("neither labels nor a loss mask: every token carried loss")
            return [True] * len(ids)
        return [bool(m) for m in mask]
    kept = [i for i, label in enumerate(labels) if label != IGNORED]
    if any(labels[i] != ids[i] for i in kept):
        column = mapping["labels"]
        if all(i + 1 < len(ids) and labels[i] == ids[i + 1] for i in kept[:-1]):
            raise RowError(column, "is shifted by one against the ids; trainers shift it themselves")
        at = next(i for i in kept if labels[i] != ids[i])
        raise RowError(column, f"holds {labels[at]} at position {at}; it must be {ids[at]}, as the ids, or {IGNORED}")
    return [label != IGNORED for label in labels]


def _beside(
    value: Mapping[str, Any], mapping: Mapping[str, str], role: str, ids: list[int], notes: Notes
) -> list[int] | None:
    """The numbers of an optional role, one for each id; None where the row has none."""
    column = mapping.get(role)
    if column is None or value.get(column) in (None, ""):
        return None
    numbers = _whole_numbers(value[column], column, notes)
    if len(numbers) != len(ids):
        raise RowError(column, f"has {len(numbers):,} entries, the ids have {len(ids):,}")
    return numbers


def _whole_numbers(value: Any, column: str, notes: Notes) -> list[int]:
    numbers = list_of(value, column, notes)
    if len(numbers) > LONGEST:
        raise RowError(column, f"has {len(numbers):,} entries; at most {LONGEST:,} are read")
    for number in numbers:
        if not isinstance(number, int):
            raise RowError(column, f"holds {str(number)[:40]!r}, not only whole numbers")
    return [int(number) for number in numbers]


def _convert(
    value: Mapping[str, Any], mapping: Mapping[str, str], notes: Notes
) -> tuple[Sequence[Message], Shape, str | None]:
    tokens = _tokenised(value, mapping, notes)
    return [Message(role, " ".join(map(str, tokens.ids[a:b]))) for role, a, b in tokens.segments()], "tokens", None


KIND = Format(
    name="token_ids",
    label="Token ids",
    help=(
        "Rows that were tokenised before training, with labels or a loss mask. Their text appears once a checkpoint "
        "brings the tokenizer that made them."
    ),
    own_roles=_ROLES,
    find=_find,
    convert=_convert,
    tokenised=_tokenised,
    follows=_FOLLOWS,
    examples=(
        {"input_ids": [5, 6, 7, 8, 9], "labels": [-100, -100, 7, 8, 9], "attention_mask": [1, 1, 1, 1, 1]},
        {"input_ids": [9, 8, 7], "labels": [-100, 8, 7], "attention_mask": [1, 1, 1]},
    ),
)
