"""``lacuna gate``: limits that a finished run must keep, for CI."""

from __future__ import annotations

import argparse

from core.commands._limits import add_limits, hold


class Gate:
    name = "gate"
    label = "fail where a finished run passes a limit"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("run_id", metavar="run", type=int, help="number of the run: see lacuna runs")
        parser.add_argument("--filter", default="", help="only these samples, for example 'stage=two'")
        add_limits(parser, required=True)

    def run(self, args: argparse.Namespace) -> int:
        from core.commands._base import rows

        return hold(args.run_id, args, rows(args), print)


KIND = Gate()
