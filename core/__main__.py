"""The command line: the same services as the pages. Stdout carries what was asked for, stderr the progress."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from core import __version__
from core.commands import lab
from core.commands import routes as commands_routes
from core.errors import Stopped, UserError
from core.settings import quiet_libraries
from core.worker.here import run_here


def main(argv: list[str] | None = None) -> int:
    """Runs one command; returns the exit status: 0 done, 2 unusable input, 130 stopped."""
    parser = _parser()
    args = parser.parse_args(argv)
    quiet_libraries()
    try:
        return args.run(args)
    except UserError as error:
        print(f"lacuna: {' '.join(str(error).split())}", file=sys.stderr)  # one line, whatever a library said
        return 130 if isinstance(error, Stopped) else 2
    except KeyboardInterrupt:
        print("lacuna: stopped; what was measured is kept.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of stdout has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lacuna", description="What a fine-tune did not learn, and why.")
    parser.add_argument("--version", action="version", version=f"lacuna {__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")

    one = commands.add_parser("diagnose", help="diagnose a dataset and a checkpoint, sample by sample")
    one.add_argument("--dataset", required=True, nargs="+", type=Path, help="one or more files, in training order")
    one.add_argument("--checkpoint", required=True, type=Path, help="folder of the fine-tuned model or adapter")
    one.add_argument("--base", type=Path, help="folder of the model before fine-tuning")
    one.add_argument("--trajectory", type=Path, help="folder that holds checkpoint-* folders")
    one.add_argument("--trainer", default="custom", help="trainer preset (default: custom)")
    one.add_argument("--trainer-setting", action="append", default=[], metavar="NAME=VALUE", help="may be repeated")
    one.add_argument("--format", help="dataset format, where detection is wrong")
    one.add_argument("--map", action="append", default=[], metavar="ROLE=COLUMN", help="column of a role, repeatable")
    one.add_argument("--scorer", help="how answers are judged (default: suggested from the data)")
    one.add_argument("--max-draws", type=int, default=20, help="most sampled answers per row (default: 20)")
    one.add_argument("--max-new-tokens", type=int, default=512)
    one.add_argument("--seed", type=int, default=0)
    one.add_argument(
        "--paper-mode", action="store_true", help="also ask in multiple choice, as the study of the causes"
    )
    one.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "auto"])
    one.add_argument("--name", default="", help="name of the run in the browser")
    one.add_argument("--out", type=Path, help="verdicts as JSONL (default: stdout)")
    one.set_defaults(run=_diagnose)

    two = commands.add_parser("inspect", help="say what a dataset, checkpoint folder or archive is, and what is wrong")
    two.add_argument("path", type=Path)
    two.set_defaults(run=_inspect)

    three = commands.add_parser("export", help="write a run's rows under a filter, as they came")
    three.add_argument("--run", dest="run_id", required=True, type=int)
    three.add_argument("--filter", default="", help="URL query as the page writes it, e.g. 'status=unlearned'")
    three.add_argument("--out", required=True, type=Path, help="JSONL; a manifest is written beside it")
    three.set_defaults(run=_export)

    mitigate = commands.add_parser("mitigate", help="write rows that treat a cause, with a manifest and configurations")
    _recipe_arguments(mitigate)
    mitigate.add_argument("--out", required=True, type=Path, help="folder for the rows and what belongs to them")
    mitigate.set_defaults(run=_mitigate)

    prove = commands.add_parser("prove", help="try a recipe out on a copy of the checkpoint, against control arms")
    _recipe_arguments(prove)
    prove.add_argument(
        "--budget", action="append", default=[], metavar="NAME=VALUE", help="steps, batch, samples, … (repeatable)"
    )
    prove.add_argument("--out", type=Path, help="the finding as JSON (default: stdout)")
    prove.set_defaults(run=_prove)

    four = commands.add_parser("runs", help="list the runs")
    four.set_defaults(run=_runs)

    commands_routes.add(commands)

    five = commands.add_parser("serve", help="start the app and its workers")
    five.add_argument("--host", default="127.0.0.1")
    five.add_argument("--port", type=int, default=8501)
    five.set_defaults(run=_serve)
    lab.add(commands)
    return parser


def _recipe_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("--run", dest="run_id", required=True, type=int)
    command.add_argument("--recipe", required=True, help="a recipe; an unknown name lists them")
    command.add_argument("--filter", default="", help="URL query as the page writes it, e.g. 'cause=base_conflict'")
    command.add_argument(
        "--set", dest="values", action="append", default=[], metavar="NAME=VALUE", help="setting or file of the recipe"
    )


class Progress:
    """One line on stderr: redrawn on a terminal, one line a stage elsewhere."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._stage, self._drawn = "", 0.0

    def __call__(self, stage: str, done: int, total: int, unit: str) -> None:
        now = time.monotonic()
        last = bool(total) and done >= total
        if not self._live:
            if stage != self._stage:
                print(f"{stage} …", file=sys.stderr, flush=True)
        elif stage != self._stage or last or now - self._drawn > 0.2:
            self._drawn = now
            text = f"{stage}  {done:,}/{total:,} {unit}" if total else f"{stage}  {done:,} {unit}" if done else stage
            print(f"\r\x1b[2K{text}", end="\n" if last else "", file=sys.stderr, flush=True)
        self._stage = stage


def _pairs(texts: list[str], option: str) -> dict[str, str]:
    for text in texts:
        if "=" not in text:
            raise UserError(f"{option} {text!r} has no '='.", "", f"Write {option} NAME=VALUE.")
    return dict(text.split("=", 1) for text in texts)


def _existing(path: Path) -> Path:
    if not path.exists():
        raise UserError(f"{path} does not exist.", "", "Check the path.")
    return path.resolve()


def _diagnose(args: argparse.Namespace) -> int:
    from core.commands import _direct as direct
    from core.plugins import kind
    from core.services import exports, mitigation, runs

    # Read before the files are: a mistyped setting is said at once.
    given = _pairs(args.trainer_setting, "--trainer-setting")
    given = mitigation.parsed_settings(kind("presets", args.trainer or "custom"), given)
    progress = Progress()
    dataset = direct.import_dataset(
        [_existing(p) for p in args.dataset], args.format, _pairs(args.map, "--map"), progress
    )
    final, base, trajectory = direct.checkpoints(
        _existing(args.checkpoint),
        _existing(args.base) if args.base else None,
        _existing(args.trajectory) if args.trajectory else None,
        progress,
    )
    spec = runs.make_spec(
        dataset.id, final, base, trajectory, preset=args.trainer,
        preset_settings=given, scorer=args.scorer,
        max_draws=args.max_draws, max_new_tokens=args.max_new_tokens, seed=args.seed, paper_mode=args.paper_mode,
        dtype=args.dtype,
    )  # fmt: skip
    run = direct.run(args.name, spec, progress)
    counts = ", ".join(f"{n:,} {s}" for s, n in run.summary["status"].items())
    print(f"run {run.id}: {counts}", file=sys.stderr)
    _write(args.out, exports.verdict_lines(run.id))
    return 0


def _write(out: Path | None, lines: Any) -> int:
    """Lines to a file, whole or not at all, or to stdout; returns how many."""
    n = 0
    if out is None:
        for n, line in enumerate(lines, 1):  # noqa: B007
            sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
        return n
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f".{out.name}.part")
    try:
        with part.open("wb") as file:
            for n, line in enumerate(lines, 1):  # noqa: B007
                file.write(line)
        os.replace(part, out)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return n


def _inspect(args: argparse.Namespace) -> int:
    from core.commands import _direct as direct

    print(json.dumps(direct.inspect(_existing(args.path)), ensure_ascii=False, indent=2))
    return 0


def _export(args: argparse.Namespace) -> int:
    from core.filters import from_query
    from core.services import exports, runs

    run = runs.get_run(args.run_id)
    chosen = from_query(args.filter, run.columns)
    n = _write(args.out, exports.lines(run.id, chosen))
    manifest = json.dumps(exports.manifest(run.id, chosen), ensure_ascii=False, indent=2) + "\n"
    _write(args.out.with_suffix(".manifest.json"), [manifest.encode()])
    print(f"{n:,} rows to {args.out}", file=sys.stderr)
    return 0


def _recipe(args: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Path]]:
    """The settings and files given with --set."""
    from core.plugins import kind
    from core.services import mitigation

    recipe = kind("recipes", args.recipe)
    given = _pairs(args.values, "--set")
    slots = {f.name for f in recipe.files}
    files = {name: _existing(Path(text)) for name, text in given.items() if name in slots}
    return mitigation.parsed_settings(recipe, {n: t for n, t in given.items() if n not in slots}), files


def _mitigate(args: argparse.Namespace) -> int:
    from core.filters import from_query
    from core.services import mitigation, runs

    progress = Progress()
    settings, files = _recipe(args)
    chosen = from_query(args.filter, runs.get_run(args.run_id).columns)
    written = mitigation.export(
        args.run_id, chosen, args.recipe, settings, args.out, files,
        lambda done, total: progress("writing rows", done, total, "rows"),
    )  # fmt: skip
    facts = written.manifest["file"]
    parts = ", ".join(f"{n:,} {name}" for name, n in facts["parts"].items())
    print(f"{facts['rows']:,} rows ({parts}), {facts['changed']:,} changed, to {args.out}", file=sys.stderr)
    for note in written.manifest["notes"]:
        print(f"note: {note}", file=sys.stderr)
    return 0


def _prove(args: argparse.Namespace) -> int:
    from core.filters import from_query
    from core.services import mitigation, proofs, runs

    settings, files = _recipe(args)
    chosen = from_query(args.filter, runs.get_run(args.run_id).columns)
    asked = mitigation.request(args.run_id, chosen, args.recipe, settings, {}, files)
    proof, job = proofs.start(asked, proofs.parsed_budget(_pairs(args.budget, "--budget")))
    run_here(job, Progress())
    found = proofs.get_proof(proof)
    for sentence in proofs.in_words(found):
        print(sentence, file=sys.stderr)
    text = json.dumps({"proof": proof, "request": found.request, **(found.result or {})}, ensure_ascii=False, indent=2)
    _write(args.out, [text.encode() + b"\n"])
    return 0


def _runs(args: argparse.Namespace) -> int:
    from core.services import runs

    for run in runs.list_runs():
        counts = ", ".join(f"{n:,} {s}" for s, n in run.summary.get("status", {}).items())
        print(f"{run.id}\t{run.state}\t{run.name}\t{counts}")
    return 0


def _serve(args: argparse.Namespace) -> int:
    from core.worker.supervisor import serve

    return serve(args.host, args.port)


if __name__ == "__main__":
    sys.exit(main())
