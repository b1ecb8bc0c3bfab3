"""What a configuration is, and what all of them share: a parsed file, what it states, what is not honoured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from core.types import SetupField, Stated, Unmet

# Characters of a value that are shown.
SHOWN = 80


@dataclass(frozen=True, slots=True)
class Document:
    """A configuration file, parsed.

    Attributes:
        name: the file's own name.
        values: its top-level entries; what stands in them is as hostile as any upload.
        folder: where it lies; None for an upload.
        inner: whether it stands inside another file, as Axolotl's configuration does in a model card.
    """

    name: str
    values: Mapping[str, Any]
    folder: Path | None = None
    inner: bool = False


class Place(Protocol):
    """Where paths that a document writes lead: beside its file, or among the uploads."""

    def find(self, written: str) -> Path | None:
        """The file or folder; None where there is none, or it may not be read."""
        ...

    def document(self, written: str) -> Document | None:
        """Another configuration that a document names; None where there is none that can be read."""
        ...


class Statements:
    """What one document states, in order. Each value names its key; each key counts once as used."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.values: list[Stated] = []
        self.unmet: list[Unmet] = []

    def take(self, field: SetupField, key: str, value: Any, name: str = "", file: str = "") -> None:
        """States a value; one that is no text, number or flag is listed as not honoured."""
        if isinstance(value, str | int | float | bool):
            self.values.append(Stated(field, value, file or self.document.name, key, name))
        elif value is not None:
            self.leave(key, f"It is {type(value).__name__}, where one value is expected.", value, file)

    def setting(self, key: str, value: Any = None, name: str = "") -> None:
        """States a setting of the preset; by default the document's own value under its own name."""
        value = self.document.values.get(key) if value is None else value
        if isinstance(value, list) and all(isinstance(part, str | int) for part in value):
            value = ",".join(map(str, value))
        self.take("setting", key, value, name or key)

    def settings(self, keys: Iterable[str]) -> None:
        """States the settings that the document holds under the preset's own names."""
        for key in keys:
            self.setting(key)

    def leave(self, key: str, reason: str, value: Any = None, file: str = "") -> None:
        """Lists a value that cannot be honoured."""
        value = self.document.values.get(key) if value is None else value
        self.unmet.append(Unmet(file or self.document.name, key, shown(value), reason))

    def leave_all(self, reasons: Mapping[str, str]) -> None:
        """Lists the keys among ``reasons`` that the document sets to something."""
        for key, reason in reasons.items():
            if self.document.values.get(key) not in (None, False, 0, "", [], {}):
                self.leave(key, reason)


class Configuration(Protocol):
    """One kind of file. It is ``core/configurations/<name>.py`` and ends with ``KIND = ...``.

    Attributes:
        name, label, help: the file's name, what a person reads, where such a file lies.
        leads: whether it is what a training was started with. Others add what the leading one leaves open.
        examples: file name to text, at least one of the kind; files that it names may be among them.
    """

    name: str
    label: str
    help: str
    leads: bool
    examples: tuple[Mapping[str, str], ...]

    def fits(self, document: Document) -> bool:
        """Whether the document is of this kind. At most one kind may say so."""
        ...

    def read(self, document: Document, place: Place) -> Statements:
        """What it states. Never raises, whatever stands in the document."""
        ...


def text(values: Mapping[str, Any], key: str) -> str:
    """The text under a key, empty where there is none."""
    value = values.get(key)
    return value.strip() if isinstance(value, str) else ""


def entry(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The object under a key, empty where there is none."""
    value = values.get(key)
    return value if isinstance(value, Mapping) else {}


def names_in(value: Any) -> list[str]:
    """Names in a list, or in one text with commas."""
    parts = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else []
    return [part.strip() for part in parts if isinstance(part, str) and part.strip()]


def shown(value: Any) -> str:
    """A value as one short line."""
    line = " ".join((value if isinstance(value, str) else repr(value)).split()) if not _deep(value) else "…"
    return line if len(line) <= SHOWN else line[: SHOWN - 1] + "…"


def _deep(value: Any) -> bool:
    """Whether writing the value out could take long: YAML's references make small files into large values."""
    containers = (dict, list, tuple, set, frozenset)
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, containers) else ()
    return len(inner) > 20 or any(isinstance(part, containers) for part in inner)


# What the values of trainers based on transformers' Trainer say besides, whatever the trainer.
TRAINER_LEFT: dict[str, str] = {
    "max_steps": "Training ended after so many steps. Rows behind them may never have been seen.",
    "group_by_length": "Rows of similar length were trained together. The order within an epoch is not known.",
    "streaming": "Rows were streamed. Their order is not known.",
}
SHUFFLED = "The trainer shuffled the rows in every epoch. Lacuna takes the order of the files."
HELD_OUT = "Rows were held out at random. Which ones is not known, so some rows may never have been trained."


def state_epochs(statements: Statements, *keys: str) -> None:
    """States the number of epochs from the first key that holds one."""
    for key in keys:
        value = statements.document.values.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
            return statements.take("epochs", key, value)
    return None
