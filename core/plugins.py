"""A folder is a register: one file is one kind, found by this scan.

A plug-in file ends with ``KIND = ...``, an object with at least ``name`` (its file's name) and ``label``. Files that
begin with an underscore are shared parts, not kinds. Beside ``core/<register>``, the folder named by
``LACUNA_KINDS_DIR`` is scanned: ``<that folder>/<register>/*.py`` are kinds like any other.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, overload

from core.errors import UserError, unknown_name
from core.settings import settings

if TYPE_CHECKING:
    from core.backends._base import BackendKind
    from core.causes._base import Cause
    from core.commands._base import Command
    from core.derived._base import Derivation
    from core.encoders._base import EncoderKind
    from core.exports._base import Export
    from core.faults._base import Fault
    from core.formats._base import Format
    from core.presets._base import Preset
    from core.recipes._base import Recipe
    from core.scorers._base import Scorer
    from core.signals._base import Signal

CORE = Path(__file__).parent

REGISTERS: Mapping[str, str] = {
    "formats": "format",
    "presets": "preset",
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
}
"""Folder of ``core/`` to what one kind in it is called."""


# fmt: off
@overload
def kinds(register: Literal["formats"]) -> Mapping[str, Format]: ...
@overload
def kinds(register: Literal["presets"]) -> Mapping[str, Preset]: ...
@overload
def kinds(register: Literal["backends"]) -> Mapping[str, BackendKind]: ...
@overload
def kinds(register: Literal["encoders"]) -> Mapping[str, EncoderKind]: ...
@overload
def kinds(register: Literal["scorers"]) -> Mapping[str, Scorer]: ...
@overload
def kinds(register: Literal["faults"]) -> Mapping[str, Fault]: ...
@overload
def kinds(register: Literal["signals"]) -> Mapping[str, Signal]: ...
@overload
def kinds(register: Literal["derived"]) -> Mapping[str, Derivation]: ...
@overload
def kinds(register: Literal["causes"]) -> Mapping[str, Cause]: ...
@overload
def kinds(register: Literal["recipes"]) -> Mapping[str, Recipe]: ...
@overload
def kinds(register: Literal["exports"]) -> Mapping[str, Export]: ...
@overload
def kinds(register: Literal["commands"]) -> Mapping[str, Command]: ...
# fmt: on
def kinds(register: str) -> Mapping[str, Any]:
    """All kinds of a register, by name, in alphabetical order."""
    return _scan(register, settings().kinds_dir)


# fmt: off
@overload
def kind(register: Literal["formats"], name: str) -> Format: ...
@overload
def kind(register: Literal["presets"], name: str) -> Preset: ...
@overload
def kind(register: Literal["backends"], name: str) -> BackendKind: ...
@overload
def kind(register: Literal["encoders"], name: str) -> EncoderKind: ...
@overload
def kind(register: Literal["scorers"], name: str) -> Scorer: ...
@overload
def kind(register: Literal["faults"], name: str) -> Fault: ...
@overload
def kind(register: Literal["signals"], name: str) -> Signal: ...
@overload
def kind(register: Literal["derived"], name: str) -> Derivation: ...
@overload
def kind(register: Literal["causes"], name: str) -> Cause: ...
@overload
def kind(register: Literal["recipes"], name: str) -> Recipe: ...
@overload
def kind(register: Literal["exports"], name: str) -> Export: ...
@overload
def kind(register: Literal["commands"], name: str) -> Command: ...
# fmt: on
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
        module = f"core.{register}.{name}"
        ours = path.parent == CORE / register
        members[name] = (importlib.import_module(module) if ours else _load(module, path)).KIND
        if members[name].name != name:
            raise RuntimeError(f"{path} declares the name {members[name].name!r}, not its file's")
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
