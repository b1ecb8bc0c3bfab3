"""``lacuna mitigate``: rows that treat a cause, with a manifest and training configurations."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from core.commands._base import Progress, add_pairs, rows
from core.commands._recipe import add_recipe, recipe_settings
from core.errors import UserError


class Mitigate:
    name = "mitigate"
    label = "write rows that treat a cause, with a manifest and configurations"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        add_recipe(parser)
        parser.add_argument(
            "--again", action="store_true",
            help="train again from the base: the dataset with these rows in it, in place of these rows alone",
        )  # fmt: skip
        add_pairs(
            parser, "--course", "NAME=VALUE", "of --again: epochs, batch, order, learning_rate, method (repeatable)"
        )
        parser.add_argument("--out", required=True, type=Path, help="folder for the rows and what belongs to them")

    def run(self, args: argparse.Namespace) -> int:
        from core.plugins import parsed_settings
        from core.services import again, mitigation

        if args.course and not args.again:
            raise UserError("--course says how to train again.", "This export goes on from the checkpoint.",
                            "Give --again, too, or leave --course out.")  # fmt: skip
        course = parsed_settings(again.Kind, dict(args.course)) if args.again else None
        progress = Progress()
        settings, files = recipe_settings(args)
        written = mitigation.export(
            args.run_id, rows(args), args.recipe, settings, args.out, files,
            lambda done, total: progress("writing rows", done, total, "rows"), course,
        )  # fmt: skip
        facts = written.manifest["file"]
        parts = ", ".join(f"{n:,} {name}" for name, n in facts["parts"].items())
        print(f"{facts['rows']:,} rows ({parts}), {facts['changed']:,} changed, to {args.out}", file=sys.stderr)
        for note in written.manifest["notes"]:
            print(f"note: {note}", file=sys.stderr)
        return 0


KIND = Mitigate()
