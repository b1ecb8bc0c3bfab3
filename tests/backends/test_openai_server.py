"""The backend ``openai_server`` against a real HTTP server that answers as each kind does, from the same tiny model."""

import threading

import numpy as np
import pytest

from core.backends import _server
from core.backends._base import Interrupted, ScoreRow, interruptible
from core.backends.hf import KIND as HF
from core.backends.openai_server import KIND
from core.errors import UserError
from core.settings import settings
from core.types import Checkpoint, Decoding, Server
from tests.backends import small_models as sm
from tests.engine_server import FLAVOURS, serving

SCORING = ("vllm", "sglang")


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(_server, "WAITS", (0.01, 0.01, 0.01))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    model = sm.random_model("llama")
    model.save_pretrained(folder)
    return folder, model


@pytest.fixture
def twin(folder):
    return HF.open(sm.checkpoint(folder[0]), "float32", "cpu")


@pytest.fixture
def opened(folder, monkeypatch):
    """(flavour, options of the server) to the server and the open backend."""
    closing = []

    def make(flavour, tokenizer=None, requests=4, **options):
        context = serving(flavour, {"tuned": folder[1]}, context=97, **options)
        engine = context.__enter__()
        closing.append(lambda: context.__exit__(None, None, None))
        monkeypatch.setenv("LACUNA_SERVERS", f"http://localhost:1/v1 {engine.url}/")
        monkeypatch.setenv("LACUNA_SERVER_REQUESTS", str(requests))
        if options.get("key"):
            monkeypatch.setenv("LACUNA_SERVER_KEY", options["key"])
        settings.cache_clear()
        server = Server(engine.url, "tuned", flavour, 96)
        backend = KIND.open(
            Checkpoint(str(folder[0]), None, None, "tuned", "0" * 64, server=server), tokenizer=tokenizer
        )
        closing.insert(0, backend.close)
        engine.requests.clear()
        return engine, backend

    yield make
    for close in closing:
        close()
    settings.cache_clear()


def some_rows(n=30, seed=0, longest=60):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, longest, n)
    return [ScoreRow(rng.integers(0, sm.VOCAB, m), np.arange(1, m)[rng.random(m - 1) < 0.7]) for m in lengths]


def assert_same(scores, expected):
    for one, other in zip(scores, expected, strict=True):
        assert np.array_equal(one.positions, other.positions)
        np.testing.assert_allclose(one.logprobs, other.logprobs, atol=1e-4)
        np.testing.assert_allclose(one.margin, other.margin, atol=1e-4)
        assert np.array_equal(one.argmax, other.argmax)
        assert np.isnan(one.lognorm[:, :-1]).all() and (one.lognorm[:, -1] == 0).all()


@pytest.mark.parametrize("flavour", SCORING)
def test_scores_equal_those_of_the_packaged_backend(opened, twin, flavour):
    engine, backend = opened(flavour)
    engine.holds = True  # until a second request has come, however quickly the first could be answered
    rows = some_rows()
    assert_same(backend.score(rows), twin.score(rows))
    sizes = [len(body.get("prompt", body.get("input_ids"))) for _, _, body in engine.requests]
    assert max(sizes) <= 8 and len(sizes) > 3
    assert 2 <= engine.most_at_once <= 4
    assert backend.score([]) == []


@pytest.mark.parametrize("flavour", SCORING)
def test_a_batch_that_breaks_the_server_is_asked_in_smaller_ones(opened, twin, flavour):
    engine, backend = opened(flavour, largest=2)
    rows = some_rows()
    assert_same(backend.score(rows), twin.score(rows))
    sizes = [len(body.get("prompt", body.get("input_ids"))) for _, _, body in engine.requests]
    assert {8, 4, 2} <= set(sizes)


@pytest.mark.parametrize("flavour", SCORING)
@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_or_failing_server_is_asked_again(opened, twin, flavour, status):
    engine, backend = opened(flavour)
    rows = some_rows(3)
    engine.statuses = [(status, "busy", {"Retry-After": "0"})] * 2
    assert_same(backend.score(rows), twin.score(rows))
    assert len(engine.requests) >= 3


def spoilt(answer):
    if isinstance(answer, list):
        return answer[:-1]
    for choice in answer["choices"]:
        choice["prompt_logprobs"] = choice["prompt_logprobs"][:-1]
    return answer


@pytest.mark.parametrize("flavour", SCORING)
def test_an_answer_that_lacks_tokens_is_refused(opened, flavour):
    engine, backend = opened(flavour)
    engine.spoil = spoilt
    with pytest.raises(UserError, match=r"http://127\.0\.0\.1:\d+\S* gave an answer that cannot be read\."):
        backend.score(some_rows(1, longest=30) + some_rows(1, 3))


def test_a_token_that_is_not_the_one_sent_is_refused(opened):
    engine, backend = opened("sglang")

    def other_token(answer):
        for one in answer:
            one["meta_info"]["input_token_logprobs"][-1][1] += 1
        return answer

    engine.spoil = other_token
    with pytest.raises(UserError, match="has another token than"):
        backend.score([ScoreRow(np.arange(5), np.arange(1, 5))])


def test_an_error_names_address_status_and_the_way_out(opened):
    engine, backend = opened("vllm", key="sk-secret-1")
    assert all(headers["Authorization"] == "Bearer sk-secret-1" for _, headers, _ in engine.requests)
    engine.statuses = [(418, "no tea with sk-secret-1")] * 9
    with pytest.raises(UserError) as error:
        backend.score(some_rows(1, 1))
    text = str(error.value)
    assert f"{engine.url}/completions answered with status 418" in text and "no tea" in text and "kept" in text
    assert "sk-secret-1" not in text and "sk-secret-1" not in repr(settings())
    engine.key, engine.statuses = "another", []
    with pytest.raises(UserError, match="LACUNA_SERVER_KEY"):
        backend.generate([np.array([5])], [Decoding()], (1, 2))


@pytest.mark.parametrize("flavour", SCORING)
def test_generations_equal_those_of_the_packaged_backend(opened, twin, flavour):
    _, backend = opened(flavour)
    rng = np.random.default_rng(1)
    prompts = [rng.integers(3, sm.VOCAB, n) for n in [*rng.integers(1, 20, 20), 95, 96]]
    decodings = [Decoding(t, 20, i, p) for i, (t, p) in enumerate([(0.0, 1.0), (1.0, 1.0), (0.7, 0.6)] * 8)][:22]
    found = backend.generate(prompts, decodings, backend.stop_ids)
    for one, other in zip(found, twin.generate(prompts, decodings, twin.stop_ids), strict=True):
        assert np.array_equal(one.tokens, other.tokens) and one.stopped == other.stopped
        assert one.decoding == other.decoding
    assert [len(one.tokens) for one in backend.generate(prompts[:3], decodings[:3], ())] == [20] * 3


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """A tokenizer whose tokens are words, so that any text of them has one reading."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {f"<{i}>": i for i in range(sm.VOCAB)}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<0>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<0>", eos_token="<1>")


@pytest.mark.parametrize("flavour", ["transformers", "plain"])
def test_a_server_of_texts_generates_the_same_answers(opened, twin, words, flavour):
    engine, backend = opened(flavour, tokenizer=words, requests=4)
    engine.tokenizer = words
    engine.holds = flavour == "plain"
    rng = np.random.default_rng(1)
    prompts = [rng.integers(3, sm.VOCAB, n) for n in rng.integers(1, 20, 12)]
    decodings = [Decoding(t, 20, i, p) for i, (t, p) in enumerate([(0.0, 1.0), (1.0, 1.0), (0.7, 0.6)] * 4)]
    found = backend.generate(prompts, decodings, (1, 2))
    for one, other in zip(found, twin.generate(prompts, decodings, (1, 2)), strict=True):
        assert one.stopped == other.stopped
        # The text says which words came, not which of the stop tokens ended them.
        own = other.tokens[: len(other.tokens) - other.stopped]
        assert np.array_equal(one.tokens[: len(one.tokens) - one.stopped], own)
        assert one.text == words.decode(own.tolist())
    assert (engine.most_at_once == 1) == (flavour == "transformers")
    assert not hasattr(backend, "score") and not hasattr(backend, "pooled")


def test_a_server_that_reads_other_tokens_is_noticed(opened, words):
    engine, backend = opened("plain", tokenizer=words)
    engine.spoil = lambda answer: answer | {"usage": {"prompt_tokens": 7}}
    with pytest.raises(UserError, match="read 7 tokens where 2 were sent"):
        backend.generate([np.array([5, 6])], [Decoding(max_new_tokens=3)], ())


def test_a_slow_server_is_given_up_when_the_job_is_asked_to_stop(opened):
    engine, backend = opened("vllm")
    engine.gate.clear()
    asked = threading.Event()
    watcher = threading.Timer(0.1, asked.set)
    watcher.start()
    with interruptible(asked.is_set), pytest.raises(Interrupted):
        backend.score(some_rows(40))
    watcher.join()
    assert len(engine.requests) <= 4  # those that wait; none was sent after the stop


def test_a_slow_batch_is_cut(opened, twin, monkeypatch):
    monkeypatch.setattr(_server, "SILENCE", 2.0)
    engine, backend = opened("vllm", requests=1)
    engine.holds = True
    rows = some_rows(4, 2)
    assert_same(backend.score(rows), twin.score(rows))
    assert len(engine.requests) >= 3


def test_only_an_allowed_address_is_asked(folder, monkeypatch):
    monkeypatch.setenv("LACUNA_SERVERS", "http://127.0.0.1:9/v1")
    settings.cache_clear()
    inner = Server("http://169.254.169.254/latest", "m", "vllm")
    with pytest.raises(UserError, match=r"169\.254\.169\.254/latest may not be asked\..*http://127\.0\.0\.1:9/v1"):
        KIND.open(Checkpoint(str(folder[0]), None, None, "m", "0" * 64, server=inner))
    gone = Server("http://127.0.0.1:9/v1", "m", "vllm")
    with pytest.raises(UserError, match=r"http://127\.0\.0\.1:9/v1/models cannot be reached\..*4 times"):
        KIND.open(Checkpoint(str(folder[0]), None, None, "m", "0" * 64, server=gone))
    settings.cache_clear()


def test_a_redirect_is_not_followed(opened):
    engine, backend = opened("vllm")
    engine.statuses = [(302, "over there", {"Location": "http://127.0.0.1:1/"})]
    with pytest.raises(UserError, match="Redirects are not followed"):
        backend.score([ScoreRow(np.arange(4), np.arange(1, 4))])


@pytest.mark.parametrize("text", ["http://u:secret@h/v1", "ftp://h", "http://h/v1?key=secret", "h:8000"])
def test_an_address_that_is_none_is_refused(text, monkeypatch):
    monkeypatch.setenv("LACUNA_SERVERS", text)
    settings.cache_clear()
    with pytest.raises(UserError, match="is not the address of a server") as error:
        settings()
    assert "secret" not in str(error.value)
    settings.cache_clear()


def test_what_it_gives_depends_on_the_server(folder):
    def gives(flavour):
        return KIND.gives(Checkpoint("", None, None, "", "", server=Server("http://h", "m", flavour)))

    assert {flavour for flavour in FLAVOURS if "logprobs" in gives(flavour)} == set(SCORING)
    assert all("generations" in gives(flavour) for flavour in FLAVOURS)
    assert not KIND.capabilities & {"lognorm", "states", "weights"}
