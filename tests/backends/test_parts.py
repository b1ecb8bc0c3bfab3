"""Rows that begin alike are read in parts: the same numbers and answers as whole rows, and every part read once."""

import numpy as np
import pytest

from core.backends._base import ScoreRow
from core.types import Decoding


@pytest.fixture(scope="module", params=["llama", "qwen2", "gpt2"])
def backend(request):
    import torch
    from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, Qwen2Config

    from core.backends.hf import HfBackend

    sizes = {
        "vocab_size": 300, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "bos_token_id": 1, "eos_token_id": 2,
    }  # fmt: skip
    torch.manual_seed(0)
    config = {
        "llama": lambda: LlamaConfig(**sizes),
        "qwen2": lambda: Qwen2Config(**sizes),
        "gpt2": lambda: GPT2Config(vocab_size=300, n_embd=32, n_layer=2, n_head=4, bos_token_id=1, eos_token_id=2),
    }[request.param]()
    model = AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.mul_(3)  # flat distributions would hide a wrong context
    with torch.no_grad():
        return HfBackend(model, model)


def whole(backend, act):
    sharing, backend._sharing = backend._sharing, None
    try:
        return act()
    finally:
        backend._sharing = sharing


def cases(seed=0):
    """Two trunks, questions behind them, several answers to each question, and rows that share nothing."""
    rng = np.random.default_rng(seed)
    trunks = [rng.integers(3, 300, 70), rng.integers(3, 300, 90)]
    rows, prompts, decodings = [], [], []
    for i in range(20):
        prompt = np.concatenate([trunks[i % 2], rng.integers(3, 300, rng.integers(1, 12))])
        for j in range(3):
            ids = np.concatenate([prompt, rng.integers(3, 300, rng.integers(1, 7))])
            rows.append(ScoreRow(ids, np.arange(len(prompt), len(ids))))
            prompts.append(prompt)
            decodings.append(Decoding(0.7 * (j > 0), 9, 7 * i + j, 0.8 if j > 1 else 1.0))
    for i in range(6):
        ids = rng.integers(3, 300, rng.integers(1, 30))
        rows.append(ScoreRow(ids, np.arange(1, len(ids))))
        prompts.append(ids)
        decodings.append(Decoding(0.7, 9, i))
    order = rng.permutation(len(rows))
    return [rows[i] for i in order], [prompts[i] for i in order], [decodings[i] for i in order]


def test_scores_are_those_of_whole_rows(backend):
    rows, _, _ = cases()
    expected = whole(backend, lambda: backend.score(rows))
    for _ in range(2):  # the second time everything was read before
        for one, other in zip(backend.score(rows), expected, strict=True):
            np.testing.assert_allclose(one.logprobs, other.logprobs, atol=1e-4)
            np.testing.assert_allclose(one.lognorm, other.lognorm, atol=1e-4)
            np.testing.assert_array_equal(one.argmax, other.argmax)


def test_answers_are_those_of_whole_prompts(backend):
    _, prompts, decodings = cases(1)
    stops = tuple(range(3, 60))
    expected = whole(backend, lambda: backend.generate(prompts, decodings, stops))
    answers = backend.generate(prompts, decodings, stops)
    assert [a.tokens.tolist() for a in answers] == [e.tokens.tolist() for e in expected]
    assert any(a.stopped for a in answers) and len({len(a.tokens) for a in answers}) > 2


def test_what_begins_alike_is_read_once(backend):
    rows, _, _ = cases(2)
    backend._sharing._parts.give_up(0)
    decoder, read = backend._scorer.decoder, []

    def count(_, __, named):
        read.append(named["input_ids"].numel() if named.get("input_ids") is not None else 0)

    handle = decoder.register_forward_pre_hook(count, with_kwargs=True)
    try:
        backend.score(rows)
        first = sum(read)
        backend.score(rows)
        again = sum(read) - first
    finally:
        handle.remove()
    assert first < 0.4 * sum(len(r.ids) for r in rows)
    assert again < 0.75 * first


def test_a_short_beginning_does_not_hide_a_longer_one(backend):
    """A system turn that all rows share is met first; examples behind it are read once nevertheless."""
    rng = np.random.default_rng(5)
    system, examples = rng.integers(3, 300, 14), rng.integers(3, 300, 90)

    def rows(beginning, n):
        made = [np.concatenate([beginning, rng.integers(3, 300, 30)]) for _ in range(n)]
        return [ScoreRow(ids, np.arange(len(ids) - 5, len(ids))) for ids in made]

    backend.score(rows(system, 40))
    behind = rows(np.concatenate([system, examples]), 12)
    tokens = []

    def count(_, __, named):
        tokens.append(named["input_ids"].numel() if named.get("input_ids") is not None else 0)

    decoder = backend._inner.get_decoder()
    handle = decoder.register_forward_pre_hook(count, with_kwargs=True)
    scores = backend.score(behind)
    handle.remove()
    assert sum(tokens) <= 104 + 12 * (24 + 5 + 5)  # examples, questions, answers; the states of answers once more
    for one, other in zip(scores, whole(backend, lambda: backend.score(behind)), strict=True):
        np.testing.assert_allclose(one.logprobs, other.logprobs, atol=1e-4)


def test_rows_that_join_others_get_the_answers_they_get_alone(backend, monkeypatch):
    """Three side by side, limits of their own: each of the 66 but the first few joins while others are under way."""
    from dataclasses import replace

    from core.backends import hf
    from core.backends._parts import Parts

    (_, prompts, decodings), stops = cases(6), tuple(range(3, 60))
    decodings = [replace(d, max_new_tokens=1 + 5 * i % 11) for i, d in enumerate(decodings)]

    def alone():
        return [backend.generate([p], [d], stops)[0].tokens for p, d in zip(prompts, decodings, strict=True)]

    expected = [tokens.tolist() for tokens in whole(backend, alone)]
    side_by_side, layout = [], Parts.layout

    def watched(parts, places, n, joined=None):
        side_by_side.append((n, joined is not None and joined.any()))
        return layout(parts, places, n, joined)

    monkeypatch.setattr(Parts, "layout", watched)
    monkeypatch.setattr(hf, "LOGITS", {"cpu": 3 * 5 * backend.vocab_size})
    answers = backend.generate(prompts, decodings, stops)
    assert [a.tokens.tolist() for a in answers] == expected
    assert max(n for n, late in side_by_side if late) == 3


def test_a_row_at_the_end_of_the_context_goes_on_beside_others(backend):
    """One of eight is done at its first token; the others are not told to wait, nor does it read what is not there."""
    if not hasattr(backend._inner, "transformer"):
        pytest.skip("of these models only GPT-2 has a table of positions, which ends")
    rng = np.random.default_rng(8)
    prompts = [rng.integers(3, 300, backend.context_length - 1), *(rng.integers(3, 300, 9) for _ in range(7))]
    decodings = [Decoding(max_new_tokens=12)] * 8
    expected = whole(
        backend, lambda: [backend.generate([p], [d], ())[0] for p, d in zip(prompts, decodings, strict=True)]
    )
    answers = backend.generate(prompts, decodings, ())
    assert [a.tokens.tolist() for a in answers] == [e.tokens.tolist() for e in expected]
    assert [len(a.tokens) for a in answers] == [1] + [12] * 7


def test_answers_that_were_done_before_memory_ran_out_are_kept(backend, monkeypatch):
    import torch

    from core.backends._parts import Parts

    _, prompts, decodings = cases(9)
    stops = tuple(range(3, 60))
    expected = backend.generate(prompts, decodings, stops)
    steps, states, asked = [], Parts.states, []

    def little(parts, ids, layout, cache=None):
        if ids.shape[1] == 1:
            steps.append(len(ids))
            if len(steps) == 6:
                raise torch.OutOfMemoryError("planted")
        return states(parts, ids, layout, cache)

    from core.backends._stream import Stream

    run = Stream.run
    monkeypatch.setattr(
        Stream, "run", lambda stream, numbers, *rest: (asked.append(len(numbers)), run(stream, numbers, *rest))
    )
    monkeypatch.setattr(Parts, "states", little)
    try:
        answers = backend.generate(prompts, decodings, stops)
    finally:
        backend._share = 1
    assert [a.tokens.tolist() for a in answers] == [e.tokens.tolist() for e in expected]
    assert len(asked) > 2 and sum(asked[1:]) < asked[0]


def test_an_answer_under_way_is_given_up_when_its_job_is_asked_to_stop(backend):
    from core.backends._base import Interrupted, interruptible

    asked = iter([False] * 4 + [True])
    with interruptible(lambda: next(asked)), pytest.raises(Interrupted):
        backend.generate([np.arange(3, 20)] * 2, [Decoding(max_new_tokens=50)] * 2, ())


def test_little_room_changes_nothing(backend):
    rows, prompts, decodings = cases(3)
    expected = backend.score(rows), backend.generate(prompts, decodings, (5,))
    sharing = backend._sharing
    sharing._most, sharing._parts._most = 100, 100
    try:
        scores, answers = backend.score(rows), backend.generate(prompts, decodings, (5,))
        assert sum(b.tokens for b in sharing._parts._blocks) <= 100
    finally:
        sharing._most = sharing._parts._most = backend._cache_tokens // 2
    for one, other in zip(scores, expected[0], strict=True):
        np.testing.assert_allclose(one.logprobs, other.logprobs, atol=1e-4)
    assert [a.tokens.tolist() for a in answers] == [e.tokens.tolist() for e in expected[1]]


@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_an_adapter_and_its_base_share_the_weights(family, folders):
    from core.backends.hf import KIND

    full, adapter = folders(family, "full")[0], folders(family, "adapter")[0]
    rows = [ScoreRow(ids, np.arange(1, len(ids))) for ids in np.random.default_rng(0).integers(3, 40, (5, 12))]
    expected = {c.path: KIND.open(c, "float32", "cpu").score(rows) for c in (full, adapter)}
    opened = KIND.open(adapter, "float32", "cpu")
    place = opened._inner.model.embed_tokens.weight.data_ptr()
    for checkpoint in (full, adapter, full):
        opened = opened.exchanged(checkpoint)
        assert opened._inner.model.embed_tokens.weight.data_ptr() == place
        for one, other in zip(opened.score(rows), expected[checkpoint.path], strict=True):
            np.testing.assert_allclose(one.logprobs, other.logprobs, atol=1e-6)
    elsewhere = folders("olmo2", "full")[0]
    assert opened.exchanged(elsewhere) is None and opened.score(rows)


@pytest.mark.parametrize("kind", ["full", "adapter"])
def test_a_model_spread_over_devices_gives_the_same_numbers(kind, folders):
    import torch

    from core.backends._loading import load
    from core.backends.hf import KIND, HfBackend

    outer, inner = load(folders("llama", kind)[0], "float32", torch.device("cpu"), spread={"": "cpu"})
    with torch.no_grad():
        opened = HfBackend(outer, inner)
    rows = [ScoreRow(ids, np.arange(1, len(ids))) for ids in np.random.default_rng(0).integers(3, 40, (5, 12))]
    for one, other in zip(opened.score(rows), KIND.open(folders("llama", kind)[0]).score(rows), strict=True):
        np.testing.assert_allclose(one.logprobs, other.logprobs, atol=1e-6)
