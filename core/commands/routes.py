"""``lacuna routes``: both routes on chosen samples, preference pairs or answers from a file, replayed; scorers."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from core.commands._base import DTYPES, Progress, add_rows, existing_path, rows, to_json, write

_SETTINGS = ("m", "k", "tau", "probes", "probe_temperature", "path_low", "path_high", "path_top_p", "direct_tokens",
             "path_tokens", "direct_prompt", "path_prompt", "system", "choose", "seed", "backend",
             "dtype")  # fmt: skip


class Routes:
    name = "routes"
    label = "direct answers against chain of thought (E-GRM)"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        from core.egrm.settings import CHOOSERS

        actions = parser.add_subparsers(required=True, metavar="action")

        run = actions.add_parser("run", help="both routes on the samples of a run that a filter keeps")
        add_rows(run)
        run.add_argument("--scorer", type=int, help="score the paths with this scorer afterwards")
        run.add_argument(
            "--normaliser", help="when two answers are the same (default: suggested from the gold answers)"
        )
        _add_settings(run)
        run.set_defaults(action=_run)

        pairs = actions.add_parser(
            "pairs", help="judge preference pairs: RewardBench, RM-Bench, JudgeBench, LLaMA-Factory"
        )
        pairs.add_argument("file", type=existing_path)
        pairs.add_argument("--checkpoint", required=True, type=existing_path)
        pairs.add_argument("--base", type=existing_path, help="base model, where the checkpoint is an adapter")
        _add_settings(pairs)
        pairs.set_defaults(action=_pairs)

        answers = actions.add_parser("answers", help="replay answers that any model gave, from a file; no model runs")
        answers.add_argument("file", type=existing_path, help="JSON lines, also gzipped")
        answers.add_argument("--model", default="", help="what gave them, in words")
        answers.add_argument("--run", dest="run_id", type=int, help="a run whose samples the field id names")
        answers.add_argument("--name", default="")
        answers.set_defaults(action=_answers)

        export = actions.add_parser("export", help="write a routes run as a file of answers, to be opened anywhere")
        export.add_argument("id", type=int)
        export.add_argument("--out", required=True, type=Path, help="JSON lines")
        export.set_defaults(action=_export)

        show = actions.add_parser("show", help="replay a routes run; no model runs")
        show.add_argument("id", type=int)
        show.add_argument("--tau", type=float)
        show.add_argument("--m", type=int)
        show.add_argument("--k", type=int)
        show.add_argument("--normaliser")
        show.add_argument("--strict", action="store_true", default=None)
        show.add_argument("--choose", choices=list(CHOOSERS))
        show.set_defaults(action=_show)

        actions.add_parser("list", help="list routes runs and scorers").set_defaults(action=_list)

        train = actions.add_parser("train-scorer", help="train a scorer on paths of routes runs or labelled paths")
        _add_training(train)
        train.set_defaults(action=_train)

        score = actions.add_parser("score", help="score the paths of a routes run")
        score.add_argument("id", type=int)
        score.add_argument("--scorer", required=True, type=int)
        score.set_defaults(action=_score)

    def run(self, args: argparse.Namespace) -> int:
        return int(args.action(args))


# ------------------------------------------------------------------------------------------------------- arguments


def _add_settings(parser: argparse.ArgumentParser) -> None:
    from core.egrm.settings import CHOOSERS, PROBES, RouteSettings
    from core.plugins import kinds

    defaults = RouteSettings()
    choices: Mapping[str, Any] = {"probes": list(PROBES), "choose": list(CHOOSERS), "dtype": DTYPES,
                                  "backend": list(kinds("backends"))}  # fmt: skip
    for name in _SETTINGS:
        value = getattr(defaults, name)
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), choices=choices.get(name),
                            help=None if len(str(value)) > 20 else f"default: {value}")  # fmt: skip
    parser.add_argument(
        "--hidden-states", action="store_true", help="keep pooled hidden states of the paths, for scorers"
    )
    parser.add_argument("--strict", action="store_true", help="count announced answers only")
    parser.add_argument("--limit", type=int, help="most items, taken at even distances")
    parser.add_argument("--name", default="")


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    """The settings that the command line names."""
    values = {name: getattr(args, name) for name in _SETTINGS if getattr(args, name) is not None}
    return values | {name: True for name in ("strict", "hidden_states") if getattr(args, name)}


def _add_training(parser: argparse.ArgumentParser) -> None:
    from core.egrm.scorer_inputs import ScorerSettings

    parser.add_argument("--routes", type=int, action="append", default=[], metavar="ID", help="repeatable")
    parser.add_argument("--paths", type=existing_path, help="labelled paths, JSON lines")
    parser.add_argument("--normaliser", default="numeric", help="how answers in --paths are compared")
    parser.add_argument("--name", default="")
    for field in fields(ScorerSettings):
        if field.type != "bool":
            number = {"int": int, "float": float}[str(field.type)]
            parser.add_argument(f"--{field.name.replace('_', '-')}", type=number, default=field.default)
    parser.add_argument("--without", action="append", default=[], choices=_inputs(True), help="input to leave out")
    parser.add_argument("--with", dest="also", action="append", default=[], choices=_inputs(False),
                        help="input to add; states: hidden states, of routes runs that kept them")  # fmt: skip


def _inputs(on: bool) -> list[str]:
    """Inputs of a scorer that are on, or off, by default."""
    from core.egrm.scorer_inputs import ScorerSettings

    return [f.name for f in fields(ScorerSettings) if f.type == "bool" and f.default is on]


# --------------------------------------------------------------------------------------------------------- actions


def _run(args: argparse.Namespace) -> int:
    from core.services.routes import runs as routes

    selection = rows(args)
    values = _settings(args) | ({"normaliser": args.normaliser} if args.normaliser else {})
    settings = replace(routes.suggested(args.run_id, selection), **values)
    return _work(*routes.start_for_run(args.run_id, selection, settings, args.limit, args.scorer, args.name))


def _pairs(args: argparse.Namespace) -> int:
    from core.checkpoint.folders import as_checkpoint
    from core.services.routes import runs as routes

    checkpoint = as_checkpoint(args.checkpoint, args.base, args.checkpoint.name)
    settings = routes.judging_settings(**_settings(args))
    return _work(*routes.start_pairs(checkpoint, settings, path=args.file, limit=args.limit, name=args.name))


def _work(route_id: int, job_id: int) -> int:
    from core.worker.here import run_here

    print(f"routes run {route_id}", file=sys.stderr)
    run_here(job_id, Progress())
    return _print(route_id)


def _answers(args: argparse.Namespace) -> int:
    from core.services.routes import answers
    from core.services.routes import runs as routes

    started = answers.start_answers(path=args.file, model=args.model, run_id=args.run_id, name=args.name)
    status = _work(*started)
    source = routes.get(started[0]).source
    for problem in source["problems"]:
        print(f"refused, {problem}", file=sys.stderr)
    if source["n_problems"] > len(source["problems"]):
        print(f"refused: {source['n_problems']:,} rows in all", file=sys.stderr)
    return status


def _export(args: argparse.Namespace) -> int:
    from core.services.routes import answers

    print(f"{write(args.out, answers.lines(args.id)):,} items to {args.out}", file=sys.stderr)
    return 0


def _show(args: argparse.Namespace) -> int:
    return _print(args.id, {n: getattr(args, n) for n in ("tau", "m", "k", "normaliser", "strict", "choose")})


def _list(args: argparse.Namespace) -> int:
    from core.services.routes import runs as routes
    from core.services.routes import scorers

    for run in routes.list_routes():
        print(f"routes {run.id}\t{run.mode}\t{run.done}/{run.n_items}\t{run.name}")
    for scorer in scorers.list_scorers():
        print(f"scorer {scorer.id}\t{scorer.encoder or 'no embeddings'}\t{scorer.facts['questions']} questions"
              f"\t{scorer.name}")  # fmt: skip
    return 0


def _train(args: argparse.Namespace) -> int:
    from core.egrm.scorer_inputs import ScorerSettings
    from core.services.routes import scorers
    from core.worker.here import run_here

    settings = ScorerSettings(
        **{f.name: getattr(args, f.name) for f in fields(ScorerSettings) if f.type != "bool"},
        **{name: name not in args.without for name in _inputs(True)},
        **{name: name in args.also for name in _inputs(False)},
    )
    job = scorers.start_training(settings, args.routes, path=args.paths, normaliser=args.normaliser, name=args.name)
    scorer = scorers.get_scorer(run_here(job, Progress())["scorer"])
    print(to_json(_plain({"scorer": scorer.id, **scorer.facts})))
    return 0


def _score(args: argparse.Namespace) -> int:
    from core.services.routes import scorers
    from core.worker.here import run_here

    run_here(scorers.start_scoring(args.id, args.scorer), Progress())
    return _print(args.id)


# ---------------------------------------------------------------------------------------------------------- output


def _print(route_id: int, moved: Mapping[str, Any] | None = None) -> int:
    """Prints the routes run at its standing choice, with the values in ``moved`` in place of those it holds."""
    from core.services.routes import board
    from core.services.routes import runs as routes

    choice = board.choice(routes.get(route_id), {k: v for k, v in (moved or {}).items() if v is not None})
    print(to_json(_plain(asdict(board.board(route_id, choice)) | {"choice": asdict(choice)})))
    return 0


def _plain(value: Any) -> Any:
    """JSON-able: NaN becomes null, keys become text."""
    if isinstance(value, dict):
        return {k if isinstance(k, str) else _outcome(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 6)
    return value


def _outcome(key: tuple[bool, bool, bool]) -> str:
    short, direct, reason = key
    words = ("short" if short else "long", "direct right" if direct else "direct wrong")
    return ", ".join((*words, "reasoning right" if reason else "reasoning wrong"))


KIND = Routes()
