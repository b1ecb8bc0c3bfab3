"""``lacuna lab``: builds planted worlds and scores verdicts on them."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from core.commands._base import add_kind, existing_path, to_json
from core.errors import UserError

FAMILIES = ("llama", "qwen2", "olmo2")


class Lab:
    name = "lab"
    label = "build worlds of known truth, and score verdicts on them"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parts = parser.add_subparsers(required=True, metavar="part")
        build = parts.add_parser(
            "build", help="pretrain a tiny model and fine-tune it on a dataset with planted causes"
        )
        build.add_argument("out", type=Path, help="new folder for the world")
        build.add_argument("--family", choices=FAMILIES, help="shape of the model (default: llama)")
        build.add_argument("--seed", type=int, default=1)
        build.add_argument("--hard", action="store_true", help="with traps, mixtures and weak priors")
        build.add_argument("--lora", action="store_true", help="fine-tune an adapter")
        build.add_argument("--domain", help="family of wording (default: drawn by the seed)")
        build.add_argument(
            "--fault", action="append", default=[], metavar="CODE", help="plant a pipeline fault, repeatable"
        )
        add_kind(build, "--hand", "lab/hands", "a world by another hand, which brings its own family and wording")
        build.add_argument(
            "--real", type=Path, metavar="MODEL",
            help="fine-tune this pretrained chat model on real facts instead; takes packages of requirements-real.txt",
        )  # fmt: skip
        build.add_argument("--epochs", type=int, nargs=2, default=[2, 2], metavar=("ONE", "TWO"),
                           help="with --real: epochs of stage one and two")  # fmt: skip
        build.add_argument("--lr", type=float, default=1e-4, help="with --real: learning rate; five times it for LoRA")
        build.add_argument("--cache", type=Path, help="folder of base models (default: lab/ in the data folder)")
        build.set_defaults(part=_build)

        score = parts.add_parser("score", help="compare verdicts with a world's truth")
        score.add_argument("world", type=existing_path, help="folder of a world")
        score.add_argument("verdicts", type=existing_path, help="JSONL with id, cause and confidence")
        score.set_defaults(part=_score)

    def run(self, args: argparse.Namespace) -> int:
        return int(args.part(args))


def _build(args: argparse.Namespace) -> int:
    from core.commands._base import Progress
    from core.lab.worlds import WorldSpec, build
    from core.settings import settings

    if args.hand is not None:
        return _build_by_hand(args)
    if args.real is not None:
        return _build_real(args)
    spec = WorldSpec(args.family or FAMILIES[0], args.seed, args.hard, args.lora, args.domain, tuple(args.fault))
    started, progress = time.monotonic(), Progress()
    summary = build(
        args.out,
        spec,
        args.cache or settings().data_dir / "lab",
        lambda stage, done, total: progress(stage, done, total, "steps"),
    )
    print(to_json({**summary, "seconds": round(time.monotonic() - started, 1)}))
    return 0


def _build_by_hand(args: argparse.Namespace) -> int:
    from core.commands._base import Progress
    from core.lab.hands._build import build
    from core.plugins import kind
    from core.settings import settings

    own = {"--family": args.family, "--lora": args.lora, "--domain": args.domain, "--fault": args.fault}
    if given := [option for option, value in own.items() if value]:
        raise UserError(
            f"{', '.join(given)} cannot be combined with --hand {args.hand}.",
            "A hand brings its own family, wording and training.",
            "Leave the option out, or leave --hand out.",
        )
    started, progress = time.monotonic(), Progress()
    summary = build(
        args.out,
        kind("lab/hands", args.hand),
        args.seed,
        args.hard,
        args.cache or settings().data_dir / "lab",
        lambda stage, done, total: progress(stage, done, total, "passes"),
    )
    print(to_json({**summary, "seconds": round(time.monotonic() - started, 1)}))
    return 0


def _build_real(args: argparse.Namespace) -> int:
    from core.commands._base import Progress
    from core.lab.real.world import RealSpec, build_real
    from core.settings import settings

    own = {"--family": args.family, "--hard": args.hard, "--domain": args.domain, "--fault": args.fault,
           "--hand": args.hand}  # fmt: skip
    if given := [option for option, value in own.items() if value]:
        raise UserError(
            f"{', '.join(given)} cannot be combined with --real.",
            "It shapes made-up worlds; a real one is made of real facts.",
            "Leave it out, or leave out --real.",
        )
    spec = RealSpec(str(args.real), args.seed, (args.epochs[0], args.epochs[1]), args.lr, lora=args.lora)
    started, progress = time.monotonic(), Progress()
    cache = args.cache or settings().data_dir / "lab"
    summary = build_real(args.out, spec, cache, lambda stage, done, total: progress(stage, done, total, "steps"))
    print(to_json({**summary, "seconds": round(time.monotonic() - started, 1)}))
    return 0


def _score(args: argparse.Namespace) -> int:
    from core.lab.score import joined, score, table

    result = score(joined(_lines(existing_path(args.world / "truth.jsonl")), _lines(args.verdicts)))
    print(to_json(result))
    print(table(result), file=sys.stderr)
    return 0


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


KIND = Lab()
