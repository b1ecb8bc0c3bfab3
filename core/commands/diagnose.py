"""``lacuna diagnose``: a dataset and a checkpoint, sample by sample."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from core.commands._base import Progress, write
from core.commands._limits import add_limits, hold
from core.commands._sources import add_sources, specified


class Diagnose:
    name = "diagnose"
    label = "diagnose a dataset and a checkpoint, sample by sample"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        add = parser.add_argument
        add_sources(parser)
        add("--name", default="", help="name of the run in the browser")
        add("--out", type=Path, help="verdicts as JSONL (default: stdout)")
        add_limits(parser)

    def run(self, args: argparse.Namespace) -> int:
        from core.commands import _direct as direct
        from core.services import exports

        progress = Progress()
        spec, setup = specified(args, progress)
        run = direct.run(args.name, spec, progress, setup)
        counts = ", ".join(f"{n:,} {status}" for status, n in run.summary["status"].items())
        print(f"run {run.id}: {counts}", file=sys.stderr)
        write(args.out, exports.verdict_lines(run.id))
        return hold(run.id, args)


KIND = Diagnose()
