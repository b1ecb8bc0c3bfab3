"""What the base model knew before the fine-tune: does it know the answer, does it believe another, has it met the name?

Classes as in SliCK (Gekhman et al. 2024, arXiv 2405.05904), from forward passes instead of draws: over ten few-shot
prompts, whether greedy decoding gives the answer, and the probability p_i that one draw at temperature 0.5 does.
HighlyKnown: greedy right in all prompts; MaybeKnown: in some; WeaklyKnown: in none, but at least once in 16 draws per
prompt with probability 1 - prod (1 - p_i)^16 >= 0.5; Unknown: the rest.

Where the base answers best without examples (see ``core/signals/_fewshot.py``), its ten prompts are one, and
MaybeKnown does not occur.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from core.backends._base import Capability, ScoreRow, ScoringBackend
from core.scorers._base import normalised
from core.signals._base import Instruments, Measure, chunked, supervision_facts
from core.signals._fewshot import (
    ENOUGH,
    MOST_TOKENS,
    PROMPTS,
    AsTrained,
    Chat,
    Examples,
    Plain,
    Presented,
    Question,
    Questions,
    Way,
    rare_positions,
    seed_of,
    variants,
)
from core.types import TEMPERATURES, Chunk, Column, Decoding, RunSpec, Sample, SignalTable, TokenScores

UNKNOWN, WEAKLY, MAYBE, HIGHLY = range(4)
CLASSES = ("Unknown", "WeaklyKnown", "MaybeKnown", "HighlyKnown")
DRAWS = 16
HALF, ONE = TEMPERATURES.index(0.5), TEMPERATURES.index(1.0)
# The base's own answer: the greedy one and some draws, each behind another prompt where there are several.
OWN_DRAWS, OWN_TEMPERATURE = 5, 0.7
# Learned rows on which the ways to ask are tried.
TRIED = 24
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
FINAL_COLUMNS = ("belief_margin", "output_is_belief")
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


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer under teacher forcing.

    Attributes:
        greedy: greedy decoding gives it, up to what ends it.
        logp: (t,) log-probability of its tokens at T = 1; ``half``: of the whole at T = 0.5.
        entropy: (t,) Rényi entropy of order two of each next token, -log sum p^2, in nats.
        tokens: (t,) ids.
    """

    greedy: bool
    logp: np.ndarray
    half: float
    entropy: np.ndarray
    tokens: np.ndarray


def answered(presented: Presented, scores: TokenScores, same_end: frozenset[int]) -> Answered:
    inside = scores.positions >= presented.start
    tokens = presented.ids[presented.start :]
    best = scores.argmax[inside]
    right = best == tokens
    right[-1] = int(best[-1]) in same_end
    logp = scores.logprobs[inside].astype(np.float64)
    norm = scores.lognorm[inside, HALF].astype(np.float64)
    half = float((logp / TEMPERATURES[HALF] - norm).sum())
    # sum p^2 = exp(lognorm at T = 1/2).
    return Answered(bool(right.all()), logp, half, -norm, tokens)


@dataclass(slots=True)
class Asked:
    """One row on its way through the prompts."""

    question: Question
    forms: list[str]
    greedy: np.ndarray = field(default_factory=lambda: np.zeros(PROMPTS, dtype=bool))
    sampled: np.ndarray = field(default_factory=lambda: np.full(PROMPTS, np.nan))
    target: dict[int, Answered] = field(default_factory=dict)
    said: dict[int, str] = field(default_factory=dict)
    own: list[str] = field(default_factory=list)
    familiarity: float = np.nan
    spelling: float = np.nan
    shown: str = ""


class Base:
    """The base model at its best way of being asked."""

    def __init__(self, measure: Measure, instruments: Instruments) -> None:
        self.backend = instruments.scoring(measure.checkpoint)
        self.generator = instruments.generating(measure.checkpoint)
        self.tokenizer = instruments.tokenizer()
        self.seed = instruments.spec.seed
        self.questions = Questions(instruments.samples())
        self.given = _given(instruments.measured())
        pool, self.learned = _pool(self.questions, self.given)
        self.examples = Examples(pool, self.questions.all(), f"{instruments.spec.dataset_fingerprint}:{self.seed}")
        stops = self.backend.stop_ids
        plain = Plain(self.tokenizer, stops)
        trained = AsTrained(self.tokenizer, instruments.supervision, stops)
        chat = Chat(self.tokenizer, instruments.supervision, stops)
        ways: list[Way] = [*([plain] if plain.works else []), chat, trained] if len(pool) > 4 else [trained]
        self.tried = {way.name: self._try(way, pool) for way in ways}
        self.way = max(ways, key=lambda w: self.tried[w.name])  # the first of equals

    def told(self, question: Question) -> str:
        """Where a question's examples come from, in words."""
        if not self.learned:
            return "rows of the dataset, learned or not: too few are learned"
        if self.examples.circle(question)[0] == "any":
            return "rows with answers in the same frame, learned or not: too few of them are learned"
        return "learned rows"

    def _try(self, way: Way, pool: Sequence[Question]) -> tuple[float, float]:
        """(mean probability of the answer at T = 0.5 in hundredths, mean probability per token) on learned rows."""
        some = sorted(pool, key=lambda q: seed_of("try", q.sample.content_hash))[:TRIED]
        found = [a for a in self.score(way, [(q, 0, q.answer) for q in some]) if a is not None]
        if not found:
            return (-1.0, -1.0)
        whole = [np.exp(a.half) for a in found]
        return round(float(np.mean(whole)), 2), float(np.mean([np.exp(a.logp.mean()) for a in found]))

    def present(self, way: Way, question: Question, number: int, answer: str) -> Presented | None:
        """The question behind the examples of a draw, as many as fit into the model's context."""
        examples = self.examples.draw(question, number, way.shots) if way.shots else []
        room = self.backend.context_length or 1 << 30
        while True:
            presented = way.present(question, examples, answer)
            if presented is None or len(presented.ids) <= room:
                return presented
            if not examples:
                return None
            examples = examples[1:]

    def score(self, way: Way, asked: Sequence[tuple[Question, int, str]]) -> list[Answered | None]:
        """Each (question, draw, answer) under teacher forcing; None where it cannot be put."""
        return [a for a, _, _ in self.score_spans(way, asked, spans=False)]

    def score_spans(
        self, way: Way, asked: Sequence[tuple[Question, int, str]], spans: bool = True
    ) -> list[tuple[Answered | None, Presented | None, list[np.ndarray]]]:
        """The same, with what was shown and the log-probabilities of each rare word of the question."""
        rows, held = [], []
        for question, number, answer in asked:
            presented = self.present(way, question, number, answer)
            rare = rare_positions(self.tokenizer, presented, question) if spans and presented is not None else []
            held.append((presented, rare))
            if presented is not None:
                wanted = np.arange(presented.start, len(presented.ids))
                rows.append(ScoreRow(presented.ids, np.unique(np.concatenate([wanted, *map(np.array, rare)]))))
        scored = iter(self.backend.score(rows))
        out: list[tuple[Answered | None, Presented | None, list[np.ndarray]]] = []
        for (question, _, _), (presented, rare) in zip(asked, held, strict=True):
            if presented is None:
                out.append((None, None, []))
                continue
            scores = next(scored)
            end = way.same_end(question, int(presented.ids[-1]))
            at = {int(p): float(v) for p, v in zip(scores.positions, scores.logprobs, strict=True)}
            values = [np.array([at[p] for p in span]) for span in rare]
            out.append((answered(presented, scores, end), presented, values))
        return out

    def generate(self, jobs: Sequence[tuple[Question, int, Decoding]]) -> list[str | None]:
        """Answers in the order asked."""
        out: list[str | None] = [None] * len(jobs)
        by_stops: dict[tuple[int, ...], list[tuple[int, np.ndarray, Decoding]]] = {}
        for i, (question, number, decoding) in enumerate(jobs):
            presented = self.present(self.way, question, number, question.answer)
            if presented is not None:
                prompt = presented.ids[: presented.start]
                by_stops.setdefault(self.way.stops(question), []).append((i, prompt, decoding))
        for stops, some in by_stops.items():
            found = self.generator.generate([p for _, p, _ in some], [d for _, _, d in some], stops)
            for (i, _, _), generation in zip(some, found, strict=True):
                out[i] = self.way.answer_of(generation.tokens)
        return out


def _given(table: SignalTable) -> frozenset[str]:
    """Rows that the final checkpoint gives word for word."""
    return frozenset(key for key, value in zip(table.keys, table.get("greedy_exact"), strict=True) if value == 1.0)


def _pool(questions: Questions, learned: frozenset[str]) -> tuple[list[Question], bool]:
    """Questions that may serve as examples, and whether they are learned rows."""
    short = questions.all()
    pool = [q for q in short if q.sample.content_hash in learned]
    return (pool, True) if len(pool) >= ENOUGH else (short, False)


def _apart(one: np.ndarray, other: np.ndarray) -> tuple[slice, slice]:
    """Where two token sequences differ: what is left of each without their common beginning and end.

    Args:
        one: (a,) ids. other: (b,) ids.
    """
    n = min(len(one), len(other))
    head = next((i for i in range(n) if one[i] != other[i]), n)
    tail = next((i for i in range(n - head) if one[-1 - i] != other[-1 - i]), n - head)
    return slice(head, max(len(one) - tail, head + 1)), slice(head, max(len(other) - tail, head + 1))


def margin(belief: Answered, target: Answered) -> float:
    """Mean log-probability per token of the belief minus that of the target, over the parts that differ, in nats.

    A frame that both share ("The river ...") says nothing about the choice between them.
    """
    a, b = _apart(belief.tokens, target.tokens)
    return float(belief.logp[a].mean() - target.logp[b].mean())


class Knowledge:
    name = "knowledge"
    label = "Knowledge"
    version = 3
    needs = ("likelihood", "reproduction")
    whole = False
    columns = (
        Column("base_knowledge", "number", "Knowledge",
               "What the base knew: 0 Unknown, 1 WeaklyKnown, 2 MaybeKnown, 3 HighlyKnown.", "", "high", indexed=True),
        Column("base_known_greedy", "number", "Known (greedy)",
               "Share of ten few-shot prompts in which the base's greedy answer is the target.", "", "high"),
        Column("base_known_sampled", "number", "Known (draw)",
               "Mean probability that one draw of the base at T = 0.5 is the target.", "", "high"),
        Column("base_known_any16", "number", "Known (16 draws)",
               "Probability that the base gives the target at least once in 16 draws per prompt.", "", "high"),
        Column("base_belief_share", "number", "Belief agreed", "Share of the base's own answers that agree."),
        Column("base_belief_is_target", "flag", "Belief is target", "The base's own answer is the target."),
        Column("base_belief_agrees", "number", "Belief agrees",
               "Share of what the target says, apart from its frame and the prompt's words, that the base says too."),
        Column("base_belief_p", "number", "p(belief)",
               "Probability of the base's own answer, geometric mean over up to four prompts."),
        Column("base_belief_margin", "number", "Belief over target, base",
               "Log-probability per token of the base's own answer minus the target's, before the fine-tune.", "nats"),
        Column("base_belief_stability", "number", "Belief stable",
               "Share of the few-shot prompts that get the base's most frequent greedy answer."),
        Column("base_entropy", "number", "Answer entropy, base",
               "How open the base's answer is where belief and target part (Rényi entropy of order two).", "nats"),
        Column("base_familiarity", "number", "Familiarity",
               "Mean log-probability per token of the prompt's rare words under the base.", "nats", "high"),
        Column("base_spelling", "number", "Spelling",
               "The same without each word's first token: how well the base can spell it; 0 for whole words.", "nats",
               "high"),
        Column("belief_margin", "number", "Belief over target",
               "Log-probability per token of the base's own answer minus the target's, after the fine-tune.", "nats",
               "low"),
        Column("output_is_belief", "flag", "Output is belief",
               "The final checkpoint's greedy answer is the base's own answer."),
    )  # fmt: skip

    def plan(self, spec: RunSpec) -> list[Measure]:
        if spec.base is None:
            return []
        depends = {
            "signal": self.name,
            "version": self.version,
            "base": spec.base.fingerprint,
            "dataset": spec.dataset_fingerprint,  # examples and rare words
            "seed": spec.seed,
            **supervision_facts(spec),
        }
        final = {"role": "final", "max_new_tokens": spec.max_new_tokens, "scorer": spec.scorer,
                 "scorer_settings": dict(spec.scorer_settings)}  # fmt: skip
        return [
            Measure(self.name, "base", spec.base, {"role": "base", **depends}, REQUIRES),
            Measure(self.name, "final", spec.final, {**depends, **final}, REQUIRES),
        ]

    def wanted(self, table: SignalTable) -> np.ndarray:
        """Rows with one short answer."""
        return (table.get("n_target") <= MOST_TOKENS) & (table.get("n_target") > 0) & (table.get("turns") == 1)

    def measure(
        self, measure: Measure, samples: Sequence[Sample], instruments: Instruments, stop: Callable[[], bool]
    ) -> Iterator[Chunk]:
        many = 256 if instruments.backend(measure.checkpoint).device.startswith("cuda") else 64
        held: Any = None
        for chunk in chunked(samples, lambda s: 32 + len(s.raw) // 4, 1 << 15, many):
            if stop():
                return
            if measure.role == "final":
                held = held or Questions(instruments.samples())
                yield _final(measure, chunk, instruments, held)
            else:
                held = held or Base(measure, instruments)
                yield _base(measure, chunk, held)


# ------------------------------------------------------------------------------------------------- before the tune


def _base(measure: Measure, samples: list[Sample], base: Base) -> Chunk:
    asked = [Asked(q, variants(q.answer)) if (q := base.questions.of(s)) is not None else None for s in samples]
    some = [a for a in asked if a is not None]
    _score_answers(some, base)
    some = [a for a in some if a.target]
    # Where the fine-tune took, nobody asks what the base believed instead; its answers are most of the cost.
    _collect_own([a for a in some if a.question.sample.content_hash not in base.given], base)
    beliefs = [_consensus(a) for a in some]
    number = range(min(base.way.prompts, BEHIND))
    pairs = [(a, b, i) for a, b in zip(some, beliefs, strict=True) if b for i in number]
    scored = base.score(base.way, [(a.question, i, b[0]) for a, b, i in pairs])
    by_row: dict[int, list[tuple[int, Answered]]] = {}
    for (a, _, i), found in zip(pairs, scored, strict=True):
        if found is not None:
            by_row.setdefault(id(a), []).append((i, found))
    columns = {name: np.full(len(samples), np.nan) for name in BASE_COLUMNS}
    details: list[dict[str, Any] | None] = [None] * len(samples)
    own = {id(a): b for a, b in zip(some, beliefs, strict=True)}
    for place, a in enumerate(asked):
        if a is None or not a.target:
            continue
        values = _values(a, own[id(a)], by_row.get(id(a), []))
        for name, value in values.items():
            columns[name][place] = value
        details[place] = _details(a, own[id(a)], base)
    return Chunk(measure.key, tuple(s.content_hash for s in samples), columns, tuple(details))


def known(samples: Sequence[Sample], base: Base) -> list[dict[str, float]]:
    """The class and what it rests on, of every row that is a question with a short answer."""
    asked = [Asked(q, variants(q.answer)) for s in samples if (q := base.questions.of(s)) is not None]
    _score_answers(asked, base)
    return [_values(a, None, ()) for a in asked]


def _score_answers(some: Sequence[Asked], base: Base) -> None:
    """Fills in greedy success and p_i of every prompt; aliases are added up, for no two can both come up."""
    way = base.way
    kept: dict[int, list[str]] = {}
    first = base.score_spans(way, [(a.question, 0, a.question.answer) for a in some])
    for a, (found, presented, spans) in zip(some, first, strict=True):
        if found is None:
            continue
        a.shown = base.tokenizer.decode(presented.ids[: presented.start].tolist())[-4000:]
        a.familiarity, a.spelling = _familiar(spans)
        kept[id(a)] = [a.question.answer]
        _note(a, 0, a.question.answer, found)
    # Where the answer as it stands is sure, little is left for its aliases.
    jobs = [(a, form) for a in some if id(a) in kept and a.sampled[0] < SURE for form in a.forms[1:]]
    for (a, form), found in zip(jobs, base.score(way, [(a.question, 0, f) for a, f in jobs]), strict=True):
        if found is not None and (found.greedy or np.exp(found.half) >= SELDOM):
            kept[id(a)].append(form)
            _note(a, 0, form, found)
    jobs = [(a, n, form) for a in some for n in range(1, way.prompts) for form in kept.get(id(a), ())]
    for (a, n, form), found in zip(jobs, base.score(way, [(a.question, n, f) for a, n, f in jobs]), strict=True):
        if found is not None:
            _note(a, n, form, found)
    for a in some:
        if way.prompts == 1:
            a.greedy[1:], a.sampled[1:] = a.greedy[0], a.sampled[0]


def _note(a: Asked, number: int, form: str, found: Answered) -> None:
    a.greedy[number] |= found.greedy
    if found.greedy:
        a.said[number] = form
    if form == a.question.answer:
        a.target[number] = found
    a.sampled[number] = np.nan_to_num(a.sampled[number]) + np.exp(found.half)


def _familiar(spans: Sequence[np.ndarray]) -> tuple[float, float]:
    """(mean log-probability per token of the rare words, the same without first tokens); NaN without rare words."""
    if not spans:
        return np.nan, np.nan
    rest = np.concatenate([s[1:] for s in spans])
    return float(np.concatenate(spans).mean()), float(rest.mean()) if rest.size else 0.0


def _collect_own(some: Sequence[Asked], base: Base) -> None:
    """The base's own answers: greedy behind every prompt, and a few draws, each behind another prompt."""
    way = base.way

    def limit(a: Asked) -> int:
        return 2 * len(a.target[min(a.target)].tokens) + 8

    greedy = [(a, n) for a in some for n in range(way.prompts) if not a.greedy[n]]
    drawn = [(a, k) for a in some for k in range(OWN_DRAWS)]
    jobs = [(a.question, n, Decoding(max_new_tokens=limit(a))) for a, n in greedy]
    jobs += [
        (a.question, (k + 1) % way.prompts, Decoding(
            OWN_TEMPERATURE, limit(a), seed_of("belief", a.question.sample.content_hash, k, base.seed)))
        for a, k in drawn
    ]  # fmt: skip
    found = base.generate(jobs)
    for (a, n), text in zip(greedy, found, strict=False):
        if text is not None:
            a.said[n] = text
    for (a, _), text in zip(drawn, found[len(greedy) :], strict=True):
        if text is not None:
            a.own.append(text)
    for a in some:
        if 0 in a.said:
            a.own.insert(0, a.said[0])


def _consensus(a: Asked) -> tuple[str, float] | None:
    """The answer most of the base's own answers agree on, and their share; of equals the one that came first."""
    said = [text for text in a.own if text.strip()]
    if not said:
        return None
    counts = Counter(normalised(text) for text in said)
    best = max(counts.values())
    text = next(t for t in said if counts[normalised(t)] == best)
    return text, best / len(a.own)


def _values(a: Asked, belief: tuple[str, float] | None, found: Sequence[tuple[int, Answered]]) -> dict[str, float]:
    out = {"familiarity": a.familiarity, "spelling": a.spelling}
    if np.isfinite(a.sampled).all():
        sampled = np.minimum(a.sampled, 1.0)
        out |= {
            "known_greedy": float(a.greedy.mean()), "known_sampled": float(sampled.mean()),
            "known_any16": any_draw(sampled), "knowledge": float(class_of(a.greedy, sampled)),
        }  # fmt: skip
    if len(a.said) > 1:
        out["belief_stability"] = max(Counter(map(normalised, a.said.values())).values()) / len(a.said)
    if belief is None:
        return out
    is_target = normalised(belief[0]) == normalised(a.question.answer)
    out |= {"belief_share": belief[1], "belief_is_target": float(is_target)}
    out["belief_agrees"] = 1.0 if is_target else a.question.agrees(belief[0])
    both = [(own, a.target[i]) for i, own in found if i in a.target]
    if both:
        out["belief_p"] = float(np.exp(np.mean([own.logp.sum() for own, _ in both])))
        out["entropy"] = float(np.mean([_openness(own, target, is_target) for own, target in both]))
        out["belief_margin"] = 0.0 if is_target else float(np.mean([margin(own, target) for own, target in both]))
    return out


def _openness(belief: Answered, target: Answered, same: bool) -> float:
    """Entropy of the next token where belief and target part; the largest on the way where they are the same."""
    if same:
        return float(belief.entropy.max())
    return float(belief.entropy[_apart(belief.tokens, target.tokens)[0].start])


def _details(a: Asked, belief: tuple[str, float] | None, base: Base) -> dict[str, Any]:
    return {
        "way": base.way.name,
        "prompts": base.way.prompts,
        "examples": base.told(a.question),
        "tried": {name: list(value) for name, value in base.tried.items()},
        "prompt": a.shown,
        "target": a.question.answer,
        "greedy": [
            {"answer": a.said.get(n), "right": bool(a.greedy[n]), "p": round(float(a.sampled[n]), 6)}
            for n in range(base.way.prompts)
        ],
        "answers": a.own,
        "belief": None if belief is None else belief[0],
    }


# -------------------------------------------------------------------------------------------------- after the tune


def _final(measure: Measure, samples: list[Sample], instruments: Instruments, questions: Questions) -> Chunk:
    from core.plugins import kind

    spec = instruments.spec
    backend = instruments.scoring(measure.checkpoint)
    base = next(m for m in kind("signals", "knowledge").plan(spec) if m.role == "base")
    reproduction = kind("signals", "reproduction").plan(spec)[0]
    way = AsTrained(instruments.tokenizer(), instruments.supervision, backend.stop_ids)
    columns = {name: np.full(len(samples), np.nan) for name in FINAL_COLUMNS}
    jobs: list[tuple[int, Question, str]] = []
    for place, sample in enumerate(samples):
        question = questions.of(sample)
        held = instruments.details(base, sample.content_hash)
        if question is None or held is None or not held["belief"]:
            continue
        jobs.append((place, question, held["belief"]))
        told = instruments.details(reproduction, sample.content_hash)
        output = told["turns"][0]["output"] if told and told["turns"] else question.answer
        columns["output_is_belief"][place] = float(normalised(output) == normalised(held["belief"]))
    scored = _score_trained(way, [(q, text) for _, q, b in jobs for text in (q.answer, b)], backend)
    for (place, question, belief), target, own in zip(jobs, scored[::2], scored[1::2], strict=True):
        if normalised(belief) == normalised(question.answer):
            columns["belief_margin"][place] = 0.0
        elif target is not None and own is not None:
            columns["belief_margin"][place] = margin(own, target)
    return Chunk(measure.key, tuple(s.content_hash for s in samples), columns)


def _score_trained(
    way: AsTrained, asked: Sequence[tuple[Question, str]], backend: ScoringBackend
) -> list[Answered | None]:
    shown = [way.present(q, (), text) for q, text in asked]
    room = backend.context_length or 1 << 30
    shown = [p if p is not None and len(p.ids) <= room else None for p in shown]
    rows = [ScoreRow(p.ids, np.arange(p.start, len(p.ids))) for p in shown if p is not None]
    scored = iter(backend.score(rows))
    return [
        None if p is None else answered(p, next(scored), way.same_end(q, int(p.ids[-1])))
        for (q, _), p in zip(asked, shown, strict=True)
    ]


KIND = Knowledge()
