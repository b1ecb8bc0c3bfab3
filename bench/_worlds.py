"""Lab worlds as tables: each is diagnosed once through the services and kept in a small file, which fits are made from.

A file of ``bench/evidence`` holds all that a fit or a comparison asks of a world: signals, facts of the run, truth. So
neither the world nor its models are needed again. ``python -m bench.measure_worlds`` writes them.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from core.causes._evidence import measure_evidence
from core.derived import derive
from core.judge.judgement import judge, on_the_edge
from core.plugins import kinds
from core.types import Check, RunFacts, RunSpec, SignalTable, Status, Thresholds, TrainerState

KEPT = Path(__file__).with_name("evidence")
# Columns that a run without its base, or without its trajectory, would not have.
OF_BASE = ("base_", "belief_margin", "output_is_belief", "options_jsd")


# What a real model weighs against one generator of toys: people bring real ones. At 1, 2 and 4, on a real world by the
# other and all toys: macro-F1 0.846, 0.843, 0.855, calibration error 0.083, 0.056, 0.067; other authors' easy worlds
# lose 0.003 and 0.022.
REAL = 2.0


@dataclass(frozen=True, slots=True)
class World:
    """One diagnosed world.

    Attributes:
        name: of its folder. generator: whose code wrote it: ``lab``, ``real``, or the name of a hand.
        table: signals and facts of all n samples, without derivations; ``facts``: what is known of the run.
        truth: (n,) records of ``truth.jsonl`` in the same order.
        built: the command that builds the world again.
        versions: of the signals that were measured, by name.
    """

    name: str
    spec: RunSpec
    table: SignalTable
    facts: RunFacts
    truth: tuple[Mapping[str, Any], ...]
    generator: str = "lab"
    built: str = ""
    versions: Mapping[str, int] = field(default_factory=dict)

    def without(self, *parts: str) -> World:
        """The world as a run would see it that lacks ``base`` or ``trajectory``."""
        columns, spec = dict(self.table.columns), self.spec
        if "base" in parts:
            columns = {k: v for k, v in columns.items() if not k.startswith(OF_BASE)}
            spec = replace(spec, base=None)
        if "trajectory" in parts:
            steps = tuple(role.column("") for role in spec.checkpoints if role.kind == "checkpoint")
            columns = {k: v for k, v in columns.items() if not (steps and k.startswith(steps))}
            spec = replace(spec, trajectory=())
        facts = replace(self.facts, spec=spec)
        return replace(self, spec=spec, facts=facts, table=SignalTable(self.table.keys, columns))


@dataclass(frozen=True, slots=True)
class Cases:
    """The samples of one world whose cause is known: (m,) arrays side by side.

    Attributes:
        rows: places in the world. fault: whether a pipeline fault is said to explain the sample. edge: whether rounding
            decides if it is learned, so that no cause is named.
    """

    world: str
    rows: np.ndarray
    fault: np.ndarray
    edge: np.ndarray
    evidence: Mapping[str, np.ndarray]
    truth: tuple[frozenset[str], ...]
    columns: Mapping[str, np.ndarray]
    study: tuple[str | None, ...]
    generator: str = "lab"


def cases(world: World, rows: np.ndarray | None = None) -> Cases:
    """Samples with verified truth that the diagnosis finds unlearned or partly learned and no fault explains.

    Args:
        rows: these samples instead, whatever is found of them: another run's cases.
    """
    found = judge(world.spec, world.table, Thresholds(), world.facts)
    table = derive(world.spec, world.table)
    evidence = measure_evidence(table, found.status == Status.LEARNED)
    missed = np.isin(found.status, [Status.UNLEARNED.value, Status.PARTLY.value])
    fault = np.array([c is not None and c.startswith("pipeline:") for c in found.cause])
    known = np.array([bool(t["scored"] and t["planted"] and not t["learned"]) for t in world.truth])
    chosen = np.flatnonzero(missed & known & ~fault) if rows is None else rows
    return Cases(
        world.name,
        chosen,
        fault[chosen],
        on_the_edge(found.status, table)[chosen],
        {k: v[chosen] for k, v in evidence.items()},
        tuple(frozenset(world.truth[i]["planted"]) for i in chosen),
        {k: v[chosen] for k, v in table.columns.items()},
        tuple(found.study[chosen]),
        world.generator,
    )


@contextmanager
def own_data(folder: Path) -> Iterator[None]:
    """Services write into ``folder``; measurements made there before are used again."""
    from core.settings import settings

    os.environ["LACUNA_DATA_DIR"] = str(folder)
    settings.cache_clear()
    yield


@dataclass(frozen=True, slots=True)
class Measured:
    """A run with signals and facts of its samples; ``ids``: (n,) of the dataset, in the table's order."""

    run: Any
    table: SignalTable
    facts: RunFacts
    ids: Sequence[str]


def measure(name: str, path: Path, form: str | None, parts: Sequence[Any], **options: Any) -> Measured:
    """A run through the services, as the command line does it.

    Args:
        form: of the dataset, None: detected. parts: final checkpoint, base, trajectory.
    """
    from core.commands import _direct as direct
    from core.services import measurements, specs
    from db import samples as sample_table
    from db.session import database

    dataset = direct.import_dataset([path], form, {}, lambda *_: None)
    run = direct.run(name, specs.make_spec(dataset.id, *parts, **options), lambda *_: None)
    with database().reading() as conn:
        hashes = sample_table.content_hashes(conn, dataset.id)
        table = measurements.with_facts(conn, run, measurements.signals_of(conn, run, hashes))
        ids = sample_table.order(conn, dataset.id)["sid"]
    return Measured(run, table, measurements.facts_of(run), ids)


def diagnose(folder: Path, **options: Any) -> World:
    """The world in ``folder``, diagnosed with base and trajectory."""
    from core.commands import _direct as direct

    print(f"{folder.name} …", file=sys.stderr, flush=True)
    parts = direct.checkpoints(folder / "final", folder / "base", folder / "checkpoints", lambda *_: None)
    options = {"max_new_tokens": 48, "max_draws": 10, **options}
    measured = measure(folder.name, folder / "dataset.jsonl", None, parts, **options)
    made = json.loads((folder / "world.json").read_text(encoding="utf-8"))["spec"]
    return of_run(folder.name, measured, folder / "truth.jsonl", generator_of(made), command_of(made))


def of_run(name: str, measured: Measured, truth: Path, generator: str, built: str) -> World:
    """A world from its diagnosis and its ``truth.jsonl``."""
    by_id = {t["id"]: t for t in map(json.loads, truth.read_text(encoding="utf-8").splitlines())}
    records = tuple(by_id[i] for i in measured.ids)
    spec, table, facts = measured.run.spec, measured.table, measured.facts
    return World(name, spec, table, facts, records, generator, built, signal_versions())


def signal_versions() -> dict[str, int]:
    """Versions of the signals that would be measured now, by name."""
    return {name: int(signal.version) for name, signal in sorted(kinds("signals").items())}


def generator_of(made: Mapping[str, Any]) -> str:
    """Whose code wrote a world: ``lab``, ``real``, or a hand. ``made`` is ``spec`` of its ``world.json``."""
    return str(made.get("hand") or ("real" if _is_real(made) else "lab"))


def _is_real(made: Mapping[str, Any]) -> bool:
    return isinstance(made.get("model"), str)


def command_of(made: Mapping[str, Any]) -> str:
    """The command that builds the world again, and after ``#`` the settings that no option takes."""
    words, rest = ["lacuna lab build OUT"], {}
    if made.get("hand"):
        words.append(f"--hand {made['hand']}")
    elif _is_real(made):
        words.append("--real MODEL")
    else:
        words.append(f"--family {made['family']}")
    words.append(f"--seed {made['seed']}")
    if _is_real(made):
        from core.lab.real.world import RealSpec

        usual = asdict(RealSpec(""))
        words += [f"--epochs {made['epochs'][0]} {made['epochs'][1]}", f"--lr {made['lr']:g}"]
        rest = {k: made[k] for k in ("batch", "pool", "counts") if k in made and made[k] != usual[k]}
    words += [f"--{part}" for part in ("hard", "lora") if made.get(part)]
    return " ".join(words) + (f"  # {json.dumps(rest)}" if rest else "")


def keep(world: World, folder: Path = KEPT) -> Path:
    """Writes the world's file, which names no folder but by its last part; returns its path."""
    spec = world.spec.as_dict()
    for checkpoint in filter(None, (spec["final"], spec["base"], *spec["trajectory"])):
        checkpoint |= {part: Path(checkpoint[part]).name for part in ("path", "base") if checkpoint[part]}
    spec["encoder"] = Path(spec["encoder"]).name
    held = {
        "name": world.name, "generator": world.generator, "built": world.built, "spec": spec,
        "checks": [asdict(c) for c in world.facts.checks.values()],
        "states": [asdict(s) for s in world.facts.states],
        "arguments": dict(world.facts.arguments), "truth": world.truth, "versions": dict(world.versions),
    }  # fmt: skip
    names = sorted(world.table.columns)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{world.name}.npz"
    np.savez_compressed(
        path,
        held=np.array(json.dumps(held, ensure_ascii=False)),
        names=np.array(names),
        signals=np.stack([world.table.columns[n] for n in names]),
    )
    return path


def kept(path: Path) -> World:
    """The world of a file that ``keep`` wrote. Its samples are named by their ids."""
    with np.load(path) as file:  # never reads pickles
        held, names, signals = json.loads(str(file["held"])), file["names"], file["signals"]
    spec = RunSpec.from_dict(held["spec"])
    logs = ("losses", "grad_norms", "rates")
    states = [TrainerState(**{**s, **{k: tuple(map(tuple, s[k])) for k in logs}}) for s in held["states"]]
    facts = RunFacts(spec, {c["code"]: Check(**c) for c in held["checks"]}, tuple(states), held["arguments"])
    columns = {str(n): values.astype(np.float64) for n, values in zip(names, signals, strict=True)}
    table = SignalTable(tuple(t["id"] for t in held["truth"]), columns)
    truth = tuple(held["truth"])
    return World(held["name"], spec, table, facts, truth, held["generator"], held["built"], held["versions"])


def kept_worlds(names: Sequence[str] = ()) -> list[World]:
    """Worlds of ``bench/evidence`` by name, or all. Says which of them hold signals of other versions than today's."""
    worlds = [kept(KEPT / f"{name}.npz") for name in (names or sorted(p.stem for p in KEPT.glob("*.npz")))]
    for world in worlds:
        if older := sorted(n for n, version in signal_versions().items() if world.versions.get(n) != version):
            print(f"{world.name} was measured by another version of {', '.join(older)}.", file=sys.stderr)
    return worlds


def pooled(found: Sequence[Cases]) -> tuple[dict[str, np.ndarray], list[frozenset[str]], np.ndarray]:
    """Evidence, truth and weights of all cases; every toy generator weighs alike, and every world of one."""
    names = found[0].evidence
    evidence = {n: np.concatenate([c.evidence[n] for c in found]) for n in names}
    worlds = Counter(c.generator for c in found)
    share = {g: (REAL if g == "real" else 1.0) / n for g, n in worlds.items()}
    weights = np.concatenate([np.full(len(c.truth), share[c.generator] / max(1, len(c.truth))) for c in found])
    return evidence, [t for c in found for t in c.truth], weights / weights.sum()
