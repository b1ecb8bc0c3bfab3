"""``lacuna export``: the rows of a run under a filter, as they came."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from core.commands._base import add_rows, rows, to_json, write


class Export:
    name = "export"
    label = "write a run's rows under a filter, as they came"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        add_rows(parser)
        parser.add_argument("--out", required=True, type=Path, help="JSONL; a manifest is written beside it")

    def run(self, args: argparse.Namespace) -> int:
        from core.services import exports

        selection = rows(args)
        count = write(args.out, exports.lines(args.run_id, selection))
        manifest = to_json(exports.manifest(args.run_id, selection)) + "\n"
        write(args.out.with_suffix(".manifest.json"), [manifest.encode()])
        print(f"{count:,} rows to {args.out}", file=sys.stderr)
        return 0


KIND = Export()
