"""Options that hold limits against a run, shared by ``diagnose`` and ``gate``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from core.commands._base import write

if TYPE_CHECKING:
    from core.report.limits import Limit
    from core.types import Filter

# The exit status where a limit is passed: neither a crash (1) nor unusable input (2).
PASSED = 3


def add_limits(parser: argparse.ArgumentParser, required: bool = False) -> None:
    """Adds the options; ``hold`` reads them."""
    parser.add_argument(
        "--fail-if", action="append", default=[], type=_limit, required=required, metavar="LIMIT",
        help="end with status 3 where it holds, repeatable: 'unlearned>0.15' (share), 'cause:base_conflict>20' (count)",
    )  # fmt: skip
    parser.add_argument("--junit", type=Path, help="write the limits as JUnit XML")
    parser.add_argument("--summary", type=Path, help="append a Markdown summary, as CI pages show it")


def _limit(text: str) -> Limit:
    from core.services import gate

    return gate.limit(text)


def hold(
    run_id: int, args: argparse.Namespace, chosen: Filter | None = None, say: Callable[[str], None] | None = None
) -> int:
    """Holds the limits against the run, one line each, and returns the exit status."""
    from core.services import gate

    outcomes = gate.hold(run_id, args.fail_if, chosen)
    for outcome in outcomes:
        (say or _to_stderr)(outcome.text)
    if args.junit:
        write(args.junit, [gate.junit(run_id, outcomes)])
    if args.summary:
        args.summary.parent.mkdir(parents=True, exist_ok=True)
        with args.summary.open("a", encoding="utf-8") as file:
            file.write(gate.summary(run_id, outcomes, chosen))
    return 0 if gate.passes(outcomes) else PASSED


def _to_stderr(text: str) -> None:
    print(text, file=sys.stderr)
