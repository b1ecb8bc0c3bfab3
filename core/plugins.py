"""A folder is a register: one file is one kind, found by this scan.

A plug-in file ends with ``KIND = ...``, an object with at least ``name`` (its file's name) and ``label``. Files that
begin with an underscore are shared parts, not kinds. Beside ``core/<register>``, the folder named by
``LACUNA_KINDS_DIR`` is scanned: ``<that folder>/<register>/*.py`` are kinds like any other.

What type of kind a register holds stands in ``plugins.pyi``, for checkers and editors: here no room is imported.

Many kinds declare settings; here their values are checked, whether a form, a job or a command line brings them.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import sys
from collections.abc import Iterable, Mapping
from datetime import date
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

from core.errors import UserError, unknown_name
from core.settings import settings

if TYPE_CHECKING:
    from core.types import Setting

CORE = Path(__file__).parent

REGISTERS: Mapping[str, str] = {
    "formats": "format",
    "presets": "preset",
    "configurations": "configuration",
    "backends": "backend",
    "encoders": "encoder",
    "scorers": "scorer",
    "faults": "fault",
    "signals": "signal",
    "derived": "derivation",
    "causes": "cause",
    "recipes": "recipe",
    "exports": "export",
    "commands": "command",
    "lab/hands": "hand",
}
"""Folder of ``core/`` to what one kind in it is called."""


def kinds(register: str) -> Mapping[str, Any]:
    """All kinds of a register, by name, in alphabetical order."""
    return _scan(register, settings().kinds_dir)


def kind(register: Any, name: str) -> Any:
    """The kind called ``name``.

    Raises:
        UserError: no such kind; names the choices.
    """
    members = kinds(register)
    if name not in members:
        raise unknown_name(REGISTERS[register], name, members)
    return members[name]


def names(register: str) -> list[str]:
    """The names of a register's kinds, in alphabetical order, read from the folder: nothing is imported."""
    return sorted(_files(register, settings().kinds_dir))


def _files(register: str, extra: Path | None) -> dict[str, Path]:
    """Kind to file: those of ``core/<register>``, then the user's own."""
    if extra is not None and not extra.is_dir():
        raise UserError(
            f"{extra} is no folder.",
            "LACUNA_KINDS_DIR names it for kinds of your own.",
            "Make it, or unset the variable.",
        )
    files = {path.stem: path for path in (CORE / register).glob("[!_]*.py")}
    for path in sorted((extra / register).glob("[!_]*.py")) if extra is not None else ():
        if path.stem in files:
            raise UserError(
                f"{path} has the name of a {REGISTERS[register]} that comes with Lacuna.",
                "Two kinds of one name cannot be told apart.",
                "Rename the file and the name in it.",
            )
        files[path.stem] = path
    return files


@cache
def _scan(register: str, extra: Path | None) -> Mapping[str, Any]:
    members = {}
    for name, path in sorted(_files(register, extra).items()):
        module = f"core.{register.replace('/', '.')}.{name}"
        ours = path.parent == CORE / register
        kind = getattr(importlib.import_module(module) if ours else _load(module, path), "KIND", None)
        if getattr(kind, "name", None) != name:
            declared = f"the name {kind.name!r}" if hasattr(kind, "name") else "no KIND with a name"
            raise UserError(
                f"{path} declares {declared}.",
                f"A file of {register}/ ends with KIND = ..., a {REGISTERS[register]} called as its file: {name!r}.",
                "Put that right, or give the file a name that begins with an underscore.",
            )
        members[name] = kind
    return members


def _load(name: str, path: Path) -> ModuleType:
    """The file as a module that the packages know by ``name``, as if it lay in their folder."""
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise RuntimeError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


# ------------------------------------------------------------------------------------------------------ settings


class Configurable(Protocol):
    """A kind with settings, one field of its form each."""

    @property
    def name(self) -> str: ...
    @property
    def settings(self) -> tuple[Setting, ...]: ...


def with_defaults(kind: Configurable, values: Mapping[str, Any]) -> dict[str, Any]:
    """Every setting of ``kind`` by name, checked; those left out have their default.

    Raises:
        UserError: an unknown name, or a value that is not of its kind, choices or range.
    """
    declared = _declared(kind, values)
    checked = {name: values.get(name, setting.default) for name, setting in declared.items()}
    for name, value in checked.items():
        if not _fits(declared[name], value):
            raise _no_value(kind, declared[name], value)
    return checked


def parsed_settings(kind: Configurable, texts: Mapping[str, str], others: Iterable[str] = ()) -> dict[str, Any]:
    """Settings as a command line writes them, each read as its kind says; ranges and choices are not checked.

    Args:
        others: names that the option takes besides, to be named where one does not exist.

    Raises:
        UserError: an unknown name, or a text that cannot be read.
    """
    declared = _declared(kind, texts, others)
    return {name: _read(kind, declared[name], text) for name, text in texts.items()}


def _declared(kind: Configurable, names: Iterable[str], others: Iterable[str] = ()) -> dict[str, Setting]:
    declared = {setting.name: setting for setting in kind.settings}
    for name in names:
        if name not in declared:
            raise unknown_name(f"setting of {kind.name}", name, [*declared, *others])
    return declared


_TYPES: Mapping[str, tuple[type, ...]] = {"bool": (bool,), "int": (int,), "float": (int, float)}


def _fits(setting: Setting, value: Any) -> bool:
    if not _is_of(setting.kind, value):
        return False
    if setting.kind in ("int", "float"):
        low, high = setting.minimum, setting.maximum
        return abs(value) != math.inf and (low is None or value >= low) and (high is None or value <= high)
    if setting.kind == "date":
        return _is_day(value)
    return setting.kind != "choice" or value in setting.choices


def _is_of(kind: str, value: Any) -> bool:
    return isinstance(value, _TYPES.get(kind, (str,))) and (kind == "bool" or not isinstance(value, bool))


def _is_day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def _read(kind: Configurable, setting: Setting, text: str) -> Any:
    try:
        if setting.kind == "bool":
            return _WORDS[text.strip().lower()]
        if setting.kind in ("int", "float"):
            return (int if setting.kind == "int" else float)(text)
    except (KeyError, ValueError) as error:
        raise _no_value(kind, setting, text) from error
    return text


def _no_value(kind: Configurable, setting: Setting, value: Any) -> UserError:
    low = "" if setting.minimum is None else f" of at least {setting.minimum:g}"
    values = {
        "bool": "true or false",
        "int": f"a whole number{low}",
        "float": f"a number{low}",
        "choice": f"one of {', '.join(setting.choices)}",
        "date": "a date such as 2024-07-26",
        "text": "text",
    }
    return UserError(
        f"{value!r} is not a value for the setting {setting.name!r} of {kind.name!r}.",
        f"{setting.label} takes {values[setting.kind]}.",
        f"The default is {setting.default!r}.",
    )
