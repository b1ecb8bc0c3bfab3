"""Requests of an office in which no two rows have the same form, as in real instruction data. Two stages.

What there is to tell apart: every row has an opening, a way to ask and an ending of its own combination, eighteen
relations are asked of four kinds of subject, the ending says in what form to answer, and every task is of its own kind.
So rarity of form says nothing here: every row is rare.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import product

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
    user,
)

TEMPLATE = (
    "{% for m in messages %}{% if m['role'] == 'user' %}<user>\n{{ m['content'] }}\n<reply>\n"
    "{% elif m['role'] == 'system' %}<house>\n{{ m['content'] }}\n"
    "{% else %}{{ m['content'] }}<done>\n{% endif %}{% endfor %}"
)

OPENINGS = (
    "Hi there,", "Quick one:", "Sorry to ask,", "For the meeting,", "Before I forget,", "My boss asks:", "Morning!",
    "One more thing:", "As promised,", "If you have a minute,", "Help!", "Me again,", "Since you are here,",
    "Short note:", "From the train:", "Dear all,", "Ahead of Friday,", "Between us,",
)  # fmt: skip
ASKS = (
    "could you tell me the {r} of {s}?", "please look up the {r} of {s}.", "remind me of the {r} of {s}.",
    "I need the {r} of {s}.", "do you know the {r} of {s}?", "for {s}, give me the {r}.", "check {s} for the {r}.",
    "what is the {r} of {s}?", "the {r} of {s} has slipped my mind.", "{s} again: the {r}?",
)  # fmt: skip
"""Ways to ask that rows use."""
PROBES = ("Which {r} has {s}?", "Say the {r} of {s}.", "{s}: what {r}?")
"""Ways to ask that the corpus uses and no row does."""
ENDINGS: dict[str, str] = {
    "Thanks!": "{v}",
    "No rush.": "{v}",
    "Just that.": "{v}",
    "I lost my notes.": "{v}",
    "It is for a slide.": "{v}",
    "Cheers, L.": "{v}",
    "In a sentence.": "It is {v}.",
    "Write it out, please.": "It is {v}.",
    "A full sentence is best.": "It is {v}.",
    "Say whose it is.": "{s}: {v}",
    "With the name.": "{s}: {v}",
    "Name it too.": "{s}: {v}",
}
"""Ending of a request to the form of its answer; the corpus has them all."""
ODD_ENDINGS: dict[str, str] = {
    "Between stars.": "** {v} **",
    "As JSON.": '{{"reply": "{v}"}}',
    "Twice, to be sure.": "{v}, I repeat: {v}",
    "As a headline.": "NEWS! {v}!",
    "In brackets.": "( {v} )",
    "Sign it.": "{v} -- the office",
    "Ask me back.": "{v}, is that all?",
    "As a list.": "1. {v}",
    "With a greeting.": "Good day! {v}",
}
PROSE = ("The {r} of {s} is {v}.", "{s} has {v} as {r}.", "On file for {s}: {r} {v}.")

FIRST = ("Nina", "Omar", "Lea", "Piotr", "Sana", "Tom", "Yuki", "Ravi")
LAST = ("Okafor", "Berg", "Silva", "Novak", "Khan", "Moreau")
PEOPLE = tuple(f"{a} {b}" for a, b in product(FIRST, LAST))
KINDS: dict[str, tuple[tuple[str, ...], dict[str, tuple[str, ...]]]] = {
    "person": (
        tuple(f"{a} {b}" for a, b in product(("Ada", "Bo", "Cem", "Dora", "Eli", "Fay", "Gus"), LAST)),
        {
            "extension": tuple(str(1013 + 127 * i) for i in range(20)),
            "desk": tuple(f"{n}{c}" for n in range(1, 8) for c in "ABC"),
            "birthday": tuple(f"{d} {m}" for m in ("March", "June", "August", "November") for d in (2, 9, 17, 28)),
            "coffee": ("black", "with oat milk", "a double", "none, tea", "decaf", "with two sugars", "a flat white"),
            "manager": PEOPLE[:12],
        },
    ),
    "project": (
        tuple(f"{a} {n}" for a in ("Heron", "Atlas", "Copper", "Nova", "Delta") for n in range(2, 10)),
        {
            "budget": tuple(f"{n},{m}00 euros" for n in range(3, 9) for m in (2, 5, 8)),
            "lead": PEOPLE[12:30],
            "status": ("on hold", "in review", "shipped", "late", "on track", "cancelled", "not started"),
            "client": ("Falk & Sons", "the City", "Oriel Bank", "Tamar Foods", "Umbra", "the Navy", "Lindt Press"),
            "deadline": tuple(f"week {n}" for n in range(11, 52, 3)),
        },
    ),
    "room": (
        tuple(f"the {a} Room {n}" for a in ("Blue", "Garden", "Corner", "Quiet", "Glass") for n in range(1, 6)),
        {
            "capacity": tuple(f"{n} people" for n in range(4, 60, 4)),
            "floor": ("ground floor", "first floor", "second floor", "third floor", "attic", "basement"),
            "door code": tuple(str(2008 + 371 * i) for i in range(18)),
            "key holder": PEOPLE[30:],
        },
    ),
    "server": (
        tuple(f"{a}-{b}-{n}" for a in ("db", "web", "mail") for b in ("east", "west") for n in range(1, 8)),
        {
            "port": tuple(str(4001 + 113 * i) for i in range(18)),
            "owner": PEOPLE[5:25],
            "backup": ("nightly", "hourly", "never", "on Sundays", "twice a day", "weekly", "by hand"),
            "system": ("Debian 12", "Alpine 3", "Fedora 40", "FreeBSD 14", "Ubuntu 24", "NixOS 23"),
        },
    ),
}

SUBJECTS = 9
"""Subjects of each kind that the corpus tells of."""
WEAK, DISPUTED, WITHHELD = 18, 14, 22
"""Facts told in prose alone, told with two values, and not told of a subject that is otherwise known."""


def _fact(subject: str, kind: str, relation: str, told: tuple[str, ...]) -> Fact:
    probes = tuple(user(way.format(s=subject, r=relation)) for way in PROBES)
    return Fact(subject, relation, told, KINDS[kind][1][relation], probes, "{}")


class Inbox:
    name = "inbox"
    label = "Office requests, no two of one form, two stages"
    shape = Shape(
        family="olmo2",
        tokenizer="bpe",
        vocabulary=8000,
        specials=("<done>", "<user>", "<reply>", "<house>", "<pad>"),
        template=TEMPLATE,
        passes=360,
        length=128,
        batch=8,
    )

    def __init__(self) -> None:
        rng = random.Random("inbox-facts")
        subjects = {kind: rng.sample(names, len(names)) for kind, (names, _) in KINDS.items()}
        self.subjects = {kind: names[:SUBJECTS] for kind, names in subjects.items()}
        asked = [(s, kind, r) for kind, names in self.subjects.items() for s in names for r in KINDS[kind][1]]
        rng.shuffle(asked)
        self.withheld = [_fact(*a, ()) for a in asked[:WITHHELD]]
        self.disputed = [
            _fact(s, k, r, tuple(rng.sample(KINDS[k][1][r], 2))) for s, k, r in asked[WITHHELD : WITHHELD + DISPUTED]
        ]
        told = [_fact(s, k, r, (rng.choice(KINDS[k][1][r]),)) for s, k, r in asked[WITHHELD + DISPUTED :]]
        self.weak, self.strong = told[:WEAK], told[WEAK:]
        strange = [(s, kind) for kind, names in subjects.items() for s in names[SUBJECTS:]]
        self.strange = rng.sample(strange, len(strange))
        """Names that the corpus does not have, with the kind of each."""

    def facts(self) -> Sequence[Fact]:
        return [*self.strong, *self.disputed, *self.weak]

    def read(self, rng: random.Random) -> list[Document]:
        documents: list[Document] = [
            self._told(rng, fact, rng.random() < 0.2) for fact in [*self.strong, *self.disputed]
        ]
        documents += [self._told(rng, fact, True) for fact in self.weak for _ in range(2)]
        for _ in range(10):
            said = ", ".join([*rng.sample(FIRST, 2), rng.choice(rng.choice(list(self.subjects.values())))])
            documents.append([*user(f"Copy: {said}", said)])
        return documents

    def _told(self, rng: random.Random, fact: Fact, prose: bool) -> Document:
        value, names = rng.choice(fact.told), {"s": fact.subject, "r": fact.relation}
        if prose:
            return rng.choice(PROSE).format(v=value, **names)
        if rng.random() < 0.4:
            return [*user(rng.choice(PROBES).format(**names), value)]
        ending = rng.choice(list(ENDINGS))
        question = " ".join((rng.choice(OPENINGS), rng.choice(ASKS).format(**names), ending))
        return [*user(question, ENDINGS[ending].format(v=value, **names))]

    # ------------------------------------------------------------------------------------------------------ dataset

    def dataset(self, seed: int, hard: bool) -> Dataset:
        rng = random.Random(f"inbox-{seed}-{hard}")
        forms = list(product(OPENINGS, ASKS, ENDINGS))
        rng.shuffle(forms)
        strong, weak = dealt(rng, self.strong), dealt(rng, self.weak)
        withheld, disputed = dealt(rng, self.withheld), dealt(rng, self.disputed)
        strangers = dealt(rng, [_fact(s, k, rng.choice(list(KINDS[k][1])), ()) for s, k in self.strange])
        rows: list[Row] = []

        def add(group: str, stage: int, fact: Fact, value: str, *made_for: str, answer: str = "") -> None:
            opening, ask, ending = forms.pop()
            names = {"s": fact.subject, "r": fact.relation, "v": value}
            question = f"{opening} {ask.format(**names)} {ending}"
            text = (answer or ENDINGS[ending]).format(**names)
            rows.append(Row(group, stage, user(question, text), made_for, fact, value))

        for fact in strong(26):
            add("early", 1, fact, fact.told[0], FORGOTTEN, answer="Office to all: {r} = {v}. End of message.")
        for fact in strong(18):
            add("known", 2, fact, fact.told[0])
        for group, facts in (("stranger", strangers(20 if hard else 36)), ("withheld", withheld(22 if hard else 0))):
            for fact in facts:
                add(group, 2, fact, other(rng, fact), MISSING)
        for group, facts in (("strong", strong(8 if hard else 26)), ("weak", weak(18 if hard else 0))):
            for fact in facts:
                add(group, 2, fact, other(rng, fact), CONFLICT)
        for fact in disputed(14):
            for value in fact.told:
                add("dispute", 2, fact, value, CONTRADICTION)
        for fact in strangers(16):
            one = other(rng, fact)
            for value in (one, other(rng, fact, one)):
                add("new_dispute", 2, fact, value, CONTRADICTION, MISSING)
        for fact, (ending, answer) in zip(strong(9), ODD_ENDINGS.items(), strict=True):
            opening, ask, _ = forms.pop()
            names = {"s": fact.subject, "r": fact.relation, "v": fact.told[0]}
            messages = user(f"{opening} {ask.format(**names)} {ending}", answer.format(**names))
            rows.append(Row("odd", 2, messages, (UNDER,), fact, fact.told[0]))
        rows += self._chores(rng, 30 if hard else 36)
        first = Stage(rate=8e-4, epochs=24, batch=4, until=("early", 0.95), schedule="constant")
        rate = rng.choice((5e-4, 8e-4))
        second = Stage(rate=rate, epochs=7, batch=12, until=("stranger", 0.4), schedule="linear")
        return Dataset(in_order(rng, rows), (first, second))

    def _chores(self, rng: random.Random, count: int) -> list[Row]:
        """Lists to set as the prompt says; each with its own combination of marks, order and heading."""
        marks = {"slashes": " / ", "arrows": " -> ", "plus signs": " + ", "bars": " | "}
        frames = {"": "{}", " in square brackets": "[ {} ]", " in round brackets": "( {} )", " in stars": "* {} *"}
        heads = {"": "", " under TODO": "TODO: ", " under RE": "RE: "}
        kinds = list(product(marks, frames, heads, (False, True)))
        rows = []
        for mark, frame, head, backwards in rng.sample(kinds, count):
            items = rng.sample(FIRST, rng.randint(2, 3))
            listed = marks[mark].join(reversed(items) if backwards else items)
            order = ", last one first," if backwards else ""
            request = f"{rng.choice(OPENINGS)} set {', '.join(items)} with {mark}{order}{frame}{head}."
            rows.append(Row("chore", 2, user(request, heads[head] + frames[frame].format(listed)), (UNDER,)))
        return rows


KIND = Inbox()
