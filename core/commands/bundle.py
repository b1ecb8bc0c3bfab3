"""``lacuna bundle``: a run as one file for another machine."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from core.commands._base import Progress


class Bundle:
    name = "bundle"
    label = "write a run as one file that opens on any machine, without weights"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("run_id", metavar="run", type=int, help="number of the run: see lacuna runs")
        parser.add_argument("--out", required=True, type=Path, help="the file, for example run.lacuna")

    def run(self, args: argparse.Namespace) -> int:
        from core.services import bundles

        written = bundles.write(args.run_id, args.out, Progress())
        size, n = written.n_bytes / 1e6, written.tables["samples"]
        print(f"{n:,} samples, {written.artefacts:,} artefacts, {size:.2f} MB to {args.out}", file=sys.stderr)
        return 0


KIND = Bundle()
