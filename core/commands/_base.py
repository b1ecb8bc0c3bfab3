"""What a command is, and what commands share: options, a progress line, files written whole."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from core.errors import UserError, unknown_name
from core.plugins import REGISTERS, names

if TYPE_CHECKING:
    from core.types import Filter

DTYPES = ("float32", "bfloat16", "auto")


class Command(Protocol):
    """One file in this folder. What takes long to import is imported in ``arguments`` and ``run``.

    Attributes:
        name: what a person types after ``lacuna``.
        label: what it does, in one line of ``lacuna --help``.
    """

    name: str
    label: str

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declares the command's arguments."""
        ...

    def run(self, args: argparse.Namespace) -> int:
        """Runs the command and returns the exit status. Results go to stdout, progress to stderr.

        Raises:
            UserError: unusable input; the command line prints it and ends with status 2.
        """
        ...


# ------------------------------------------------------------------------------------------------------- arguments


def existing_path(text: str) -> Path:
    """Argument type: the absolute path of something that exists.

    Raises:
        UserError: nothing is there.
    """
    path = Path(text)
    if not path.exists():
        raise UserError(f"{path} does not exist.", "", "Check the path.")
    return path.resolve()


def add_kind(parser: argparse.ArgumentParser, option: str, register: str, text: str, **options: Any) -> None:
    """Adds an option that takes the name of a kind; its help lists the names, and so does the error for another."""

    def known(name: str) -> str:
        if name not in names(register):
            raise unknown_name(REGISTERS[register], name, names(register))
        return name

    text = f"{text}; one of: {', '.join(names(register))}"
    parser.add_argument(option, type=known, metavar=REGISTERS[register].upper(), help=text, **options)


def add_pairs(parser: argparse.ArgumentParser, option: str, metavar: str, text: str, **options: Any) -> None:
    """Adds an option that may be repeated and takes NAME=VALUE; its value is a list of pairs."""
    parser.add_argument(
        option, action="append", default=[], type=partial(_pair, option), metavar=metavar, help=text, **options
    )


def _pair(option: str, text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator:
        raise UserError(f"{option} {text!r} has no '='.", "", f"Write {option} NAME=VALUE.")
    return name, value


def add_rows(parser: argparse.ArgumentParser, example: str = "status=unlearned") -> None:
    """Adds the options that choose rows of a run; ``rows`` reads them."""
    parser.add_argument("--run", dest="run_id", required=True, type=int, help="number of the run: see lacuna runs")
    parser.add_argument("--filter", default="", help=f"URL query as the pages write it, for example '{example}'")


def rows(args: argparse.Namespace) -> Filter:
    """The filter over the run's rows, as the options of ``add_rows`` state it."""
    from core.filters import from_query
    from core.services import runs

    return from_query(args.filter, runs.get_run(args.run_id).columns)


# ---------------------------------------------------------------------------------------------------------- output


class Progress:
    """One line on stderr: redrawn on a terminal, one line a stage elsewhere."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._stage, self._drawn = "", 0.0

    def __call__(self, stage: str, done: int, total: int, unit: str) -> None:
        now = time.monotonic()
        last = bool(total) and done >= total
        if not self._live:
            if stage != self._stage:
                print(f"{stage} …", file=sys.stderr, flush=True)
        elif stage != self._stage or last or now - self._drawn > 0.2:
            self._drawn = now
            text = f"{stage}  {done:,}/{total:,} {unit}" if total else f"{stage}  {done:,} {unit}" if done else stage
            print(f"\r\x1b[2K{text}", end="\n" if last else "", file=sys.stderr, flush=True)
        self._stage = stage


def to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)


def write(out: Path | None, lines: Iterable[bytes]) -> int:
    """Writes the lines to a file, whole or not at all, or to stdout where ``out`` is None; returns how many."""
    if out is None:
        count = _copy(lines, sys.stdout.buffer.write)
        sys.stdout.buffer.flush()
        return count
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f".{out.name}.part")
    try:
        with part.open("wb") as file:
            count = _copy(lines, file.write)
        os.replace(part, out)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return count


def _copy(lines: Iterable[bytes], put: Callable[[bytes], object]) -> int:
    count = 0
    for line in lines:
        put(line)
        count += 1
    return count
