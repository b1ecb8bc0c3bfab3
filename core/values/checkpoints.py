"""Checkpoints, their role in a run, and the sanity card."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Flavour = Literal["vllm", "sglang", "transformers", "plain"]


@dataclass(frozen=True, slots=True)
class Server:
    """Where a model is that a server holds. No key is kept.

    Attributes:
        url: address before ``/completions``, without a final slash; it often ends in ``/v1``.
        model: the name that the server lists.
        flavour: what it was seen to give: ``vllm`` and ``sglang`` log-probabilities of given tokens, the
            others generated text only.
        context_length: most tokens of a row, where the server says so.
        probe: mean log-probability of a fixed text's tokens, by which changed weights are noticed; None without any.
    """

    url: str
    model: str
    flavour: Flavour
    context_length: int | None = None
    probe: float | None = None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A folder of weights, a model on a server, or in place of weights what files say of them.

    Attributes:
        path: the folder (absolute). Without weights there that of the tokenizer, empty where there is none.
        base: for a PEFT adapter the folder of its base model, else None.
        step: training step read from ``checkpoint-N`` or ``trainer_state.json``; orders a trajectory; None if unknown.
        label: what a person calls it.
        fingerprint: SHA-256 over config, tokenizer and weight bytes (of the base, too, for an adapter).
        tokenizer: ``auto`` (AutoTokenizer) or ``file`` (the folder's own tokenizer.json); which one fits is found by
            the sanity card.
        gives: without weights what is known all the same, as capabilities of ``core/backends/_base.py``; empty where
            there is neither a model nor a file. None: there are weights, and the run's backend says what it gives.
        files: those that say it; ``label`` names the checkpoint in them.
        server: where the weights are, if not in the folder. The fingerprint is then of the server's name for the model,
            of the tokenizer, and of what the model answers to a fixed text.
    """

    path: str
    base: str | None
    step: int | None
    label: str
    fingerprint: str
    tokenizer: Literal["auto", "file"] = "auto"
    gives: tuple[str, ...] | None = None
    files: tuple[str, ...] = ()
    server: Server | None = None

    def __post_init__(self) -> None:
        # JSON knows lists only.
        object.__setattr__(self, "gives", None if self.gives is None else tuple(self.gives))
        object.__setattr__(self, "files", tuple(self.files))
        if isinstance(self.server, Mapping):
            object.__setattr__(self, "server", Server(**self.server))

    @property
    def has_weights(self) -> bool:
        return self.gives is None

    @property
    def is_nothing(self) -> bool:
        """Neither a model nor a file stands for it: the dataset alone is judged."""
        return not self.has_weights and not self.files

    def as_dict(self) -> dict[str, Any]:
        """The checkpoint as JSON; of one with weights as in versions that knew no other."""
        values = asdict(self)
        if self.has_weights:
            del values["gives"], values["files"]
        if self.server is None:
            del values["server"]
        return values


@dataclass(frozen=True, slots=True, order=True)
class Role:
    """A checkpoint's part in its run: ``base``, ``final``, or the i-th ``checkpoint`` of the trajectory.

    The one place that puts a role into the name of a column (``base_nll``, ``t0_nll``, ``nll``) and reads it back.
    Roles sort along the training; the kinds are named so that they do.
    """

    kind: Literal["base", "checkpoint", "final"]
    index: int = 0

    def column(self, name: str) -> str:
        """What column ``name`` is called where it was measured under this checkpoint."""
        return {"base": f"base_{name}", "final": name}.get(self.kind, f"t{self.index}_{name}")

    @staticmethod
    def steps(columns: Iterable[str], name: str) -> list[Role]:
        """The checkpoints of the trajectory under which ``name`` is among the columns, in their order."""
        read = re.compile(rf"t(\d+)_{re.escape(name)}")
        return sorted(Role("checkpoint", int(match[1])) for c in columns if (match := read.fullmatch(c)))


BASE, FINAL = Role("base"), Role("final")


@dataclass(frozen=True, slots=True)
class Check:
    """One line of a sanity card. ``state``: pass, warn, fail, or unknown (never shown as a pass)."""

    code: str
    state: Literal["pass", "warn", "fail", "unknown"]
    text: str
    measured: str = ""
    todo: str = ""


@dataclass(frozen=True, slots=True)
class Card:
    """What a checkpoint is and what is wrong with it, before any long compute."""

    facts: Mapping[str, Any]
    checks: tuple[Check, ...]

    @property
    def usable(self) -> bool:
        return not any(c.state == "fail" for c in self.checks)
