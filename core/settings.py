"""How the process runs, read once from the environment. What changes a number is in RunSpec instead."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from core.errors import UserError

GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Settings:
    """Process settings.

    Attributes:
        data_dir: everything Lacuna writes (``LACUNA_DATA_DIR``, default ``.lacuna`` in the working directory).
        database_url: SQLAlchemy URL (``LACUNA_DATABASE_URL``, default SQLite in ``data_dir``).
        checkpoint_roots: folders whose contents the browser may choose from (``LACUNA_CHECKPOINT_ROOTS``, separated as
            in PATH).
        max_upload_bytes: largest upload (``LACUNA_MAX_UPLOAD_GB``, default 50).
        max_unpacked_bytes: largest unpacked archive (``LACUNA_MAX_UNPACKED_GB``, default 200).
        device: ``auto``, ``cpu``, ``cuda`` (``LACUNA_DEVICE``).
        encoder: folder of a sentence-transformers encoder, or ``kind:location`` (``LACUNA_ENCODER``); empty for the
            packaged one.
        demo: whether the demo is opened on first start (``LACUNA_DEMO``, default 1).
        judge_url: base URL of an OpenAI-compatible server that may be asked to comment on contradictions
            (``LACUNA_JUDGE_URL``, without a final slash); empty: off.
        judge_model: the model asked for there (``LACUNA_JUDGE_MODEL``); empty where off.
        judge_key: bearer key sent there (``LACUNA_JUDGE_KEY``); empty for none. Left out of ``repr``.
        servers: addresses of model servers that the browser may choose from (``LACUNA_SERVERS``, separated by spaces).
        server_key: bearer key sent to model servers (``LACUNA_SERVER_KEY``); empty for none. Left out of ``repr``.
        server_requests: most requests at a time (``LACUNA_SERVER_REQUESTS``, default 8).
        ray: where the backend ``ray`` finds its workers (``LACUNA_RAY``): ``auto`` or an address for a running
            cluster, a number of workers on this machine, empty for as many as this machine has accelerators.
        worker_memory: bytes that a worker may take (``LACUNA_WORKER_MEMORY_GB``); 0 for no limit, None where not set.
        kinds_dir: a folder of further kinds, one folder a register (``LACUNA_KINDS_DIR``); None: only Lacuna's own.
            Its files are run as code.
        login_allowed: addresses, and ``@domain`` for all of a domain, of those who may sign in
            (``LACUNA_LOGIN_ALLOWED``, separated by spaces), in lower case; empty: whoever the provider lets in.
    """

    data_dir: Path
    database_url: str
    checkpoint_roots: tuple[Path, ...]
    max_upload_bytes: int
    max_unpacked_bytes: int
    device: str
    demo: bool
    encoder: str = ""
    judge_url: str = ""
    judge_model: str = ""
    judge_key: str = field(default="", repr=False)
    servers: tuple[str, ...] = ()
    server_key: str = field(default="", repr=False)
    server_requests: int = 8
    ray: str = ""
    kinds_dir: Path | None = None
    worker_memory: int | None = None
    login_allowed: tuple[str, ...] = ()

    @property
    def uploads(self) -> Path:
        return self.data_dir / "uploads"

    @property
    def artefacts(self) -> Path:
        return self.data_dir / "artefacts"

    @property
    def checkpoints(self) -> Path:
        return self.data_dir / "checkpoints"


def _gib(env: Mapping[str, str], name: str, default: float) -> int:
    text = env.get(name, "")
    try:
        value = float(text) if text else default
    except ValueError:
        value = -1.0
    if not value > 0:
        raise UserError(f"{name}={text!r} is not a size.", "It is a number of GiB above 0.", f"For example {name}=50.")
    return int(value * GIB)


def _worker_memory(env: Mapping[str, str]) -> int | None:
    text = env.get("LACUNA_WORKER_MEMORY_GB", "")
    return None if not text else 0 if text == "0" else _gib(env, "LACUNA_WORKER_MEMORY_GB", 0.0)


def server_address(name: str, url: str, example: str = "") -> str:
    """The address without a final slash.

    Args:
        name: the variable or option that gave it.

    Raises:
        UserError: it is not the address of a server.
    """
    url = url.strip()
    # What stands before an @ or behind a ? may be a secret; an error must not repeat it.
    shown = url.rpartition("@")[2].partition("?")[0]
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        good = good and "@" not in parts.netloc and "?" not in url and "#" not in url
    except ValueError:  # a port or an IPv6 address that is none
        good = False
    if not good or not url.isprintable() or " " in url:
        raise UserError(
            f"{name}={shown!r} is not the address of a server.",
            "It is http:// or https://, a host and a path, without user, password, query or fragment.",
            example or f"For example {name}=http://localhost:8000/v1, with a key in LACUNA_SERVER_KEY.",
        )
    return url.rstrip("/")


def _key(name: str, key: str) -> str:
    # As a header it could not be sent, and the HTTP client's own error would repeat it.
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise UserError(
            f"{name} is not a key.",
            "It is one word of printable ASCII characters; its value is not shown here.",
            "Set it to the key alone, without 'Bearer', or leave it empty.",
        )
    return key


def _judge(env: Mapping[str, str]) -> tuple[str, str, str]:
    """URL, model and key of the judge; three empty texts where none is configured."""
    url, model, key = (env.get(f"LACUNA_JUDGE_{name}", "").strip() for name in ("URL", "MODEL", "KEY"))
    if not url:
        return "", "", ""
    example = "For example LACUNA_JUDGE_URL=http://localhost:8000/v1, with a key in LACUNA_JUDGE_KEY. Empty: off."
    url = server_address("LACUNA_JUDGE_URL", url, example)
    if not model or not model.isprintable():
        raise UserError(
            f"LACUNA_JUDGE_MODEL={model!r} is not the name of a model.",
            f"The server at LACUNA_JUDGE_URL={url!r} must be told which model answers.",
            "Set LACUNA_JUDGE_MODEL to a name that the server lists under /models, or leave LACUNA_JUDGE_URL empty.",
        )
    return url, model, _key("LACUNA_JUDGE_KEY", key)


def _requests(env: Mapping[str, str]) -> int:
    text = env.get("LACUNA_SERVER_REQUESTS") or "8"
    if not text.isdecimal() or not 1 <= int(text) <= 1024:
        raise UserError(
            f"LACUNA_SERVER_REQUESTS={text!r} is not a number of requests.",
            "It is a whole number from 1 to 1,024: how many requests a model server gets at a time.",
            "For example LACUNA_SERVER_REQUESTS=8.",
        )
    return int(text)


def read_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Settings from ``environ`` (default: the process environment).

    Raises:
        UserError: a size that is none, or a server that cannot be asked as it is named.
    """
    env = os.environ if environ is None else environ
    judge_url, judge_model, judge_key = _judge(env)
    data_dir = Path(env.get("LACUNA_DATA_DIR") or ".lacuna").expanduser().resolve()
    roots = tuple(
        Path(p).expanduser().resolve() for p in env.get("LACUNA_CHECKPOINT_ROOTS", "").split(os.pathsep) if p.strip()
    )
    return Settings(
        data_dir=data_dir,
        database_url=env.get("LACUNA_DATABASE_URL") or f"sqlite:///{data_dir / 'lacuna.db'}",
        checkpoint_roots=roots,
        max_upload_bytes=_gib(env, "LACUNA_MAX_UPLOAD_GB", 50),
        max_unpacked_bytes=_gib(env, "LACUNA_MAX_UNPACKED_GB", 200),
        device=env.get("LACUNA_DEVICE") or "auto",
        demo=env.get("LACUNA_DEMO", "1") not in ("0", "false", "no"),
        login_allowed=tuple(env.get("LACUNA_LOGIN_ALLOWED", "").casefold().replace(",", " ").split()),
        encoder=env.get("LACUNA_ENCODER", ""),
        judge_url=judge_url,
        judge_model=judge_model,
        judge_key=judge_key,
        servers=tuple(server_address("LACUNA_SERVERS", url) for url in env.get("LACUNA_SERVERS", "").split()),
        server_key=_key("LACUNA_SERVER_KEY", env.get("LACUNA_SERVER_KEY", "").strip()),
        server_requests=_requests(env),
        ray=env.get("LACUNA_RAY", "").strip(),
        worker_memory=_worker_memory(env),
        kinds_dir=Path(env["LACUNA_KINDS_DIR"]).expanduser().resolve() if env.get("LACUNA_KINDS_DIR") else None,
    )


@cache
def settings() -> Settings:
    """The process's settings; read once."""
    return read_settings()


def quiet_libraries() -> None:
    """Environment of every process that may load a model: no network, no chatter, one tokenizer thread.

    Must run before transformers is imported; what the person has set already stays.
    """
    for name, value in {
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TRANSFORMERS_VERBOSITY": "error",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }.items():
        os.environ.setdefault(name, value)
