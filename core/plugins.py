"""A folder is a register: one file is one kind, found by this scan.

A plug-in file ends with ``KIND = ...``, an object with at least ``name`` (its file's name) and ``label``. Files that
begin with an underscore are shared parts, not kinds.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from typing import Any

from core.errors import unknown_name


@cache
def kinds(folder: str) -> dict[str, Any]:
    """All kinds of ``core/<folder>``, by name, in alphabetical order."""
    package = importlib.import_module(f"core.{folder}")
    found: dict[str, Any] = {}
    for info in pkgutil.iter_modules(package.__path__):
        if info.name.startswith("_"):
            continue
        kind = importlib.import_module(f"core.{folder}.{info.name}").KIND
        if kind.name != info.name:
            raise RuntimeError(f"core/{folder}/{info.name}.py declares the name {kind.name!r}, not its file's")
        found[kind.name] = kind
    return found


def kind(folder: str, name: str) -> Any:
    """The kind called ``name``.

    Raises:
        UserError: no such kind; names the choices.
    """
    found = kinds(folder)
    if name not in found:
        raise unknown_name(folder.rstrip("s"), name, found)
    return found[name]
