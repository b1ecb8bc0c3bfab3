"""Every value that crosses a border of the house.

Shape letters: ``n`` samples, ``k`` samples in a chunk, ``t`` supervised tokens of one sample, ``l`` all tokens of
one sample, ``d`` embedding width. This file imports the standard library and numpy only.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Literal

import numpy as np

DtypeName = Literal["float32", "bfloat16", "auto"]
# The backend that comes with Lacuna and that a specification need not name.
DEFAULT_BACKEND = "hf"
# What a run takes its trainer to be where nobody said.
DEFAULT_PRESET = "custom"
# The declared grid of sampling temperatures on which log-normalisers are kept.
TEMPERATURES: tuple[float, ...] = (0.3, 0.5, 0.7, 1.0)


def canonical_json(value: Any) -> str:
    """JSON text that is the same for equal values: sorted keys, no spaces, UTF-8 kept."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def digest(value: Any) -> str:
    """SHA-256 (hex) of ``canonical_json(value)``."""
    return hashlib.sha256(canonical_json(value).encode("utf-8", "surrogatepass")).hexdigest()


# --------------------------------------------------------------------------------------------------- datasets


@dataclass(frozen=True, slots=True)
class Message:
    """One turn.

    Attributes:
        role: ``system``, ``user``, ``assistant``, ``tool``; others are kept as written, a template may refuse them.
        content: the text of the turn; empty where the row had none (an assistant turn with tool calls only).
        tool_calls: JSON text of the list of calls, or None.
        name: the ``name`` field of the row, or None.
        train: the row's own word on whether this turn carried loss (``train``, ``weight``), or None.
        tool_call_id: which call a ``tool`` turn answers, or None; some templates write it.
        reasoning: what the turn thinks before it answers, or None; a template writes it in its way or leaves it out.
    """

    role: str
    content: str
    tool_calls: str | None = None
    name: str | None = None
    train: bool | None = None
    tool_call_id: str | None = None
    reasoning: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The message as ``apply_chat_template`` takes it; absent keys stay absent."""
        out: dict[str, Any] = {"role": self.role, "content": self.content}
        if self.tool_calls is not None:
            out["tool_calls"] = json.loads(self.tool_calls)
        if self.name is not None:
            out["name"] = self.name
        if self.tool_call_id is not None:
            out["tool_call_id"] = self.tool_call_id
        if self.reasoning is not None:
            # Both names that templates read, as transformers gives them whatever the row's own name for it.
            out |= {"reasoning_content": self.reasoning, "thinking": self.reasoning}
        return out


Shape = Literal["chat", "prompt_completion", "text"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One accepted row of a dataset.

    Attributes:
        id: the user's own unique id as a string, else ``<content hash, 12 hex>-<ordinal>``.
        row: 0-based index of the input record over all files, rejected rows counted.
        ordinal: 0-based index among accepted samples; the training order.
        messages: the turns; a ``prompt_completion`` sample has a user and an assistant message, a ``text`` sample one
            message of role ``text``.
        shape: how a trainer renders the row: ``chat`` through the template, ``prompt_completion`` joined as they are,
            ``text`` with loss on everything.
        tools: JSON text of the tool definitions, or None.
        stage, source: training stage and origin when the row names them, else None.
        content_hash: SHA-256 (hex) of the canonical content (messages, shape, tools); equal for exact duplicates.
        raw: the row as one JSON object without line feed: the line's own bytes for JSONL.
        notes: what was done to the row on the way in ("empty turn kept", "duplicate key"), in plain words.
    """

    id: str
    row: int
    ordinal: int
    messages: tuple[Message, ...]
    shape: Shape
    tools: str | None
    stage: str | None
    source: str | None
    content_hash: str
    raw: bytes
    notes: tuple[str, ...] = ()

    @property
    def response(self) -> str:
        """The last assistant turn's text; for ``text`` samples the whole text."""
        for message in reversed(self.messages):
            if message.role in ("assistant", "text"):
                return message.content
        return ""

    @property
    def prompt(self) -> str:
        """Everything before the last assistant turn, turns joined by a line feed."""
        last = max((i for i, m in enumerate(self.messages) if m.role == "assistant"), default=len(self.messages))
        return "\n".join(m.content for m in self.messages[:last] if m.role != "text")


def content_hash(messages: tuple[Message, ...], shape: Shape, tools: str | None) -> str:
    """The identity of a sample's content, whatever file, format or key order it came in."""
    # Field by field: asdict copies deeply, which is most of the cost of reading a file.
    # Reasoning is added only where there is some: rows without keep the hash they had before it was a field.
    listed = [
        [m.role, m.content, m.tool_calls, m.name, m.train, m.tool_call_id, *([m.reasoning] if m.reasoning else [])]
        for m in messages
    ]
    return digest({"messages": listed, "shape": shape, "tools": tools})


@dataclass(frozen=True, slots=True)
class Problem:
    """A rejected row, kept and shown: rows in = samples + problems.

    Attributes:
        row: 0-based index of the input record over all files.
        line: 1-based line number in its file, None where the container has no lines (Parquet).
        field: the key at fault, or None.
        text: what is wrong, with the value and the way out.
        file: name of the file.
        raw: up to 2,000 bytes of the row.
    """

    row: int
    line: int | None
    field: str | None
    text: str
    file: str = ""
    raw: bytes = b""


@dataclass(frozen=True, slots=True)
class Reading:
    """How files are read: container, shape and mapping. Detected, changeable by hand, saved with the dataset.

    Attributes:
        container: ``jsonl``, ``json``, ``parquet``, ``csv``.
        format: a kind of ``core/formats``.
        mapping: role of the format (``messages``, ``instruction``, ...) to the column it is read from.
    """

    container: str
    format: str
    mapping: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Dataset:
    """A stored dataset. ``fingerprint`` is over the raw rows in order; counts are exact."""

    id: int
    name: str
    files: tuple[str, ...]
    reading: Reading
    fingerprint: str
    n_rows: int
    n_samples: int
    n_problems: int
    n_duplicates: int
    stages: tuple[str, ...]
    sources: tuple[str, ...]
    created: float
    notes: tuple[str, ...] = ()


# ------------------------------------------------------------------------------------------------ checkpoints


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A folder of weights.

    Attributes:
        path: the folder (absolute).
        base: for a PEFT adapter the folder of its base model, else None.
        step: training step read from ``checkpoint-N`` or ``trainer_state.json``; orders a trajectory; None if unknown.
        label: what a person calls it.
        fingerprint: SHA-256 over config, tokenizer and weight bytes (of the base, too, for an adapter).
        tokenizer: ``auto`` (AutoTokenizer) or ``file`` (the folder's own tokenizer.json); which one fits is found by
            the sanity card.
    """

    path: str
    base: str | None
    step: int | None
    label: str
    fingerprint: str
    tokenizer: Literal["auto", "file"] = "auto"


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


# ----------------------------------------------------------------------------------------- supervision, scores


@dataclass(frozen=True, slots=True)
class Turn:
    """One assistant turn, a half-open range of token positions; its end includes the stop token when there is one."""

    start: int
    stop: int
    has_stop_token: bool


@dataclass(frozen=True, slots=True)
class Supervision:
    """What one sample looked like to the trainer.

    Attributes:
        ids: (l,) int64 token ids.
        trained: (l,) bool, tokens that carried loss.
        target: (l,) bool, assistant content and its stop token. Status is judged here.
        turns: assistant turns in order; their ranges cover ``target``.
        truncated: the trainer (or the model's context) cut the row's end or start.
        cut_target: number of target tokens lost to truncation; -1 where they cannot be counted.
        dropped: why the trainer left the row out altogether, or None.
        template_hash: hash of the template that rendered the row, empty for none.
        notes: what a person should know ("generation prompt differs from the training prefix: ...").
    """

    ids: np.ndarray
    trained: np.ndarray
    target: np.ndarray
    turns: tuple[Turn, ...]
    truncated: bool = False
    cut_target: int = 0
    dropped: str | None = None
    template_hash: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TokenScores:
    """One teacher-forced pass over one sample, in float32, on the positions asked for.

    Attributes:
        positions: (t,) int64, positions in ``ids`` that were scored (position 0 has no prediction and is never asked).
        logprobs: (t,) log-probability of the token at temperature 1, natural logarithm.
        argmax: (t,) int64, the most likely token id; -1 = not measured.
        margin: (t,) logit of the token minus the highest logit of any other token; > 0 where it is the argmax. NaN =
            not measured.
        lognorm: (t, len(TEMPERATURES)) log sum_v exp(logp_v / T), so that
            log p_T(token) = logprobs / T - lognorm[:, T]; the column of T = 1 is 0. NaN = not measured.
    """

    positions: np.ndarray
    logprobs: np.ndarray
    argmax: np.ndarray
    margin: np.ndarray
    lognorm: np.ndarray

    @classmethod
    def of(
        cls,
        positions: np.ndarray,
        logprobs: np.ndarray,
        argmax: np.ndarray | None = None,
        margin: np.ndarray | None = None,
        lognorm: np.ndarray | None = None,
    ) -> TokenScores:
        """The scores of a backend that gives only some of them; what is left out is not measured."""
        t = len(positions)
        if lognorm is None:
            lognorm = np.full((t, len(TEMPERATURES)), np.nan, dtype=np.float32)
            lognorm[:, TEMPERATURES.index(1.0)] = 0.0
        return cls(
            positions,
            logprobs,
            np.full(t, -1, dtype=np.int64) if argmax is None else argmax,
            np.full(t, np.nan, dtype=np.float32) if margin is None else margin,
            lognorm,
        )

    def hits(self, ids: np.ndarray) -> np.ndarray:
        """(t,) float64: 1 where the token is the most likely one, 0 where it is not, NaN where that is not measured.

        A token with more than half of the probability is the most likely one, whatever the others have.

        Args:
            ids: (l,) token ids of the sample.
        """
        likely = np.where(self.logprobs > np.log(0.5), 1.0, np.nan)
        return np.where(self.argmax >= 0, (self.argmax == ids[self.positions]).astype(np.float64), likely)


@dataclass(frozen=True, slots=True)
class Decoding:
    """How to generate. ``temperature`` 0 is greedy; no top-k or penalties ever.

    ``top_p``: draws are made among the fewest most likely tokens whose probabilities reach it together; 1 among all.
    """

    temperature: float = 0.0
    max_new_tokens: int = 256
    seed: int = 0
    top_p: float = 1.0


@dataclass(frozen=True, slots=True)
class Generation:
    """One generated continuation; ``tokens`` (m,) includes the stop token when one was produced."""

    tokens: np.ndarray
    text: str
    stopped: bool
    decoding: Decoding


# ----------------------------------------------------------------------------------------- measured, concluded

ColumnKind = Literal["category", "number", "flag", "text"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a run's verdict table, declared by the kind that fills it.

    Attributes:
        name: identifier in SQL, URL and JSON.
        kind: ``category`` (filter by value), ``number`` (range), ``flag`` (0/1/unknown), ``text`` (search).
        label: heading; ``unit`` and ``better`` ("low", "high", "") say how to read it.
        help: one sentence.
        indexed: whether filters and sorts on it must be fast at a million rows.
        shown: whether the table shows it unasked.
    """

    name: str
    kind: ColumnKind
    label: str
    help: str = ""
    unit: str = ""
    better: Literal["low", "high", ""] = ""
    indexed: bool = False
    shown: bool = False


@dataclass(frozen=True, slots=True)
class ColumnFamily:
    """Columns, or values of a category, that are named after members of a register: ``strength_<cause>``.

    This is the one place that builds such a name and takes it apart.
    """

    prefix: str

    def of(self, member: str) -> str:
        """The name for a member."""
        return self.prefix + member

    def member(self, name: str | None) -> str | None:
        """The member that a name stands for; None where the name is not of this family."""
        return name.removeprefix(self.prefix) if name is not None and name.startswith(self.prefix) else None

    def columns(self, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Values by member as values by column."""
        return {self.of(member): v for member, v in values.items()}


STRENGTH = ColumnFamily("strength_")
EVIDENCE = ColumnFamily("evidence_")
FAULT = ColumnFamily("fault_")
# The value of the column ``cause`` where a fault of the pipeline explains the sample.
PIPELINE = ColumnFamily("pipeline:")


@dataclass(frozen=True, slots=True)
class Look:
    """How a cause, a fault or a status is drawn wherever it appears.

    Attributes:
        colour: ``#RRGGBB``, legible on a light and on a dark ground: contrast of at least 3 with both.
        mark: one character that tells it apart where there is no colour.
        pattern: Plotly's fill pattern that does so in bars: empty, ``/``, ``\\``, ``x``, ``-``, ``|``, ``+`` or ``.``.
        label: the name that people read.
    """

    colour: str
    mark: str
    pattern: str = ""
    label: str = ""

    @property
    def ink(self) -> str:
        """The colour of text upon ``colour``: white, or nearly black where white would be pale."""
        red, green, blue = (int(self.colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
        return "#FFFFFF" if 0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2 < 0.25 else "#1C2630"


@dataclass(frozen=True, slots=True)
class Setting:
    """One field of a form, declared by the kind that needs it.

    Attributes:
        choices: the values of a ``choice``, as the command line and exports name them.
        words: what people read for each of ``choices``; empty: the values themselves.
        hidden: Lacuna fills it in, and forms leave it out.
    """

    name: str
    kind: Literal["bool", "int", "float", "choice", "date", "text"]
    default: Any
    label: str
    help: str = ""
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    words: tuple[str, ...] = ()
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class Chunk:
    """What a signal yields and the worker stores.

    Attributes:
        measure: key of the measurement (signal, its version and settings, checkpoint, supervision).
        keys: (k,) content hashes of the samples.
        columns: name to (k,) float64; NaN = not measured.
        details: per sample, JSON-able bulky evidence (per-token values, generated texts), or None.
    """

    measure: str
    keys: tuple[str, ...]
    columns: Mapping[str, np.ndarray]
    details: tuple[Mapping[str, Any] | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Gap:
    """What a run cannot measure for lack of something that its backend does not give.

    Attributes:
        lack: what the backend does not give, in words that follow "needs".
        backend: its label.
        labels: headings of what is not measured.
        columns: names that stay empty in the run's table.
    """

    lack: str
    backend: str
    labels: tuple[str, ...]
    columns: tuple[str, ...]

    @property
    def needs(self) -> str:
        return f"{self.lack}, which the backend “{self.backend}” does not give"

    @property
    def text(self) -> str:
        return f"The backend “{self.backend}” does not give {self.lack}. Not measured: {', '.join(self.labels)}."


@dataclass(frozen=True, slots=True)
class SignalTable:
    """Signals of n samples side by side. ``columns``: name to (n,) float64, NaN = not measured."""

    keys: tuple[str, ...]
    columns: Mapping[str, np.ndarray]

    def get(self, name: str) -> np.ndarray:
        """(n,) float64; all NaN where nothing of that name was measured."""
        values = self.columns.get(name)
        return values if values is not None else np.full(len(self.keys), np.nan)

    def steps(self, name: str) -> dict[Role, np.ndarray]:
        """The column under each checkpoint of the trajectory that it was measured under, in their order."""
        return {role: self.get(role.column(name)) for role in Role.steps(self.columns, name)}


class Status(StrEnum):
    LEARNED = "learned"
    PARTLY = "partly"
    UNLEARNED = "unlearned"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Reason:
    """One sentence of evidence with its numbers. ``favours``: for, against or note."""

    text: str
    measured: float | None = None
    limit: float | None = None
    favours: Literal["for", "against", "note"] = "note"
    refs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """A cause with its strength in [0, 1]; NaN = not judged."""

    cause: str
    strength: float
    reasons: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is concluded about one sample.

    Attributes:
        status: learned, partly, unlearned, unknown.
        reasons: sentences for the status and the fault.
        cause: None (learned, or nothing was judged), a cause's name, ``pipeline:<fault>`` or ``undetermined``.
        confidence: calibrated probability that the named cause is right, None where none is named.
        findings: the causes where one was looked for, strongest first; those not judged last, each saying why not.
        proof: what a proof of the cause's recipe says of the sample.
    """

    status: Status
    reasons: tuple[Reason, ...] = ()
    cause: str | None = None
    confidence: float | None = None
    findings: tuple[Finding, ...] = ()
    proof: tuple[Reason, ...] = ()

    @property
    def evidence(self) -> tuple[Reason, ...]:
        """Everything that speaks for or against what is concluded: the status, the named cause or fault, the proof."""
        of_cause = (reason for finding in self.findings if finding.cause == self.cause for reason in finding.reasons)
        return (*self.reasons, *of_cause, *self.proof)

    def strength(self, cause: str) -> float:
        """Strength of a cause in [0, 1]; NaN where it was not judged."""
        return next((f.strength for f in self.findings if f.cause == cause), math.nan)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Limits that turn signals into a status. Moving them loads no model.

    Attributes:
        unlearned_below: success rate under sampling below which a sample counts as unlearned (0.2 as in the paper).
        certainty: posterior probability asked for before saying on which side of the limit the rate lies.
        success_cut: score from which a scorer's graded judgement counts as right (token F1, embedding).
    """

    unlearned_below: float = 0.2
    certainty: float = 0.9
    success_cut: float = 0.8


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

    def as_dict(self) -> dict[str, Any]:
        """The specification as JSON; the default backend is left out, as in runs that knew no other."""
        values = asdict(self)
        if self.backend == DEFAULT_BACKEND:
            del values["backend"]
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
        return digest(self.as_dict())

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
        losses, grad_norms: (step, value) as logged, NaN and infinity kept.
    """

    label: str
    global_step: int | None = None
    max_steps: int | None = None
    epoch: float | None = None
    batch: int | None = None
    losses: tuple[tuple[int, float], ...] = ()
    grad_norms: tuple[tuple[int, float], ...] = ()


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
            Gap(g["lack"], g["backend"], tuple(g["labels"]), tuple(g["columns"])) for g in self.summary.get("gaps", ())
        )


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


JobState = Literal["queued", "running", "done", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class Job:
    """One unit of work in the job table.

    Attributes:
        lane: ``long`` (diagnosis) or ``short`` (inspection, preview, import, export).
        kind: name of the handler; ``payload`` its JSON arguments; ``result`` its JSON outcome when done.
        stage, done, total: progress in the handler's own unit; ``unit`` names it; total 0 = not known yet.
        attempts: deaths without a new chunk in between; after three the job fails.
        owner, lease_until: who works on it and until when (epoch seconds).
        cancel: asked to stop.
        error: what, why, what to do next, as UserError gives them; ``code`` is the short id of a bug's traceback.
    """

    id: int
    lane: Literal["long", "short"]
    kind: str
    payload: Mapping[str, Any]
    state: JobState
    stage: str = ""
    done: int = 0
    total: int = 0
    unit: str = ""
    attempts: int = 0
    owner: str | None = None
    lease_until: float | None = None
    cancel: bool = False
    error: Mapping[str, str] | None = None
    result: Mapping[str, Any] | None = None
    run_id: int | None = None
    title: str = ""
    created: float = 0.0
    started: float | None = None
    finished: float | None = None


# --------------------------------------------------------------------------------------------------- filtering


@dataclass(frozen=True, slots=True)
class Term:
    """One condition. ``op``: ``in`` (values, None = unknown), ``not_in``, ``range`` (low, high; None = open)."""

    column: str
    op: Literal["in", "not_in", "range"]
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Filter:
    """The one selection that drives every view. Its text form is the URL query (``core/filters.py``)."""

    terms: tuple[Term, ...] = ()
    text: str = ""
    sort: str = "ordinal"
    descending: bool = False
