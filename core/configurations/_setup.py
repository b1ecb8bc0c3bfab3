"""Documents to one setup: what kind each is, which of two statements counts, where paths lead, what a preset takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any

from core.configurations._base import Configuration, Document, Place, Statements, shown
from core.configurations._documents import names_of
from core.errors import UserError
from core.plugins import kinds
from core.types import DEFAULT_PRESET, Setting, Setup, Stated, Unmet

# Statements that may occur several times in a document.
_MANY = ("dataset", "column", "setting")
_PATHS = ("dataset", "base", "checkpoint")
# Without them the trainer's defaults stand, so only what is of use is said of a setting that is not taken.
_ENDINGS = (".jsonl", ".json", ".ndjson", ".csv", ".parquet", ".gz")


@dataclass(frozen=True, slots=True)
class Read:
    """A document, its kind, and what it states."""

    document: Document
    kind: Configuration
    says: Statements


def kind_of(document: Document) -> Configuration | None:
    """The kind of a document; None where it is no configuration."""
    return next((kind for kind in kinds("configurations").values() if kind.fits(document)), None)


def setup_of(documents: Sequence[Document], place: Callable[[Document], Place], *, here: bool = True) -> Setup | None:
    """What the documents say together; None where none of them is a configuration.

    Of two statements the one of the leading document counts, then the one that comes first.

    Args:
        here: whether datasets and models lie on this machine, so that those which are not found are listed.

    Raises:
        UserError: several documents lead.
    """
    pairs = [(document, kind) for document in documents if (kind := kind_of(document)) is not None]
    leading = [document for document, kind in pairs if kind.leads and not document.inner]
    if len(leading) > 1:
        raise UserError(
            f"There are several training configurations: {names_of(leading)}.",
            "Each of them describes a training of its own.",
            "Name the one that made this checkpoint.",
        )
    pairs.sort(key=lambda pair: (not pair[1].leads, pair[0].inner))
    read = [Read(document, kind, kind.read(document, place(document))) for document, kind in pairs]
    return _merged(read, place, here) if read else None


def _merged(read: Sequence[Read], place: Callable[[Document], Place], here: bool) -> Setup:
    stated: list[Stated] = []
    unmet: list[Unmet] = []
    for one in read:
        # Datasets, columns and settings of two files do not mix: they describe each other.
        before = {value.field for value in stated}
        at = place(one.document)
        # A card or state beside a trainer's own file repeats what that file says better.
        if not (before and one.kind.leads):
            unmet += one.says.unmet
        new = [value for value in one.says.values if value.field not in before]
        once: set[tuple[str, str]] = set()
        for value in new:
            if value.field == "dataset" or (value.field, value.name) not in once:
                once.add((value.field, value.name))
                stated.append(_located(value, at))
    stated, more = _usable(stated, here)
    taken = {(value.file, value.key) for value in stated if value.field == "setting"}
    unmet = [one for one in unmet if (one.file, one.key) not in taken]
    files = {one.document.name: one.kind.label for one in read}
    return Setup(files, tuple(stated), tuple(dict.fromkeys([*unmet, *more])))


def _located(value: Stated, place: Place) -> Stated:
    path = place.find(value.value) if value.field in _PATHS and isinstance(value.value, str) else None
    return value if path is None else replace(value, path=str(path))


def _usable(stated: Sequence[Stated], here: bool) -> tuple[list[Stated], list[Unmet]]:
    """Statements that a run can take, and what is wrong with the others."""
    kept: list[Stated] = []
    unmet: list[Unmet] = []
    n_datasets = sum(value.field == "dataset" for value in stated)
    presets = kinds("presets")
    preset = next((str(value.value) for value in stated if value.field == "preset"), "")
    settings = {s.name: s for s in presets[preset].settings} if preset in presets else {}
    for value in stated:
        if value.field == "preset" and value.value not in presets:
            reason = f"There is no preset {value.value!r}. Until there is one, {DEFAULT_PRESET!r} stands."
            unmet.append(_not_met(value, reason))
        elif value.field == "setting" and value.name == "val_size" and n_datasets != 1:
            continue  # which rows were held out follows from the rows of one file
        elif value.field == "setting":
            fitted = _fitted(settings[value.name], value.value) if value.name in settings else None
            if fitted is not None:
                kept.append(replace(value, value=fitted))
            elif preset in presets and value.value not in (False, ""):
                known = value.name in settings
                reason = "The setting takes no such value." if known else f"The preset {preset!r} has no such setting."
                unmet.append(_not_met(value, reason))
        elif value.field == "rows" and "max_samples" in settings and n_datasets == 1:
            kept.append(replace(value, field="setting", name="max_samples"))
        elif value.field == "dataset" and here:
            files = _files(value)
            kept += files
            if not files:
                unmet.append(_not_met(value, "There is no such file here. Give it with the others, or as the dataset."))
        else:
            kept.append(value)
            if value.field == "base" and here and not value.path:
                unmet.append(_not_met(value, "There is no such folder here. Give it as the base."))
    return kept, unmet


def _not_met(value: Stated, reason: str) -> Unmet:
    return Unmet(value.file, value.key, shown(value.value), reason)


def _files(value: Stated) -> list[Stated]:
    """The files of a dataset that is a file or a folder of files, by name."""
    if not value.path:
        return []
    path = Path(value.path)
    if path.is_file():
        return [value]
    files = sorted(p for p in path.iterdir() if p.is_file() and p.suffix.lower() in _ENDINGS)
    return [replace(value, path=str(file)) for file in files]


def _fitted(setting: Setting, value: Any) -> Any:
    """The value as the setting takes it, None where it does not."""
    if setting.kind == "bool":
        return value if isinstance(value, bool) else None
    if setting.kind in ("int", "float"):
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
            return None
        number = int(value) if setting.kind == "int" and value == int(value) else value
        low, high = setting.minimum, setting.maximum
        fits = isinstance(number, int | float) and (low is None or number >= low) and (high is None or number <= high)
        return number if fits and (setting.kind == "float" or isinstance(number, int)) else None
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text if setting.kind == "text" or text in setting.choices else None
