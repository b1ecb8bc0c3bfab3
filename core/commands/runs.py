"""``lacuna runs``: the runs there are."""

from __future__ import annotations

import argparse


class Runs:
    name = "runs"
    label = "list the runs"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """None."""

    def run(self, args: argparse.Namespace) -> int:
        from core.services import runs

        for run in runs.list_runs():
            counts = ", ".join(f"{n:,} {status}" for status, n in run.summary.get("status", {}).items())
            print(f"{run.id}\t{run.state}\t{run.name}\t{counts}")
        return 0


KIND = Runs()
