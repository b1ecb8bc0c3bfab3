"""``lacuna routes …``: both routes on chosen samples or preference pairs, replayed; scorers."""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from core.egrm.scorer import ScorerSettings
from core.egrm.settings import CHOOSERS, PROBES, RouteSettings
from core.errors import UserError
from core.worker.here import run_here

_SETTINGS = ("m", "k", "tau", "probes", "probe_temperature", "path_low", "path_high", "path_top_p", "direct_tokens",
             "path_tokens", "direct_prompt", "path_prompt", "system", "choose", "seed", "dtype")  # fmt: skip


def add(commands: Any) -> None:
    """Adds the command and what it can do to the parser of all commands."""
    parser = commands.add_parser("routes", help="direct answers against chain of thought (E-GRM)")
    actions = parser.add_subparsers(required=True, metavar="action")

    run = actions.add_parser("run", help="both routes on the samples of a run that a filter keeps")
    run.add_argument("--run", dest="run_id", required=True, type=int)
    run.add_argument("--filter", default="", help="URL query as the samples page writes it, e.g. 'status=unlearned'")
    run.add_argument("--scorer", type=int, help="score the paths with this scorer afterwards")
    run.add_argument("--normaliser", help="when two answers are the same (default: suggested from the gold answers)")
    _settings(run)
    run.set_defaults(run=_run)

    pairs = actions.add_parser("pairs", help="judge preference pairs: RewardBench, RM-Bench, JudgeBench, LLaMA-Factory")
    pairs.add_argument("file", type=Path)
    pairs.add_argument("--checkpoint", required=True, type=Path)
    pairs.add_argument("--base", type=Path, help="base model, where the checkpoint is an adapter")
    _settings(pairs)
    pairs.set_defaults(run=_pairs)

    show = actions.add_parser("show", help="replay a routes run; no model runs")
    show.add_argument("id", type=int)
    show.add_argument("--tau", type=float)
    show.add_argument("--m", type=int)
    show.add_argument("--k", type=int)
    show.add_argument("--normaliser")
    show.add_argument("--strict", action="store_true", default=None)
    show.add_argument("--choose", choices=list(CHOOSERS))
    show.set_defaults(run=_show)

    listed = actions.add_parser("list", help="list routes runs and scorers")
    listed.set_defaults(run=_list)

    train = actions.add_parser("train-scorer", help="train a scorer on paths of routes runs or labelled paths")
    train.add_argument("--routes", type=int, action="append", default=[], metavar="ID", help="repeatable")
    train.add_argument("--paths", type=Path, help="labelled paths, JSON lines")
    train.add_argument("--normaliser", default="numeric", help="how answers in --paths are compared")
    train.add_argument("--name", default="")
    for field in fields(ScorerSettings):
        if field.type != "bool":
            kind = {"int": int, "float": float}[str(field.type)]
            train.add_argument(f"--{field.name.replace('_', '-')}", type=kind, default=field.default)
    train.add_argument("--without", action="append", default=[], choices=_switches(True), help="input to leave out")
    train.add_argument("--with", dest="also", action="append", default=[], choices=_switches(False),
                       help="input to add; states: hidden states, of routes runs that kept them")  # fmt: skip
    train.set_defaults(run=_train)

    score = actions.add_parser("score", help="score the paths of a routes run")
    score.add_argument("id", type=int)
    score.add_argument("--scorer", required=True, type=int)
    score.set_defaults(run=_score)


def _switches(on: bool) -> list[str]:
    """Inputs of a scorer that are on, or off, by default."""
    return [f.name for f in fields(ScorerSettings) if f.type == "bool" and f.default is on]


def _settings(parser: argparse.ArgumentParser) -> None:
    defaults = RouteSettings()
    for name in _SETTINGS:
        value = getattr(defaults, name)
        choices = {"probes": list(PROBES), "choose": list(CHOOSERS), "dtype": ["float32", "bfloat16", "auto"]}.get(name)
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), choices=choices,
                            help=None if len(str(value)) > 20 else f"default: {value}")  # fmt: skip
    parser.add_argument(
        "--hidden-states", action="store_true", help="keep pooled hidden states of the paths, for scorers"
    )
    parser.add_argument("--strict", action="store_true", help="count announced answers only")
    parser.add_argument("--limit", type=int, help="most items, taken at even distances")
    parser.add_argument("--name", default="")


def _given(args: argparse.Namespace) -> dict[str, Any]:
    given = {n: getattr(args, n) for n in _SETTINGS if getattr(args, n) is not None}
    return given | {name: True for name in ("strict", "hidden_states") if getattr(args, name)}


def _watch() -> Any:
    from core.__main__ import Progress

    return Progress()


def _run(args: argparse.Namespace) -> int:
    from core.filters import from_query
    from core.services import runs
    from core.services.routes import runs as routes

    chosen = from_query(args.filter, runs.get_run(args.run_id).columns)
    given = _given(args) | ({"normaliser": args.normaliser} if args.normaliser else {})
    settings = replace(routes.suggested(args.run_id, chosen), **given)
    route_id, job = routes.start_for_run(args.run_id, chosen, settings, args.limit, args.scorer, args.name)
    print(f"routes run {route_id}", file=sys.stderr)
    run_here(job, _watch())
    return _print(route_id)


def _pairs(args: argparse.Namespace) -> int:
    from core.checkpoint.folders import as_checkpoint
    from core.services.routes import runs as routes

    for path in (args.file, args.checkpoint):
        if not path.exists():
            raise UserError(f"{path} does not exist.", "", "Check the path.")
    base = args.base.resolve() if args.base else None
    checkpoint = as_checkpoint(args.checkpoint.resolve(), base, args.checkpoint.name)
    settings = routes.judging_settings(**_given(args))
    route_id, job = routes.start_pairs(checkpoint, settings, path=args.file.resolve(), limit=args.limit, name=args.name)
    print(f"routes run {route_id}", file=sys.stderr)
    run_here(job, _watch())
    return _print(route_id)


def _show(args: argparse.Namespace) -> int:
    return _print(args.id, {n: getattr(args, n) for n in ("tau", "m", "k", "normaliser", "strict", "choose")})


def _print(route_id: int, moved: dict[str, Any] | None = None) -> int:
    from core.services.routes import board as route_board
    from core.services.routes import runs as routes

    found = routes.get(route_id)
    choice = route_board.choice(found, {k: v for k, v in (moved or {}).items() if v is not None})
    print(
        json.dumps(
            _plain(asdict(route_board.board(route_id, choice)) | {"choice": asdict(choice)}),
            ensure_ascii=False,
            indent=2,
        )
    )
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


def _list(args: argparse.Namespace) -> int:
    from core.services.routes import runs as routes
    from core.services.routes import scorers as route_scorers

    for r in routes.list_routes():
        print(f"routes {r.id}\t{r.mode}\t{r.done}/{r.n_items}\t{r.name}")
    for s in route_scorers.list_scorers():
        print(f"scorer {s.id}\t{s.encoder or 'no embeddings'}\t{s.facts['questions']} questions\t{s.name}")
    return 0


def _train(args: argparse.Namespace) -> int:
    from core.services.routes import scorers as route_scorers

    settings = ScorerSettings(
        **{f.name: getattr(args, f.name) for f in fields(ScorerSettings) if f.type != "bool"},
        **{name: name not in args.without for name in _switches(True)},
        **{name: name in args.also for name in _switches(False)},
    )
    path = args.paths.resolve() if args.paths else None
    if path is not None and not path.exists():
        raise UserError(f"{args.paths} does not exist.", "", "Check the path.")
    job = route_scorers.start_training(settings, args.routes, path=path, normaliser=args.normaliser, name=args.name)
    scorer = route_scorers.get_scorer(run_here(job, _watch())["scorer"])
    print(json.dumps(_plain({"scorer": scorer.id, **scorer.facts}), ensure_ascii=False, indent=2))
    return 0


def _score(args: argparse.Namespace) -> int:
    from core.services.routes import scorers as route_scorers

    run_here(route_scorers.start_scoring(args.id, args.scorer), _watch())
    return _print(args.id)
