"""What the base model knew before the fine-tune: does it know the answer, does it believe another, has it met the name?

Classes as in SliCK (Gekhman et al. 2024, arXiv 2405.05904), from forward passes instead of draws: over ten few-shot
prompts, whether greedy decoding gives the answer, and the probability p_i that one draw at temperature 0.5 does.
HighlyKnown: greedy right in all prompts; MaybeKnown: in some; WeaklyKnown: in none, but at least once in 16 draws per
prompt with probability 1 - prod (1 - p_i)^16 >= 0.5; Unknown: the rest.

Where the base answers best without examples (see ``core/signals/_ways.py``), its ten prompts are one, and
MaybeKnown does not occur.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from core.backends._base import Capability
from core.signals import _columns as col
from core.signals._artefacts import BELIEF, OUTPUTS, reader
from core.signals._asking import Answered, AskedModel, margin, parting, score_as_trained
from core.signals._base import Instruments, Measure, Signal, at_once, chunked, seed_of, supervision_facts
from core.signals._questions import MOST_TOKENS, PROMPTS, Question, Questions, variants
from core.signals._records import BaseAnswers, PromptAnswer
from core.signals._ways import AsTrained
from core.text.words import normalised
from core.types import BASE, FINAL, Chunk, Column, Decoding, RunSpec, Sample, SignalTable

UNKNOWN, WEAKLY, MAYBE, HIGHLY = range(4)
CLASSES = ("Unknown", "WeaklyKnown", "MaybeKnown", "HighlyKnown")
DRAWS = 16
# The base's own answer: the greedy one and some draws, each behind another prompt where there are several.
OWN_DRAWS, OWN_TEMPERATURE = 5, 0.7
# An alias that comes up less often in the first prompt is not followed through the others.
SELDOM = 1e-3
# Above this probability of the answer as it stands in the first prompt its aliases are not looked at.
SURE = 0.95
# Prompts behind which the base's own answer is scored.
BEHIND = 4
BASE_COLUMNS = (
    "known_greedy", "known_sampled", "known_any16", "knowledge", "belief_share", "belief_is_target", "belief_agrees",
    "belief_p", "belief_margin", "belief_stability", "entropy", "familiarity", "spelling",
)  # fmt: skip
FINAL_COLUMNS = (col.BELIEF_MARGIN, col.OUTPUT_IS_BELIEF)
REQUIRES: tuple[Capability, ...] = ("logprobs", "argmax", "lognorm", "generations")


def class_of(greedy: np.ndarray, sampled: np.ndarray) -> int:
    """The class of one row.

    Args:
        greedy: (10,) bool, greedy decoding gives the answer.
        sampled: (10,) probability that one draw at T = 0.5 does.
    """
    if greedy.all():
        return HIGHLY
    if greedy.any():
        return MAYBE
    return WEAKLY if any_draw(sampled) >= 0.5 else UNKNOWN


def any_draw(sampled: np.ndarray, draws: int = DRAWS) -> float:
    """1 - prod (1 - p_i)^draws."""
    with np.errstate(divide="ignore"):
        return float(-np.expm1(draws * np.log1p(-np.minimum(sampled, 1.0)).sum()))


@dataclass(slots=True)
class Row:
    """One row on its way through the prompts.

    Attributes:
        forms: the answer and its aliases.
        greedy, sampled: (10,) per prompt: greedy decoding gives the answer; probability that one draw at T = 0.5 does.
        target: prompt to the answer as it stands, scored.
        greedy_texts: prompt to what greedy decoding says there.
        own: the base's own answers, the greedy one first.
        prompt: the end of the first prompt, for the row page.
    """

    question: Question
    forms: list[str]
    greedy: np.ndarray = field(default_factory=lambda: np.zeros(PROMPTS, dtype=bool))
    sampled: np.ndarray = field(default_factory=lambda: np.full(PROMPTS, np.nan))
    target: dict[int, Answered] = field(default_factory=dict)
    greedy_texts: dict[int, str] = field(default_factory=dict)
    own: list[str] = field(default_factory=list)
    familiarity: float = np.nan
    spelling: float = np.nan
    prompt: str = ""

    def note(self, number: int, form: str, answer: Answered) -> None:
        """Takes in how a form of the answer fares behind a prompt."""
        self.greedy[number] |= answer.greedy
        if answer.greedy:
            self.greedy_texts[number] = form
        if form == self.question.answer:
            self.target[number] = answer
        self.sampled[number] = np.nan_to_num(self.sampled[number]) + np.exp(answer.half)


class Knowledge(Signal):
    name = "knowledge"
    label = "Knowledge"
    version = 3
    artefact = BELIEF
    needs = (col.N_TARGET, col.TURNS, col.GREEDY_EXACT, OUTPUTS)
    columns = (
        Column(col.BASE_KNOWLEDGE, "number", "Knowledge",
               "What the base knew: 0 nothing, 1 weakly known, 2 maybe known, 3 highly known.", "", "high",
               indexed=True),
        Column(col.BASE_KNOWN_GREEDY, "number", "Known (greedy)",
               "Share of ten few-shot prompts in which the base's greedy answer is the target.", "", "high"),
        Column(col.BASE_KNOWN_SAMPLED, "number", "Known (draw)",
               "Mean probability that one draw of the base at T = 0.5 is the target.", "", "high"),
        Column(col.BASE_KNOWN_ANY16, "number", "Known (16 draws)",
               "Probability that the base gives the target at least once in 16 draws per prompt.", "", "high"),
        Column(col.BASE_BELIEF_SHARE, "number", "Belief share", "Share of the base's own answers that agree."),
        Column(col.BASE_BELIEF_IS_TARGET, "flag", "Belief is target", "The base's own answer is the target."),
        Column(col.BASE_BELIEF_AGREES, "number", "Belief says the same",
               "Share of what the target says, apart from its frame and the prompt's words, that the base says too."),
        Column(col.BASE_BELIEF_P, "number", "p(belief)",
               "Probability of the base's own answer, geometric mean over up to four prompts."),
        Column(col.BASE_BELIEF_MARGIN, "number", "Belief over target, base",
               "Log-probability per token of the base's own answer minus the target's, before fine-tuning.", "nats"),
        Column(col.BASE_BELIEF_STABILITY, "number", "Belief stability",
               "Share of the few-shot prompts that get the base's most frequent greedy answer."),
        Column(col.BASE_ENTROPY, "number", "Answer entropy, base",
               "How open the base's answer is where belief and target diverge (Rényi entropy of order two).", "nats"),
        Column(col.BASE_FAMILIARITY, "number", "Familiarity",
               "Mean log-probability per token of the prompt's rare words under the base.", "nats", "high"),
        Column(col.BASE_SPELLING, "number", "Spelling",
               "The same without each word's first token: how well the base can spell it; 0 for whole words.", "nats",
               "high"),
        Column(col.BELIEF_MARGIN, "number", "Belief over target",
               "Log-probability per token of the base's own answer minus the target's, after fine-tuning.", "nats",
               "low"),
        Column(col.OUTPUT_IS_BELIEF, "flag", "Output is belief",
               "The final checkpoint's greedy answer is the base's own answer."),
    )  # fmt: skip

    def plan(self, spec: RunSpec) -> list[Measure]:
        if spec.base is None:
            return []
        depends = {
            "signal": self.name,
            "version": self.version,
            "base": spec.base.fingerprint,
            "dataset": spec.examples_dataset,  # examples and rare words
            "seed": spec.seed,
            **supervision_facts(spec),
        }
        final = {"role": "final", "max_new_tokens": spec.max_new_tokens, "scorer": spec.scorer,
                 "scorer_settings": dict(spec.scorer_settings)}  # fmt: skip
        return [
            Measure(self.name, BASE, spec.base, {"role": "base", **depends}, REQUIRES),
            Measure(self.name, FINAL, spec.final, {**depends, **final}, REQUIRES),
        ]

    def applies_to(self, table: SignalTable) -> np.ndarray:
        """Rows with one short answer."""
        return np.asarray(
            (table.get(col.N_TARGET) <= MOST_TOKENS) & (table.get(col.N_TARGET) > 0) & (table.get(col.TURNS) == 1)
        )

    def measure(
        self, measure: Measure, samples: Sequence[Sample], instruments: Instruments, stop: Callable[[], bool]
    ) -> Iterator[Chunk]:
        # A row is asked and answered some fifteen times.
        many = at_once(instruments.backend(measure.checkpoint), 24, 256)
        questions: Questions | None = None
        base: AskedModel | None = None
        for chunk in chunked(samples, lambda s: 32 + len(s.raw) // 4, 1 << 15, many):
            if stop():
                return
            if measure.role == FINAL:
                questions = questions or Questions(instruments.examples_from())
                yield _final(measure, chunk, instruments, questions)
            else:
                base = base or AskedModel(measure, instruments)
                yield _base(measure, chunk, base)


# ------------------------------------------------------------------------------------------------- before the tune


def _base(measure: Measure, samples: list[Sample], base: AskedModel) -> Chunk:
    rows = [Row(q, variants(q.answer)) if (q := base.questions.of(s)) is not None else None for s in samples]
    questions = [row for row in rows if row is not None]
    _score_answers(questions, base)
    answerable = [row for row in questions if row.target]
    # Where the fine-tune took, nobody asks what the base believed instead; its answers are most of the cost.
    _collect_own([row for row in answerable if row.question.sample.content_hash not in base.verbatim], base)
    beliefs = {id(row): _consensus(row) for row in answerable}
    scores = _score_beliefs(answerable, beliefs, base)
    columns = {name: np.full(len(samples), np.nan) for name in BASE_COLUMNS}
    details: list[dict[str, Any] | None] = [None] * len(samples)
    for place, row in enumerate(rows):
        if row is None or not row.target:
            continue
        for name, value in _values(row, beliefs[id(row)], scores.get(id(row), [])).items():
            columns[name][place] = value
        details[place] = _record(row, beliefs[id(row)], base).as_dict()
    return Chunk(measure.key, tuple(s.content_hash for s in samples), columns, tuple(details))


Belief = tuple[str, float]
"""The base's own answer, and the share of its answers that agree on it."""


def _score_beliefs(
    rows: Sequence[Row], beliefs: dict[int, Belief | None], base: AskedModel
) -> dict[int, list[tuple[int, Answered]]]:
    """Row (by ``id``) to its belief scored behind the first prompts, as (prompt, answer)."""
    numbers = range(min(base.way.prompts, BEHIND))
    jobs = [(row, belief[0], n) for row in rows if (belief := beliefs[id(row)]) is not None for n in numbers]
    out: dict[int, list[tuple[int, Answered]]] = {}
    answers = base.score(base.way, [(row.question, n, text) for row, text, n in jobs])
    for (row, _, n), answer in zip(jobs, answers, strict=True):
        if answer is not None:
            out.setdefault(id(row), []).append((n, answer))
    return out


def known(samples: Sequence[Sample], base: AskedModel) -> list[dict[str, float]]:
    """The class and what it rests on, of every row that is a question with a short answer."""
    rows = [Row(q, variants(q.answer)) for s in samples if (q := base.questions.of(s)) is not None]
    _score_answers(rows, base)
    return [_values(row, None, ()) for row in rows]


def _score_answers(rows: Sequence[Row], base: AskedModel) -> None:
    """Fills in greedy success and p_i of every prompt; aliases are added up, for no two can both come up."""
    way = base.way
    forms: dict[int, list[str]] = {}
    first = base.put(way, [(row.question, 0, row.question.answer) for row in rows])
    for row, put in zip(rows, first, strict=True):
        if put is None:
            continue
        row.prompt = base.tokenizer.decode(put.presented.ids[: put.presented.start].tolist())[-4000:]
        row.familiarity, row.spelling = _familiar(put.rare)
        forms[id(row)] = [row.question.answer]
        row.note(0, row.question.answer, put.answer)
    # Where the answer as it stands is sure, little is left for its aliases.
    aliases = [(row, form) for row in rows if id(row) in forms and row.sampled[0] < SURE for form in row.forms[1:]]
    answers = base.score(way, [(row.question, 0, form) for row, form in aliases])
    for (row, form), answer in zip(aliases, answers, strict=True):
        if answer is not None and (answer.greedy or np.exp(answer.half) >= SELDOM):
            forms[id(row)].append(form)
            row.note(0, form, answer)
    jobs = [(row, n, form) for row in rows for n in range(1, way.prompts) for form in forms.get(id(row), ())]
    answers = base.score(way, [(row.question, n, form) for row, n, form in jobs])
    for (row, n, form), answer in zip(jobs, answers, strict=True):
        if answer is not None:
            row.note(n, form, answer)
    for row in rows:
        if way.prompts == 1:
            row.greedy[1:], row.sampled[1:] = row.greedy[0], row.sampled[0]


def _familiar(rare: Sequence[np.ndarray]) -> tuple[float, float]:
    """(mean log-probability per token of the rare words, the same without first tokens); NaN without rare words."""
    if not rare:
        return np.nan, np.nan
    rest = np.concatenate([word[1:] for word in rare])
    return float(np.concatenate(rare).mean()), float(rest.mean()) if rest.size else 0.0


def _collect_own(rows: Sequence[Row], base: AskedModel) -> None:
    """The base's own answers: greedy behind every prompt, and a few draws, each behind another prompt."""
    way = base.way

    def limit(row: Row) -> int:
        return 2 * len(row.target[min(row.target)].tokens) + 8

    def draw(row: Row, k: int) -> Decoding:
        seed = seed_of(repr(("belief", row.question.sample.content_hash, k, base.seed)))
        return Decoding(OWN_TEMPERATURE, limit(row), seed)

    greedy = [(row, n) for row in rows for n in range(way.prompts) if not row.greedy[n]]
    drawn = [(row, k) for row in rows for k in range(OWN_DRAWS)]
    jobs = [(row.question, n, Decoding(max_new_tokens=limit(row))) for row, n in greedy]
    jobs += [(row.question, (k + 1) % way.prompts, draw(row, k)) for row, k in drawn]
    texts = base.generate(jobs)
    for (row, n), text in zip(greedy, texts[: len(greedy)], strict=True):
        if text is not None:
            row.greedy_texts[n] = text
    for (row, _), text in zip(drawn, texts[len(greedy) :], strict=True):
        if text is not None:
            row.own.append(text)
    for row in rows:
        if 0 in row.greedy_texts:
            row.own.insert(0, row.greedy_texts[0])


def _consensus(row: Row) -> Belief | None:
    """The answer most of the base's own answers agree on, and their share; of equals the one that came first."""
    texts = [text for text in row.own if text.strip()]
    if not texts:
        return None
    counts = Counter(normalised(text) for text in texts)
    most = max(counts.values())
    return next(t for t in texts if counts[normalised(t)] == most), most / len(row.own)


def _values(row: Row, belief: Belief | None, scores: Sequence[tuple[int, Answered]]) -> dict[str, float]:
    """The columns of one row, named without the base's role; those that were not measured are left out."""
    values = {"familiarity": row.familiarity, "spelling": row.spelling}
    if np.isfinite(row.sampled).all():
        sampled = np.minimum(row.sampled, 1.0)
        values |= {
            "known_greedy": float(row.greedy.mean()), "known_sampled": float(sampled.mean()),
            "known_any16": any_draw(sampled), "knowledge": float(class_of(row.greedy, sampled)),
        }  # fmt: skip
    if len(row.greedy_texts) > 1:
        counts = Counter(map(normalised, row.greedy_texts.values()))
        values["belief_stability"] = max(counts.values()) / len(row.greedy_texts)
    if belief is None:
        return values
    text, share = belief
    is_target = normalised(text) == normalised(row.question.answer)
    values |= {"belief_share": share, "belief_is_target": float(is_target)}
    values["belief_agrees"] = 1.0 if is_target else row.question.agrees(text)
    pairs = [(own, row.target[n]) for n, own in scores if n in row.target]
    if pairs:
        values["belief_p"] = float(np.exp(np.mean([own.logp.sum() for own, _ in pairs])))
        values["entropy"] = float(np.mean([_openness(own, target, is_target) for own, target in pairs]))
        values["belief_margin"] = 0.0 if is_target else float(np.mean([margin(own, target) for own, target in pairs]))
    return values


def _openness(belief: Answered, target: Answered, same: bool) -> float:
    """Entropy of the next token where belief and target part; the largest on the way where they are the same."""
    if same:
        return float(belief.entropy.max())
    return float(belief.entropy[parting(belief.tokens, target.tokens)[0].start])


def _record(row: Row, belief: Belief | None, base: AskedModel) -> BaseAnswers:
    prompts = range(base.way.prompts)
    return BaseAnswers(
        way=base.way.name,
        prompts=base.way.prompts,
        examples=base.examples_in_words(row.question),
        tried={name: list(value) for name, value in base.tried.items()},
        prompt=row.prompt,
        target=row.question.answer,
        greedy=tuple(
            PromptAnswer(bool(row.greedy[n]), round(float(row.sampled[n]), 6), row.greedy_texts.get(n)) for n in prompts
        ),
        answers=row.own,
        belief=None if belief is None else belief[0],
    )


# -------------------------------------------------------------------------------------------------- after the tune


def _final(measure: Measure, samples: list[Sample], instruments: Instruments, questions: Questions) -> Chunk:
    backend = instruments.scoring(measure.checkpoint)
    beliefs, outputs = reader(instruments, BELIEF, BASE), reader(instruments, OUTPUTS)
    way = AsTrained(instruments.tokenizer(), instruments.supervision, backend.stop_ids)
    columns = {name: np.full(len(samples), np.nan) for name in FINAL_COLUMNS}
    jobs: list[tuple[int, Question, str]] = []
    for place, sample in enumerate(samples):
        question = questions.of(sample)
        base = beliefs(sample.content_hash)
        if question is None or base is None or not base.belief:
            continue
        jobs.append((place, question, base.belief))
        generated = outputs(sample.content_hash)
        output = generated.turns[0].output if generated and generated.turns else question.answer
        columns[col.OUTPUT_IS_BELIEF][place] = float(normalised(output) == normalised(base.belief))
    scored = score_as_trained(way, [(q, text) for _, q, belief in jobs for text in (q.answer, belief)], backend)
    for (place, question, belief), target, own in zip(jobs, scored[::2], scored[1::2], strict=True):
        if normalised(belief) == normalised(question.answer):
            columns[col.BELIEF_MARGIN][place] = 0.0
        elif target is not None and own is not None:
            columns[col.BELIEF_MARGIN][place] = margin(own, target)
    return Chunk(measure.key, tuple(s.content_hash for s in samples), columns)


KIND = Knowledge()
