"""What people decide and try out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person decided about a group of contradicting rows.

    Attributes:
        key: the group's content (hash of its members' content hashes).
        choice: ``keep`` (the rows of ``kept``, drop the others), ``both_valid`` (rewrite the prompts), ``drop`` (all).
        kept, members: content hashes; ``kept`` is empty unless the choice is ``keep``.
        author, note: as typed; ``created``: epoch seconds.
    """

    key: str
    choice: Literal["keep", "both_valid", "drop"]
    kept: tuple[str, ...]
    members: tuple[str, ...]
    author: str
    note: str
    created: float


@dataclass(frozen=True, slots=True)
class Comment:
    """What a language model said about a group of contradicting rows. For people to read; no verdict rests on it.

    Attributes:
        key: the group's content (hash of its members' content hashes).
        sides: content hashes of each side, in the order of the letters that the text uses.
        model, text: as asked and as it came, plain text.
        shortened: whether the model saw less than the whole group.
        created: epoch seconds.
    """

    key: str
    sides: tuple[tuple[str, ...], ...]
    model: str
    text: str
    shortened: bool
    created: float


@dataclass(frozen=True, slots=True)
class Proof:
    """A recipe tried out in a small training run against control arms.

    Attributes:
        recipe: the recipe tried; ``cause``: the one cause its samples were chosen by, None where there were several.
        request: filter, settings, files and budget it was asked with.
        arms: arm to its measurement, as far as the proof got; ``before`` is the checkpoint itself.
        result: shares, paired intervals and outcome once all arms are there, else None.
        job_id: the job that works on it.
    """

    id: int
    run_id: int
    recipe: str
    cause: str | None
    request: Mapping[str, Any]
    arms: Mapping[str, Any]
    result: Mapping[str, Any] | None
    job_id: int | None
    created: float
    finished: float | None
