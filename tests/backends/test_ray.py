"""The backend ``ray`` on two workers of this machine: the packaged backend's numbers, in the caller's order."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from core.backends import _base, _ray_pool
from core.backends._base import Interrupted, ScoreRow, check_installed, interruptible
from core.backends.hf import KIND as HF
from core.backends.ray import KIND, RayBackend
from core.errors import UserError
from core.settings import settings
from core.types import Checkpoint, Decoding
from tests.backends import small_models as sm

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def workers():
    """Two workers; the processes that Ray starts end with the module."""
    pytest.importorskip("ray")
    os.environ["LACUNA_RAY"] = "2"
    settings.cache_clear()
    _ray_pool.pool(False)
    yield _ray_pool
    _ray_pool.close_pools()
    del os.environ["LACUNA_RAY"]
    settings.cache_clear()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("spread")
    sm.random_model("qwen3").save_pretrained(folder)
    return folder


@pytest.fixture
def twin(folder):
    return HF.open(sm.checkpoint(folder), "float32", "cpu")


@pytest.fixture
def opened(workers, folder):
    backend = KIND.open(sm.checkpoint(folder), "float32", "cpu")
    yield backend
    backend.close()


def some_rows(n, seed=0):
    rng = np.random.default_rng(seed)
    start = rng.integers(3, sm.VOCAB, 20)
    rows = []
    for length in rng.integers(22, 90, n):
        ids = np.concatenate([start, rng.integers(0, sm.VOCAB, length - 20)])
        rows.append(ScoreRow(ids, np.arange(21, length)[rng.random(length - 21) < 0.7]))
    return rows


def processes(backend):
    import ray

    return ray.get([worker.process.remote() for worker in backend._workers.workers])


def assert_same(scores, expected):
    for one, other in zip(scores, expected, strict=True):
        assert np.array_equal(one.positions, other.positions) and np.array_equal(one.argmax, other.argmax)
        for name in ("logprobs", "margin", "lognorm"):
            np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=1e-4)


def test_two_workers_give_the_numbers_of_one_process(opened, twin):
    rows = some_rows(200)
    assert opened.lanes == 2 and len(set(processes(opened))) == 2 and os.getpid() not in processes(opened)
    assert_same(opened.score(rows), twin.score(rows))
    np.testing.assert_allclose(opened.pooled(rows), twin.pooled(rows), atol=1e-5)
    prompts = [row.ids[:25] for row in rows[:60]]
    decodings = [Decoding([0.0, 0.7, 1.0][i % 3], 12, i, [1.0, 0.7][i % 2]) for i in range(60)]
    for one, other in zip(opened.generate(prompts, decodings, (1, 2)), twin.generate(prompts, decodings, (1, 2)),
                          strict=True):  # fmt: skip
        assert np.array_equal(one.tokens, other.tokens) and one.stopped == other.stopped
    assert opened.score([]) == [] and opened.generate([], [], ()) == []


def test_a_killed_worker_costs_only_time(opened, twin):
    rows = some_rows(3_000, 1)
    before = processes(opened)
    expected = twin.score(rows)
    killer = threading.Timer(0.3, lambda: os.kill(before[0], signal.SIGKILL))
    killer.start()
    found = opened.score(rows)
    killer.join()
    assert_same(found, expected)
    after = processes(opened)
    assert before[0] not in after and before[1] in after and len(set(after)) == 2


def test_an_error_on_a_worker_is_the_one_of_one_process(opened, twin, folder):
    long = ScoreRow(np.arange(120) % sm.VOCAB, np.arange(1, 120))
    for backend in (opened, twin):
        with pytest.raises(UserError, match=r"A row of 120 tokens is longer than the model's context\.") as error:
            backend.score([*some_rows(30), long])
        assert error.value.todo.startswith("Cut the row")
    with pytest.raises(UserError, match="There is no model in"):
        KIND.open(Checkpoint(str(folder / "gone"), None, None, "gone", "1" * 64), "float32", "cpu")


def test_it_is_given_up_when_the_job_is_asked_to_stop(opened):
    with interruptible(lambda: True), pytest.raises(Interrupted):
        while True:
            opened.score(some_rows(3_000, 2))


def test_another_checkpoint_replaces_the_one_before(workers, opened, twin, tmp_path):
    sm.random_model("qwen3", seed=5).save_pretrained(tmp_path)
    other = KIND.open(sm.checkpoint(tmp_path), "float32", "cpu")
    rows = some_rows(20)
    assert_same(other.score(rows), HF.open(sm.checkpoint(tmp_path), "float32", "cpu").score(rows))
    assert_same(opened.score(rows), twin.score(rows))  # opened again where it is asked for
    assert isinstance(other, RayBackend)


def test_ray_changes_nothing_of_the_process_that_asks(folder):
    pytest.importorskip("ray")
    code = f"""
import signal, torch
from core.backends.ray import KIND
from core.backends._ray_pool import close_pools
from tests.backends.small_models import checkpoint
from pathlib import Path
def own(*_): pass
signal.signal(signal.SIGTERM, own); signal.signal(signal.SIGINT, own)
torch.set_num_threads(1); before = torch.get_num_threads()
backend = KIND.open(checkpoint(Path({str(folder)!r})), "float32", "cpu")
import ray, os
assert signal.getsignal(signal.SIGTERM) is own and signal.getsignal(signal.SIGINT) is own
assert torch.get_num_threads() == before
assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
assert ray._private.worker._global_node.webui_url in (None, "")
assert backend.lanes == 1
close_pools()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "LACUNA_RAY": "1"}, capture_output=True, text=True,
        check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_place_that_is_none_is_said(monkeypatch):
    pytest.importorskip("ray")
    code = "from core.backends.ray import KIND; from core.types import Checkpoint\n"
    code += "KIND.open(Checkpoint('/x', None, None, 'x', '0'), 'float32', 'cpu')"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "LACUNA_RAY": "127.0.0.1:1"}, capture_output=True,
        text=True, check=False, timeout=300,
    )  # fmt: skip
    assert "LACUNA_RAY='127.0.0.1:1' leads to no Ray cluster" in done.stderr


def test_without_the_package_the_file_is_named(monkeypatch):
    monkeypatch.setattr(_base.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"requirements-ray\.txt"):
        check_installed(KIND)
