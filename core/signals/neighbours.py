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

from core.pairs import candidates, same_question
from core.pairs.slots import Slots
from core.pairs.wording import FUNCTION, Rarity, Words, form, trimmed, words
from core.plugins import kind
from core.signals._base import Instruments, Measure
from core.types import Chunk, Column, RunSpec, Sample, SignalTable

NEAREST = 12
# Pairs below this are not kept as evidence.
KEPT = 0.03
SAME = 0.5
_KEPT_A_ROW = 12
_CHUNK = 256
# Texts embedded between two looks at whether to stop.
_ENCODED = 1024
_COLUMNS = ("same_question", "neighbour_similarity", "n_neighbours", "foreign_language")
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
class Question:
    """What is compared of a row: its turns before the last answer, spaces evened out; ``text`` is empty for plain text.

    ``turns`` and ``system`` must be equal: what was said before changes what is asked.
    """

    system: str
    text: str
    turns: int


def question(sample: Sample) -> Question:
    if sample.shape == "text":
        return Question("", "", 0)
    last = max((i for i, m in enumerate(sample.messages) if m.role == "assistant"), default=len(sample.messages))
    said = [(m.role, " ".join(m.content.split())) for m in sample.messages[:last]]
    turns = [text for role, text in said if role != "system"]
    return Question(" ".join(text for role, text in said if role == "system"), "\n".join(turns).strip(), len(turns))


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
    found = embed(new, encoder, stop)
    if found is None:
        return None
    place = {f: i for i, f in enumerate(new)}
    out = vectors.copy()
    for i, (f, t) in enumerate(zip(forms, texts, strict=True)):
        if f != t:
            out[i] = found[place[f]]
    return out


def compare(
    asked: Sequence[Question], vectors: np.ndarray, forms: np.ndarray, read: Sequence[Words], rarity: Rarity
) -> list[list[Neighbour]]:
    """Neighbours of each of n distinct prompts: (n) lists, surest first, ties by cosine and place.

    Args:
        vectors, forms: (n, d) unit vectors of their parts, and of the same with names taken out.
        rarity: of the words of ``read``.
    """
    n = len(asked)
    places, _ = candidates.nearest(vectors, NEAREST)
    pairs = {(min(i, int(j)), max(i, int(j))) for i in range(n) for j in places[i]}
    for i, others in enumerate(candidates.sharing_words(read, rarity, NEAREST)):
        pairs.update((min(i, j), max(i, j)) for j in others)
    slots = Slots(read)
    found: list[list[Neighbour]] = [[] for _ in range(n)]
    for i, j in sorted(pairs):
        a, b = asked[i], asked[j]
        if a.turns != b.turns or a.system != b.system:
            continue
        cosine = float(vectors[i] @ vectors[j])
        evidence, words_of = same_question.evidence(read[i], read[j], cosine, float(forms[i] @ forms[j]), rarity)
        p = same_question.probability(evidence)
        mine, both = (written(read[i], side[:6]) for side in (words_of.left, words_of.shared))
        theirs = written(read[j], words_of.right[:6])
        apart = slots.apart(read[i], read[j])
        p = min(p, APART) if apart else p if words_of.left or words_of.right else max(p, SAME_WORDS)
        swap = apart or words_of.names == 1.0 or words_of.numbers == 1.0 or words_of.swapped > words_of.heaviest_shared
        found[i].append(Neighbour(j, cosine, p, mine, theirs, both, swap))
        found[j].append(Neighbour(i, cosine, p, theirs, mine, both, swap))
    return [sorted(row, key=lambda f: (-round(f.same, 6), -round(f.cosine, 6), f.place)) for row in found]


class Neighbours:
    name = "neighbours"
    label = "Neighbours"
    version = 4
    needs: tuple[str, ...] = ()
    whole = True
    columns = (
        Column("same_question", "number", "Same question", "How sure another row asks the same, by wording alone.", "",
               indexed=True),
        Column("neighbour_similarity", "number", "Nearest prompt", "Highest cosine of its prompt to another row's."),
        Column("n_neighbours", "number", "Asked elsewhere", "Rows of other content that ask the same, by wording."),
        Column("foreign_language", "flag", "Language unknown", "The encoder was not made for the prompt's language."),
    )  # fmt: skip

    def plan(self, spec: RunSpec) -> list[Measure]:
        depends = {
            "signal": self.name,
            "version": self.version,
            "dataset": spec.dataset_fingerprint,
            "encoder": spec.versions.get("encoder_weights", spec.encoder),
            "rule": rule(),
        }
        return [Measure(self.name, "data", spec.final, depends)]

    def wanted(self, table: SignalTable) -> np.ndarray:
        return np.ones(len(table.keys), dtype=bool)

    def measure(
        self, measure: Measure, samples: Sequence[Sample], instruments: Instruments, stop: Callable[[], bool]
    ) -> Iterator[Chunk]:
        contents = {s.content_hash: s for s in instruments.samples()}
        by_question: dict[Question, list[str]] = defaultdict(list)
        for key, sample in contents.items():
            if (found := question(sample)).text:
                by_question[found].append(key)
        asked = list(by_question)
        texts = [q.text for q in asked]
        place = {q: i for i, q in enumerate(asked)}
        read = [words(t) for t in texts]
        rarity = Rarity(read)
        encoder = kind("encoders", "sentence_transformer").open(instruments.spec.encoder)
        try:
            vectors = embed(texts, encoder, stop)
            forms = None if vectors is None else form_vectors(texts, vectors, rarity, encoder, stop)
            languages = encoder.languages
        finally:
            encoder.close()
        if vectors is None or forms is None:
            return
        near_of = compare(asked, vectors, forms, read, rarity)
        strange = [foreign(r, t, languages) for r, t in zip(read, texts, strict=True)]
        counted: dict[str, int] = defaultdict(int)
        for sample in instruments.samples():
            counted[sample.content_hash] += 1
        for at in range(0, len(samples), _CHUNK):
            if stop():
                return
            block = samples[at : at + _CHUNK]
            columns = {name: np.full(len(block), np.nan) for name in _COLUMNS}
            details: list[dict[str, Any] | None] = []
            for i, sample in enumerate(block):
                here = place.get(question(sample))
                if here is None:
                    details.append(None)
                    continue
                twins = [k for k in by_question[asked[here]] if k != sample.content_hash]
                near = near_of[here]
                closest = max((f.cosine for f in near), default=np.nan)
                columns["neighbour_similarity"][i] = 1.0 if twins or counted[sample.content_hash] > 1 else closest
                columns["same_question"][i] = 1.0 if twins else max((f.same for f in near), default=0.0)
                elsewhere = sum(len(by_question[asked[f.place]]) for f in near if f.same >= SAME)
                columns["n_neighbours"][i] = len(twins) + elsewhere
                columns["foreign_language"][i] = float(strange[here])
                details.append(_details(twins, near, asked, by_question))
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


def _details(
    twins: Sequence[str], near: Sequence[Neighbour], asked: Sequence[Question], contents: dict[Question, list[str]]
) -> dict[str, Any]:
    rows = [{"hash": k, "similarity": 1.0, "same": 1.0, "verbatim": True} for k in twins[:_KEPT_A_ROW]]
    # The nearest by cosine is shown even where it asks something else: that is what a person would wonder about.
    best = max(near, key=lambda f: (f.cosine, -f.place), default=None)
    for f in near:
        if f.same < KEPT and f is not best:
            continue
        rows += [
            {"hash": k, "similarity": round(f.cosine, 4), "same": round(f.same, 4), "verbatim": False,
             "left": list(f.left), "right": list(f.right), "shared": list(f.shared), "exchanged": f.exchanged}
            for k in contents[asked[f.place]][:_KEPT_A_ROW]
        ]  # fmt: skip
    return {"neighbours": rows[: 2 * _KEPT_A_ROW], "verbatim": len(twins)}


KIND = Neighbours()
