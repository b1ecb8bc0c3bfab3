"""What every backend must do of what it declares: caller's order, and batched equals one by one."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from core.backends._base import (
    CAPABILITIES,
    GeneratingBackend,
    PoolingBackend,
    ScoreRow,
    ScoringBackend,
    capabilities_of,
    is_installed,
    runs_servers,
)
from core.plugins import kinds
from core.settings import settings
from core.types import TEMPERATURES, Checkpoint, Decoding, Server
from tests.engine_server import serving

BACKENDS = list(kinds("backends").values())
# A kind that asks servers is tried with each kind of server that takes token ids and gives them back.
CASES = [
    pytest.param(
        (kind, flavour),
        id="-".join([kind.name, *([flavour] if flavour else [])]),
        # What needs a package of its own starts processes of its own.
        marks=[pytest.mark.slow, pytest.mark.skipif(not is_installed(kind), reason="its package is not installed")]
        if getattr(kind, "package", "")
        else [],
    )
    for kind in BACKENDS
    for flavour in (("vllm", "sglang") if runs_servers(kind) else (None,))
]
VOCAB = 40


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCAB, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=64, eos_token_id=[1, 2],
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    return model


@pytest.fixture(params=CASES)
def case(request, model, tmp_path, monkeypatch):
    """A kind and the checkpoint that it is to open."""
    kind, flavour = request.param
    model.save_pretrained(tmp_path)
    checkpoint = Checkpoint(str(tmp_path), None, None, "tiny", "0" * 64)
    if flavour is None:
        yield kind, checkpoint
        return
    with serving(flavour, {"tiny": model}, context=65) as engine:
        monkeypatch.setenv("LACUNA_SERVERS", engine.url)
        settings.cache_clear()
        yield kind, replace(checkpoint, server=Server(engine.url, "tiny", flavour, 64))
    settings.cache_clear()


@pytest.fixture
def backend(case):
    kind, checkpoint = case
    opened = kind.open(checkpoint, "float32", "cpu")
    yield opened
    opened.close()


@pytest.fixture
def declared(request, case):
    """The capabilities of the backend under test; what a test is about must be among them."""
    capabilities = capabilities_of(*case)
    needed = request.node.get_closest_marker("needs").args
    if not capabilities.issuperset(needed):
        pytest.skip(f"does not declare {', '.join(needed)}")
    return capabilities


@torch.no_grad()
def one_by_one(model, row):
    logits = model(input_ids=torch.from_numpy(row.ids)[None]).logits[0].double()
    logprobs = logits.log_softmax(-1).numpy()[row.positions - 1]
    own = logprobs[np.arange(len(row.positions)), row.ids[row.positions]]
    lognorm = np.stack([np.log(np.exp(logprobs / t).sum(1)) for t in TEMPERATURES], axis=1)
    return own, logprobs.argmax(1), lognorm


@pytest.mark.needs("logprobs")
def test_scores_come_in_order_and_equal_one_by_one(backend, model, declared):
    rng = np.random.default_rng(0)
    rows = [
        ScoreRow(rng.integers(0, VOCAB, n), np.arange(1, n)[rng.random(n - 1) < 0.7]) for n in rng.integers(1, 60, 40)
    ]
    for row, scores in zip(rows, backend.score(rows), strict=True):
        own, argmax, lognorm = one_by_one(model, row)
        assert np.array_equal(scores.positions, row.positions)
        np.testing.assert_allclose(scores.logprobs, own, atol=1e-4)
        if "lognorm" in declared:
            np.testing.assert_allclose(scores.lognorm, lognorm, atol=1e-4)
        else:
            assert (np.isnan(scores.lognorm).sum(0) == len(row.positions) * (np.array(TEMPERATURES) != 1)).all()
        assert np.array_equal(scores.argmax, argmax if "argmax" in declared else np.full(len(argmax), -1))
        if "margin" in declared:
            assert np.array_equal(scores.margin > 0, argmax == row.ids[row.positions])
        else:
            assert np.isnan(scores.margin).all()


@pytest.mark.needs("generations")
def test_generations_come_in_order_and_equal_one_by_one(backend, declared):
    rng = np.random.default_rng(1)
    prompts = [rng.integers(3, VOCAB, n) for n in rng.integers(1, 20, 24)]
    decodings = [Decoding(t, 20, i) for i, t in enumerate([0.0, 1.0, 0.7] * 8)]
    for prompt, decoding, found in zip(
        prompts, decodings, backend.generate(prompts, decodings, backend.stop_ids), strict=True
    ):
        (alone,) = backend.generate([prompt], [decoding], backend.stop_ids)
        assert np.array_equal(found.tokens, alone.tokens)
        assert found.decoding == decoding
        assert found.stopped == (int(found.tokens[-1]) in backend.stop_ids)
        assert 1 <= len(found.tokens) <= 20
        assert not np.isin(found.tokens[:-1], backend.stop_ids).any()


@pytest.mark.needs("generations")
def test_draws_that_share_a_prompt_equal_one_by_one(backend, declared):
    """Equal prompts are read once; what is drawn from them must not know."""
    rng = np.random.default_rng(2)
    few = [rng.integers(3, VOCAB, n) for n in (1, 2, 12, 19)]
    prompts = [few[i] for i in (0, 2, 1, 2, 3, 2, 2, 0, 1, 3, 2)]
    decodings = [Decoding([0.0, 1.0, 0.7][i % 3], 20, i, [1.0, 0.6][i % 2]) for i in range(len(prompts))]
    together = backend.generate(prompts, decodings, backend.stop_ids)
    for prompt, decoding, found in zip(prompts, decodings, together, strict=True):
        (alone,) = backend.generate([prompt], [decoding], backend.stop_ids)
        assert np.array_equal(found.tokens, alone.tokens)


@pytest.mark.needs("generations")
def test_top_p_draws_among_the_most_likely_only(backend, case, model, declared):
    n = 100 if runs_servers(case[0]) else 400  # each draw is a request there
    prompt = np.array([5, 9, 17])
    with torch.no_grad():
        chances = model(input_ids=torch.from_numpy(prompt)[None]).logits[0, -1].double().softmax(-1).numpy()
    order = np.argsort(-chances)
    for top_p in (0.3, 0.8):
        allowed = order[: np.searchsorted(np.cumsum(chances[order]), top_p) + 1]
        wide = backend.generate([prompt] * n, [Decoding(1.0, 1, i) for i in range(n)], ())
        drawn = backend.generate([prompt] * n, [Decoding(1.0, 1, i, top_p) for i in range(n)], ())
        tokens = [int(g.tokens[0]) for g in drawn]
        assert set(tokens) <= set(allowed.tolist())
        assert {int(g.tokens[0]) for g in wide} - set(allowed.tolist())
        shares = chances[allowed] / chances[allowed].sum()
        counts = np.array([tokens.count(a) for a in allowed])
        assert np.abs(counts / n - shares).max() < 4 * np.sqrt(0.25 / n)


def test_a_backend_says_what_it_is(backend):
    assert backend.stop_ids == (1, 2)
    assert backend.context_length in (64, None) and backend.vocab_size in (VOCAB, None)
    assert backend.device and backend.dtype in ("float32", "")


@pytest.mark.parametrize("kind", BACKENDS, ids=lambda kind: kind.name)
def test_a_kind_has_a_name_and_a_label(kind):
    assert kind.name
    assert kind.label
    assert kind.help
    assert kind.capabilities <= CAPABILITIES.keys()
    # Where a token stands among the others is known of scored tokens only.
    assert "logprobs" in kind.capabilities or not kind.capabilities & {"argmax", "margin", "lognorm"}


def test_what_is_declared_is_offered_and_nothing_else(backend, case):
    capabilities = capabilities_of(*case)
    assert capabilities <= case[0].capabilities
    offers = {"logprobs": ScoringBackend, "generations": GeneratingBackend, "states": PoolingBackend}
    assert {name for name, contract in offers.items() if isinstance(backend, contract)} == capabilities & offers.keys()


@pytest.mark.needs("states")
@torch.no_grad()
def test_pooled_states_are_the_mean_of_the_last_hidden_layer(backend, model, declared):
    rng = np.random.default_rng(4)
    rows = [ScoreRow(rng.integers(0, VOCAB, n), np.arange(1, n)[rng.random(n - 1) < 0.6]) for n in range(2, 40)]
    rows.append(ScoreRow(rng.integers(0, VOCAB, 9), np.empty(0, dtype=np.int64)))
    found = backend.pooled(rows)
    assert found.dtype == np.float32 and found.shape == (len(rows), 16)
    for row, own in zip(rows, found, strict=True):
        output = model(input_ids=torch.from_numpy(row.ids)[None], output_hidden_states=True)
        if len(row.positions):
            wanted = output.hidden_states[-1][0, row.positions].mean(0).numpy()
            np.testing.assert_allclose(own, wanted, atol=1e-5)
        else:
            assert np.isnan(own).all()
    assert backend.pooled([]).shape == (0, 16)
