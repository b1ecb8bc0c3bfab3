"""``lacuna advise``: what to do about each cause, in rows."""

from __future__ import annotations

import argparse

from core.commands._base import add_rows, rows


class Advise:
    name = "advise"
    label = "say for each cause what may come back, what it may cost and how much training it takes"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        add_rows(parser, example="cause=base_conflict")

    def run(self, args: argparse.Namespace) -> int:
        from core.services import advice

        print("\t".join(("cause", "samples", "what", "restored", "at risk", "rows to train", "seconds", "from")))
        for option in advice.options(args.run_id, rows(args)):
            values = (
                option.cause, option.n, option.what, _rows(option.restored), _rows(option.at_risk),
                "-" if option.rows is None else option.rows,
                "-" if option.seconds is None else round(option.seconds), option.source,
            )  # fmt: skip
            print("\t".join(str(value) for value in values))
        return 0


def _rows(values: tuple[float, float, float] | None) -> str:
    return "-" if values is None else f"{values[0]:.1f} ({values[1]:.1f} to {values[2]:.1f})"


KIND = Advise()
