"""What a trainer's own files say about a run: taken over, with its origin, or named as not honoured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

# What a run can be set up with. ``column`` and ``setting`` occur once for each name.
SetupField = Literal[
    "dataset", "rows", "format", "column", "preset", "setting", "base", "checkpoint", "trajectory", "epochs", "order"
]
SETUP_LABELS: Mapping[SetupField, str] = {
    "dataset": "dataset",
    "rows": "rows of each file",
    "format": "format",
    "column": "column",
    "preset": "trainer preset",
    "setting": "setting",
    "base": "base",
    "checkpoint": "checkpoint",
    "trajectory": "earlier checkpoints",
    "epochs": "epochs",
    "order": "training order",
}


@dataclass(frozen=True, slots=True)
class Stated:
    """One value that a configuration states.

    Attributes:
        field, name: what it sets; ``name`` is the role of a column or the name of a setting, else empty.
        value: as Lacuna uses it; a path as the file writes it.
        file, key: where it stands.
        path: the file or folder that a written path leads to, absolute; empty where it is not to be found.
    """

    field: SetupField
    value: str | int | float | bool
    file: str
    key: str
    name: str = ""
    path: str = ""

    @property
    def label(self) -> str:
        """What it sets, as people read it."""
        return f"{SETUP_LABELS[self.field]} {self.name}".rstrip()


@dataclass(frozen=True, slots=True)
class Unmet:
    """One value that a configuration states and that Lacuna cannot honour, with the reason in a sentence."""

    file: str
    key: str
    value: str
    reason: str


@dataclass(frozen=True, slots=True)
class Setup:
    """What configurations say together; of two that state the same the trainer's own file counts.

    Attributes:
        files: the files that were read, each with the label of its kind.
        stated: what is taken over; several of ``dataset``, in training order.
        unmet: what is not honoured.
    """

    files: Mapping[str, str]
    stated: tuple[Stated, ...] = ()
    unmet: tuple[Unmet, ...] = ()

    def of(self, field: SetupField) -> tuple[Stated, ...]:
        """What is stated of one field."""
        return tuple(stated for stated in self.stated if stated.field == field)

    def value(self, field: SetupField) -> Any:
        """The value of a field that occurs once; None where nothing is stated."""
        return next((stated.value for stated in self.of(field)), None)

    def path(self, field: SetupField) -> str:
        """Where the stated path leads; empty where nowhere."""
        return next((stated.path for stated in self.of(field)), "")

    def named(self, field: SetupField) -> dict[str, Any]:
        """Name to value of a field that occurs once for each name."""
        return {stated.name: stated.value for stated in self.of(field)}

    def as_dict(self) -> dict[str, Any]:
        """The setup for JSON."""
        return {
            "files": dict(self.files),
            "stated": [asdict(stated) for stated in self.stated],
            "unmet": [asdict(unmet) for unmet in self.unmet],
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Setup:
        """The setup that ``as_dict`` gave."""
        stated = tuple(Stated(**entry) for entry in value["stated"])
        return cls(dict(value["files"]), stated, tuple(Unmet(**entry) for entry in value["unmet"]))
