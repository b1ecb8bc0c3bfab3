"""Does the checkpoint say the target when asked, where greedy decoding does not give it verbatim?

Prompts are the training prefix's own token ids. Greedy first; where that is not right, draws at one temperature, in
looks of growing size, until the success rate lies on one side of 0.2 with the certainty asked for, or the budget is
spent. The rate has a uniform prior, so its posterior after s successes in n draws is Beta(1 + s, 1 + n - s), whatever
the rule by which drawing stopped; a bare "0 of 5" is never reported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from core.backends._base import Backend, Capability, GeneratingBackend, lanes
from core.errors import UserError
from core.plugins import kind
from core.recorded.rows import Record
from core.rendering.tokenizers import text_of
from core.signals import _columns as col
from core.signals._artefacts import OUTPUTS
from core.signals._base import (
    Instruments,
    Measure,
    Signal,
    at_once,
    chunked,
    seed_of,
    stop_ids_of,
    supervision_digest,
    supervision_facts,
)
from core.signals._records import RowOutputs, TurnOutputs
from core.status import PERCENT, rate_below
from core.types import FINAL, Chunk, Column, Decoding, Generation, RunSpec, Sample, SignalTable, Thresholds, digest

# What a backend may lack, to the columns that are then empty: a file holds what was drawn and draws no more.
PARTLY: Mapping[Capability, tuple[str, ...]] = {"generations": (col.DRAWS, *map(col.hits_at, PERCENT))}
LOOKS = (4, 10, 20, 40, 80)
# Drawn answers whose text is kept.
TEXTS = 8


@dataclass(slots=True)
class _Turn:
    """One turn on its way through greedy decoding and draws.

    Attributes:
        sample: place of its sample in the chunk; ``number`` counts the turns of a row.
        prompt: (l,) ids before the answer.
        limit: most new tokens; ``stops``: ids that end the answer; ``complete``: the target ends with one.
        output, stopped, score: of greedy decoding; ``draws``: scores of the sampled answers, ``texts`` the first ones.
    """

    sample: int
    number: int
    prompt: np.ndarray
    target: str
    limit: int
    stops: tuple[int, ...]
    complete: bool
    output: str = ""
    stopped: bool = False
    score: float = 0.0
    draws: list[float] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)


def looks(most: int) -> list[int]:
    """Numbers of draws after which to look, up to and including ``most``."""
    return [*(n for n in LOOKS if n < most), most] if most > 0 else []


class Reproduction(Signal):
    name = "reproduction"
    label = "Reproduction"
    version = 2
    artefact = OUTPUTS
    needs = (col.GREEDY_EXACT, col.TURNS)
    columns = (
        Column(col.SCORE, "number", "Score", "The scorer's judgement of the greedy output; 1 is right.", "", "high",
               indexed=True),
        Column(col.DRAWS, "number", "Draws", "Sampled answers drawn."),
        Column(col.ONE_ANSWER, "flag", "Judged by one answer", "The answer comes from a file that holds no other one."),
        Column(col.TURNS_ASKED, "number", "Turns generated", "Assistant turns whose answer was generated and scored."),
        *(Column(col.right_at(c), "number", f"Right at {c / 100:g}", f"Turns answered with score {c / 100:g} or more.")
          for c in PERCENT),
        *(Column(col.hits_at(c), "number", f"Draws right at {c / 100:g}", f"Draws that score {c / 100:g} or more.")
          for c in PERCENT),
    )  # fmt: skip

    def plan(self, spec: RunSpec) -> list[Measure]:
        asked = {
            "signal": self.name,
            "version": self.version,
            "weights": spec.final.fingerprint,
            "scorer": spec.scorer,
            "scorer_settings": dict(spec.scorer_settings),
            "temperature": spec.decoding_temperature,
            "max_draws": spec.max_draws,
            "max_new_tokens": spec.max_new_tokens,
            "seed": spec.seed,
        }
        held = {"backend": spec.backend, "dtype": spec.dtype, "tokenizer": spec.final.tokenizer}
        depends = {**asked, **supervision_facts(spec)}
        if not spec.final.has_weights:
            # Rows of a file are found by their id or number, which are the dataset's.
            depends |= {"dataset": spec.dataset_fingerprint}
            partly = {} if "draws" in (spec.final.gives or ()) else PARTLY
            return [Measure(self.name, FINAL, spec.final, depends, ("outputs",), partly)]
        return [Measure(self.name, FINAL, spec.final, depends, ("outputs",), PARTLY, {**asked, **held})]

    def subjects(self, measure: Measure, sample: Sample, instruments: Instruments) -> tuple[str, ...]:
        # The content seeds the draws.
        return (digest([supervision_digest(sample, instruments), sample.content_hash]),)

    def applies_to(self, table: SignalTable) -> np.ndarray:
        """Rows with a target that greedy decoding does not give verbatim, as far as that is known."""
        return np.asarray((table.get(col.TURNS) > 0) & ~(table.get(col.GREEDY_EXACT) == 1.0))

    def measure(
        self, measure: Measure, samples: Sequence[Sample], instruments: Instruments, stop: Callable[[], bool]
    ) -> Iterator[Chunk]:
        if (record := instruments.record(measure.checkpoint)) is not None:
            for chunk in chunked(samples, lambda _: 1, 512, 512):
                if stop():
                    return
                yield self._recorded(measure, chunk, instruments, record)
            return
        backend = instruments.generating(measure.checkpoint)
        many = at_once(backend, 64, 256)
        for chunk in chunked(samples, lambda s: 32 + len(s.raw) // 4, (1 << 15) * lanes(backend), many):
            if stop():
                return
            yield self._chunk(measure, chunk, instruments, backend)

    def _chunk(
        self, measure: Measure, samples: list[Sample], instruments: Instruments, backend: GeneratingBackend
    ) -> Chunk:
        turns = [turn for i, sample in enumerate(samples) for turn in _turns(i, sample, instruments, backend)]
        spec = instruments.spec
        scorer = kind("scorers", spec.scorer)

        def score(output: str, turn: _Turn) -> float:
            return float(scorer.score(output, turn.target, spec.scorer_settings))

        generations = _generate(backend, turns, [Decoding(max_new_tokens=turn.limit) for turn in turns])
        for turn, generation in zip(turns, generations, strict=True):
            turn.output, turn.stopped = generation.text, generation.stopped
            turn.score = score(turn.output, turn)
        _draw([turn for turn in turns if turn.score < Thresholds().success_cut], samples, backend, spec, score)
        return self._collect(measure, samples, turns)

    def _recorded(self, measure: Measure, samples: list[Sample], instruments: Instruments, record: Record) -> Chunk:
        """What a file says that the checkpoint answered to the last turn, judged like an answer of its own."""
        scorer, settings = kind("scorers", instruments.spec.scorer), instruments.spec.scorer_settings
        turns, alone = [], np.full(len(samples), np.nan)
        for i, sample in enumerate(samples):
            try:
                supervision = instruments.supervision(sample) if instruments.renders() else None
            except UserError:
                supervision = None
            recorded = record.row(sample, supervision)
            if recorded is None or not recorded.outputs:
                continue
            scores = [float(scorer.score(text, sample.response, settings)) for text in recorded.outputs]
            number = max(sum(m.role in ("assistant", "text") for m in sample.messages) - 1, 0)
            turn = _Turn(i, number, np.empty(0, np.int64), sample.response, 0, (), True, recorded.outputs[0], True)
            turn.score, alone[i] = scores[0], float(len(scores) == 1)
            if len(scores) > 1:
                turn.draws, turn.texts = scores, list(recorded.outputs[:TEXTS])
            turns.append(turn)
        chunk = self._collect(measure, samples, turns)
        return replace(chunk, columns={**chunk.columns, col.ONE_ANSWER: alone})

    def _collect(self, measure: Measure, samples: list[Sample], turns: list[_Turn]) -> Chunk:
        columns = {column.name: np.full(len(samples), np.nan) for column in self.columns}
        details: list[dict[str, Any] | None] = []
        for i in range(len(samples)):
            own = [turn for turn in turns if turn.sample == i]
            details.append(RowOutputs(tuple(map(_record, own))).as_dict() if own else None)
            for name, value in _values(own).items():
                columns[name][i] = value
        return Chunk(measure.key, tuple(s.content_hash for s in samples), columns, tuple(details))


def _turns(index: int, sample: Sample, instruments: Instruments, backend: Backend) -> Iterator[_Turn]:
    """The turns of one sample as questions; none where the template refuses it."""
    try:
        supervision = instruments.supervision(sample)
    except UserError:
        return
    tokenizer = instruments.tokenizer()
    stops = tuple(sorted(stop_ids_of(supervision, backend.stop_ids)))
    for number, turn in enumerate(supervision.turns):
        body = supervision.ids[turn.start : turn.stop - 1 if turn.has_stop_token else turn.stop]
        if turn.stop <= turn.start or turn.start == 0:
            continue
        complete = turn.has_stop_token
        # A right answer is no longer than the target in other words; an endless one need not be read to its end.
        limit = min(instruments.spec.max_new_tokens, 2 * len(body) + 16) if complete else len(body)
        target = text_of(tokenizer, body.tolist())
        yield _Turn(index, number, supervision.ids[: turn.start], target, max(limit, 1), stops, complete)


def _generate(backend: GeneratingBackend, turns: Sequence[_Turn], decodings: Sequence[Decoding]) -> list[Generation]:
    """A generation for each turn; one call per set of stop ids (nearly always one)."""
    by_place: dict[int, Generation] = {}
    for stops in dict.fromkeys(turn.stops for turn in turns):
        places = [i for i, turn in enumerate(turns) if turn.stops == stops]
        generations = backend.generate([turns[i].prompt for i in places], [decodings[i] for i in places], stops)
        by_place |= dict(zip(places, generations, strict=True))
    return [by_place[i] for i in range(len(turns))]


def _draw(
    turns: list[_Turn],
    samples: Sequence[Sample],
    backend: GeneratingBackend,
    spec: RunSpec,
    score: Callable[[str, _Turn], float],
) -> None:
    """Draws for turns that greedy decoding got wrong, look by look, dropping a turn once its rate is settled."""
    limits = Thresholds()

    def decoding(turn: _Turn, draw: int) -> Decoding:
        seed = seed_of(f"{samples[turn.sample].content_hash}:{turn.number}:{draw}:{spec.seed}")
        return Decoding(spec.decoding_temperature, turn.limit, seed)

    done = 0
    for look in looks(spec.max_draws):
        jobs = [(turn, draw) for turn in turns for draw in range(done, look)]
        generations = _generate(backend, [turn for turn, _ in jobs], [decoding(turn, draw) for turn, draw in jobs])
        for (turn, _), generation in zip(jobs, generations, strict=True):
            turn.draws.append(score(generation.text, turn))
            if len(turn.texts) < TEXTS:
                turn.texts.append(generation.text)
        done = look
        turns = [turn for turn in turns if not _settled(turn, limits)]
        if not turns:
            return


def _settled(turn: _Turn, limits: Thresholds) -> bool:
    hits = sum(s >= limits.success_cut for s in turn.draws)
    below = float(rate_below(limits.unlearned_below, hits, len(turn.draws)))
    return below >= limits.certainty or below <= 1 - limits.certainty


def _values(turns: Sequence[_Turn]) -> dict[str, float]:
    """The columns of one row; nothing where it has no turn."""
    if not turns:
        return {}
    values = {col.SCORE: float(np.mean([turn.score for turn in turns])), col.TURNS_ASKED: float(len(turns))}
    values |= {col.right_at(cut): float(sum(turn.score >= cut / 100 for turn in turns)) for cut in PERCENT}
    if drawn := [turn for turn in turns if turn.draws]:
        # The turn that is reached most often speaks for the row: if even that one is not, none is.
        best = max(drawn, key=lambda turn: (float(np.mean(turn.draws)), -turn.number))
        values[col.DRAWS] = float(len(best.draws))
        values |= {col.hits_at(cut): float(sum(s >= cut / 100 for s in best.draws)) for cut in PERCENT}
    return values


def _record(turn: _Turn) -> TurnOutputs:
    return TurnOutputs(
        turn.number, turn.target, turn.output, turn.stopped, turn.score, turn.complete, turn.draws, turn.texts
    )


KIND = Reproduction()
