"""``lacuna diagnose``: a dataset and a checkpoint, sample by sample."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from core.commands._base import DTYPES, Progress, add_kind, add_pairs, existing_path, write


class Diagnose:
    name = "diagnose"
    label = "diagnose a dataset and a checkpoint, sample by sample"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        add = parser.add_argument
        add("--dataset", required=True, nargs="+", type=existing_path, help="one or more files, in training order")
        add("--checkpoint", required=True, type=existing_path, help="folder of the fine-tuned model or adapter")
        add("--base", type=existing_path, help="folder of the model before fine-tuning")
        add("--trajectory", type=existing_path, help="folder that holds checkpoint-* folders")
        add_kind(parser, "--trainer", "presets", "trainer preset (default: custom)", default="custom")
        add_pairs(parser, "--trainer-setting", "NAME=VALUE", "setting of the preset, repeatable")
        add_kind(parser, "--format", "formats", "dataset format, where detection is wrong")
        add_pairs(parser, "--map", "ROLE=COLUMN", "column of a role, repeatable")
        add_kind(parser, "--scorer", "scorers", "how answers are judged (default: suggested from the data)")
        add("--max-draws", type=int, default=20, help="most sampled answers per row (default: 20)")
        add("--max-new-tokens", type=int, default=512)
        add("--seed", type=int, default=0)
        add("--paper-mode", action="store_true", help="also ask in multiple choice, as the study of the causes")
        add_kind(parser, "--backend", "backends", "what runs the checkpoints (default: hf)", default=None)
        add("--dtype", default="float32", choices=DTYPES)
        add("--name", default="", help="name of the run in the browser")
        add("--out", type=Path, help="verdicts as JSONL (default: stdout)")

    def run(self, args: argparse.Namespace) -> int:
        from core.commands import _direct as direct
        from core.plugins import kind, parsed_settings
        from core.services import exports, specs

        # Read before the files are: a mistyped setting is reported at once.
        settings = parsed_settings(kind("presets", args.trainer), dict(args.trainer_setting))
        progress = Progress()
        dataset = direct.import_dataset(args.dataset, args.format, dict(args.map), progress)
        final, base, trajectory = direct.checkpoints(args.checkpoint, args.base, args.trajectory, progress)
        spec = specs.make_spec(
            dataset.id, final, base, trajectory, preset=args.trainer, preset_settings=settings, scorer=args.scorer,
            max_draws=args.max_draws, max_new_tokens=args.max_new_tokens, seed=args.seed, paper_mode=args.paper_mode,
            dtype=args.dtype, backend=args.backend,
        )  # fmt: skip
        run = direct.run(args.name, spec, progress)
        counts = ", ".join(f"{n:,} {status}" for status, n in run.summary["status"].items())
        print(f"run {run.id}: {counts}", file=sys.stderr)
        write(args.out, exports.verdict_lines(run.id))
        return 0


KIND = Diagnose()
