"""Pairs of rows that may ask the same question: what wording, answers and the checkpoint's behaviour say of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np

from core.pairs import answers as reading
from core.pairs.answers import Answer, Disagreement, Evidence
from core.pairs.groups import Group, Pair
from core.pairs.labels import Labels, other_input
from core.pairs.stated import apart, other_name
from core.pairs.wording import Rarity, Words, words
from core.signals import _columns as col
from core.signals._artefacts import NEAR_ROWS, OUTPUTS, reader
from core.signals._base import Instruments
from core.signals._meanings import Meanings
from core.signals._records import Dispute, Side
from core.types import Sample, digest

# Pairs of wording below this are not looked at.
LOOKED_AT = 0.03
# Log odds that evidence beside the wording adds to "the same question".
# Two forms of asking that gave the same answer about other things, times the share of times they did.
FORMS_AGREE = 3.0
# Most that can be taken off for forms that never did.
FORMS_DIFFER = 2.0
# How often answers to one question are framed alike in a dataset whose frames recur; what the log odds that follow are
# multiplied by; the most that may be added and taken off.
FRAMED, FRAME_WEIGHT, FRAME_MOST, FRAME_LEAST = 0.9, 1.5, 4.0, -3.0
# The checkpoint answers one with what the other was taught, times how rare that answer is.
ANSWERED_ALIKE = 3.0
# The checkpoint gives both their own answers: it tells them apart.
TOLD_APART = 1.0
# Taken off where the rows themselves tell their questions apart (see ``apart`` in core/pairs/stated.py).
STATED_APART = 3.0
# Most that is left of "the same question" where one prompt has a name more, or where labels have another input.
OTHER = 0.05
# Words from here on are what a question is about, below they are its form.
ABOUT = 0.5
DIFFER = 0.5


# Two forms of asking.
Forms = frozenset[frozenset[str]]
# Places of two rows to how sure they ask the same, by wording, and whether they do so word for word.
Candidates = dict[tuple[int, int], tuple[float, bool]]


class Disputes:
    """All distinct contents of the run with what is known of them, by place in the training order."""

    def __init__(self, instruments: Instruments) -> None:
        self._kept_outputs, self._near = reader(instruments, OUTPUTS), reader(instruments, NEAR_ROWS)
        table = instruments.measured()
        everything = instruments.samples()
        self.samples: list[Sample] = list({s.content_hash: s for s in reversed(everything)}.values())[::-1]
        self.samples.sort(key=lambda s: s.ordinal)
        self.place = {s.content_hash: i for i, s in enumerate(self.samples)}
        counted = Counter(s.content_hash for s in everything)
        self.copies = {i: float(counted[s.content_hash]) for i, s in enumerate(self.samples)}
        at = {key: i for i, key in enumerate(table.keys)}
        rows = [at[s.content_hash] for s in self.samples]
        self._same = table.get(col.SAME_QUESTION)[rows]
        self._exact = table.get(col.GREEDY_EXACT)[rows]
        self._answers: dict[int, Answer] = {}
        self._outputs: dict[int, str | None] = {}
        read = [words(s.response) for s in self.samples]
        self._rarity = Rarity(read)
        self._stems: dict[int, frozenset[str]] = {}
        self._read: dict[int, Words] = {}
        texts = [" ".join(s.prompt.split()) for s in self.samples]
        self._labels = Labels(texts, read)
        self._texts = texts
        self._distinct = Counter(texts)
        self._shown: dict[tuple[int, int], Evidence] = {}
        self._differences: dict[tuple[int, int], Disagreement] = {}
        self._meanings = Meanings(instruments.spec.encoder)
        self._prompts = Rarity({t: words(t) for t in texts}.values())
        self._frame_of: dict[int, frozenset[str]] = {}
        self._frames: Counter[frozenset[str]] | None = None
        self._parts: dict[int, tuple[frozenset[str], frozenset[str]]] = {}
        self.of: dict[int, list[Pair]] = {}

    def answer(self, i: int) -> Answer:
        if i not in self._answers:
            self._answers[i] = reading.read(self.samples[i].response)
        return self._answers[i]

    def stems(self, i: int) -> frozenset[str]:
        """Stems of the prompt's words."""
        if i not in self._stems:
            self._stems[i] = frozenset(words(self.samples[i].prompt).stems)
        return self._stems[i]

    def output(self, i: int) -> str | None:
        """What the final checkpoint answers to the last turn; None where it was not asked."""
        if i not in self._outputs:
            if self._exact[i] == 1.0:
                self._outputs[i] = self.samples[i].response
            else:
                outputs = self._kept_outputs(self.samples[i].content_hash)
                self._outputs[i] = outputs.turns[-1].output if outputs is not None and outputs.turns else None
        return self._outputs[i]

    def differ(self, i: int, j: int) -> Disagreement:
        i, j = min(i, j), max(i, j)
        if (i, j) not in self._differences:
            self._differences[i, j] = self._weighed(self._evidence(i, j), self.answer(i), self.answer(j))
        return self._differences[i, j]

    def _evidence(self, i: int, j: int) -> Evidence:
        if (i, j) not in self._shown:
            self._shown[i, j] = self._compared(self.answer(i), j, i)
        return self._shown[i, j]

    def _compared(self, answer: Answer, i: int, j: int) -> Evidence:
        """An answer beside the one of row i, to what rows i and j ask."""
        return reading.evidence(answer, self.answer(i), self.stems(i) | self.stems(j), self._rarity)

    def _disagreement(self, answer: Answer, i: int, j: int) -> Disagreement:
        """Whether an answer says something else than the one of row i, to what rows i and j ask."""
        return self._weighed(self._compared(answer, i, j), answer, self.answer(i))

    def _weighed(self, shown: Evidence, a: Answer, b: Answer) -> Disagreement:
        return reading.disagreement(shown, self._meanings.alike(a.text, b.text) if shown.sure is None else 0.0)

    def _embedded(self, candidates: Candidates, stop: Callable[[], bool]) -> bool:
        """Embeds the answers that have to be weighed, and what the checkpoint says instead where they differ."""
        weighed = [pair for pair in sorted(candidates) if self._evidence(*pair).sure is None]
        if not self._meanings.read((self.answer(i).text for pair in weighed for i in pair), stop):
            return False
        apart = {i for pair in candidates if self.differ(*pair).sure >= DIFFER for i in pair if self._exact[i] != 1.0}
        outputs = (self.output(i) for i in sorted(apart))
        return self._meanings.read((o.strip() for o in outputs if o is not None), stop)

    def close(self) -> None:
        self._meanings.close()

    def pairs(self, stop: Callable[[], bool]) -> list[Pair] | None:
        """Every pair that may ask the same; None where it was asked to stop."""
        candidates: Candidates = {}
        exchanged: set[tuple[int, int]] = set()
        worded: set[tuple[int, int]] = set()
        for i in np.flatnonzero(self._same >= LOOKED_AT).tolist():
            if stop():
                return None
            near = self._near(self.samples[i].content_hash)
            for row in near.neighbours if near is not None else ():
                j = self.place.get(row.hash)
                if j is not None and j != i and row.same >= LOOKED_AT:
                    candidates[min(i, j), max(i, j)] = (row.same, row.verbatim)
                    if row.exchanged:
                        exchanged.add((min(i, j), max(i, j)))
                    if not row.left and not row.right:
                        worded.add((min(i, j), max(i, j)))
        if not self._embedded(candidates, stop):
            return None
        forms = self._habits(candidates)
        out = []
        for (i, j), (same, verbatim) in sorted(candidates.items()):
            differ = self.differ(i, j)
            n = max(self._distinct[self._texts[i]], self._distinct[self._texts[j]]) if verbatim else 1
            prompts = (self.samples[i].prompt, self.samples[j].prompt)
            if not verbatim:
                by = forms.get(self._forms(i, j), 0.0) + self._framed(i, j) + self._behaviour(i, j, differ)
                # What only says that the two *could* be one question does not outweigh an exchanged name.
                # Two ways to ask in the same words that never agree are what is looked for, no sign of two questions.
                by = max(by, 0.0) if (i, j) in worded else min(by, 0.0) if (i, j) in exchanged else by
                if (i, j) not in worded and forms.get(self._forms(i, j), 0.0) <= 0 and self._stated_apart(i, j):
                    by = min(by, 0.0) - STATED_APART
                elif (i, j) not in worded:
                    # On published rows, prompts that have other words hardly ever ask the same.
                    by += reading.parameters()["reworded"]
                same = _moved(same, by)
                if self._other_thing(i, j):
                    same = min(same, OTHER)
            pair = Pair(i, j, same, differ.sure, reading.both_valid(prompts, verbatim, n, differ))
            out.append(pair)
            for m in (i, j):
                self.of.setdefault(m, []).append(pair)
        return out

    def both_valid(self, i: int) -> float:
        """How sure the answer of another row that asks the same may be right as well."""
        valid = (p.valid for p in self.of.get(i, ()) if p.same >= DIFFER and p.differ >= DIFFER)
        return max(valid, default=0.0)

    def _form(self, i: int) -> tuple[frozenset[str], frozenset[str]]:
        """What a prompt is about (rare words, names, numbers), and the form in which it asks."""
        if i not in self._parts:
            stems = self.stems(i)
            about = frozenset(w for w in stems if self._prompts.weight(w) >= ABOUT or self._prompts.is_name(w))
            self._parts[i] = (about, stems - about)
        return self._parts[i]

    def _forms(self, i: int, j: int) -> Forms:
        return frozenset((self._form(i)[1], self._form(j)[1]))

    def _habits(self, candidates: Candidates) -> dict[Forms, float]:
        """Log odds for two forms of asking, from how often they met over the same things with the same answer."""
        met: dict[Forms, list[bool]] = {}
        for (i, j), (_, verbatim) in sorted(candidates.items()):
            if verbatim or self._form(i)[0] != self._form(j)[0] or self._form(i)[1] == self._form(j)[1]:
                continue
            met.setdefault(self._forms(i, j), []).append(self.differ(i, j).sure < DIFFER)
        # How often rows that surely ask the same agree in this dataset: where they never do, not agreeing says nothing.
        sure = [self.differ(i, j).sure < DIFFER for (i, j), (p, _) in candidates.items() if p >= 0.9]
        rate = (sum(sure) + 0.5) / (len(sure) + 2.0)
        out = {}
        for forms, agreed in met.items():
            if any(agreed):
                out[forms] = FORMS_AGREE * sum(agreed) / len(agreed)
            else:
                out[forms] = max(len(agreed) * float(np.log1p(-rate)), -FORMS_DIFFER)
        return out

    def _frame(self, i: int) -> frozenset[str]:
        if i not in self._frame_of:
            self._frame_of[i] = reading.frame(self.answer(i), self._rarity)
        return self._frame_of[i]

    def _framed(self, i: int, j: int) -> float:
        """Log odds from whether the two answers are framed alike.

        Answers to two questions share a frame as often as the frame occurs at all; answers to one question nearly
        always, where the dataset's frames recur. Where every answer has its own frame, or all have the same, this is 0.
        """
        if self._frames is None:
            self._frames = Counter(self._frame(m) for m in range(len(self.samples)))
        n = len(self.samples)
        recurring = FRAMED * sum(c for c in self._frames.values() if c >= 3) / n
        often = max(self._frames[self._frame(i)], self._frames[self._frame(j)]) / n
        if self._frame(i) == self._frame(j):
            by = np.log(max(recurring, 1e-3) / often)
            return float(np.clip(FRAME_WEIGHT * by, 0.0, FRAME_MOST))
        return float(np.clip(FRAME_WEIGHT * np.log((1.0 - recurring) / max(1.0 - often, 1e-3)), FRAME_LEAST, 0.0))

    def _stated_apart(self, i: int, j: int) -> bool:
        one, other = (self._words(i), self.answer(i).words), (self._words(j), self.answer(j).words)
        return apart(one, other, self._prompts)

    def _other_thing(self, i: int, j: int) -> bool:
        """Whether the prompts name other things, or have labels for other inputs."""
        one, other = self._words(i), self._words(j)
        if self._labels.both(self.answer(i).words, self.answer(j).words) and other_input(one, other):
            return True
        return other_name(self.samples[i].prompt, self.samples[j].prompt, self._prompts)

    def _words(self, i: int) -> Words:
        if i not in self._read:
            self._read[i] = words(self.samples[i].prompt)
        return self._read[i]

    def _behaviour(self, i: int, j: int, differ: Disagreement) -> float:
        """Log odds from what the checkpoint answers to the two."""
        if differ.sure < DIFFER:
            return 0.0
        if self._exact[i] == 1.0 and self._exact[j] == 1.0:
            return -TOLD_APART
        best = 0.0
        for row, other in ((i, j), (j, i)):
            output = self.output(row)
            if output is None or self._exact[row] == 1.0:
                continue
            answer = reading.read(output)
            if self._disagreement(answer, other, row).sure >= DIFFER:
                continue
            if self._disagreement(answer, row, other).sure < DIFFER:
                continue
            taught = set(answer.words.stems) & set(self.answer(other).words.stems) - self.stems(i) - self.stems(j)
            best = max(best, ANSWERED_ALIKE * max((self._rarity.weight(w) for w in taught), default=0.0))
        return best

    def wins(self, i: int, group: Group) -> tuple[float, int | None]:
        """Whether the checkpoint gives another side's answer (NaN: not asked), and the side it takes, if any."""
        output = self.output(i)
        if output is None:
            return np.nan, None
        answer = reading.read(output)
        taken = None
        for number, side in enumerate(group.sides):
            close = min(self._disagreement(answer, m, i).sure for m in side)
            if close < DIFFER and (taken is None or i in side):
                taken = number
        own = next(n for n, side in enumerate(group.sides) if i in side)
        return float(taken is not None and taken != own), taken

    def describe(self, i: int, number: int, group: Group) -> tuple[dict[str, float], Dispute]:
        """The row's numbers in its group, and the group as the pages show it."""
        weights = [sum(self.copies[m] for m in side) for side in group.sides]
        own = next(n for n, side in enumerate(group.sides) if i in side)
        wins, taken = self.wins(i, group)
        sides = [[self.samples[m].content_hash for m in side] for side in group.sides]
        strongest = max(self.of[i], key=lambda p: p.contradiction)
        difference = self.differ(strongest.a, strongest.b)
        values = {
            col.GROUP: float(number),
            col.GROUP_SIZE: float(sum(weights)),
            col.SIDE_SHARE: weights[own] / sum(weights),
            col.SIDE_WINS: wins,
        }
        dispute = Dispute(
            group=number,
            key=digest(sorted(member for side in sides for member in side)),
            strength=round(group.strength, 4),
            side=own,
            sides=tuple(Side(weight, side) for weight, side in zip(weights, sides, strict=True)),
            differs=[list(d) for d in difference.differs],
            kind=difference.kind,
            same=round(strongest.same, 4),
            differ=round(strongest.differ, 4),
            valid=round(strongest.valid, 4),
            takes=taken,
        )
        return values, dispute


def _moved(p: float, by: float) -> float:
    """A probability moved by log odds."""
    from scipy.special import expit, logit

    return float(expit(logit(min(max(p, 1e-6), 1.0 - 1e-6)) + by))
