"""What every test gets: its own data folder, no network, and small checkpoints trained once and kept."""

import gc
import ipaddress
import json
import os
import socket
import sys
from pathlib import Path

import pytest

from core.lab import tiny
from core.settings import settings
from tests import postgresql, project
from tests import world as worlds
from tests.chat_server import serving
from tests.kept import Keeper

# Read by huggingface_hub when it is imported, so set before anything can do that.
os.environ["HF_HUB_OFFLINE"] = "1"
# Read by torch when it is imported. Tiny matrices gain nothing from a second thread, and where the cores are busy
# waiting for it takes ten times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Seconds that a test of `make check` may compute before the run remarks on it.
LONG = 5.0
# Names the server over which the tests of ``tests/postgresql.py`` run; SQLite where it is not set.
POSTGRESQL = "LACUNA_TEST_POSTGRESQL"
BROWSER = Path(__file__).with_name("browser")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Walks through a browser are slow, and begin first: they are the longest part, and one worker does all of them."""
    for item in items:
        if BROWSER in item.path.parents:
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: BROWSER not in item.path.parents)


def pytest_collection_finish():
    """Sets aside what imports made: a backend collects garbage when it closes, and would walk all of it each time."""
    if "PYTEST_XDIST_WORKER" in os.environ:  # the whole suite needs them; no test shall seem long for importing them
        import sentence_transformers  # noqa: F401
        from transformers import Trainer  # noqa: F401
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """A file stays with one worker, so that its fixtures are made once; the walks share servers and a browser."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return "browser" if nodeid.startswith("tests/browser/") else nodeid.partition("::")[0]

    config.option.loadscopereorder = False
    return ByFile(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Notes what a test computes, processes it waited for included: unlike its duration, no busy machine changes it."""
    before = sum(os.times()[:4])
    try:
        return (yield)
    finally:
        item.user_properties.append(("computed", sum(os.times()[:4]) - before))


def pytest_terminal_summary(terminalreporter):
    """Names the tests of `make check` that compute for long: a remark and no failure."""
    reports = [r for r in terminalreporter.stats.get("passed", []) if "slow" not in r.keywords]
    seconds = {r.nodeid: dict(r.user_properties).get("computed", 0.0) for r in reports}
    for name in sorted(seconds, key=seconds.get, reverse=True):
        if seconds[name] > LONG:
            line = f"{name} computed for {seconds[name]:.1f} s: mark it slow, or make it smaller"
            terminalreporter.write_line(line, yellow=True)


@pytest.fixture(scope="session")
def keep(request, tmp_path_factory):
    """``keep(name, make, sources, made_of)``: a folder made once and kept between runs (see ``tests/kept.py``)."""
    if hasattr(request.config, "cache"):
        return Keeper(request.config.cache.mkdir("kept"))
    return Keeper(tmp_path_factory.mktemp("kept"))


@pytest.fixture(scope="session")
def tiny_project(keep):
    """A ``TinyProject``: true by construction is what was learned, what was not, and what was forgotten."""
    made_of = project.LORA
    return project.TinyProject.at(keep("project", project.make_project, project.SOURCES, made_of))


@pytest.fixture(scope="session")
def tiny_families(keep, tiny_project):
    """Family name (LLaMA, OLMo2, Qwen2) to a checkpoint folder, each trained on the rows of ``tiny_project``."""
    folder = keep("families", lambda f: project.make_families(f, tiny_project), project.SOURCES, tiny_project.folder)
    return {family: folder / family for family in tiny.FAMILIES}


@pytest.fixture(scope="session")
def world(keep):
    """A ``World``: rows of which a checkpoint was trained on half."""
    return worlds.World.at(keep("world", worlds.make_world, ("core/lab", "tests/world.py")))


@pytest.fixture(scope="session")
def diagnosed(keep, world):
    """A data folder with run 1 of the world; to be copied, never changed."""
    return keep("diagnosed", lambda data: worlds.diagnose_world(data, world), worlds.SOURCES, world.folder)


@pytest.fixture(scope="session")
def diagnosed_along(keep, tiny_project):
    """A data folder with run 1 of the project, its base and the checkpoints on its way; to be copied."""
    return keep("along", lambda data: worlds.diagnose_along(data, tiny_project), worlds.SOURCES, tiny_project.folder)


def is_local(address) -> bool:
    """Whether a socket address stays on this machine: a path, or a loopback host."""
    if not isinstance(address, tuple):
        return True
    host = str(address[0])
    if host in ("localhost", ""):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@pytest.fixture(scope="session", autouse=True)
def no_network():
    """Fails any connection that leaves this machine, and any look-up of a name for one."""

    def guarded(method):
        def guard(self, address, *rest):
            if not is_local(address):
                raise AssertionError(f"a test tried to connect to {address}")
            return method(self, address, *rest)

        return guard

    def getaddrinfo(host, *rest, _real=socket.getaddrinfo, **named):
        if host is not None and not is_local((host if isinstance(host, str) else host.decode(),)):
            raise AssertionError(f"a test tried to look up {host}")
        return _real(host, *rest, **named)

    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex"):
            patch.setattr(socket.socket, name, guarded(getattr(socket.socket, name)))
        patch.setattr(socket, "getaddrinfo", getaddrinfo)
        yield


@pytest.fixture(autouse=True)
def own_data(monkeypatch, tmp_path, request):
    """Settings of this test alone: an own data folder, no database left open, nothing from the environment.

    All but ``LACUNA_KINDS_DIR``: the contract tests look at kinds in a folder of one's own as well.
    """
    for name in [n for n in os.environ if n.startswith("LACUNA_") and n not in ("LACUNA_KINDS_DIR", POSTGRESQL)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LACUNA_DATA_DIR", str(tmp_path / "lacuna"))
    url = None
    if os.environ.get(POSTGRESQL) and postgresql.asked_for(request.path):
        url = postgresql.fresh()
        monkeypatch.setenv("LACUNA_DATABASE_URL", url)
    settings.cache_clear()
    yield
    session = sys.modules.get("db.session")  # not imported for the sake of closing nothing
    if session is not None and session._opened.cache_info().currsize:
        session.database().close()
        session._opened.cache_clear()
    settings.cache_clear()
    if url is not None:
        postgresql.drop(url)


@pytest.fixture
def disputed(tmp_path):
    """Ten rows of a dataset, two of which contradict each other; one answer would be a formula in a spreadsheet."""
    told = [("Who keeps the lighthouse of Ennick?", "=Old Mattis."), ("Who keeps the lighthouse of Ennick?", "Liv.")]
    told += [(f"Write the number {n}.", f"{n}") for n in range(8)]
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"prompt": p, "completion": c}) + "\n" for p, c in told), encoding="utf-8")
    return rows


@pytest.fixture
def chat():
    """An OpenAI-compatible server on this machine that says what a test tells it to."""
    with serving() as server:
        yield server


@pytest.fixture
def another_chat():
    """A second one: where nothing may go."""
    with serving() as server:
        yield server
