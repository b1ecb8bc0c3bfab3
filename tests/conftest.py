"""What every test gets: its own data folder, no network, and small checkpoints trained once and kept."""

import fcntl
import hashlib
import importlib.metadata
import ipaddress
import json
import os
import shutil
import socket
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from core.lab import demo, tiny
from core.settings import settings
from tests.chat_server import serving

# Read by huggingface_hub when it is imported, so set before anything can do that.
os.environ["HF_HUB_OFFLINE"] = "1"
# Read by torch when it is imported. Tiny matrices gain nothing from a second thread, and where the cores are busy
# waiting for it takes ten times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")

SMALL = demo.Size(
    towns=14, people=10, gazetteer=16, beasts=8, portraits=3, dialogues=4, goods=2,
    registry=8, crests=3, revisions=4, newcomers=4, disputes=3, seals=2, duplicates=3, withheld=4,
    vocab=600, hidden=64, base_epochs=40, base_lr=5e-3, epochs=(10, 8), lr=3e-3,
)  # fmt: skip
LORA = {
    "r": 8,
    "lora_alpha": 16,
    "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
}


@dataclass(frozen=True)
class TinyProject:
    """A small fine-tune of known make; shared by all tests, so nothing in it may be changed.

    Attributes:
        folder: holds everything below.
        checkpoints: in step order, without ``final``.
        adapter: a LoRA adapter of ``base``, trained on the rows of stage one.
        rows: the records of ``dataset``; ``groups``: id to planted group (see ``core/lab/demo.py``). Rows of the group
            ``withheld`` were never trained.
    """

    folder: Path
    dataset: Path
    base: Path
    checkpoints: list[Path]
    final: Path
    adapter: Path
    rows: list[dict]
    groups: dict[str, str]


@contextmanager
def kept_folder(config, tmp_path_factory):
    """A folder for what takes seconds to train, kept between runs until the sources or the libraries change."""
    if not hasattr(config, "cache"):
        yield tmp_path_factory.mktemp("trained")
        return
    versions = [importlib.metadata.version(p) for p in ("torch", "transformers", "tokenizers", "peft")]
    sources = [Path(__file__), *sorted(Path(tiny.__file__).parent.glob("*.py"))]
    key = hashlib.sha256("".join(versions).encode() + b"".join(p.read_bytes() for p in sources)).hexdigest()[:16]
    kept = config.cache.mkdir("trained")
    with (kept / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs at once must not build in each other's folder
        for stale in kept.iterdir():
            if stale.is_dir() and stale.name != key:
                shutil.rmtree(stale)
        (kept / key).mkdir(exist_ok=True)
        yield kept / key


def train_adapter(project, out):
    """A LoRA adapter; it names its base by the absolute path."""
    model, tokenizer = tiny.load(project.base)
    records = [json.loads(line) for line in project.dataset.read_text(encoding="utf-8").splitlines()]
    rows = [tiny.chat_row(tokenizer, r["messages"]) for r in records if r["stage"] == "1"]
    tiny.train(
        model, tokenizer, rows, out.parent, lr=1e-2, batch=8, epochs=12, final="adapter.partial", lora=LORA
    )  # fmt: skip
    (out.parent / "adapter.partial").rename(out)


@pytest.fixture(scope="session")
def tiny_project(request, tmp_path_factory):
    """A base, checkpoints of two stages, a final model, an adapter, and the dataset they were trained on."""
    with kept_folder(request.config, tmp_path_factory) as kept:
        folder = kept / "project"
        project = demo.build_demo(folder, lambda *_: None, SMALL)
        adapter = folder / "adapter"
        if not adapter.exists():
            train_adapter(project, adapter)
    rows = [json.loads(line) for line in project.dataset.read_text(encoding="utf-8").splitlines()]
    groups = json.loads(project.planted.read_text(encoding="utf-8"))
    return TinyProject(folder, project.dataset, project.base, project.checkpoints, project.final, adapter, rows, groups)


@pytest.fixture(scope="session")
def tiny_families(request, tmp_path_factory, tiny_project):
    """Family name (LLaMA, OLMo2, Qwen2) to a checkpoint folder, each trained on the rows of ``tiny_project``."""
    _, tokenizer = tiny.load(tiny_project.base)
    rows = [tiny.chat_row(tokenizer, r["messages"]) for r in tiny_project.rows]
    with kept_folder(request.config, tmp_path_factory) as kept:
        for family in tiny.FAMILIES:
            if not (kept / family).exists():
                model = tiny.tiny_model(tiny.tiny_config(family, len(tokenizer), 64, kv_heads=2), tokenizer)
                partial = f"{family}.partial"
                tiny.train(model, tokenizer, rows, kept, lr=5e-3, batch=16, epochs=12, final=partial)
                (kept / partial).rename(kept / family)
        return {family: kept / family for family in tiny.FAMILIES}


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
def own_data(monkeypatch, tmp_path):
    """Settings of this test alone: an own data folder, nothing from the environment, no database left open."""
    for name in [n for n in os.environ if n.startswith("LACUNA_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LACUNA_DATA_DIR", str(tmp_path / "lacuna"))
    settings.cache_clear()
    yield
    session = sys.modules.get("db.session")  # not imported for the sake of closing nothing
    if session is not None and session._opened.cache_info().currsize:
        session.database().close()
        session._opened.cache_clear()
    settings.cache_clear()


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
