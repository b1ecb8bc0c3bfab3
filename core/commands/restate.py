"""``lacuna restate``: samples in other words, written by a language model of your choice and checked by rule."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from core.commands._base import Progress, add_rows, existing_path, rows


class Restate:
    name = "restate"
    label = "have a language model write samples in other words, for the recipe that teaches missing knowledge"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        add_rows(parser, example="cause=missing_knowledge")
        parser.add_argument(
            "--model", help="folder of a checkpoint on this machine (default: the server that LACUNA_JUDGE_URL names)"
        )
        parser.add_argument("--out", type=Path, required=True, help="where the restatements go, as JSONL")

    def run(self, args: argparse.Namespace) -> int:
        from core.checkpoint.folders import as_checkpoint
        from core.services import restating

        model = None
        if args.model is not None:
            folder = existing_path(args.model)
            model = as_checkpoint(folder, None, folder.name)
        told = Progress()
        written = restating.write(
            args.run_id, rows(args), model, args.out, lambda done, total: told("asking", done, total, "samples")
        )
        print(f"{written.kept} restatements of {written.samples} samples in {args.out}", file=sys.stderr)
        for why, n in sorted(written.left_out.items(), key=lambda item: -item[1]):
            print(f"left out {n}: {why}", file=sys.stderr)
        return 0


KIND = Restate()
