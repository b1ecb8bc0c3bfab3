"""Folders that take seconds to make and that tests only read: made once, and kept between runs in pytest's cache."""

import fcntl
import hashlib
import importlib.metadata
import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIBRARIES = ("torch", "transformers", "tokenizers", "peft")


@dataclass(frozen=True)
class Keeper:
    """Makes folders under ``root``. Every process that shares ``root`` gets the same folder; one of them makes it."""

    root: Path

    def __call__(
        self, name: str, make: Callable[[Path], object], sources: Iterable[str | Path], made_of: object = ""
    ) -> Path:
        """The folder ``name``, which ``make`` fills.

        Args:
            sources: files and folders (relative to the repository) that decide what is made. Another content of any of
                them, another version of a library or another ``made_of`` makes the folder anew.
            made_of: what ``make`` was given, by its ``repr``.
        """
        key = fingerprint(sources, made_of)
        place = self.root / name
        place.mkdir(parents=True, exist_ok=True)
        folder, done = place / key, place / f"{key}.done"
        with (self.root / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)  # what an interrupted run left
                folder.mkdir()
                make(folder)
                done.touch()
                discard_stale(place)
        return folder


def discard_stale(place):
    """Leaves the folder just made and the one before it, which a run that began before an edit may still read."""
    for done in sorted(place.glob("*.done"), key=lambda p: p.stat().st_mtime)[:-2]:
        done.unlink()
        shutil.rmtree(done.with_suffix(""))


def fingerprint(sources, made_of):
    """A short hash of everything that decides what is made."""
    digest = hashlib.sha256(f"{sys.version_info[:2]} {made_of!r}".encode())
    for library in LIBRARIES:
        digest.update(importlib.metadata.version(library).encode())
    for source in sources:
        place = ROOT / source
        for path in [place] if place.is_file() else sorted(place.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(str(path.relative_to(ROOT)).encode() + path.read_bytes())
    return digest.hexdigest()[:16]
