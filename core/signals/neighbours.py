"""Which other rows of the dataset ask the same question, read from the texts alone.

Prompts are embedded, each distinct one once, by the part in which it differs from the others; candidates are the
nearest by meaning and those that share the rarest words; ``core/pairs`` weighs the evidence of each pair. Prompts of
several turns are compared whole, up to the last answer, and with those of as many turns. No weights of the diagnosed
model are read.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.encoders import named
from core.pairs import candidates, same_question
from core.pairs.slots import Slots
from core.pairs.wording import FUNCTION, Rarity, Words, form, trimmed, words
from core.signals import _columns as col
from core.signals._artefacts import NEAR_ROWS
from core.signals._base import Instruments, Measure, Signal
from core.signals._records import NearRow, NearRows
from core.types import Chunk, Column, RunSpec, Sample

NEAREST = 12
# Pairs below this are not kept as evidence.
KEPT = 0.03
SAME = 0.5
_KEPT_A_ROW = 12
_CHUNK = 256
# Texts embedded between two looks at whether to stop.
_ENCODED = 1024
# How sure two prompts are the same question that differ in what they ask about.
APART = 0.02
# And of two that have the same words but for those that carry no meaning of their own.
SAME_WORDS = 0.95


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Another prompt: its place, cosine, how sure it is the same question, and the words that say so.

    ``exchanged``: each wording has a name, a number, or a word rarer than all they share, that the other lacks.
    """

    place: int
    cosine: float
    same: float
    left: tuple[str, ...] = ()
    right: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    exchanged: bool = False


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is compared of a row: its turns before the last answer, spaces evened out; ``text`` is empty for plain text.

    ``turns`` and ``system`` must be equal: what was said before changes what is asked.
    """

    system: str
    text: str
    turns: int


def prompt_of(sample: Sample) -> Prompt:
    if sample.shape == "text":
        return Prompt("", "", 0)
    last = max((i for i, m in enumerate(sample.messages) if m.role == "assistant"), default=len(sample.messages))
    before = [(m.role, " ".join(m.content.split())) for m in sample.messages[:last]]
    turns = [text for role, text in before if role != "system"]
    return Prompt(" ".join(text for role, text in before if role == "system"), "\n".join(turns).strip(), len(turns))


def embedded_parts(texts: Sequence[str], encoder: Any) -> list[str]:
    """What of each distinct text is embedded.

    Long beginnings and ends that one in twenty texts share are left out. A text that is still longer than the encoder's
    window loses what it shares with any other text, and then its middle: questions stand at the beginning or the end.
    """
    parts = trimmed(texts, max(3, math.ceil(len(texts) / 20)))
    # A word has at least one piece, so short texts need no counting.
    long = [i for i, p in enumerate(parts) if len(p) > 2 * encoder.window]
    if not long:
        return parts
    long = [i for i, n in zip(long, encoder.lengths([parts[i] for i in long]), strict=True) if n > encoder.window]
    cut = trimmed([parts[i] for i in long], 2)
    lengths = encoder.lengths(cut)
    for i, text, n in zip(long, cut, lengths, strict=True):
        pieces = text.split(" ")
        room = int(len(pieces) * (encoder.window - 2) / n * 0.9)
        keep = max(1, room // 2)
        parts[i] = text if n <= encoder.window or 2 * keep >= len(pieces) else " ".join(pieces[:keep] + pieces[-keep:])
    return parts


def foreign(read: Words, text: str, languages: Sequence[str]) -> bool:
    """Whether an encoder made for English alone is given something else: another script, or no English word in ten."""
    if tuple(languages) != ("en",) or not read.forms:
        return False
    letters = [c for c in text[:2000] if c.isalpha()]
    other = sum(ord(c) > 0x24F for c in letters)
    if other > 0.3 * len(letters):
        return True
    return len(read) >= 10 and not any(w in FUNCTION for w in read.forms)


def form_vectors(
    texts: Sequence[str], vectors: np.ndarray, rarity: Rarity, encoder: Any, stop: Callable[[], bool] = lambda: False
) -> np.ndarray | None:
    """(n, d) unit vectors of n texts with their names taken out; None where it was asked to stop on the way."""
    forms = [form(t, rarity) for t in texts]
    new = list(dict.fromkeys(f for f, t in zip(forms, texts, strict=True) if f != t))
    new_vectors = embed(new, encoder, stop)
    if new_vectors is None:
        return None
    place = {f: i for i, f in enumerate(new)}
    out = vectors.copy()
    for i, (f, t) in enumerate(zip(forms, texts, strict=True)):
        if f != t:
            out[i] = new_vectors[place[f]]
    return out


def compare(
    prompts: Sequence[Prompt], vectors: np.ndarray, forms: np.ndarray, read: Sequence[Words], rarity: Rarity
) -> list[list[Neighbour]]:
    """Neighbours of each of n distinct prompts: (n) lists, surest first, ties by cosine and place.

    Args:
        vectors, forms: (n, d) unit vectors of their parts, and of the same with names taken out.
        rarity: of the words of ``read``.
    """
    n = len(prompts)
    places, _ = candidates.nearest(vectors, NEAREST)
    pairs = {(min(i, int(j)), max(i, int(j))) for i in range(n) for j in places[i]}
    for i, others in enumerate(candidates.sharing_words(read, rarity, NEAREST)):
        pairs.update((min(i, j), max(i, j)) for j in others)
    slots = Slots(read)
    neighbours: list[list[Neighbour]] = [[] for _ in range(n)]
    for i, j in sorted(pairs):
        a, b = prompts[i], prompts[j]
        if a.turns != b.turns or a.system != b.system:
            continue
        cosine = float(vectors[i] @ vectors[j])
        evidence, words_of = same_question.evidence(read[i], read[j], cosine, float(forms[i] @ forms[j]), rarity)
        p = same_question.probability(evidence)
        left, shared = (written(read[i], side[:6]) for side in (words_of.left, words_of.shared))
        right = written(read[j], words_of.right[:6])
        apart = slots.apart(read[i], read[j])
        p = min(p, APART) if apart else p if words_of.left or words_of.right else max(p, SAME_WORDS)
        swap = apart or words_of.names == 1.0 or words_of.numbers == 1.0 or words_of.swapped > words_of.heaviest_shared
        neighbours[i].append(Neighbour(j, cosine, p, left, right, shared, swap))
        neighbours[j].append(Neighbour(i, cosine, p, right, left, shared, swap))
    return [sorted(row, key=lambda f: (-round(f.same, 6), -round(f.cosine, 6), f.place)) for row in neighbours]


class Neighbours(Signal):
    name = "neighbours"
    label = "Neighbours"
    version = 4
    artefact = NEAR_ROWS
    whole = True
    columns = (
        Column(col.SAME_QUESTION, "number", "Same question", "How sure it is that another row asks the same, by "
               "wording alone.", "", indexed=True),
        Column(col.NEIGHBOUR_SIMILARITY, "number", "Nearest prompt", "Highest cosine of its prompt to another row's."),
        Column(col.N_NEIGHBOURS, "number", "Same question elsewhere", "Other rows that ask the same, by wording."),
        Column(col.FOREIGN_LANGUAGE, "flag", "Language unknown", "The encoder was not made for the prompt's language."),
    )  # fmt: skip

    def plan(self, spec: RunSpec) -> list[Measure]:
        depends = {
            "signal": self.name,
            "version": self.version,
            "dataset": spec.dataset_fingerprint,
            "encoder": spec.versions.get("encoder_weights", spec.encoder),
            "rule": rule(),
        }
        return [Measure(self.name, None, spec.final, depends)]

    def measure(
        self, measure: Measure, samples: Sequence[Sample], instruments: Instruments, stop: Callable[[], bool]
    ) -> Iterator[Chunk]:
        contents = {s.content_hash: s for s in instruments.samples()}
        by_prompt: dict[Prompt, list[str]] = defaultdict(list)
        for key, sample in contents.items():
            if (prompt := prompt_of(sample)).text:
                by_prompt[prompt].append(key)
        prompts = list(by_prompt)
        texts = [q.text for q in prompts]
        place = {q: i for i, q in enumerate(prompts)}
        read = [words(t) for t in texts]
        rarity = Rarity(read)
        encoder_kind, location = named(instruments.spec.encoder)
        encoder = encoder_kind.open(location)
        try:
            vectors = embed(texts, encoder, stop)
            forms = None if vectors is None else form_vectors(texts, vectors, rarity, encoder, stop)
            languages = encoder.languages
        finally:
            encoder.close()
        if vectors is None or forms is None:
            return
        near_of = compare(prompts, vectors, forms, read, rarity)
        strange = [foreign(r, t, languages) for r, t in zip(read, texts, strict=True)]
        counted: dict[str, int] = defaultdict(int)
        for sample in instruments.samples():
            counted[sample.content_hash] += 1
        for at in range(0, len(samples), _CHUNK):
            if stop():
                return
            block = samples[at : at + _CHUNK]
            columns = {c.name: np.full(len(block), np.nan) for c in self.columns}
            details: list[dict[str, Any] | None] = []
            for i, sample in enumerate(block):
                number = place.get(prompt_of(sample))
                if number is None:
                    details.append(None)
                    continue
                twins = [k for k in by_prompt[prompts[number]] if k != sample.content_hash]
                near = near_of[number]
                closest = max((f.cosine for f in near), default=np.nan)
                columns[col.NEIGHBOUR_SIMILARITY][i] = 1.0 if twins or counted[sample.content_hash] > 1 else closest
                columns[col.SAME_QUESTION][i] = 1.0 if twins else max((f.same for f in near), default=0.0)
                elsewhere = sum(len(by_prompt[prompts[f.place]]) for f in near if f.same >= SAME)
                columns[col.N_NEIGHBOURS][i] = len(twins) + elsewhere
                columns[col.FOREIGN_LANGUAGE][i] = float(strange[number])
                details.append(near_rows(twins, near, prompts, by_prompt).as_dict())
            yield Chunk(measure.key, tuple(s.content_hash for s in block), columns, tuple(details))


def embed(texts: Sequence[str], encoder: Any, stop: Callable[[], bool] = lambda: False) -> np.ndarray | None:
    """(n, d) unit vectors of n distinct texts; None where it was asked to stop on the way."""
    parts = embedded_parts(texts, encoder)
    # By length, so that a batch holds little padding; back in order afterwards.
    order = sorted(range(len(parts)), key=lambda i: (len(parts[i]), i))
    blocks = []
    for at in range(0, len(order), _ENCODED):
        if stop():
            return None
        blocks.append(encoder.encode([parts[i] for i in order[at : at + _ENCODED]]))
    vectors = np.concatenate(blocks) if blocks else encoder.encode([])
    back = np.empty(len(order), np.int64)
    back[order] = np.arange(len(order))
    return vectors[back]


def written(read: Words, stems: Sequence[str]) -> tuple[str, ...]:
    """The words as the text has them."""
    return tuple(read.forms[read.stems.index(s)] for s in stems)


def rule() -> str:
    """Hash of the rule's parameters."""
    return hashlib.sha256(same_question.FILE.read_bytes()).hexdigest()[:16]


def near_rows(
    twins: Sequence[str], near: Sequence[Neighbour], prompts: Sequence[Prompt], contents: dict[Prompt, list[str]]
) -> NearRows:
    """What is kept of one row, surest first."""
    rows = [NearRow(k, 1.0, 1.0, True) for k in twins[:_KEPT_A_ROW]]
    # The nearest by cosine is shown even where it asks something else: that is what a person would wonder about.
    best = max(near, key=lambda f: (f.cosine, -f.place), default=None)
    for f in near:
        if f.same < KEPT and f is not best:
            continue
        rows += [
            NearRow(k, round(f.cosine, 4), round(f.same, 4), False, list(f.left), list(f.right), list(f.shared),
                    f.exchanged)
            for k in contents[prompts[f.place]][:_KEPT_A_ROW]
        ]  # fmt: skip
    return NearRows(tuple(rows[: 2 * _KEPT_A_ROW]), len(twins))


KIND = Neighbours()
