"""Generating both routes: the same whatever shares a chunk, nothing lost, nothing silent."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from core.backends._base import ScoreRow
from core.egrm.items import load
from core.egrm.replay import Setting, replay
from core.egrm.route import Prompts, RouteItem, compact, filled, item_of, measure, stops_of, texts, unpacked
from core.egrm.settings import JUDGE_DIRECT_PROMPT, PROBES, RouteSettings, judging
from core.errors import UserError
from core.types import Message, Sample

SETTINGS = RouteSettings(m=3, k=2, direct_tokens=6, path_tokens=10, direct_prompt="{question}", normaliser="numeric")
NO_SYSTEM = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def asked(n):
    return [RouteItem(f"k{i}", f"What is {i} and {i + 1}?", str(2 * i + 1)) for i in range(n)]


def run(questions, settings, random_model):
    backend, tokenizer = random_model
    return [r for chunk in measure(questions, settings, backend, tokenizer) for r in chunk]


def test_an_item_gives_the_same_alone_and_among_others(random_model):
    questions = asked(11)
    together = run(questions, SETTINGS, random_model)
    assert [r.question for r in together] == questions
    for record in together[::4]:
        (alone,) = run([record.question], SETTINGS, random_model)
        assert texts(alone) == texts(record)
        assert [s.logp for s in alone.paths] == pytest.approx([s.logp for s in record.paths], abs=1e-4)
    assert [len(r.probes) for r in together] == [3] * 11 and [len(r.paths) for r in together] == [2] * 11
    seeds = [s.decoding.seed for r in together for s in (*r.probes, *r.paths)]
    assert len(set(seeds)) == len(seeds)


def test_numbers_are_those_of_a_teacher_forced_pass(random_model):
    backend, tokenizer = random_model
    (record,) = run(asked(1), SETTINGS, random_model)
    prompt, _ = Prompts(tokenizer, "").ids(record.question, record.question.text)
    (again,) = backend.generate([prompt], [record.probes[1].decoding], stops_of(tokenizer, backend))
    ids = np.concatenate([prompt, again.tokens])
    (scores,) = backend.score([ScoreRow(ids, np.arange(len(prompt), len(ids)))])
    said = record.probes[1]
    assert said.tokens == len(again.tokens) and said.logp == pytest.approx(scores.logprobs.mean(), abs=1e-4)
    assert said.margin == pytest.approx(scores.margin.mean(), abs=1e-3)
    kept = compact(record)
    assert load([kept], "words").probe_logp[0].tolist() == pytest.approx([p.logp for p in record.probes], rel=1e-4)
    assert kept["prompt"] == [len(prompt), record.path_prompt] and record.path_prompt > len(prompt)


def test_hidden_states_are_kept_with_the_paths_and_are_those_of_the_path(random_model):
    backend, tokenizer = random_model
    plain, kept = (run(asked(3), replace(SETTINGS, hidden_states=on), random_model) for on in (False, True))
    assert replace(SETTINGS, hidden_states=True).measured == SETTINGS.measured
    for without, record in zip(plain, kept, strict=True):
        shown = json.loads(json.dumps(texts(record)))
        assert [p["text"] for p in shown["paths"]] == [p["text"] for p in texts(without)["paths"]]
        assert not any("state" in p for p in (*texts(without)["paths"], *shown["probes"]))
        prompt, _ = Prompts(tokenizer, "").ids(record.question, filled(SETTINGS.path_prompt, record.question))
        for said, path in zip(record.paths, shown["paths"], strict=True):
            (again,) = backend.generate([prompt], [said.decoding], stops_of(tokenizer, backend))
            ids = torch.from_numpy(np.concatenate([prompt, again.tokens]))[None]
            with torch.no_grad():
                output = backend._generator(input_ids=ids, output_hidden_states=True)
            wanted = output.hidden_states[-1][0, len(prompt) :].mean(0).numpy()
            np.testing.assert_allclose(unpacked(path["state"]), wanted, atol=1e-4)
            assert np.array_equal(unpacked(path["state"]), said.state)  # nothing is lost on the way
        tokens = compact(record)["paths"]
        assert [p["state_tokens"] for p in tokens] == [len(prompt) + p["tokens"] for p in tokens]
        assert compact(record)["state_seconds"] > 0 == compact(without)["state_seconds"]


def test_a_model_that_never_answers_is_counted_not_zeroed(random_model):
    records = run(asked(9), SETTINGS, random_model)
    items = load([compact(r) for r in records], "numeric")
    probes = items.hygiene["probes"]
    assert probes["texts"] == 27 and probes["cut"] > 20
    assert sum(probes["failures"].values()) >= probes["cut"] - probes["unannounced"]
    found = replay(items, Setting.of(0.8, 3, 2, "vote"))
    assert not found.short.any() or probes["cut"] < 27
    assert items.judged.all()


def test_a_template_without_system_turn_gets_its_text_elsewhere(random_model):
    _, tokenizer = random_model
    own = tokenizer.chat_template
    question = RouteItem("k", "What?", history=(Message("system", "Be kind."),))
    try:
        ids, notes = Prompts(tokenizer, "Be short.").ids(question, "What?")
        assert notes == () and "<|im_start|>system\nBe short.\n\nBe kind.<|im_end|>" in tokenizer.decode(ids)
        tokenizer.chat_template = NO_SYSTEM
        ids, notes = Prompts(tokenizer, "Be short.").ids(question, "What?")
        assert "takes no system turn" in notes[0]
        assert "<|im_start|>user\nBe short.\n\nBe kind.\n\nWhat?<|im_end|>" in tokenizer.decode(ids)
    finally:
        tokenizer.chat_template = own


def test_what_cannot_be_asked_says_why_and_harms_no_other(random_model):
    odd = replace(asked(1)[0], key="odd", history=(Message("narrator", "x"),))
    none = replace(asked(1)[0], key="none", unusable="the row has no question before its answer")
    found = run([asked(3)[1], odd, none, asked(3)[2]], SETTINGS, random_model)
    assert "narrator" in found[1].refused and found[2].refused.startswith("The row has no question")
    assert not found[1].probes and found[0].refused is None and len(found[3].paths) == 2
    assert [texts(found[i]) for i in (0, 3)] == [texts(r) for r in run(asked(3)[1:], SETTINGS, random_model)]
    assert sum(load([compact(r) for r in found], "numeric").refused.values()) == 2


def test_a_prompt_that_fills_the_context_is_refused_and_harms_no_other(random_model):
    backend, tokenizer = random_model
    words = 0
    while len(Prompts(tokenizer, "").ids(RouteItem("k", ""), "two " * words)[0]) < backend.context_length:
        words += 1
    asked_ = [RouteItem("a", "two " * (words - 1), "5"), RouteItem("b", "two " * words, "5"), *asked(1)]
    long = [RouteItem("c", "two " * 2 * words, "5")]
    found = run([*asked_, *long], replace(SETTINGS, path_prompt="{question}"), random_model)
    assert [r.refused is None for r in found] == [True, False, True, False]
    assert found[1].refused == found[3].refused and "no room for an answer in the model's context" in found[1].refused
    assert 1 <= found[0].probes[0].tokens < SETTINGS.direct_tokens or found[0].probes[0].complete
    refused = load([compact(r) for r in found], "numeric").refused
    assert list(refused.values()) == [2]


def test_stopping_keeps_whole_chunks(random_model):
    backend, tokenizer = random_model
    calls = iter([False, True])
    chunks = list(measure(asked(20), SETTINGS, backend, tokenizer, lambda: next(calls)))
    assert [len(c) for c in chunks] == [8]


def test_judging_swaps_every_second_draw(random_model):
    settings = judging(m=4, k=2, direct_tokens=4, path_tokens=6)
    question = RouteItem("p", "Say hi", pair=("FIRST {b}", "SECOND"), better=1)
    (record,) = run([question], settings, random_model)
    assert [s.swapped for s in record.probes] == [False, True, False, True]
    assert filled(JUDGE_DIRECT_PROMPT, question).index("FIRST") < filled(JUDGE_DIRECT_PROMPT, question).index("SECOND")
    swapped = filled(JUDGE_DIRECT_PROMPT, question, True)
    assert swapped.index("SECOND") < swapped.index("FIRST {b}")
    assert compact(record)["better"] == 1 and compact(record)["options"] == {"A": "A", "B": "B"}


def sample(*turns, shape="chat"):
    messages = tuple(Message(*t) for t in turns)
    return Sample("s", 0, 0, messages, shape, None, "one", None, "h", b"{}")


def test_a_sample_as_a_question():
    found = item_of(sample(("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")))
    assert (found.text, found.gold, found.group, found.unusable) == ("c", "d", "one", None)
    assert [m.content for m in found.history] == ["s", "a", "b"]
    assert "no question" in item_of(sample(("text", "prose"), shape="text")).unusable
    assert "tool turn" in item_of(sample(("user", "a"), ("tool", "{}"), ("assistant", "b"))).unusable


def test_no_way_of_probing_asks_twice_for_the_same_text():
    for way in PROBES:
        for m in (1, 2, 5, 9):
            found = RouteSettings(m=m, probes=way).probe_decodings()
            assert len(found) == m and sum(d.temperature == 0 for d in found) <= 1
    author = RouteSettings(probes="author").probe_decodings()
    assert [(d.temperature, d.top_p) for d in author] == [(0.0, 1.0), (0.3, 1.0), (0.7, 0.9), (1.0, 1.0), (0.3, 1.0)]
    assert [d.temperature for d in RouteSettings(k=4).path_decodings()] == pytest.approx([0.3, 0.4333, 0.5667, 0.7])


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(UserError, match=r"does not contain \{question\}"):
        RouteSettings(direct_prompt="x")
    with pytest.raises(UserError, match=r"does not contain \{a\} and \{b\}"):
        judging(direct_prompt="{question}")
    with pytest.raises(UserError, match="out of range"):
        RouteSettings(tau=1.5)
    with pytest.raises(UserError, match="Did you mean 'vote'"):
        RouteSettings(choose="votes")
    with pytest.raises(UserError, match="setting of routes"):
        RouteSettings.from_dict({"taus": 1})
    one = RouteSettings()
    assert RouteSettings.from_dict(one.as_dict()) == one
    assert one.measured == replace(one, tau=0.4, choose="likelihood", normaliser="numeric").measured
    assert one.measured != replace(one, seed=1).measured
