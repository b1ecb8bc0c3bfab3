"""Which workers are alive: each touches a small file while it runs."""

from __future__ import annotations

import glob
import resource
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from core.settings import settings

EVERY = 2.0
# A worker deep in a forward pass still touches its file from its own thread; only a dead one is this late.
LATE = 15.0


def _folder() -> Path:
    return settings().data_dir / "workers"


@contextmanager
def alive(lane: str, owner: str) -> Iterator[None]:
    """Keeps the worker's file fresh for as long as the block runs."""
    path = _folder() / owner
    done = threading.Event()

    def touch() -> None:
        while not done.wait(EVERY):
            write()

    def write() -> None:
        with suppress(OSError):  # a full disk: the worker lives on, and is seen again when there is room
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{lane}\n{_peak()}\n")

    write()
    thread = threading.Thread(target=touch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        path.unlink(missing_ok=True)


def _peak() -> int:
    """The most bytes of memory that this process has held at once."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def peak_memory(owner_prefix: str) -> int | None:
    """The most bytes that a worker, dead perhaps, had held when it was seen last; None where nothing says."""
    for path in _folder().glob(f"{glob.escape(owner_prefix)}*"):
        with suppress(OSError, ValueError, IndexError):
            return int(path.read_text().split("\n")[1])
    return None


def workers() -> list[dict[str, str | float]]:
    """Workers seen in the last seconds: ``name``, ``lane``, ``seen`` (seconds ago). Files of dead ones are removed."""
    rows: list[dict[str, str | float]] = []
    for path in sorted(_folder().glob("*")):
        try:
            age = time.time() - path.stat().st_mtime
            lane = path.read_text().partition("\n")[0]
        except FileNotFoundError:
            continue
        if age > LATE * 20:
            path.unlink(missing_ok=True)
        elif age <= LATE:
            rows.append({"name": path.name, "lane": lane, "seen": age})
    return rows
