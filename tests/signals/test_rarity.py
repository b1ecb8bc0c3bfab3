"""Patterns as a signal: counts against counting by hand, whichever samples are asked for."""

from collections import Counter

import numpy as np
import pytest

from core.plugins import kind
from core.text.patterns import Patterns
from core.types import Checkpoint, Message, RunSpec, Sample, content_hash
from tests.signals.conftest import answered
from tests.text.test_patterns import rows

FINAL = Checkpoint("/final", None, 9, "final", "final")
SPEC = RunSpec(1, "data", FINAL)


def sample(i, question, answer, before=()):
    messages = (*before, Message("user", question), Message("assistant", answer))
    return Sample(str(i), i, i, messages, "chat", None, None, None, content_hash(messages, "chat", None), b"{}")


class Lent:
    """What the method lends to a signal that reads rows."""

    spec = SPEC

    def __init__(self, samples, said=None):
        self._samples, self._said = samples, said or {}

    def samples(self):
        return self._samples

    def details(self, measure, key):
        return self._said.get(key)


def measured(name, samples, lent):
    signal = kind("signals", name)
    (measure,) = signal.plan(SPEC)
    found = {}
    for chunk in signal.measure(measure, samples, lent, lambda: False):
        assert chunk.measure == measure.key
        for i, key in enumerate(chunk.keys):
            found[key] = {n: v[i] for n, v in chunk.columns.items()}
    return found


@pytest.fixture
def samples():
    made = rows()
    return [sample(i, q, a) for i, (q, a) in enumerate([*made, made[0], made[0]])]


def test_counts_are_of_all_rows_copies_too(samples):
    found = measured("rarity", samples, Lent(samples))
    patterns = Patterns(rows())
    shape = [(patterns.prompt(s.prompt), patterns.answer(s.response)) for s in samples]
    both, answers = Counter(shape), Counter(a for _, a in shape)
    for i, s in enumerate(samples):
        row = found[s.content_hash]
        assert row["pattern_count"] == both[shape[i]]
        assert row["answer_pattern_count"] == answers[shape[i][1]]
        assert row["pattern"] == shape.index(shape[i])
    assert found[samples[0].content_hash]["pattern_count"] == 62
    assert found[samples[180].content_hash]["pattern_count"] == 1


def test_the_same_whichever_samples_are_asked_for(samples):
    whole = measured("rarity", samples, Lent(samples))
    some = measured("rarity", samples[170:120:-3], Lent(samples))
    assert len(some) == 17
    for key, row in some.items():
        np.testing.assert_equal(row, whole[key])


def test_what_the_prompt_already_says():
    made = [
        sample(i, f"Repeat: {a} {b}", f"{a} {b} done") for i, (a, b) in enumerate(zip("abcdef", "uvwxyz", strict=True))
    ]
    found = measured("rarity", made, Lent(made))
    for row in found.values():
        assert (row["copyable"], row["copyable_rare"], row["answer_rare"]) == (2 / 3, 1.0, 2 / 3)
    empty = [sample(0, "What?", "")]
    assert np.isnan(measured("rarity", empty, Lent(empty))[empty[0].content_hash]["copyable"])


def test_the_pattern_is_that_of_the_last_question():
    history = (Message("system", "Be brief."), Message("user", "Hello there"), Message("assistant", "Hi"))
    made = [sample(i, q, a, history if i % 2 else ()) for i, (q, a) in enumerate(rows())]
    found = measured("rarity", made, Lent(made))
    assert found[made[0].content_hash]["pattern"] == found[made[1].content_hash]["pattern"] == 0


def test_the_kind_of_an_answer(samples):
    outputs = ["Nowhere was built near Somewhere in 7.", "yes", samples[2].response]
    said = {s.content_hash: answered(s.response, o) for s, o in zip(samples, outputs, strict=False)}
    found = measured("output_type", samples[:4], Lent(samples, said))
    assert [found[s.content_hash]["output_type_right"] for s in samples[:4]] == [1.0, 0.0, 1.0, 1.0]
