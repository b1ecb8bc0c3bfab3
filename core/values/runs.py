"""Everything that could change a number of a run, and what else is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from core.values.checkpoints import BASE, FINAL, Check, Checkpoint, Role
from core.values.columns import Column
from core.values.samples import digest
from core.values.verdicts import Gap, Thresholds

DtypeName = Literal["float32", "bfloat16", "auto"]


# The backend that comes with Lacuna and that a specification need not name.
DEFAULT_BACKEND = "hf"


# What a run takes its trainer to be where nobody said.
DEFAULT_PRESET = "custom"


@dataclass(frozen=True, slots=True)
class RunSpec:
    """Everything that could change a number; hashed and saved with the run.

    Attributes:
        dataset_id, dataset_fingerprint: what was diagnosed.
        final: the checkpoint under diagnosis; ``base``: before SFT, optional; ``trajectory``: in step order.
        preset, preset_settings: the trainer preset and its settings.
        scorer, scorer_settings: how an answer is judged.
        decoding_temperature, max_draws, max_new_tokens, seed: adaptive sampling.
        paper_mode: also ask in multiple choice, for the rules of the study that named the five causes.
        backend: the kind of backend that opened the checkpoints.
        dtype, device: how the model was loaded (``float32``, ``bfloat16``, ``auto``).
        encoder: folder of the encoder that compares prompts; empty for the packaged one.
        examples_rows, examples_fingerprint: how many rows, from the first, questions take rare words, frames and
            examples from, and the fingerprint of these rows; 0 and empty: from all. A grown dataset is then asked as
            its first rows were.
        origin: SHA-256 of the bundle that the run came as, else empty. It keeps what was measured elsewhere apart from
            what was measured here, and changes no number.
        versions: packages that could change a number, and under ``encoder_weights`` the encoder's fingerprint.
    """

    dataset_id: int
    dataset_fingerprint: str
    final: Checkpoint
    base: Checkpoint | None = None
    trajectory: tuple[Checkpoint, ...] = ()
    preset: str = DEFAULT_PRESET
    preset_settings: Mapping[str, Any] = field(default_factory=dict)
    scorer: str = "normalised"
    scorer_settings: Mapping[str, Any] = field(default_factory=dict)
    decoding_temperature: float = 0.7
    max_draws: int = 16
    max_new_tokens: int = 256
    seed: int = 0
    paper_mode: bool = False
    dtype: DtypeName = "float32"
    device: str = "auto"
    encoder: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    backend: str = DEFAULT_BACKEND
    origin: str = ""
    examples_rows: int = 0
    examples_fingerprint: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The specification as JSON; the default backend is left out, as in runs that knew no other."""
        values = asdict(self)
        values["final"] = self.final.as_dict()
        values["base"] = None if self.base is None else self.base.as_dict()
        values["trajectory"] = [checkpoint.as_dict() for checkpoint in self.trajectory]
        if self.backend == DEFAULT_BACKEND:
            del values["backend"]
        if not self.origin:
            del values["origin"]
        if not self.examples_rows:
            del values["examples_rows"], values["examples_fingerprint"]
        return values

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> RunSpec:
        data = dict(value)
        data["final"] = Checkpoint(**data["final"])
        data["base"] = Checkpoint(**data["base"]) if data.get("base") else None
        data["trajectory"] = tuple(Checkpoint(**c) for c in data.get("trajectory", ()))
        return cls(**data)

    @property
    def hash(self) -> str:
        return digest({name: value for name, value in self.as_dict().items() if name != "origin"})

    @property
    def examples_dataset(self) -> str:
        """Fingerprint of the rows that questions take words, frames and examples from."""
        return self.examples_fingerprint or self.dataset_fingerprint

    @property
    def checkpoints(self) -> dict[Role, Checkpoint]:
        """All checkpoints of the run, along the training."""
        steps = {Role("checkpoint", i): checkpoint for i, checkpoint in enumerate(self.trajectory)}
        return ({BASE: self.base} if self.base else {}) | steps | {FINAL: self.final}


@dataclass(frozen=True, slots=True)
class TrainerState:
    """What one ``trainer_state.json`` says; None and empty where it does not.

    Attributes:
        label: of the checkpoint whose folder it lies in.
        batch: rows per device and step, gradient accumulation and other devices not counted.
        losses, grad_norms, rates: (step, value) as logged, NaN and infinity kept; ``rates`` are learning rates.
    """

    label: str
    global_step: int | None = None
    max_steps: int | None = None
    epoch: float | None = None
    batch: int | None = None
    losses: tuple[tuple[int, float], ...] = ()
    grad_norms: tuple[tuple[int, float], ...] = ()
    rates: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What is known of a run besides the signals of its samples. Empty where nothing is known.

    Attributes:
        spec: what was asked; says whether base and trajectory are there.
        checks: the sanity card's checks by code.
        states: of the trajectory's folders in step order, the final checkpoint's last.
        arguments: trainer arguments as far as known, by name.
    """

    spec: RunSpec | None = None
    checks: Mapping[str, Check] = field(default_factory=dict)
    states: tuple[TrainerState, ...] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def state_of(self, code: str) -> str:
        """State of a check of the card, ``unknown`` where there is none."""
        return self.checks[code].state if code in self.checks else "unknown"

    @property
    def log(self) -> TrainerState | None:
        """The longest training log there is."""
        logged = [s for s in self.states if s.losses or s.grad_norms]
        return max(logged, key=lambda s: (len(s.losses), s.global_step or 0)) if logged else None


@dataclass(frozen=True, slots=True)
class Run:
    """A stored diagnosis. ``columns`` are those of its verdict table; ``summary`` is what judging counted."""

    id: int
    name: str
    spec: RunSpec
    thresholds: Thresholds
    columns: tuple[Column, ...]
    state: Literal["new", "measuring", "judged"]
    created: float
    n_samples: int
    summary: Mapping[str, Any] = field(default_factory=dict)

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """What could not be measured for lack of something that the backend does not give."""
        return tuple(
            Gap(g["lack"], g["backend"], tuple(g["labels"]), tuple(g["columns"]), g.get("of", "backend"))
            for g in self.summary.get("gaps", ())
        )
