"""Batched scores against a one-by-one twin in float64."""

import numpy as np
import pytest
import torch

from core.backends._base import ScoreRow
from core.backends._scoring import SplitModel, WholeModel, agrees, token_numbers
from core.backends.hf import HfBackend
from core.errors import UserError
from core.types import TEMPERATURES
from tests.backends import small_models as sm

RNG = np.random.default_rng(3)


def make_rows(n, longest=96, share=0.6):
    rows = []
    for length in RNG.integers(2, longest + 1, n):
        ids = RNG.integers(0, sm.VOCAB, length)
        rows.append(ScoreRow(ids, np.flatnonzero(RNG.random(length) < share)))
    return [ScoreRow(r.ids, r.positions[r.positions > 0]) for r in rows]


def assert_equals_twin(found, row, model):
    expected = sm.twin_logprobs(model, row.ids)[row.positions - 1]
    tokens = row.ids[row.positions][:, None]
    own, others = np.take_along_axis(expected, tokens, 1)[:, 0], expected.copy()
    np.put_along_axis(others, tokens, -np.inf, 1)
    margin = own - others.max(1, initial=-np.inf)
    assert np.array_equal(found.positions, row.positions)
    np.testing.assert_allclose(found.logprobs, own, atol=1e-4, rtol=0)
    np.testing.assert_allclose(found.margin, margin, atol=1e-4, rtol=0)
    best_two = np.sort(expected, axis=1)[:, -2:]
    clear = best_two[:, 1] - best_two[:, 0] > 1e-4
    assert np.array_equal(found.argmax[clear], expected.argmax(1)[clear])
    for column, t in enumerate(TEMPERATURES):
        np.testing.assert_allclose(found.lognorm[:, column], np.log(np.exp(expected / t).sum(1)), atol=1e-4, rtol=0)
    assert (found.lognorm[:, TEMPERATURES.index(1.0)] == 0).all()
    assert found.logprobs.dtype == found.margin.dtype == found.lognorm.dtype == np.float32


@pytest.mark.parametrize("kind", ["full", "adapter"])
@pytest.mark.parametrize("family", sm.FAMILIES)
def test_batched_equals_one_by_one(family, kind, folders, backend):
    _, model = folders(family, kind)
    assert backend(family, kind).is_split
    rows = make_rows(60)
    for row, found in zip(rows, backend(family, kind).score(rows), strict=True):
        assert_equals_twin(found, row, model)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["full", "adapter"])
@pytest.mark.parametrize("family", sm.FAMILIES)
def test_pooled_states_are_those_of_plain_transformers(family, kind, folders, backend):
    _, model = folders(family, kind)
    opened = backend(family, kind)
    rows = [r for r in make_rows(20) if len(r.positions)]
    whole = HfBackend(model, model.get_base_model() if kind == "adapter" else model)
    whole._scorer, whole._tokens = WholeModel(model), 1  # as for a model that does not come apart
    for row, own, slow in zip(rows, opened.pooled(rows), whole.pooled(rows), strict=True):
        output = model(input_ids=torch.from_numpy(row.ids)[None], output_hidden_states=True)
        wanted = output.hidden_states[-1][0, row.positions].mean(0).numpy()
        np.testing.assert_allclose(own, wanted, atol=1e-4)
        np.testing.assert_allclose(slow, wanted, atol=1e-4)


@pytest.mark.parametrize("family", ["qwen2", "llama", "olmo2"])
def test_an_adapter_is_not_its_base(family, backend):
    row = make_rows(1, share=1.0)
    full, adapted = (backend(family, kind).score(row)[0] for kind in ("full", "adapter"))
    assert np.abs(full.logprobs - adapted.logprobs).max() > 0.1


def test_rows_do_not_depend_on_order_or_company(backend):
    rows = make_rows(40)
    together = backend("qwen2").score(rows)
    order = RNG.permutation(40)
    for place, found in zip(order, backend("qwen2").score([rows[i] for i in order]), strict=True):
        np.testing.assert_allclose(found.logprobs, together[place].logprobs, atol=1e-4)
    for i in (0, 7):
        np.testing.assert_allclose(backend("qwen2").score([rows[i]])[0].logprobs, together[i].logprobs, atol=1e-4)


def test_rows_without_positions_and_no_rows(backend):
    nothing = np.empty(0, np.int64)
    rows = [ScoreRow(np.array([5]), nothing), ScoreRow(nothing, nothing), ScoreRow(np.array([5, 6]), np.array([1]))]
    assert [s.lognorm.shape for s in backend("qwen2").score(rows)] == [(0, 4), (0, 4), (1, 4)]
    assert backend("qwen2").score([]) == []
    with pytest.raises(ValueError, match="positions"):
        backend("qwen2").score([ScoreRow(np.array([5, 6]), np.array([0]))])


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("gemma2", {"head_dim": 8, "final_logit_softcapping": 2.0, "sliding_window": 8}),
        ("granite", {"logits_scaling": 3.0}),
        ("cohere", {"logit_scale": 0.3}),
        ("mixtral", {"num_local_experts": 4}),
        ("gpt2", {}),
    ],
)
def test_heads_that_scale_or_cap_their_logits(family, changes):
    model = sm.random_model(family, **changes)
    backend = HfBackend(model, model)
    assert backend.is_split
    rows = make_rows(8)
    for row, found in zip(rows, backend.score(rows), strict=True):
        assert_equals_twin(found, row, model)


def test_a_model_that_does_not_come_apart_is_run_whole():
    model = sm.random_model("qwen2")
    head = model.lm_head.forward
    # A head that knows the position of each state cannot be run on chosen ones.
    model.lm_head.forward = lambda x: head(x) * (1.0 + 0.1 * torch.arange(x.shape[1])[:, None])
    assert not agrees(SplitModel(model), WholeModel(model), sm.VOCAB)
    backend = HfBackend(model, model)
    assert not backend.is_split
    rows = [ScoreRow(r.ids, np.arange(1, len(r.ids))) for r in make_rows(6)]
    for row, found in zip(rows, backend.score(rows), strict=True):
        assert_equals_twin(found, row, model)


def test_running_out_of_memory_halves_the_batches(monkeypatch):
    model = sm.random_model("llama")
    backend, rows = HfBackend(model, model), make_rows(30, longest=40)
    expected = backend.score(rows)
    states, logits, sizes = backend._scorer.states, backend._scorer.logits, []

    def small_states(ids):
        sizes.append(ids.numel())
        if ids.numel() > 120:
            raise torch.OutOfMemoryError("planted")
        return states(ids)

    def small_logits(x):
        if len(x) > 10:
            raise torch.OutOfMemoryError("planted")
        return logits(x)

    monkeypatch.setattr(backend._scorer, "states", small_states)
    monkeypatch.setattr(backend._scorer, "logits", small_logits)
    for one, other in zip(backend.score(rows), expected, strict=True):
        np.testing.assert_allclose(one.logprobs, other.logprobs, atol=1e-4)
    failures = sum(size > 120 for size in sizes)
    assert 1 <= failures < 10  # and what did fit was not run again
    assert sum(size for size in sizes if size <= 120) < 1.5 * sum(len(r.ids) for r in rows)
    with pytest.raises(UserError, match=r"A row of 1[0-9]{2} tokens does not fit"):
        long = np.full(130, 5)
        backend.context_length = None
        backend.score([ScoreRow(long, np.array([129]))])


def test_what_was_done_before_memory_ran_out_is_kept(monkeypatch):
    model = sm.random_model("llama")
    backend, rows = HfBackend(model, model), make_rows(60, longest=40)
    backend._tokens = 100
    expected, states, sizes = backend.score(rows), backend._scorer.states, []

    def once_too_much(ids):
        sizes.append(ids.numel())
        if len(sizes) == 9:
            raise torch.OutOfMemoryError("planted")
        return states(ids)

    monkeypatch.setattr(backend._scorer, "states", once_too_much)
    for one, other in zip(backend.score(rows), expected, strict=True):
        np.testing.assert_allclose(one.logprobs, other.logprobs, atol=1e-4)
    assert sum(sizes) - sizes[8] < 1.2 * sum(len(r.ids) for r in rows)


def test_an_id_outside_the_vocabulary_is_named(backend):
    for bad in (sm.VOCAB, -1):
        with pytest.raises(UserError, match=rf"Token id {bad} .* {sm.VOCAB} ids"):
            backend("qwen2").score([ScoreRow(np.array([1, bad, 3]), np.array([2]))])
    with pytest.raises(UserError, match=r"97 tokens .* context"):
        backend("qwen2").score([ScoreRow(np.zeros(97, np.int64), np.array([2]))])


def test_half_precision_logits_are_taken_to_float32_first():
    logits = (torch.randn(9, 700, generator=torch.Generator().manual_seed(0)) * 4).bfloat16()
    targets = torch.arange(9) * 70
    logits[3, :50] = logits[3].max()  # equals: the lowest id wins, as in greedy decoding
    logprobs, argmax, margin, lognorm = token_numbers(logits, targets, 4 * 700 * 2)
    exact = logits.double().log_softmax(-1)
    np.testing.assert_allclose(logprobs, exact.gather(1, targets[:, None])[:, 0], atol=1e-5)
    assert np.array_equal(argmax, exact.argmax(-1))
    assert argmax[3] == 0
    others = logits.float().scatter(1, targets[:, None], -torch.inf).max(-1).values
    np.testing.assert_allclose(margin, logits.float().gather(1, targets[:, None])[:, 0] - others)
    for column, t in enumerate(TEMPERATURES):
        np.testing.assert_allclose(lognorm[:, column], (exact / t).exp().sum(-1).log(), atol=2e-5)


def test_logits_that_are_not_numbers_stay_unknown():
    logits = torch.zeros(2, 600)
    logits[0, 5] = torch.nan
    logprobs, _, margin, lognorm = (x.numpy() for x in token_numbers(logits, torch.tensor([1, 1]), 1 << 20))
    assert np.isnan(logprobs[0])
    assert np.isnan(margin[0]) or np.isnan(lognorm[0]).all()
    assert np.isfinite(logprobs[1])
