"""What every preset is and shares: settings, the row being built, truncation."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from core.rendering.render import Rendered
from core.rendering.templates import DEFAULT_DAY
from core.types import Sample, Setting, Supervision, Turn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


class Preset(Protocol):
    """One trainer, what it makes of a row: what ``KIND`` of a file in this folder is, a subclass with all of this.

    Attributes:
        name: the file's name; ``label`` and ``help`` are what a person reads.
        settings: fields of its form and of ``--trainer-setting``, with the trainer's own names and defaults;
            ``core.plugins.with_defaults`` checks them.
        packed_apart: settings that, where they are on, pack rows so that none sees another.
        length_setting: the setting that holds the longest row in tokens (0: no limit), which exports take over.
    """

    name: str
    label: str
    help: str
    settings: tuple[Setting, ...] = ()
    length_setting: str = "max_length"
    packed_apart: tuple[str, ...] = ()

    @abstractmethod
    def supervise(
        self,
        sample: Sample,
        tokenizer: PreTrainedTokenizerFast,
        settings: Mapping[str, Any],
        context_length: int | None = None,
    ) -> Supervision:
        """What the trainer made of ``sample``. Changes neither; the same arguments give the same arrays.

        ``core.rendering.render`` gives ids and turns, ``Row`` holds the masks and cuts, ``finished`` makes the value.

        Args:
            settings: by name; those left out have their default.
            context_length: the model's; a longer row is cut there, since it cannot be measured beyond. None: unknown.

        Raises:
            UserError: the trainer or its template refuses the row or the settings.
        """

    @abstractmethod
    def loss_on_prompt(self, sample: Sample, settings: Mapping[str, Any]) -> bool:
        """Whether, in rows like ``sample``, what comes before an answer carried loss too; exports train alike.

        It says of the settings what the masks of ``supervise`` show; the contract test compares the two.
        """


@runtime_checkable
class Configuring(Protocol):
    """A preset whose trainer has an export of the same name, which writes the run's own configuration."""

    def configuration(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Keys of the trainer's configuration and their values, as the run was trained; defaults may be left out.

        Args:
            settings: by name; those left out have their default.
        """
        ...


@runtime_checkable
class Pinning(Protocol):
    """A preset that reads files of an installed package: a run keeps their text, so that no upgrade changes it."""

    def pinned(self, settings: Mapping[str, Any], template: str) -> dict[str, Any]:
        """All settings by name, the texts that the package's files hold now written into them.

        Args:
            settings: by name; those left out have their default.
            template: the tokenizer's own chat template, empty for none.

        Raises:
            UserError: the settings are refused, or a file is missing.
        """
        ...


DAY = Setting(
    "day",
    "date",
    DEFAULT_DAY,
    "Day of training",
    "The date (YYYY-MM-DD) told to a chat template that writes the current date; others ignore it.",
)


def template_variables(sample: Sample) -> dict[str, Any]:
    """The row's own ``chat_template_kwargs`` (``enable_thinking`` and the like), as trainers pass them on."""
    if b"chat_template_kwargs" not in sample.raw:
        return {}
    value = _raw(sample).get("chat_template_kwargs")
    return dict(value) if isinstance(value, dict) else {}


def prompt_messages(sample: Sample) -> int:
    """How many of the messages are the prompt of a conversational prompt-completion row; 0 for any other row.

    Such a row holds two lists of turns. It is read as one conversation, the prompt's turns marked as not trained and
    the completion's as trained; only the completion is to be learned.
    """
    flags = [m.train for m in sample.messages]
    if sample.shape != "chat" or None in flags or True not in flags:
        return 0
    lists = [v for v in _raw(sample).values() if isinstance(v, list) and v and isinstance(v[0], dict)]
    return flags.index(True) if sum("role" in v[0] or "from" in v[0] for v in lists) >= 2 else 0


def _raw(sample: Sample) -> dict[str, Any]:
    try:
        row = json.loads(sample.raw)
    except ValueError:
        return {}
    return row if isinstance(row, dict) else {}


@dataclass(frozen=True, slots=True)
class Row:
    """A row on its way to a ``Supervision``: arrays of length l and the turns, cut together."""

    ids: np.ndarray
    trained: np.ndarray
    target: np.ndarray
    turns: tuple[Turn, ...]
    truncated: bool = False
    cut_target: int = 0

    @classmethod
    def of(cls, rendered: Rendered, trained: np.ndarray, first_message: int = 0) -> Row:
        """The rendered row; turns of messages before ``first_message`` are context, not target."""
        turns = tuple(t for t, j in zip(rendered.turns, rendered.messages, strict=True) if j >= first_message)
        target = np.zeros(len(rendered.ids), dtype=bool)
        for turn in turns:
            target[turn.start : turn.stop] = True
        return cls(rendered.ids, trained.astype(bool), target, turns)

    def keep(self, start: int, stop: int) -> Row:
        """Only positions ``start`` to ``stop``; the row itself where that is all of it."""
        start, stop = max(0, start), min(stop, len(self.ids))
        if start == 0 and stop == len(self.ids):
            return self
        turns = []
        for turn in self.turns:
            a, b = max(turn.start, start), min(turn.stop, stop)
            if a < b:
                turns.append(Turn(a - start, b - start, turn.has_stop_token and b == turn.stop))
        kept = slice(start, stop)
        return Row(
            self.ids[kept],
            self.trained[kept],
            self.target[kept],
            tuple(turns),
            True,
            self.cut_target + int(self.target.sum() - self.target[kept].sum()),
        )


def finished(
    row: Row,
    rendered: Rendered,
    notes: Sequence[str],
    context_length: int | None,
    dropped: str | None = None,
) -> Supervision:
    """The row as a ``Supervision``, cut at the end of the model's context where it is longer."""
    remarks = [*rendered.notes, *notes]
    if context_length is not None and len(row.ids) > context_length:
        row = row.keep(0, context_length)
        remarks.append(f"Longer than the model's context of {context_length} tokens: measured up to there.")
    if not row.turns and not row.cut_target:
        remarks.append("No assistant turn: nothing to judge.")
    return Supervision(
        ids=row.ids,
        trained=row.trained,
        target=row.target,
        turns=row.turns,
        truncated=row.truncated,
        cut_target=row.cut_target,
        dropped=dropped,
        template_hash=rendered.template_hash,
        notes=tuple(dict.fromkeys(remarks)),
    )


def only(row: Row, mask: np.ndarray) -> Row:
    """The row with loss where ``mask`` (l,) says and it had loss before."""
    return replace(row, trained=row.trained & mask)
