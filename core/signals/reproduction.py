"""Does the checkpoint say the target when asked, where greedy decoding does not give it verbatim?

Prompts are the training prefix's own token ids. Greedy first; where that is not right, draws at one temperature, in
looks of growing size, until the success rate lies on one side of 0.2 with the certainty asked for, or the budget is
spent. The rate has a uniform prior, so its posterior after s successes in n draws is Beta(1 + s, 1 + n - s), whatever
the rule by which drawing stopped; a bare "0 of 5" is never reported.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from core.backends._base import Backend, GeneratingBackend
from core.errors import UserError
from core.plugins import kind
from core.signals._base import Instruments, Measure, chunked, stop_ids_of, supervision_facts
from core.status import PERCENT, rate_below
from core.types import Chunk, Column, Decoding, Generation, RunSpec, Sample, SignalTable, Thresholds

LOOKS = (4, 10, 20, 40, 80)


@dataclass(slots=True)
class _Asked:
    """One turn on its way through greedy decoding and draws."""

    sample: int
    turn: int
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


def seed_of(content_hash: str, turn: int, draw: int, seed: int) -> int:
    """A seed that depends on what is asked and on nothing else (no batch, no order)."""
    text = f"{content_hash}:{turn}:{draw}:{seed}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1


def looks(most: int) -> list[int]:
    """Numbers of draws after which to look, up to and including ``most``."""
    return [*(n for n in LOOKS if n < most), most] if most > 0 else []


class Reproduction:
    name = "reproduction"
    label = "Reproduction"
    version = 2
    needs = ("likelihood",)
    whole = False
    columns = (
        Column("score", "number", "Score", "The scorer's judgement of the greedy output; 1 is right.", "", "high",
               indexed=True),
        Column("draws", "number", "Draws", "Sampled answers drawn."),
        Column("turns_asked", "number", "Turns asked", "Assistant turns whose answer was generated and judged."),
        *(Column(f"right_{c}", "number", f"Right at {c / 100:g}", f"Turns answered with score {c / 100:g} or more.")
          for c in PERCENT),
        *(Column(f"hits_{c}", "number", f"Draws right at {c / 100:g}", f"Draws that score {c / 100:g} or more.")
          for c in PERCENT),
    )  # fmt: skip

    def plan(self, spec: RunSpec) -> list[Measure]:
        depends = {
            "signal": self.name,
            "version": self.version,
            "weights": spec.final.fingerprint,
            "scorer": spec.scorer,
            "scorer_settings": dict(spec.scorer_settings),
            "temperature": spec.decoding_temperature,
            "max_draws": spec.max_draws,
            "max_new_tokens": spec.max_new_tokens,
            "seed": spec.seed,
            **supervision_facts(spec),
        }
        return [Measure(self.name, "final", spec.final, depends, ("generations",))]

    def wanted(self, table: SignalTable) -> np.ndarray:
        """Rows with a target that greedy decoding does not give verbatim, as far as that is known."""
        return (table.get("turns") > 0) & ~(table.get("greedy_exact") == 1.0)

    def measure(
        self, measure: Measure, samples: Sequence[Sample], instruments: Instruments, stop: Callable[[], bool]
    ) -> Iterator[Chunk]:
        backend = instruments.generating(measure.checkpoint)
        many = 256 if backend.device.startswith("cuda") else 32
        for chunk in chunked(samples, lambda s: 32 + len(s.raw) // 4, 1 << 15, many):
            if stop():
                return
            yield self._chunk(measure, chunk, instruments, backend)

    def _chunk(
        self, measure: Measure, samples: list[Sample], instruments: Instruments, backend: GeneratingBackend
    ) -> Chunk:
        asked = [a for i, sample in enumerate(samples) for a in _turns(i, sample, instruments, backend)]
        spec = instruments.spec
        scorer = kind("scorers", spec.scorer)

        def score(output: str, a: _Asked) -> float:
            return float(scorer.score(output, a.target, spec.scorer_settings))

        for a, generation in zip(
            asked, _generate(backend, asked, [Decoding(max_new_tokens=a.limit) for a in asked]), strict=True
        ):
            a.output, a.stopped = generation.text, generation.stopped
            a.score = score(a.output, a)
        _draw([a for a in asked if a.score < Thresholds().success_cut], samples, backend, spec, score)
        return _collect(measure, samples, asked)


def _turns(index: int, sample: Sample, instruments: Instruments, backend: Backend) -> Iterator[_Asked]:
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
        target = tokenizer.decode(body.tolist(), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        yield _Asked(index, number, supervision.ids[: turn.start], target, max(limit, 1), stops, complete)


def _generate(backend: GeneratingBackend, asked: Sequence[_Asked], decodings: Sequence[Decoding]) -> list[Generation]:
    """Generations in the order asked; one call per set of stop ids (nearly always one)."""
    out: dict[int, Generation] = {}
    for stops in dict.fromkeys(a.stops for a in asked):
        places = [i for i, a in enumerate(asked) if a.stops == stops]
        generations = backend.generate([asked[i].prompt for i in places], [decodings[i] for i in places], stops)
        out |= zip(places, generations, strict=True)
    return [out[i] for i in range(len(asked))]


def _draw(
    asked: list[_Asked],
    samples: Sequence[Sample],
    backend: GeneratingBackend,
    spec: RunSpec,
    score: Callable[[str, _Asked], float],
) -> None:
    """Draws for turns that greedy decoding got wrong, look by look, dropping a turn once its rate is settled."""
    limits = Thresholds()
    done = 0
    for look in looks(spec.max_draws):
        jobs = [(a, draw) for a in asked for draw in range(done, look)]
        decodings = [
            Decoding(
                spec.decoding_temperature, a.limit, seed_of(samples[a.sample].content_hash, a.turn, draw, spec.seed)
            )
            for a, draw in jobs
        ]
        for (a, _), generation in zip(jobs, _generate(backend, [a for a, _ in jobs], decodings), strict=True):
            a.draws.append(score(generation.text, a))
            if len(a.texts) < 8:
                a.texts.append(generation.text)
        done = look
        asked = [a for a in asked if not _settled(a, limits)]
        if not asked:
            return


def _settled(a: _Asked, limits: Thresholds) -> bool:
    hits = sum(s >= limits.success_cut for s in a.draws)
    below = float(rate_below(limits.unlearned_below, hits, len(a.draws)))
    return below >= limits.certainty or below <= 1 - limits.certainty


def _collect(measure: Measure, samples: list[Sample], asked: list[_Asked]) -> Chunk:
    names = [
        "score",
        "draws",
        "turns_asked",
        *(f"right_{c}" for c in PERCENT),
        *(f"hits_{c}" for c in PERCENT),
    ]
    columns = {name: np.full(len(samples), np.nan) for name in names}
    details: list[dict[str, Any] | None] = []
    for i in range(len(samples)):
        turns = [a for a in asked if a.sample == i]
        if not turns:
            details.append(None)
            continue
        columns["score"][i] = float(np.mean([a.score for a in turns]))
        columns["turns_asked"][i] = len(turns)
        for cut in PERCENT:
            columns[f"right_{cut}"][i] = sum(a.score >= cut / 100 for a in turns)
        drawn = [a for a in turns if a.draws]
        if drawn:
            # The turn that is reached most often speaks for the row: if even that one is not, none is.
            best = max(drawn, key=lambda a: (float(np.mean(a.draws)), -a.turn))
            columns["draws"][i] = len(best.draws)
            for cut in PERCENT:
                columns[f"hits_{cut}"][i] = sum(s >= cut / 100 for s in best.draws)
        details.append(
            {
                "turns": [
                    {"turn": a.turn, "target": a.target, "output": a.output, "stopped": a.stopped, "score": a.score,
                     "complete": a.complete, "draws": a.draws, "texts": a.texts}
                    for a in turns
                ]
            }
        )  # fmt: skip
    return Chunk(measure.key, tuple(s.content_hash for s in samples), columns, tuple(details))


KIND = Reproduction()
