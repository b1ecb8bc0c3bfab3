"""``lacuna report``: a run as one HTML file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from core.commands._base import add_rows, rows, write


class Report:
    name = "report"
    label = "write a run as one HTML file that opens without a network"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        add_rows(parser)
        parser.add_argument("--out", required=True, type=Path, help="HTML file")

    def run(self, args: argparse.Namespace) -> int:
        from core.services import report

        text = report.report(args.run_id, rows(args))
        write(args.out, [text])
        print(f"{len(text) / 1e6:.2f} MB to {args.out}", file=sys.stderr)
        return 0


KIND = Report()
