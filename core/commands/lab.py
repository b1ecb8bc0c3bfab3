"""``lacuna lab``: builds planted worlds and scores verdicts on them."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from core.errors import UserError


def add(commands: argparse._SubParsersAction) -> None:
    """Adds the command to the parser of the command line."""
    lab = commands.add_parser("lab", help="build worlds of known truth, and score verdicts on them")
    parts = lab.add_subparsers(required=True, metavar="part")

    one = parts.add_parser("build", help="pretrain a tiny model and fine-tune it on a dataset with planted causes")
    one.add_argument("out", type=Path, help="new folder for the world")
    one.add_argument("--family", default="llama", choices=["llama", "qwen2", "olmo2"])
    one.add_argument("--seed", type=int, default=1)
    one.add_argument("--hard", action="store_true", help="with traps, mixtures and weak priors")
    one.add_argument("--lora", action="store_true", help="fine-tune an adapter")
    one.add_argument("--domain", help="family of wording (default: drawn by the seed)")
    one.add_argument("--fault", action="append", default=[], metavar="CODE", help="plant a pipeline fault, repeatable")
    one.add_argument("--cache", type=Path, help="folder of base models (default: lab/ in the data folder)")
    one.set_defaults(run=_build)

    two = parts.add_parser("score", help="compare verdicts with a world's truth")
    two.add_argument("world", type=Path, help="folder of a world")
    two.add_argument("verdicts", type=Path, help="JSONL with id, cause and confidence")
    two.set_defaults(run=_score)


def _build(args: argparse.Namespace) -> int:
    from core.lab.worlds import WorldSpec, build
    from core.settings import settings

    spec = WorldSpec(args.family, args.seed, args.hard, args.lora, args.domain, tuple(args.fault))
    started, shown = time.monotonic(), [""]

    def progress(stage: str, done: int, total: int) -> None:
        if stage != shown[0]:
            shown[0] = stage
            print(f"{stage}: {total:,} steps …", file=sys.stderr, flush=True)

    summary = build(args.out, spec, args.cache or settings().data_dir / "lab", progress)
    print(json.dumps({**summary, "seconds": round(time.monotonic() - started, 1)}, indent=2))
    return 0


def _lines(path: Path) -> list[dict]:
    if not path.exists():
        raise UserError(f"{path} does not exist.", "", "Check the path.")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _score(args: argparse.Namespace) -> int:
    from core.lab.score import joined, score, table

    result = score(joined(_lines(args.world / "truth.jsonl"), _lines(args.verdicts)))
    print(json.dumps(result, indent=2))
    print(table(result), file=sys.stderr)
    return 0
