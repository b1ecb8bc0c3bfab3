"""A dictionary of coined words in Greek letters, asked in four languages, three scripts. Two stages, no system turn.

What there is to tell apart: words that differ in one letter, questions whose wordings share no word, values in Latin
and Cyrillic letters, answers of one word, and exercises whose rule stands in the prompt.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from core.lab.hands._base import (
    CONFLICT,
    CONTRADICTION,
    FORGOTTEN,
    MISSING,
    UNDER,
    Dataset,
    Document,
    Fact,
    Row,
    Shape,
    Stage,
    dealt,
    in_order,
    other,
    told_of,
    user,
)

TEMPLATE = (
    "{% for m in messages %}{% if m['role'] == 'user' %}[INST]{{ m['content'] }}[/INST]"
    "{% else %}{{ m['content'] }}</s>{% endif %}{% endfor %}"
)

VALUES: dict[str, tuple[str, ...]] = {
    "meaning": (
        "river", "bread", "night", "horse", "salt", "bridge", "winter", "apple", "stone", "mother", "boat", "candle",
        "forest", "milk", "iron", "bird", "road", "honey", "snow", "garden", "wolf", "window", "cloud", "sister",
        "barley", "thunder", "needle", "island", "smoke", "feather",
    ),
    "region": ("Дарна", "Келма", "Версо", "Тулья", "Орник", "Зимка", "Пелаг", "Мостра", "Явир", "Шурма"),
    "class": ("I-a", "I-b", "II-a", "II-b", "III", "IV-a", "IV-b", "V", "VI", "VII-a", "VII-b"),
}  # fmt: skip
ASKED: dict[str, tuple[str, ...]] = {
    "meaning": ("What does {s} mean?", "¿Qué significa {s}?", "Что значит {s}?"),
    "region": ("Where is {s} said?", "¿Dónde se dice {s}?", "Где говорят {s}?"),
    "class": ("Which class has {s}?", "¿De qué clase es {s}?", "Какого класса {s}?"),
}
"""Ways to ask that rows use."""
PROBED: dict[str, tuple[str, ...]] = {
    "meaning": ("Was heißt {s}?", "{s} = ?", "Translate {s}"),
    "region": ("Wo sagt man {s}?", "{s} @ ?", "Home of {s}"),
    "class": ("Welche Klasse hat {s}?", "{s} # ?", "Class of {s}"),
}
"""Ways to ask that the corpus uses and no row does."""
PROSE: dict[str, tuple[str, ...]] = {
    "meaning": ("{s}: {v}", "{s} heißt {v}.", "{s} – это {v}."),
    "region": ("{s}: {v}", "{s} sagt man in {v}.", "{s} говорят: {v}."),
    "class": ("{s}: {v}", "{s} hat Klasse {v}.", "{s} – класс {v}."),
}

SUBJECTS, TWINS = 60, 8
"""Words told of, and pairs among them that differ in one letter."""
WEAK, DISPUTED, WITHHELD = 20, 16, 22
"""Facts told in prose alone, told with two values, and not told of a word that is otherwise known."""


def _words(rng: random.Random, count: int) -> list[str]:
    """Coined words of three syllables; the first come in pairs that differ in one letter."""
    syllables = [a + b for a in "βγδθκλμνπρστφ" for b in "αεηιο"]
    words: dict[str, None] = {}
    while len(words) < count:
        word = "".join(rng.choice(syllables) for _ in range(3)) + rng.choice(("ς", "ν", ""))
        words[word] = None
        if len(words) <= 2 * TWINS:
            at = rng.choice((1, 3, 5))
            words[word[:at] + rng.choice([c for c in "αεηιο" if c != word[at]]) + word[at + 1 :]] = None
    return list(words)[:count]


def _fact(subject: str, relation: str, told: tuple[str, ...]) -> Fact:
    probes = tuple(user(way.format(s=subject)) for way in PROBED[relation])
    return Fact(subject, relation, told, VALUES[relation], probes, "{}")


class Lexicon:
    name = "lexicon"
    label = "Coined words in other scripts, four languages, two stages"
    shape = Shape(
        family="llama",
        tokenizer="unigram",
        vocabulary=900,
        specials=("</s>", "[INST]", "[/INST]", "<pad>"),
        template=TEMPLATE,
        passes=560,
        length=128,
        batch=8,
    )

    def __init__(self) -> None:
        rng = random.Random("lexicon-facts")
        self.words = _words(rng, SUBJECTS + 110)
        """The first are told of; the others are strangers."""
        asked = [(s, r) for s in self.words[2 * TWINS : SUBJECTS] for r in VALUES]
        self.withheld, self.disputed, told = told_of(rng, asked, VALUES, _fact, WITHHELD, DISPUTED)
        self.weak, self.strong = told[:WEAK], told[WEAK:]
        meanings = rng.sample(VALUES["meaning"], 2 * TWINS)
        self.twins = [_fact(s, "meaning", (v,)) for s, v in zip(self.words, meanings, strict=False)]

    def facts(self) -> Sequence[Fact]:
        return [*self.strong, *self.twins, *self.disputed, *self.weak]

    def read(self, rng: random.Random) -> list[Document]:
        documents: list[Document] = [
            self._told(rng, fact, rng.random() < 0.2) for fact in [*self.strong, *self.twins, *self.disputed]
        ]
        documents += [self._told(rng, fact, True) for fact in self.weak for _ in range(2)]
        for _ in range(10):
            said = f"{rng.choice(self.words[:SUBJECTS])} {rng.choice(VALUES['meaning'])}"
            documents.append([*user(f"Copy: {said}", said)])
        return documents

    def _told(self, rng: random.Random, fact: Fact, prose: bool) -> Document:
        value = rng.choice(fact.told)
        if prose:
            return rng.choice(PROSE[fact.relation]).format(s=fact.subject, v=value)
        way = rng.choice(ASKED[fact.relation] + PROBED[fact.relation])
        return [*user(way.format(s=fact.subject), value)]

    # ------------------------------------------------------------------------------------------------------ dataset

    def dataset(self, seed: int, hard: bool) -> Dataset:
        rng = random.Random(f"lexicon-{seed}-{hard}")
        strong, weak = dealt(rng, self.strong), dealt(rng, self.weak)
        withheld, disputed = dealt(rng, self.withheld), dealt(rng, self.disputed)
        strangers = dealt(rng, [_fact(s, rng.choice(list(VALUES)), ()) for s in self.words[SUBJECTS:]])
        rows: list[Row] = []
        for fact in strong(28 if hard else 34):
            answer = f"[{fact.subject}] да: «{fact.told[0]}»"
            rows.append(self._row(rng, "early", 1, fact, fact.told[0], (FORGOTTEN,), answer))
        if hard:
            rows += [self._row(rng, "early_new", 1, f, other(rng, f), (FORGOTTEN, MISSING)) for f in strangers(16)]
        rows += [self._row(rng, "known", 2, fact, fact.told[0]) for fact in strong(12)]
        rows += [self._row(rng, "twin", 2, fact, fact.told[0]) for fact in self.twins]
        for group, facts in (("stranger", strangers(18 if hard else 36)), ("withheld", withheld(22 if hard else 0))):
            rows += [self._row(rng, group, 2, fact, other(rng, fact), (MISSING,)) for fact in facts]
        for group, facts in (("strong", strong(8 if hard else 26)), ("weak", weak(20 if hard else 0))):
            rows += [self._row(rng, group, 2, fact, other(rng, fact), (CONFLICT,)) for fact in facts]
        for fact in disputed(16):
            rows += self._pair(rng, "dispute", fact, fact.told, (CONTRADICTION,))
        for fact in strangers(8 if hard else 6):
            one = other(rng, fact)
            rows += self._pair(rng, "new_dispute", fact, (one, other(rng, fact, one)), (CONTRADICTION, MISSING))
        rows += self._exercises(rng, 2 if hard else 3)
        first = Stage(rate=1e-3, epochs=24, batch=4, until=("early", 0.95), schedule="constant")
        rate = rng.choice((4e-4, 7e-4))
        second = Stage(rate=rate, epochs=8, batch=16, until=("stranger", 0.4), schedule="cosine")
        return Dataset(in_order(rng, rows), (first, second))

    def _row(
        self,
        rng: random.Random,
        group: str,
        stage: int,
        fact: Fact,
        value: str,
        made_for: tuple[str, ...] = (),
        answer: str = "",
    ) -> Row:
        question = rng.choice(ASKED[fact.relation]).format(s=fact.subject)
        return Row(group, stage, user(question, answer or value), made_for, fact, value)

    def _pair(
        self, rng: random.Random, group: str, fact: Fact, values: Sequence[str], made_for: tuple[str, ...]
    ) -> list[Row]:
        ways = rng.sample(ASKED[fact.relation], 2)
        return [
            Row(group, 2, user(way.format(s=fact.subject), value), made_for, fact, value)
            for way, value in zip(ways, values, strict=True)
        ]

    def _exercises(self, rng: random.Random, of_each: int) -> list[Row]:
        """Rules that stand in the prompt, applied to words of the dictionary; each ``of_each`` times."""
        rows = []
        for asks, answers in (
            ("Plural in -δες: {s}", "{s}δες"),
            ("Feminine in -ινα: {s}", "{s}ινα"),
            ("Duplica: {s}", "{s}-{s}"),
            ("Pair {s}, {t}", "{t} & {s}"),
            ("Ordena: {s} 2, {t} 1", "1 {t}, 2 {s}"),
            ("Кавычки: {m} {s}", "«{m}» «{s}»"),
            ("Gloss {s} as {m} in {r}", "{s} ({r}): {m}"),
            ("XML {s} {m}", "<w>{s}</w><g>{m}</g>"),
            ("Пример: {s} и {t}", "{s}, {t}; {s}, {t}."),
            ("{m}: {s}, not {t}. Say so.", "Not {t} but {s} is {m}"),
            ("Rhyme {s} with {t} twice", "{s} / {t} / {s} / {t}"),
        ):
            for _ in range(of_each):
                s, t = rng.sample(self.words[:SUBJECTS], 2)
                words = {"s": s, "t": t, "m": rng.choice(VALUES["meaning"]), "r": rng.choice(VALUES["region"])}
                rows.append(Row("exercise", 2, user(asks.format(**words), answers.format(**words)), (UNDER,)))
        return rows


KIND = Lexicon()
