"""Both routes of one item, generated once and kept: M direct answers, K chains of thought, and what they cost.

Nothing is decided here. Which route an item takes, which answers are the same and which path is chosen is replayed
afterwards from what this yields (``replay.py``).
"""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from core.backends._base import Backend, GeneratingBackend, PoolingBackend, ScoreRow, ScoringBackend, lanes
from core.egrm.answers import extract, options_of
from core.egrm.settings import RouteSettings
from core.errors import UserError
from core.rendering.render import prompt_ids, render_chat
from core.rendering.tokenizers import chat_template
from core.signals._base import seed_of
from core.types import Decoding, Generation, Message, Sample, Shape

# Items of a chunk: what a stopped run loses at most. All draws of a chunk are generated together.
CHUNK = {"cpu": 8, "cuda": 64}
_FIELD = re.compile(r"\{(question|a|b)\}")


@dataclass(frozen=True, slots=True)
class RouteItem:
    """One item.

    Attributes:
        key: identity of its content; seeds depend on it.
        text: what is asked; ``history`` are the turns before it.
        gold: the right answer as the data has it, None where it has none.
        pair: in judging mode the two replies, in an order that says nothing about which is better.
        better: 0 or 1, the better reply; None where the data does not say.
        group: subset, subject or difficulty, for breakdowns.
        unusable: why it cannot be asked, else None.
    """

    key: str
    text: str
    gold: str | None = None
    history: tuple[Message, ...] = ()
    shape: Shape = "chat"
    tools: str | None = None
    pair: tuple[str, str] | None = None
    better: int | None = None
    group: str | None = None
    unusable: str | None = None

    @property
    def options(self) -> dict[str, str]:
        return {"A": "A", "B": "B"} if self.pair else options_of(self.text)


@dataclass(slots=True)
class RouteText:
    """One generated answer or path.

    Attributes:
        text: without the stop token. ``complete``: it ended by itself.
        tokens: how many were generated, the stop token included; NaN where this and the next are not known.
        swapped: in judging mode, whether the second reply stood first.
        logp: mean log-probability per generated token at temperature 1, nats; NaN where no token was generated.
        margin: mean over its tokens of the token's logit minus the best other one.
        score: the scorer's; NaN where it was not scored.
        state: (d,) float32 mean of the checkpoint's last hidden layer over a path's tokens; None where it was not kept.
        state_tokens: tokens read for it.
    """

    text: str
    complete: bool
    tokens: float
    decoding: Decoding
    swapped: bool = False
    logp: float = float("nan")
    margin: float = float("nan")
    score: float = float("nan")
    state: np.ndarray | None = None
    state_tokens: int = 0


@dataclass(slots=True)
class Record:
    """Everything about one item, both routes.

    Attributes:
        refused: why it was not asked, else None; then there are no answers.
        probe_prompt, path_prompt: prompt tokens read for direct answers and for paths; equal prompts count once.
        probe_seconds, path_seconds: wall-clock time of the batch, shared out by generated tokens; ``state_seconds`` of
            reading paths once more for their hidden states, shared out by tokens read.
    """

    question: RouteItem
    probes: list[RouteText] = field(default_factory=list)
    paths: list[RouteText] = field(default_factory=list)
    probe_prompt: float = 0
    path_prompt: float = 0
    probe_seconds: float = 0.0
    path_seconds: float = 0.0
    state_seconds: float = 0.0
    refused: str | None = None
    notes: tuple[str, ...] = ()


def item_of(sample: Sample) -> RouteItem:
    """The sample's last assistant turn as an answer to the turn before it."""
    at = max((i for i, m in enumerate(sample.messages) if m.role == "assistant"), default=-1)
    before = sample.messages[:at] if at > 0 else ()
    question = before[-1] if before else None
    why = None
    if question is None:
        why = "the row has no question before its answer"
    elif question.role != "user":
        why = f"the turn before the answer is a {question.role} turn, not a question"
    return RouteItem(
        key=sample.content_hash,
        text=question.content if question is not None else sample.response,
        gold=sample.messages[at].content if at >= 0 else None,
        history=tuple(before[:-1]),
        shape=sample.shape,
        tools=sample.tools,
        group=sample.stage or sample.source,
        unusable=why,
    )


def filled(template: str, question: RouteItem, swapped: bool = False) -> str:
    """The template with the item in its fields; braces inside the item stay as they are."""
    first, second = question.pair or ("", "")
    values = {"question": question.text, "a": second if swapped else first, "b": first if swapped else second}
    return _FIELD.sub(lambda m: values[m[1]], template)


@dataclass(slots=True)
class Prompts:
    """Token ids of prompts, and what the chat template made necessary on the way."""

    tokenizer: Any
    system: str

    def ids(self, question: RouteItem, text: str) -> tuple[np.ndarray, tuple[str, ...]]:
        """(l,) ids and notes.

        Raises:
            UserError: the template refuses the item even without a system turn.
        """
        if question.shape == "prompt_completion" and chat_template(self.tokenizer) is None:
            whole = "".join(m.content for m in question.history) + (self.system and f"{self.system}\n\n") + text
            return np.array(self.tokenizer(whole, verbose=False)["input_ids"], dtype=np.int64), ()
        own = tuple(m for m in question.history if m.role == "system")
        system = "\n\n".join(t for t in (self.system, *(m.content for m in own)) if t)
        rest = (*(m for m in question.history if m.role != "system"), Message("user", text))
        if not system:
            return self._render(rest, question.tools), ()
        try:
            return self._render((Message("system", system), *rest), question.tools), ()
        except UserError:
            first = next(i for i, m in enumerate(rest) if m.role == "user")
            folded = [*rest]
            folded[first] = Message("user", f"{system}\n\n{rest[first].content}")
            note = "The chat template takes no system turn: its text stands before the first question."
            return self._render(tuple(folded), question.tools), (note,)

    def _render(self, messages: tuple[Message, ...], tools: str | None) -> np.ndarray:
        return np.array(prompt_ids(messages, self.tokenizer, tools=tools), dtype=np.int64)


def stops_of(tokenizer: Any, backend: Backend) -> tuple[int, ...]:
    """What ends an answer: the model's own stop ids and the token with which its template ends a turn."""
    stops = {int(i) for i in backend.stop_ids}
    try:
        rendered = render_chat((Message("user", "a"), Message("assistant", "b")), tokenizer)
    except UserError:
        return tuple(sorted(stops))
    own = {int(rendered.ids[t.stop - 1]) for t in rendered.turns if t.has_stop_token}
    return tuple(sorted(stops | own))


def measure(
    questions: Sequence[RouteItem],
    settings: RouteSettings,
    backend: GeneratingBackend,
    tokenizer: Any,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[list[Record]]:
    """Records of the questions in their order, a chunk at a time; a chunk's size depends on nothing but the device.

    Raises:
        UserError: the settings rest on something that the backend does not give.
    """
    if settings.hidden_states and not isinstance(backend, PoolingBackend):
        raise UserError("The backend does not give hidden states.", "", "Leave them out, or choose another backend.")
    if settings.choose == "likelihood" and not isinstance(backend, ScoringBackend):
        raise UserError("The backend does not score paths.", "", "Let the long route choose by vote instead.")
    prompts = Prompts(tokenizer, settings.system)
    stops = stops_of(tokenizer, backend)
    size = CHUNK["cuda" if backend.device.startswith("cuda") else "cpu"] * lanes(backend)
    for at in range(0, len(questions), size):
        if stop():
            return
        yield _chunk(questions[at : at + size], settings, backend, prompts, stops)


@dataclass(slots=True)
class _Draw:
    record: Record
    prompt: np.ndarray
    decoding: Decoding
    swapped: bool


def _chunk(
    questions: Sequence[RouteItem],
    settings: RouteSettings,
    backend: GeneratingBackend,
    prompts: Prompts,
    stops: tuple[int, ...],
) -> list[Record]:
    records = [Record(q) for q in questions]
    probes: list[_Draw] = []
    paths: list[_Draw] = []
    for record in records:
        try:
            probe, path = _draws(record, settings, prompts, backend.context_length)
        except UserError as error:
            record.refused = str(error)
            continue
        probes += probe
        paths += path
    _say(probes, backend, stops, "probe")
    _say(paths, backend, stops, "path", settings.hidden_states)
    return records


def _draws(
    record: Record, settings: RouteSettings, prompts: Prompts, context: int | None
) -> tuple[list[_Draw], list[_Draw]]:
    """Draws of both routes.

    Raises:
        UserError: the item cannot be asked; the text names no numbers of its own, so that equal reasons are counted
            together.
    """
    question = record.question
    if question.unusable:
        raise UserError(f"{question.unusable[0].upper()}{question.unusable[1:]}.")
    draws = []
    for part, template, decodings in (
        ("probe", settings.direct_prompt, settings.probe_decodings()),
        ("path", settings.path_prompt, settings.path_decodings()),
    ):
        ids: dict[bool, np.ndarray] = {}
        # With the order of the replies swapped in every second draw, a liking for one place cannot agree with itself.
        for swapped in (False, True) if question.pair else (False,):
            ids[swapped], notes = prompts.ids(question, filled(template, question, swapped))
            record.notes = tuple(dict.fromkeys((*record.notes, *notes)))
            if context is not None and len(ids[swapped]) >= context:
                raise UserError(
                    f"Its prompt leaves no room for an answer in the model's context of {context:,} tokens."
                )
        used = [bool(question.pair) and i % 2 == 1 for i in range(len(decodings))]
        setattr(record, f"{part}_prompt", sum(len(ids[s]) for s in set(used)))
        draws.append(
            [
                _Draw(record, ids[s], replace(d, seed=seed_of(f"routes:{question.key}:{part}:{i}:{settings.seed}")), s)
                for i, (d, s) in enumerate(zip(decodings, used, strict=True))
            ]
        )
    return draws[0], draws[1]


def _say(
    draws: list[_Draw], backend: GeneratingBackend, stops: tuple[int, ...], part: str, states: bool = False
) -> None:
    """Generates all draws in one call and hangs them on their records, with pooled hidden states if wanted."""
    if not draws:
        return
    begun = time.perf_counter()
    made = backend.generate([d.prompt for d in draws], [d.decoding for d in draws], stops)
    seconds = time.perf_counter() - begun
    rows = [_row(d.prompt, g) for d, g in zip(draws, made, strict=True)]
    scored = backend.score(rows) if isinstance(backend, ScoringBackend) else [None] * len(rows)
    begun = time.perf_counter()
    pooled = backend.pooled(rows) if states and isinstance(backend, PoolingBackend) else [None] * len(rows)
    pooling = time.perf_counter() - begun
    read = sum(len(r.ids) for r in rows)
    total = sum(len(g.tokens) for g in made)
    for draw, generation, scores, row, state in zip(draws, made, scored, rows, pooled, strict=True):
        n = len(generation.tokens)
        text = RouteText(generation.text.strip(), generation.stopped, n, draw.decoding, draw.swapped)
        if n and scores is not None:
            text.logp = float(scores.logprobs.mean())
            text.margin = float(scores.margin.mean())
        if n and state is not None:
            text.state, text.state_tokens = state, len(row.ids)
        if states:
            draw.record.state_seconds += pooling * len(row.ids) / read
        getattr(draw.record, f"{part}s").append(text)
        spent = getattr(draw.record, f"{part}_seconds") + (seconds * n / total if total else 0.0)
        setattr(draw.record, f"{part}_seconds", spent)


def _row(prompt: np.ndarray, generation: Generation) -> ScoreRow:
    ids = np.concatenate([prompt, generation.tokens])
    return ScoreRow(ids, np.arange(len(prompt), len(ids)))


# ------------------------------------------------------------------------------------------------ what is kept


def compact(record: Record) -> dict[str, Any]:
    """What replay reads of a record, JSON-able and small: answers and numbers without the texts."""
    question = record.question
    return {
        "key": question.key,
        "gold": None if question.gold is None else extract(question.gold, True).raw,
        "better": question.better,
        "pair": question.pair is not None,
        "group": question.group,
        "options": question.options,
        "refused": record.refused,
        "notes": list(record.notes),
        "prompt": [_known(record.probe_prompt), _known(record.path_prompt)],
        "seconds": [_known(record.probe_seconds, 4), _known(record.path_seconds, 4)],
        "probes": [_compact(s) for s in record.probes],
        "paths": [_compact(s) for s in record.paths],
        "state_seconds": round(record.state_seconds, 6),
    }


def _compact(text: RouteText) -> dict[str, Any]:
    answer = extract(text.text, text.complete)
    return {
        "raw": answer.raw,
        "how": answer.how,
        "failure": answer.failure,
        "tokens": _known(text.tokens),
        "cut": not text.complete,
        "swapped": text.swapped,
        "temperature": _known(text.decoding.temperature),
        "logp": _known(text.logp),
        "margin": _known(text.margin),
        "score": _known(text.score),
        "state_tokens": text.state_tokens,
    }


def _known(value: float, digits: int = 6) -> float | None:
    """The number as JSON; NaN, which stands for what was not measured, as null."""
    return round(value, digits) if np.isfinite(value) else None


def packed(state: np.ndarray) -> str:
    """A vector as text: its float32 bytes in base64, nothing rounded."""
    return base64.b64encode(np.asarray(state, dtype="<f4").tobytes()).decode("ascii")


def unpacked(text: str) -> np.ndarray:
    """(d,) float32, what ``packed`` was given."""
    return np.frombuffer(base64.b64decode(text), dtype="<f4").astype(np.float32)


def texts(record: Record) -> Mapping[str, Any]:
    """What is bulky of a record: the item and every generated text with its settings and, if kept, hidden states."""
    question = record.question

    def fields(t: RouteText) -> dict[str, Any]:
        decoding = t.decoding
        shown = {"text": t.text, "temperature": _known(decoding.temperature), "top_p": decoding.top_p,
                 "seed": decoding.seed}  # fmt: skip
        return shown if t.state is None else shown | {"state": packed(t.state)}

    return {
        "question": question.text,
        "history": [[m.role, m.content] for m in question.history],
        "gold": question.gold,
        "pair": list(question.pair) if question.pair else None,
        "probes": [fields(t) for t in record.probes],
        "paths": [fields(t) for t in record.paths],
    }
