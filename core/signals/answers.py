"""A second look at what was measured already: where a turn goes wrong, whether the model stops, what the output says.

No model: it reads the details that likelihood and reproduction kept, of rows that greedy decoding does not give
verbatim and of rows with several turns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from core.backends._base import Capability
from core.signals import _columns as col
from core.signals._artefacts import OUTPUTS, TOKENS, measure_of, reader
from core.signals._base import Instruments, Measure, Signal, chunked
from core.signals._reading import same_but_form, same_meaning
from core.signals._records import RowOutputs, RowTokens, unmask
from core.types import FINAL, Chunk, Column, RunSpec, Sample, SignalTable

PARTLY: Mapping[Capability, tuple[str, ...]] = {
    "logprobs": (
        col.STOP_LOGP, col.CONTENT_RIGHT, col.MISS_AT, col.AFTER_RIGHT, col.N_AFTER, col.LAST_RIGHT, col.EARLIER_RIGHT,
        col.LAST_NLL, col.EARLIER_NLL, col.EARLIER_UNTRAINED,
    ),
    "argmax": (
        col.CONTENT_RIGHT, col.MISS_AT, col.AFTER_RIGHT, col.N_AFTER, col.LAST_RIGHT, col.EARLIER_RIGHT,
    ),
    "outputs": (col.RAN_ON, col.SAME_FORM, col.SAME_MEANING, col.GREEDY_MEANING, col.LIMIT_HIT),
}  # fmt: skip


class Answers(Signal):
    name = "answers"
    label = "Answers"
    version = 3
    needs = (col.GREEDY_EXACT, col.TURNS, TOKENS, OUTPUTS)
    columns = (
        Column(col.STOP_LOGP, "number", "log p(stop)", "Of the stop token after the whole answer, in the turn that was "
               "not reproduced.", "nats", "high"),
        Column(col.CONTENT_RIGHT, "flag", "All but the stop", "Greedy decoding gives the whole answer but does not "
               "stop."),
        Column(col.RAN_ON, "flag", "Runs on", "The output begins with the whole target and goes on."),
        Column(col.SAME_FORM, "flag", "Same up to form", "Only case, punctuation or articles differ."),
        Column(col.SAME_MEANING, "number", "Same meaning", "Share of the outputs (greedy and drawn) that say the "
               "target "
               "in other words."),
        Column(col.GREEDY_MEANING, "flag", "Greedy, same meaning", "The greedy output says the target in other words."),
        Column(col.LIMIT_HIT, "flag", "Cut at limit", "The output is the beginning of the target, cut by the limit on "
               "new tokens."),
        Column(col.MISS_AT, "number", "First miss", "Position in the row of the first wrong token of greedy decoding."),
        Column(col.AFTER_RIGHT, "number", "Right after first miss", "Share of later target tokens that are the "
               "argmax."),
        Column(col.N_AFTER, "number", "Tokens after first miss", "Target tokens from the first miss on."),
        Column(col.LAST_RIGHT, "flag", "Last turn right", "Greedy decoding gives the last of several answers."),
        Column(col.EARLIER_RIGHT, "number", "Earlier turns right", "Share of the answers before the last that it "
               "gives."),
        Column(col.LAST_NLL, "number", "Loss, last turn", "Mean loss of the last of several answers.", "nats", "low"),
        Column(col.EARLIER_NLL, "number", "Loss, earlier turns", "Mean loss of the answers before it.", "nats", "low"),
        Column(col.EARLIER_UNTRAINED, "flag", "Earlier turns without loss", "The trainer put loss on the last answer "
               "only."),
    )  # fmt: skip

    def plan(self, spec: RunSpec) -> list[Measure]:
        sources = [measure_of(spec, artefact).key for artefact in (TOKENS, OUTPUTS)]
        depends = {"signal": self.name, "version": self.version, "from": sources}
        return [Measure(self.name, FINAL, spec.final, depends, (), PARTLY)]

    def applies_to(self, table: SignalTable) -> np.ndarray:
        turns = table.get(col.TURNS)
        return np.asarray(((turns > 0) & ~(table.get(col.GREEDY_EXACT) == 1)) | (turns > 1))

    def measure(
        self, measure: Measure, samples: Sequence[Sample], instruments: Instruments, stop: Callable[[], bool]
    ) -> Iterator[Chunk]:
        tokens, outputs = reader(instruments, TOKENS), reader(instruments, OUTPUTS)
        for chunk in chunked(samples, lambda s: 1, 512, 512):
            if stop():
                return
            columns = {c.name: np.full(len(chunk), np.nan) for c in self.columns}
            for i, sample in enumerate(chunk):
                scores, answers = tokens(sample.content_hash), outputs(sample.content_hash)
                for name, value in (token_values(scores) | text_values(answers, sample)).items():
                    columns[name][i] = value
            yield Chunk(measure.key, tuple(s.content_hash for s in chunk), columns)


def token_values(tokens: RowTokens | None) -> dict[str, float]:
    """What the kept token scores of one row say; empty where there are none."""
    if tokens is None or not tokens.positions or not tokens.turns:
        return {}
    at = np.asarray(tokens.positions, dtype=np.int64)
    logp = np.asarray(tokens.logprobs, dtype=np.float64)
    hits = unmask(tokens.hits)
    trained, target = unmask(tokens.trained) == 1, unmask(tokens.target) == 1
    turns = tokens.turns
    out: dict[str, float] = {}
    missed = next((t for t in turns if t.exact is False), None)
    if missed is not None:
        inside = (at >= missed.start) & (at < missed.stop)
        wrong = np.flatnonzero(inside & (hits == 0))
        if wrong.size:
            out[col.MISS_AT] = float(at[wrong[0]])
            later = target[at] & (at >= at[wrong[0]])
            out[col.N_AFTER] = float(later.sum())
            if later.sum() > 1:
                out[col.AFTER_RIGHT] = float(hits[later][1:].mean())
        if missed.complete and inside.sum() > 1:
            last = np.flatnonzero(inside)[-1]
            out[col.STOP_LOGP] = float(logp[last])
            out[col.CONTENT_RIGHT] = float((hits[inside][:-1] == 1).all())
    if len(turns) > 1:
        last, earlier = turns[-1], turns[:-1]
        right = np.array([turn.exact for turn in turns], dtype=np.float64)  # None = not measured: NaN
        out[col.LAST_RIGHT], out[col.EARLIER_RIGHT] = float(right[-1]), float(right[:-1].mean())
        in_last = (at >= last.start) & (at < last.stop)
        before = np.any([(at >= t.start) & (at < t.stop) for t in earlier], axis=0)
        if in_last.any() and before.any():
            out[col.LAST_NLL], out[col.EARLIER_NLL] = -float(logp[in_last].mean()), -float(logp[before].mean())
        loss = [float(trained[t.start : t.stop].mean()) for t in turns]
        out[col.EARLIER_UNTRAINED] = float(loss[-1] > 0.5 and max(loss[:-1]) < 0.5)
    return out


def text_values(outputs: RowOutputs | None, sample: Sample) -> dict[str, float]:
    """What the outputs of the wrong turns of one row say; empty where none was generated."""
    wrong = [t for t in outputs.turns if t.score < 1] if outputs is not None else []
    if not wrong:
        return {}
    meant = [
        [same_meaning(text, t.target, _questions_before(sample, t.turn)) for text in (t.output, *t.texts)]
        for t in wrong
        if t.target.strip()
    ]
    first = wrong[0]
    target, output = first.target.rstrip(), first.output
    goes_on = bool(target) and output.startswith(target) and len(output.strip()) > len(target.strip())
    cut = not first.stopped and bool(output.strip()) and len(output) < len(target) and target.startswith(output)
    return {
        col.RAN_ON: float(goes_on and first.complete),
        col.LIMIT_HIT: float(cut and first.complete),
        col.SAME_FORM: float(all(same_but_form(t.output, t.target) for t in wrong)),
        # The turn that says it least often speaks for the row.
        col.SAME_MEANING: min((float(np.mean(m)) for m in meant), default=np.nan),
        col.GREEDY_MEANING: float(all(m[0] for m in meant)) if meant else np.nan,
    }


def _questions_before(sample: Sample, turn: int) -> str:
    """What people said before the turn. Answers are left out: a word of one of them may be what the next one is for."""
    places = [i for i, m in enumerate(sample.messages) if m.role == "assistant"]
    stop = places[turn] if turn < len(places) else len(sample.messages)
    return "\n".join(m.content for m in sample.messages[:stop] if m.role not in ("assistant", "text"))


KIND = Answers()
