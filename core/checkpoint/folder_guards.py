"""Reads a folder that someone else filled: names, JSON of bounded size, no links, no code."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from core.errors import UserError

# A configuration has a few kilobytes. That of a tokenizer with thousands of added tokens has a few megabytes.
MAX_JSON = 32 << 20
SAVE_AGAIN = "Save the model again with save_pretrained, or copy the whole folder again."
TEMPLATES = "additional_chat_templates"  # the one sub-folder that transformers reads


def listed(path: Path) -> list[str]:
    """The names of the folder's entries, sorted."""
    try:
        return sorted(os.listdir(path))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(
            f"There is no checkpoint folder {str(path)!r}.", "A folder is needed.", "Check the path."
        ) from error
    except PermissionError as error:
        raise UserError(f"{str(path)!r} may not be read.", "Permission denied.", "Change its permissions.") from error


def some(names: Sequence[str], most: int = 12) -> str:
    """The first names, and how many more there are."""
    first = ", ".join(name[:80] for name in names[:most])
    return f"{first} and {len(names) - most} more" if len(names) > most else first


def read_json(folder: Path, name: str, limit: int = MAX_JSON) -> dict[str, Any]:
    """The JSON object in a file of the folder; {} if there is no such file.

    Raises:
        UserError: it is larger than ``limit`` bytes, not JSON, or not an object.
    """
    file = folder / name
    if not file.is_file():
        return {}
    size = file.stat().st_size
    if size > limit:
        raise UserError(
            f"{name} in {folder.name} has {size:,} bytes.",
            f"More than {limit:,} are not read.",
            "Check that it is the file that save_pretrained wrote.",
        )
    try:
        value = json.loads(file.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        reason = str(error)[:200] if isinstance(error, ValueError) else "It is nested too deeply"
        raise UserError(f"{name} in {folder.name} is not JSON.", f"{reason}.", SAVE_AGAIN) from error
    if not isinstance(value, dict):
        raise UserError(f"{name} in {folder.name} is not a JSON object.", "It should begin with {.", SAVE_AGAIN)
    return value


def refuse_links(folder: Path) -> None:
    """Refuses links, which could lead to any file of this machine.

    The Hugging Face cache may link to its own blobs. Links to folders do no harm, because nothing is read through them.

    Raises:
        UserError: there is a link; names it.
    """
    folder = folder.resolve()
    files = [folder / name for name in listed(folder)]
    templates = folder / TEMPLATES
    if templates.is_dir():
        files += [templates / name for name in listed(templates)]
    for file in files:
        if not file.is_symlink() or (file.is_dir() and file != templates):
            continue
        in_cache = folder.parent.name == "snapshots" and file.resolve().parent == folder.parents[1] / "blobs"
        if not in_cache:
            raise UserError(
                f"{file.name!r} in {folder.name} is a link.",
                "Only the Hugging Face cache may link, to its own blobs.",
                "Put the file itself into the folder.",
            )


def refuse_code(folder: Path, name: str, value: Any) -> None:
    """Refuses entries that would make a library run code or read other files.

    Args:
        value: the content of the JSON file ``name``.

    Raises:
        UserError: there is such an entry; names the file and the key.
    """
    for key, entry in entries(value):
        wrong = _wrong(key, entry) if entry else ""
        if wrong:
            raise UserError(
                f"{name} in {folder.name} {wrong}: {key!r}.",
                "Code that comes with a checkpoint is never run.",
                f"If the architecture is one that transformers knows, remove {key!r} from {name}.",
            )


def _wrong(key: str, entry: Any) -> str:
    if key == "auto_map":
        return "asks for Python code of its own"
    if key == "transformers_weights":
        return "names weight files of its own"
    if key.lstrip("_") in ("attn_implementation", "experts_implementation") and "/" in str(entry):
        return "asks for compiled code from a hub"
    if key == "fast_tokenizer_files" and re.search(r"[/\\]|\.\.", str(entry)):
        return "names files outside the folder"
    if key == "parent_library" and not re.match(r"(transformers|peft)(\.|$)", str(entry)):
        return "names a Python module to import"
    if key == "megatron_config":
        return "asks for Megatron's code"
    return ""


def entries(value: Any) -> Iterator[tuple[str, Any]]:
    """Each key of each object at any depth, with its value."""
    stack = [value]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            yield from value.items()
            stack.extend(value.values())
        elif isinstance(value, list):
            stack.extend(value)
