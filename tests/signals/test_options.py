"""Multiple choice: what is shown, what is counted, against a loop of its own."""

import dataclasses

import numpy as np
import pytest

from core.plugins import kind
from core.signals._questions import Questions
from core.signals.options import LIMITS, PRESENTATIONS, Chooser, Wrong, divergence, listed, presentations
from core.text.words import normalised
from core.types import BASE, FINAL
from tests.signals.conftest import sample_of

OPTIONS = kind("signals", "options")


def test_nothing_is_planned_unless_asked_for(quiz):
    assert OPTIONS.plan(quiz.spec) == []
    asked = dataclasses.replace(quiz.spec, paper_mode=True)
    assert [m.role for m in OPTIONS.plan(asked)] == [BASE, FINAL]
    assert [m.role for m in OPTIONS.plan(dataclasses.replace(asked, base=None))] == [FINAL]


def test_options_are_four_the_right_one_moves_and_none_is_said_twice(quiz):
    questions = Questions(quiz.rows, LIMITS)
    wrong = Wrong(questions.all(), "seed")
    places = []
    for question in questions.all():
        shown = presentations(question, wrong, 0)
        assert len(shown) == PRESENTATIONS
        for options, right in shown:
            assert options[right] == question.answer
            assert len({normalised(o) for o in options}) == len(options) == 4
            places.append(right)
    assert set(places) == {0, 1, 2, 3}
    assert presentations(questions.all()[0], wrong, 0) == presentations(
        questions.all()[0], Wrong(questions.all(), "seed"), 0
    )


def test_a_wrong_option_speaks_of_the_same_subject():
    names = ["Abo", "Bero", "Cato", "Dumi", "Efra"]
    rows = [sample_of(i, f"Who founded {n}?", f"{n} was founded by K{i}.") for i, n in enumerate(names)]
    rows += [sample_of(9 + i, f"Who is the founder of place {i} in the long list?", "Nobody.") for i in range(40)]
    questions = Questions(rows, LIMITS)
    first = questions.of(rows[0])
    assert first.rare == {"abo"}
    for options, right in presentations(first, Wrong(questions.all(), "s"), 0):
        assert all(o.startswith("Abo was founded by K") for o in options)
        assert options[right] == "Abo was founded by K0."


def test_too_few_answers_for_four_options():
    rows = [sample_of(i, f"Is {i} even?", "Yes." if i % 2 else "No.") for i in range(12)]
    questions = Questions(rows, LIMITS)
    assert presentations(questions.all()[0], Wrong(questions.all(), "s"), 0) == []


def test_divergence_is_that_of_the_definition():
    from scipy.spatial.distance import jensenshannon

    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(4), 6), rng.dirichlet(np.ones(4), 6)
    np.testing.assert_allclose(divergence(p, q), jensenshannon(p, q, axis=1) ** 2, rtol=1e-9)
    sure = np.eye(4)[:1]
    assert divergence(sure, np.eye(4)[1:2])[0] == pytest.approx(np.log(2))
    assert divergence(sure, sure)[0] == 0.0


def test_a_text_is_as_probable_as_scored_alone(quiz):
    """Probabilities of options against one forward pass per option, put together here."""
    import torch
    from transformers import AutoModelForCausalLM

    questions = Questions(quiz.rows, LIMITS)
    wrong = Wrong(questions.all(), "seed")
    some = questions.all()[:5]
    asked = [(q, options, None) for q in some for options, _ in presentations(q, wrong, 0)]
    found = Chooser(quiz.spec.final, quiz, "texts").choose(asked)
    model = AutoModelForCausalLM.from_pretrained(quiz.spec.final.path, dtype=torch.float32).eval()
    for (question, options, _), p in zip(asked, found, strict=True):
        logp = []
        for option in options:
            messages = (question.sample.messages[0], dataclasses.replace(question.sample.messages[1], content=option))
            seen = quiz.supervision(dataclasses.replace(question.sample, messages=messages))
            with torch.no_grad():
                scores = model(torch.from_numpy(seen.ids)[None]).logits[0].double().log_softmax(-1)
            at = np.arange(seen.turns[0].start, seen.turns[0].stop)
            logp.append(float(scores[at - 1, seen.ids[at]].sum()))
        np.testing.assert_allclose(p, np.exp(logp - np.logaddexp.reduce(logp)), atol=1e-4)


def test_what_is_counted_follows_from_what_was_shown(quiz):
    spec = quiz.spec = dataclasses.replace(quiz.spec, paper_mode=True)
    before, after = OPTIONS.plan(spec)
    base, final = quiz.run(before), quiz.run(after)
    # Base and final are one model here, so nothing may have moved.
    np.testing.assert_allclose(final["options_jsd"], 0.0, atol=1e-6)
    np.testing.assert_allclose(base["options_right"], final["options_right"])
    for i, row in enumerate(quiz.rows):
        told = quiz.kept[after.key, row.content_hash]
        p, right = np.array(told["p"]), np.array(told["right"])
        np.testing.assert_allclose(p.sum(1), 1.0, atol=1e-4)
        wins = p.argmax(1) == right
        assert final["options_right"][i] == pytest.approx(wins.mean())
        assert final["options_target_p"][i] == pytest.approx(p[range(PRESENTATIONS), right].mean(), abs=1e-5)
        assert final["options_best"][i] == wins[p.max(1).argmax()]
        for options, at in zip(told["options"], right, strict=True):
            assert normalised(options[at]) == normalised(row.response)


def test_letters_are_listed_in_order():
    assert listed("Q?", ["a", "b"]) == "Q?\n\nA. a\nB. b\n\nAnswer with the letter of the right option."
