"""A planted world: a base model, a dataset with planted causes, its fine-tune in two stages, and the verified truth."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import UserError
from core.lab import tiny
from core.lab.bases import ModelSize, Progress, cached_base
from core.lab.corpus import CorpusSize, Facts, make_facts
from core.lab.domains import domain_of, domains
from core.lab.faults import plant_fault
from core.lab.pipeline import Pipeline
from core.lab.rows import CAUSES, EASY, HARD, SOUND, PlantedRow, RowCounts, plant, write_dataset
from core.lab.truth import look, truth

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

LORA: Mapping[str, Any] = {
    "r": 16,
    "lora_alpha": 32,
    "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
}


# Stage one and two of a world with a fault: a sound run learns almost every row.
SOUND_EPOCHS = (12, 8)


@dataclass(frozen=True, slots=True)
class Tuning:
    """How a world is fine-tuned.

    Attributes:
        epochs: those of stage one and two, each in dataset order. steps: in place of all of them.
        schedule: of the learning rate, as transformers names it.
    """

    epochs: tuple[int, int] = (6, 4)
    lr: float = 6e-4
    batch: int = 8
    warmup: int = 10
    schedule: str = "linear"
    steps: int | None = None


@dataclass(frozen=True, slots=True)
class WorldSpec:
    """Everything a world depends on.

    Attributes:
        family: architecture; domain: family of wording, None: drawn by the seed.
        hard: with the traps and mixtures of ``HARD``. lora: trains an adapter. faults: pipeline faults to plant.
        tuning, counts: None: as the seed and ``hard`` say.
        attempts: times a base that knows too little is trained again from other first weights, the first included.
    """

    family: str = "llama"
    seed: int = 1
    hard: bool = False
    lora: bool = False
    domain: str | None = None
    faults: tuple[str, ...] = ()
    corpus: CorpusSize = field(default_factory=CorpusSize)
    model: ModelSize = field(default_factory=ModelSize)
    counts: RowCounts | None = None
    tuning: Tuning | None = None
    attempts: int = 3

    def facts(self) -> Facts:
        name = self.domain or sorted(domains())[self.seed % len(domains())]
        return make_facts(domain_of(name), self.corpus, self.seed)

    def rows(self, facts: Facts) -> list[PlantedRow]:
        counts = SOUND if self.faults else HARD if self.hard else EASY
        return plant(facts, self.counts or counts, self.seed)

    def tuned(self) -> Tuning:
        """The tuning of this seed: epochs and learning rate vary with it."""
        if self.tuning is not None:
            return self.tuning
        if self.faults:
            return Tuning(SOUND_EPOCHS, 7e-4 * (5 if self.lora else 1))
        turn = self.seed % 4
        epochs = ((7, 2), (8, 2), (6, 2), (9, 3))[turn]
        lr = (7e-4, 6e-4, 7e-4, 6e-4)[turn]
        return Tuning(epochs, lr * 5 if self.lora else lr)


def save_points(steps_one: int, steps: int) -> list[int]:
    """Steps at which checkpoints are saved: thirds of stage one, quarters of stage two; the last is ``final``."""
    two = steps - steps_one
    return sorted({steps_one // 3, 2 * steps_one // 3, steps_one, *(steps_one + two * k // 4 for k in (1, 2, 3))})


def finetune(
    out: Path,
    base: Path,
    tokenizer: PreTrainedTokenizerFast,
    stages: Sequence[Sequence[tiny.Row]],
    tuning: Tuning,
    lora: bool,
    seed: int,
    progress: Progress,
    saves: Callable[[int, int], Sequence[int]] = save_points,
) -> int:
    """Trains the stages one after the other into ``out``.

    Args:
        tokenizer: saved beside the weights.
        saves: from the steps of stage one and of all to the steps after which a checkpoint is kept.

    Returns:
        The last step of stage one.
    """
    model, _ = tiny.load(base)
    one, two = ([*rows] * epochs for rows, epochs in zip(stages, tuning.epochs, strict=True))
    steps = tuning.steps or -(-(len(one) + len(two)) // tuning.batch)
    steps_one = len(one) // tuning.batch if tuning.steps is None else 3 * steps // 4
    tiny.train(
        model,
        tokenizer,
        [*one, *two],
        out,
        lr=tuning.lr,
        batch=tuning.batch,
        steps=tuning.steps,
        shuffle=False,
        schedule=tuning.schedule,
        warmup=tuning.warmup,
        seed=seed,
        threads=1,
        save_steps=saves(steps_one, steps),
        lora=LORA if lora else None,
        progress=lambda done, total: progress("fine-tuning", done, total),
    )
    return steps_one


def write_lines(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), encoding="utf-8")


def link_tree(source: Path, target: Path) -> None:
    """Copies a folder, as hard links where the file system can."""

    def link(a: str, b: str) -> None:
        try:
            os.link(a, b)
        except OSError:
            shutil.copy2(a, b)

    shutil.copytree(source, target, copy_function=link)


def build(out: Path, spec: WorldSpec, cache: Path, progress: Progress = lambda *_: None) -> dict[str, Any]:
    """Builds the world into ``out``, which exists only when it is complete; returns a summary.

    The folder holds ``dataset.jsonl`` in training order, ``base/``, ``checkpoints/checkpoint-N/``, ``final/``,
    ``truth.jsonl`` (see ``core/lab/truth.py``; in a world with faults ``fault`` names that of a row which is not
    learned for its sake), ``trainer.json`` (see ``core/lab/faults.py``) and ``world.json``.

    Args:
        cache: folder of base models, shared by the worlds of one family, domain and seed.

    Raises:
        UserError: ``out`` exists.
    """
    if out.exists():
        raise UserError(f"{out} exists.", "A world is built into a new folder.", "Remove it, or name another.")
    facts = spec.facts()
    kept = cached_base(cache, spec.family, facts, spec.model, spec.seed, progress, spec.attempts)
    part = out.with_name(out.name + ".partial")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    link_tree(kept, part / "base")
    _, tokenizer = tiny.load(part / "base")
    run = Pipeline.of(
        spec.rows(facts),
        tokenizer,
        random.Random(f"faults {spec.seed}"),
        sentences=[facts.wordings[fact.relation].statement(fact, 0) for fact in facts.known],
        turn=spec.seed,
    )
    for code in spec.faults:
        plant_fault(code, run)
    tuning = spec.tuned()
    tuning = replace(tuning, lr=tuning.lr * run.lr, steps=run.steps or tuning.steps)
    last_of_one = finetune(
        part / "checkpoints", part / "base", tokenizer, run.stages(), tuning, spec.lora, spec.seed, progress
    )
    (part / "checkpoints" / "final").rename(part / "final")
    for change in run.after:
        change(part)
    ids = write_dataset(part / "dataset.jsonl", run.rows)
    saved = tiny.saved_checkpoints(part / "checkpoints")
    folders = {"base": part / "base", **{p.name: p for p in saved}, "final": part / "final"}
    stage_of = [1 if int(p.name.rpartition("-")[2]) <= last_of_one else 2 for p in saved]
    looked = look(folders, [0, *stage_of, 2], facts, run.rows, part / "base")
    records = [{"id": i, **r} for i, r in zip(ids, truth(run.rows, looked, facts), strict=True)]
    for i, record in enumerate(records):
        if i in run.touched and not record["learned"]:
            record.update(fault=spec.faults[-1], planted=[], scored=False)
    write_lines(part / "truth.jsonl", records)
    (part / "trainer.json").write_text(json.dumps(run.trainer, indent=2), encoding="utf-8")
    for config in part.glob("**/adapter_config.json"):
        settings = json.loads(config.read_text(encoding="utf-8"))
        settings["base_model_name_or_path"] = str((out / "base").resolve())
        config.write_text(json.dumps(settings, indent=2), encoding="utf-8")
    summary = {"spec": asdict(replace(spec, domain=facts.domain.name, tuning=tuning)), **summarise(records)}
    (part / "world.json").write_text(json.dumps(summary, indent=2), encoding="utf-8")
    part.rename(out)
    return summary


def summarise(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Counts a reader wants first: scored unlearned rows per cause, controls learned, learned per group."""
    unlearned = [r for r in records if not r["learned"] and r["scored"]]
    faults = [r["fault"] for r in records if r.get("fault")]
    groups: dict[str, list[int]] = {}
    for r in records:
        group = groups.setdefault(r["group"], [0, 0, 0])
        group[0] += 1
        group[1] += r["learned"]
        group[2] += r["scored"] and not r["learned"]
    controls = [r["learned"] for r in records if r["made_for"] is None]
    return {
        "rows": len(records),
        "learned": sum(r["learned"] for r in records),
        "controls_learned": round(sum(controls) / max(len(controls), 1), 4),
        "scored_unlearned": {c: sum(c in r["planted"] for r in unlearned) for c in CAUSES},
        "primary": {c: sum(r["planted"][0] == c for r in unlearned) for c in CAUSES},
        "faults": {f: faults.count(f) for f in sorted(set(faults))},
        "groups": {g: {"rows": n, "learned": k, "scored_unlearned": s} for g, (n, k, s) in sorted(groups.items())},
    }
