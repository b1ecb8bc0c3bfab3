"""Recognises data that is not SFT data, and values that have the right column but a wrong form."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Any

from core.errors import UserError
from core.formats._base import Columns
from core.intake.json_rows import decode_json, named_type

# Columns of preference pairs: the preferred answer and the other one.
PAIRS = (
    ("chosen", "rejected"),
    ("preferred_output", "non_preferred_output"),
    ("preferred", "rejected"),
    ("chosen_response", "rejected_response"),
    ("response_chosen", "response_rejected"),
)
# Columns of two answers of which a third column says the better one.
RATED = (
    ("response_a", "response_b"),
    ("response_0", "response_1"),
    ("response1", "response2"),
    ("response_1", "response_2"),
    ("answer_a", "answer_b"),
    ("output_1", "output_2"),
    ("conversation_a", "conversation_b"),
)
# Columns in which KTO data says whether an answer is wanted.
KTO = ("label", "kto_tag")
# What is written there, and which of it means that the answer is not wanted.
_WANTED = ({"true", "false"}, {"0", "1"}, {"desirable", "undesirable"})
_UNWANTED = {"false", "0", "undesirable"}
_PROMPTS = ("prompt", "question", "query", "instruction", "input", "conversations", "messages")
_ANSWERS = (
    "output",
    "response",
    "completion",
    "answer",
    "answers",
    "responses",
    "completions",
    "candidates",
    "outputs",
)
# Columns of texts that models are pre-trained on.
_RAW = ("raw_content", "content", "document", "body")


def pair_of(columns: Columns) -> tuple[str, str] | None:
    """The two columns of preference pairs; None if the data is of another kind."""
    return next((pair for pair in PAIRS if set(pair) <= columns.keys()), None)


def refusal(columns: Columns, mapping: Mapping[str, str], file: str) -> UserError | None:
    """Why rows that a format could read are still not SFT rows; None if they are.

    Args:
        mapping: the mapping of the format that fits best. Columns with a role in it are not questioned.
    """
    if any(set(pair) <= columns.keys() and set(pair) & set(mapping.values()) for pair in RATED):
        return rated(columns, file)
    label = next((name for name in KTO if name in columns and name not in mapping.values()), None)
    words = _flag_words(columns[label]) if label else set()
    if not words & _UNWANTED or words == {"0"}:  # a class of texts may be 0 throughout
        return None
    no = min(words & _UNWANTED)
    yes = {"false": "true", "0": "1"}.get(no, "desirable")
    other = ", or choose the format by hand if it says something else" if no == "0" else ""
    return UserError(
        f"{file} holds KTO data: the column {label!r} says which answers are wanted.",
        f"Rows with {label} = {no} hold answers that the model was trained away from, not targets to be learned.",
        f"Keep the rows with {label} = {yes}, drop the column, and give that file{other}.",
    )


def _flag_words(values: Sequence[Any]) -> set[str]:
    """The values of a flag as words of one spelling of yes and no; empty if it is no flag."""
    words = {_word(value) for value in values}
    return words if any(words <= spelling for spelling in _WANTED) else set()


def _word(value: Any) -> str:
    if isinstance(value, float) and value in (0, 1):
        return str(int(value))
    return str(value).lower() if isinstance(value, bool | int | str) else ""


def rated(columns: Columns, file: str) -> UserError | None:
    """The error for two answers of which another column says the better one; None if the data is of another kind."""
    pair = next((pair for pair in RATED if set(pair) <= columns.keys()), None)
    return pair and UserError(
        f"{file} holds preference data: the answers {pair[0]} and {pair[1]} to one prompt, and which is better.",
        "Lacuna diagnoses one answer per row, the one that the model was trained to give.",
        "Write one row for each prompt with the answer that was trained, and give that file.",
    )


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
        if name.lstrip()[:2] in ("{'", '{"') and "':" in name:
            return UserError(
                f"{file} holds Python literals, not JSON.",
                f"Its first line begins with {name[:60]!r}: quotes and names as Python prints them.",
                "Write each row with json.dumps(row), one a line.",
            )
    if layout := _columnwise(columns):
        return UserError(
            f"{file} holds one object of columns, not one object per row.",
            layout,
            "Write it with to_json(path, orient='records', lines=True).",
        )
    if error := rated(columns, file):
        return error
    for name in _ANSWERS:
        lists = [v for v in columns.get(name, ()) if isinstance(v, list) and all(map(_is_answer, v))]
        if lists and len(lists[0]) > 1:
            flags = next((v for v in columns.get("labels", ()) if isinstance(v, list)), [])
            if flags and all(isinstance(flag, bool | int) for flag in flags):
                return UserError(
                    f"{file} holds stepwise rewards: {name!r} is a list of steps, 'labels' says which are right.",
                    "Lacuna diagnoses one answer per row, the one that the model was trained to give.",
                    f"Write one row for each answer that was trained, with {name!r} as text.",
                )
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
    if "role" not in columns and (raw := next((name for name in _RAW if _is_raw(columns.get(name, ()))), None)):
        return UserError(
            f"{file} holds texts in {raw!r} and no questions with answers.",
            f"Columns found: {', '.join(list(columns)[:40])}. Texts for pre-training are read as the format 'text'.",
            f"Choose the format 'text' with text = {raw!r}, or say which columns hold question and answer.",
        )
    return None


def _is_answer(value: Any) -> bool:
    """Whether an entry of a list is a whole answer: text, or an object that is no turn."""
    return isinstance(value, str) or (isinstance(value, dict) and not value.keys() & {"role", "from", "type"})


def _is_raw(values: Sequence[Any]) -> bool:
    return bool(values) and all(isinstance(value, str) for value in values)


def _columnwise(columns: Columns) -> str:
    """How a file of columns is laid out; empty if it holds rows."""
    names = ", ".join(list(columns)[:10])
    if columns and all(values and all(map(_is_column, values)) for values in columns.values()):
        return f"{names} are objects with one entry per row, as pandas writes by default."
    if {"columns", "data"} <= columns.keys() <= {"columns", "index", "data"}:
        return "It names its columns once, beside lists of cells, as pandas writes with orient='split'."
    only = [values[0] for values in columns.values() if len(values) == 1 and isinstance(values[0], list)]
    if len(only) == len(columns) > 1 and len(set(map(len, only))) == 1 and len(only[0]) > 1:
        return f"{names} are lists of {len(only[0]):,} entries, one for each row."
    return ""


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
