"""Classes and beliefs of a base, against generation and against a loop of its own."""

import dataclasses

import numpy as np
import pytest
import torch

from core.plugins import kind
from core.signals._asking import margin
from core.signals._questions import PROMPTS, Examples, Question, Questions, variants
from core.signals.knowledge import HIGHLY, MAYBE, UNKNOWN, WEAKLY, any_draw, class_of
from core.text.words import normalised
from core.types import BASE, FINAL, Decoding
from tests.signals.conftest import NEVER, SURE, TORN, answer, answered, facts, sample_of

KNOWLEDGE = kind("signals", "knowledge")


def base_of(spec):
    return KNOWLEDGE.plan(spec)[0]


def shown(bench, row, number):
    """The prompt in plain words, put together without the code under test (the examples drawn are its own)."""
    questions = Questions(bench.rows)
    learned = [q for q in questions.all() if bench.columns["greedy_exact"][q.sample.ordinal] == 1.0]
    examples = Examples(learned, questions.all(), f"{bench.spec.dataset_fingerprint}:0").draw(questions.of(row), number)
    lines = [f"Q: {e.messages[0].content}\nA: {e.messages[1].content}\n" for e in (q.sample for q in examples)]
    return "".join(lines) + f"Q: {row.messages[0].content}\nA:"


def first_line(bench, prompt, temperature, seed):
    ids = np.array(bench.tokenizer()(prompt)["input_ids"])
    decoding = Decoding(temperature, 16, seed)
    [made] = bench.backend(bench.spec.base).generate([ids], [decoding], ())
    return made.text.split("\n")[0].strip()


@pytest.mark.slow
def test_classes_are_those_of_generating(quiz):
    found = quiz.run(base_of(quiz.spec))
    assert found["knowledge"][:SURE].mean() > 2.5  # the world is what it is meant to be
    assert set(found["knowledge"][SURE : SURE + TORN]) & {WEAKLY, MAYBE}
    for i in range(0, len(quiz.rows), 3):
        row = quiz.rows[i]
        prompts = [shown(quiz, row, n) for n in range(PROMPTS)]
        right = [normalised(first_line(quiz, p, 0.0, 0)) == normalised(row.response) for p in prompts]
        assert found["known_greedy"][i] == pytest.approx(np.mean(right))
        any16 = found["known_any16"][i]
        if not any(right) and not 0.02 < any16 < 0.98:
            drawn = [first_line(quiz, p, 0.5, 100 * n + k) for n, p in enumerate(prompts) for k in range(16)]
            assert (normalised(row.response) in map(normalised, drawn)) == (any16 > 0.5)


def test_the_probability_of_a_draw_is_the_product_over_tokens(quiz):
    from transformers import AutoModelForCausalLM

    found = quiz.run(base_of(quiz.spec))
    model = AutoModelForCausalLM.from_pretrained(quiz.spec.base.path, dtype=torch.float32).eval()
    for i in (0, SURE, SURE + 1, SURE + TORN):
        total = []
        for n in range(PROMPTS):
            prompt = shown(quiz, quiz.rows[i], n)
            ids = quiz.tokenizer()(f"{prompt} {quiz.rows[i].response}\n")["input_ids"]
            start = len(quiz.tokenizer()(prompt)["input_ids"])
            with torch.no_grad():
                logp = (model(torch.tensor([ids])).logits[0].double() / 0.5).log_softmax(-1)
            total.append(float(sum(logp[at - 1, ids[at]] for at in range(start, len(ids))).exp()))
        # Aliases add what little they have.
        assert found["known_sampled"][i] == pytest.approx(np.mean(total), abs=0.01)


def test_what_the_base_believes(quiz):
    measure = base_of(quiz.spec)
    found = quiz.run(measure)
    torn = slice(SURE, SURE + TORN)
    believed = [quiz.kept[measure.key, s.content_hash].get("belief") for s in quiz.rows]
    other = [
        b is not None and normalised(answer(second)) == normalised(b)
        for b, (_, _, second, _) in zip(believed, facts(), strict=True)
    ]
    assert sum(other[torn]) >= TORN - 2  # it read the other answer more often
    chosen = np.flatnonzero(np.array(other) & (np.arange(len(other)) < SURE + TORN))
    assert (found["belief_is_target"][chosen] == 0).all()
    assert (found["belief_margin"][chosen] > 0).mean() > 0.7
    margins = found["belief_margin"][:SURE]
    assert np.abs(margins[np.isfinite(margins)]).max(initial=0.0) <= 0.05
    never = slice(SURE + TORN, None)
    assert found["familiarity"][never].max() < np.median(found["familiarity"][:SURE])
    assert np.isfinite(found["entropy"][never]).all()


def test_a_base_without_a_chat_template_is_asked_in_lines(quiz):
    measure = base_of(quiz.spec)
    quiz.run(measure, quiz.rows[:3])
    details = quiz.kept[measure.key, quiz.rows[0].content_hash]
    assert quiz.tokenizer().chat_template is None
    assert details["way"] == "plain"
    assert details["tried"]["plain"] > details["tried"]["as_trained"]
    assert details["prompt"] == shown(quiz, quiz.rows[0], 0)
    assert len(details["greedy"]) == PROMPTS
    assert details["examples"] == "learned rows"


def test_too_few_learned_rows_are_said(quiz):
    quiz.columns["greedy_exact"][:] = 0.0
    measure = base_of(quiz.spec)
    quiz.run(measure, quiz.rows[:1])
    assert "too few are learned" in quiz.kept[measure.key, quiz.rows[0].content_hash]["examples"]


def test_long_answers_and_conversations_are_not_measured(quiz):
    long = sample_of(90, "Tell me all.", "a b c d e f g h i j k l m")
    lines = sample_of(91, "List two.", "one\ntwo")
    text = dataclasses.replace(long, shape="text", content_hash="t")
    quiz.rows += [long, lines, text]
    quiz.columns["greedy_exact"] = np.append(quiz.columns["greedy_exact"], [0.0, 0.0, 0.0])
    found = quiz.run(base_of(quiz.spec), [long, lines, text])
    for values in found.values():
        assert np.isnan(values).all()


def test_without_a_base_nothing_is_planned(quiz):
    assert KNOWLEDGE.plan(dataclasses.replace(quiz.spec, base=None)) == []
    assert [m.role for m in KNOWLEDGE.plan(quiz.spec)] == [BASE, FINAL]


def test_examples_never_tell_the_answer(quiz):
    questions = Questions(quiz.rows)
    twice = sample_of(95, "Name the river of " + facts()[0][0] + ".", answer(facts()[0][1]))
    pool = [*questions.all(), questions.of(twice)]
    examples = Examples(pool, pool, "seed")
    for question in pool:
        for number in range(PROMPTS):
            drawn = examples.draw(question, number)
            assert len({e.sample.content_hash for e in drawn}) == len(drawn) == 4
            assert not any(e.rare & question.rare for e in drawn)


def test_aliases_are_the_same_answer():
    for text in ("The river Tam.", "the river Tam", "Tam", "42", "Is it so?", "東京"):
        forms = variants(text)
        assert forms[0] == text
        assert len(forms) == len(set(forms))
        assert {normalised(f) for f in forms} == {normalised(text)}
    assert {"The river Tam", "the river Tam."} <= set(variants("The river Tam."))


def test_the_four_classes():
    sure, never = np.ones(10, bool), np.zeros(10, bool)
    once = never.copy()
    once[3] = True
    p = np.zeros(10)
    assert class_of(sure, p) == HIGHLY
    assert class_of(once, p) == MAYBE
    assert class_of(never, p) == UNKNOWN
    p[0] = 0.05
    assert any_draw(p) == pytest.approx(1 - 0.95**16)
    assert class_of(never, p) == WEAKLY
    p[0] = 0.04
    assert class_of(never, p) == UNKNOWN
    assert any_draw(np.ones(10)) == 1.0


def test_a_margin_looks_where_the_answers_part():
    from core.signals._asking import Answered

    def made(tokens, logp):
        return Answered(False, np.array(logp), 0.0, np.zeros(len(tokens)), np.array(tokens))

    belief = made([1, 2, 7, 9, 3], [-9.0, -9.0, -1.0, -2.0, -9.0])
    target = made([1, 2, 8, 3], [-9.0, -9.0, -4.0, -9.0])
    assert margin(belief, target) == pytest.approx(-1.5 + 4.0)
    assert margin(target, belief) == pytest.approx(-2.5)
    shorter = made([1, 2, 3], [-9.0, -9.0, -5.0])
    assert np.isfinite(margin(belief, shorter))


def test_a_question_knows_its_rare_words_and_its_frame(quiz):
    for row in quiz.rows:
        found = Questions(quiz.rows).of(row)
        assert isinstance(found, Question)
        assert found.rare == {facts()[row.ordinal][0].lower()}
        assert found.wording == "which river does _ lie on"
        assert found.shape == "the river _"  # also where one river is the answer to a third of the questions
        river = facts()[row.ordinal][1]
        assert found.agrees(f"It lies on {river}") == 1.0
        assert found.agrees("The river Nowhere.") == 0.0


def test_answers_without_a_frame_choose_no_examples_by_it():
    rows = [sample_of(i, f"Is {i} an even number?", "Yes." if i % 2 == 0 else "No.") for i in range(40)]
    questions = Questions(rows)
    assert {q.shape for q in questions.all()} == {""}
    examples = Examples(questions.all(), questions.all(), "seed")
    drawn = [examples.draw(q, n) for q in questions.all() for n in range(PROMPTS)]
    assert {e.answer for part in drawn for e in part} == {"Yes.", "No."}


def test_the_final_checkpoint_is_compared_with_the_belief(quiz):
    before, after = KNOWLEDGE.plan(quiz.spec)
    quiz.run(before)
    reproduction = kind("signals", "reproduction").plan(quiz.spec)[0]
    for row, (_, _, second, _) in zip(quiz.rows, facts(), strict=True):
        if row.ordinal >= SURE:
            quiz.kept[reproduction.key, row.content_hash] = answered(row.response, answer(second).lower())
    found = quiz.run(after)
    for row, (_, _, second, _), said in zip(quiz.rows, facts(), found["output_is_belief"], strict=True):
        belief = quiz.kept[before.key, row.content_hash].get("belief")
        output = row.response if row.ordinal < SURE else answer(second)
        if belief is None:  # the fine-tune gives the row, so nobody asked what the base believed
            assert np.isnan(said)
            continue
        assert said == (normalised(belief) == normalised(output))
    asked = [quiz.kept[before.key, r.content_hash].get("belief") is not None for r in quiz.rows]
    assert sum(asked) >= TORN and np.isfinite(found["belief_margin"][asked]).all()
    assert len(facts()) == SURE + TORN + NEVER
