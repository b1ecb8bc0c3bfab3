"""What is diagnosed: the options of ``diagnose`` and ``plan``, and the specification that they ask for."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.commands._base import DTYPES, Progress, add_kind, add_pairs, existing_path
from core.errors import UserError

if TYPE_CHECKING:
    from core.types import Checkpoint, RunSpec, Setup, SetupField


def add_sources(parser: argparse.ArgumentParser) -> None:
    """Adds the options; ``specified`` reads them."""
    add = parser.add_argument
    add("--config", nargs="+", type=existing_path, help="the trainer's own configuration: its file or its folder")
    add("--no-config", action="store_true", help="leave out what lies beside the checkpoint")
    add("--dataset", "--data", nargs="+", type=existing_path, help="one or more files, in training order")
    add("--checkpoint", type=existing_path, help="folder of the fine-tuned model or adapter (default: none)")
    add("--outputs", type=existing_path, metavar="FILE", help="in place of a checkpoint: its answers or losses by row")
    add(
        "--recording",
        nargs="+",
        type=existing_path,
        metavar="FILE",
        help="what lacuna_recorder.py wrote in training: the way to the checkpoint, or in place of one",
    )
    add("--tokenizer", type=existing_path, metavar="FOLDER", help="without a checkpoint: the model's tokenizer")
    add("--base", type=existing_path, help="folder of the model before fine-tuning")
    add("--trajectory", type=existing_path, help="folder that holds checkpoint-* folders")
    add("--server", metavar="URL", help="in place of --checkpoint: address of a model server, as http://host:8000/v1")
    add("--server-model", default="", metavar="NAME", help="its model to diagnose (default: the only one)")
    add("--server-base", metavar="NAME", help="its model before fine-tuning")
    add_kind(parser, "--trainer", "presets", "trainer preset (default: as the configuration says, else custom)")
    add_pairs(parser, "--trainer-setting", "NAME=VALUE", "setting of the preset, repeatable")
    add_kind(parser, "--format", "formats", "dataset format, where detection is wrong")
    add_pairs(parser, "--map", "ROLE=COLUMN", "column of a role, repeatable")
    add_kind(parser, "--scorer", "scorers", "how answers are judged (default: suggested from the data)")
    add("--max-draws", type=int, default=20, help="most sampled answers per row (default: 20)")
    add("--max-new-tokens", type=int, default=512)
    add("--seed", type=int, default=0)
    add("--paper-mode", action="store_true", help="also ask in multiple choice, as the study of the causes")
    add_kind(parser, "--backend", "backends", "what runs the checkpoints (default: hf)", default=None)
    help_dtype = "number type of the weights (default: bfloat16 on an accelerator, else float32); auto measures both"
    add("--dtype", choices=DTYPES, help=help_dtype)


def specified(args: argparse.Namespace, progress: Progress) -> tuple[RunSpec, Setup | None]:
    """The specification, with its dataset stored, and the configurations that it came from.

    Raises:
        UserError: there is no dataset or no checkpoint, one cannot be used, or a name does not exist.
    """
    from core.commands import _direct as direct
    from core.services import setups, specs

    sources = _sources(args)
    dataset = direct.import_dataset(
        sources.files, sources.format, dict(args.map), progress, sources.columns, sources.rows
    )
    settings = setups.with_row_count(sources.preset, sources.settings, dataset)
    if args.server:
        final, base = direct.on_server(args.server, args.server_model, args.server_base, args.tokenizer, progress)
        trajectory: list[Checkpoint] = []
    elif sources.checkpoint is None:
        final, base, trajectory = direct.recorded(args.outputs, args.recording or (), args.tokenizer)
    else:
        final, base, trajectory = direct.checkpoints(sources.checkpoint, sources.base, sources.trajectory, progress)
        trajectory += direct.recorded_way(args.recording or ())
    spec = specs.make_spec(
        dataset.id, final, base, trajectory, preset=sources.preset, preset_settings=settings,
        scorer=args.scorer, max_draws=args.max_draws, max_new_tokens=args.max_new_tokens, seed=args.seed,
        paper_mode=args.paper_mode, dtype=args.dtype, backend=args.backend,
    )  # fmt: skip
    return spec, sources.setup


@dataclass(frozen=True, slots=True)
class _Sources:
    """What is diagnosed, from the arguments and, where they leave it open, from configurations."""

    files: list[Path]
    checkpoint: Path | None
    base: Path | None
    trajectory: Path | None
    preset: str
    settings: dict[str, Any]
    format: str | None
    columns: dict[str, str]
    rows: int | None
    setup: Setup | None


def _sources(args: argparse.Namespace) -> _Sources:
    """What the arguments say, and for what they leave open the configurations. Prints where each came from.

    Raises:
        UserError: there is no dataset, or a configuration leads to no checkpoint, or a setting does not exist.
    """
    from core.plugins import kind, parsed_settings
    from core.types import DEFAULT_PRESET, Setup

    _refuse_both(args)
    setup = _setup(args)
    known = setup or Setup({})
    preset = args.trainer or known.value("preset") or DEFAULT_PRESET
    # Read before the files are: a mistyped setting is reported at once.
    settings = parsed_settings(kind("presets", preset), dict(args.trainer_setting))
    if preset == known.value("preset"):
        settings = known.named("setting") | settings
    files = args.dataset or [Path(stated.path) for stated in known.of("dataset")]
    same = [path.name for path in files] == [Path(stated.path).name for stated in known.of("dataset")]
    without = args.outputs is not None or args.tokenizer is not None
    if args.recording and args.outputs is not None:
        raise UserError("--recording does not go with --outputs.", "Both speak of losses.", "Leave one of them out.")
    checkpoint = args.checkpoint or (None if without else _path(known, "checkpoint"))
    if not files:
        raise _missing(known, "dataset")
    if checkpoint is None and not without and (setup is not None or args.base or args.trajectory):
        raise _missing(known, "checkpoint")
    if args.checkpoint is not None and without:
        raise UserError(
            "--checkpoint does not go with --outputs or --tokenizer.",
            "A checkpoint is asked itself and has its own tokenizer.",
            "Leave one of them out.",
        )
    columns_stand = same and args.format in (None, known.value("format"))
    if setup is not None:
        unused = [
            *([] if preset == known.value("preset") else ["setting"]),
            *([] if same else ["format", "column", "rows"]),
            *([] if columns_stand else ["column"]),
        ]
        by_hand = {("setting", name) for name, _ in args.trainer_setting} | {("column", role) for role, _ in args.map}
        stated = (v for v in setup.stated if v.field not in unused and (v.field, v.name) not in by_hand)
        setup = replace(setup, stated=tuple(stated))
        _print(args, setup)
    return _Sources(
        files=files,
        checkpoint=checkpoint,
        base=args.base or _path(known, "base"),
        trajectory=args.trajectory or _path(known, "trajectory"),
        preset=preset,
        settings=settings,
        format=args.format or (known.value("format") if same else None),
        columns=known.named("column") if columns_stand else {},
        rows=known.value("rows") if same else None,
        setup=setup,
    )


def _refuse_both(args: argparse.Namespace) -> None:
    """Raises UserError for options of a folder beside those of a server, and for a server without a tokenizer."""
    of_server = {"--server-model": args.server_model, "--server-base": args.server_base}
    others = {"--checkpoint": args.checkpoint, "--outputs": args.outputs, "--base": args.base,
              "--trajectory": args.trajectory}  # fmt: skip
    if not args.server:
        if given := [name for name, value in of_server.items() if value]:
            why = "No server was named."
            raise UserError(f"{given[0]} goes with --server.", why, "Add --server URL, or leave it out.")
        return
    if given := [name for name, value in others.items() if value]:
        raise UserError(
            f"{given[0]} does not go with --server.",
            "All checkpoints of a run are folders, or all are models on a server.",
            "Name the server's models with --server-model and --server-base.",
        )
    if args.tokenizer is None:
        raise UserError(
            "The server's model needs its tokenizer here.",
            "Rows are made into token ids on this machine, as the trainer made them.",
            "Give --tokenizer FOLDER, with tokenizer.json and tokenizer_config.json of the model.",
        )


def _setup(args: argparse.Namespace) -> Setup | None:
    """What the configurations say that were named, or that lie beside the checkpoint."""
    from core.services import setups

    if args.config:
        return setups.from_paths(args.config)
    beside = args.checkpoint or (args.tokenizer if args.server else None)
    if args.no_config or beside is None:
        return None
    setup, remark = setups.beside(beside)
    if remark:
        print(f"beside the checkpoint: {remark}", file=sys.stderr)
    return setup


def _path(setup: Setup, field: SetupField) -> Path | None:
    path = setup.path(field)
    return Path(path) if path else None


def _missing(setup: Setup, field: SetupField) -> UserError:
    keys = "; ".join(f"{unmet.file} says {unmet.key} = {unmet.value}. {unmet.reason}" for unmet in setup.unmet)
    files = ", ".join(setup.files)
    return UserError(
        f"No {field} was named.",
        f"{files} does not lead to one. {keys}" if files else f"A diagnosis needs a {field}.",
        f"Give --{field}" + ("." if files else ", or --config with the trainer's own configuration."),
    )


def _print(args: argparse.Namespace, setup: Setup) -> None:
    """What was taken over and what was not, to stderr."""
    from core.services import setups

    given: dict[SetupField, str] = {}
    options: tuple[tuple[SetupField, str], ...] = (
        ("dataset", "dataset"), ("checkpoint", "checkpoint"), ("base", "base"), ("trajectory", "trajectory"),
        ("preset", "trainer"), ("format", "format"),
    )  # fmt: skip
    for field, option in options:
        value = getattr(args, option)
        if value is not None:
            given[field] = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    for line in setups.report(setup, given):
        print(line, file=sys.stderr)
    if not args.config:
        print("  --no-config leaves out what lies beside the checkpoint.", file=sys.stderr)
