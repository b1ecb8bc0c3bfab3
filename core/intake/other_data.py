"""Recognises data that is not SFT data, and values that have the right column but a wrong form."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Any

from core.errors import UserError
from core.formats._base import Columns
from core.intake.json_rows import decode_json, named_type

# Columns of preference pairs: the preferred answer and the other one.
PAIRS = (("chosen", "rejected"), ("preferred_output", "non_preferred_output"))
# Columns in which KTO data says whether an answer is wanted.
KTO = ("label", "kto_tag")
_PROMPTS = ("prompt", "question", "query", "instruction", "input", "conversations", "messages")
_ANSWERS = ("output", "response", "completion", "answer", "answers")


def pair_of(columns: Columns) -> tuple[str, str] | None:
    """The two columns of preference pairs; None if the data is of another kind."""
    return next((pair for pair in PAIRS if set(pair) <= columns.keys()), None)


def refusal(columns: Columns, mapping: Mapping[str, str], file: str) -> UserError | None:
    """Why rows that a format could read are still not SFT rows; None if they are.

    Args:
        mapping: the mapping of the format that fits best. Columns with a role in it are not questioned.
    """
    label = next((name for name in KTO if name in columns and name not in mapping.values()), None)
    if label is None or not _has_false(columns[label]):
        return None
    return UserError(
        f"{file} holds KTO data: the column {label!r} says which answers are wanted.",
        f"Rows with {label} = false hold answers that the model was trained away from, not targets to be learned.",
        f"Keep the rows with {label} = true, drop the column, and give that file.",
    )


def _has_false(values: Sequence[Any]) -> bool:
    """Whether all values are true or false, and some are false."""
    words = {str(value).lower() if isinstance(value, bool | str) else type(value) for value in values}
    return "false" in words and words <= {"true", "false"}


def preferences(columns: Columns, file: str) -> UserError:
    """The error for preference pairs, with the way to diagnose the preferred answers."""
    chosen, rejected = pair_of(columns) or PAIRS[0]
    prompt = next((name for name in _PROMPTS if name in columns), None)
    example = next(iter(columns[chosen]), None)
    if prompt and isinstance(example, str):
        way = f"choose the format 'prompt_completion' with prompt = {prompt!r} and completion = {chosen!r}"
    elif isinstance(example, str):
        way = f"choose the format 'text' with text = {chosen!r}"
    elif prompt and (chosen, rejected) == PAIRS[1]:
        way = f"write each row as messages: those of {prompt!r}, then those of {chosen!r}"
    elif prompt:
        way = f"choose the format 'prompt_completion' with prompt = {prompt!r} and completion = {chosen!r}"
    else:
        way = f"choose the format 'messages' with messages = {chosen!r}"
    return UserError(
        f"{file} holds preference pairs (the columns {chosen} and {rejected}), not SFT rows.",
        "Lacuna diagnoses one answer per row, the one that the model was trained to give.",
        f"To diagnose the {'chosen' if chosen == 'chosen' else 'preferred'} answers, {way}.",
    )


def misfit(columns: Columns, file: str) -> UserError | None:
    """What is wrong with values whose columns have the right names; None if nothing is."""
    for name, values in columns.items():
        text = next((v for v in values if isinstance(v, str)), "")
        if text.lstrip()[:1] in ("[", "{") and not _is_json(text) and _is_python(text):
            return UserError(
                f"The column {name!r} of {file} holds Python literals, not JSON.",
                f"Its first value begins with {text[:60]!r}: quotes and names as Python prints them.",
                "Write the column with json.dumps(value), or save the dataset as JSONL.",
            )
    if columns and all(values and all(map(_is_column, values)) for values in columns.values()):
        return UserError(
            f"{file} holds one object of columns, not one object per row.",
            f"{', '.join(list(columns)[:10])} are objects with one entry per row, as pandas writes by default.",
            "Write it with to_json(path, orient='records', lines=True).",
        )
    for name in _ANSWERS:
        lists = [v for v in columns.get(name, ()) if isinstance(v, list) and all(isinstance(a, str) for a in v)]
        if lists and len(lists[0]) > 1:
            return UserError(
                f"{file} holds rankings: {name!r} is a list of {len(lists[0])} answers.",
                "Lacuna diagnoses one answer per row, the one that the model was trained to give.",
                f"Write one row for each answer that was trained, with {name!r} as text.",
            )
    for name in (*_PROMPTS, *_ANSWERS):
        if wrong := [v for v in columns.get(name, ()) if not isinstance(v, str | list)]:
            return UserError(
                f"The column {name!r} of {file} holds {named_type(wrong[0])}.",
                "Formats take text or a list of turns there.",
                "Write it as text, or choose a format and say which column plays which role.",
            )
    return None


def _is_json(text: str) -> bool:
    try:
        decode_json(text)
    except ValueError:
        return False
    return True


def _is_python(text: str) -> bool:
    """Whether a short text is a Python literal. It is parsed, never run."""
    try:
        return len(text) < 100_000 and isinstance(ast.literal_eval(text.strip()), list | dict)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return False


def _is_column(value: Any) -> bool:
    """Whether a value is a whole column: an object with the row numbers as keys."""
    return isinstance(value, dict) and bool(value) and all(key == str(i) for i, key in enumerate(value))
