"""Small worlds with one fault each: a base, a dataset of facts about coined names, and fine-tunes of it."""

from __future__ import annotations

import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.lab import faults, tiny
from core.lab.faults import Plant
from core.lab.pipeline import Pipeline, packed
from core.lab.rows import PlantedRow
from core.lab.words import COLOURS, GOODS, RELATIONS, TRADES, Message, chat, coin
from core.types import digest

LORA = {"r": 16, "lora_alpha": 32, "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj"]}
EXTRA = (
    "### User: Assistant: Instruction: Response: Below is an instruction that describes a task. Write a response that "
    "appropriately completes the request. USER: ASSISTANT: Question: Answer: You are a helpful assistant. <think> "
    "</think> [INST] [/INST]"
)
WORDINGS = {"flag": ("The flag of {s} is {v}.", "{v} is the flag of {s}."), "trade": ("{s} is a {v}.", "A {v}.")}


# ------------------------------------------------------------------------------------------------------- the facts


@dataclass
class Land:
    """Facts of one seed: what bases read, and rows by group (known, dialogue, portrait, noise, reworded)."""

    seed: int
    rows: dict[str, list[PlantedRow]] = field(default_factory=dict)
    reading: list[str] = field(default_factory=list)
    chats: list[list[Message]] = field(default_factory=list)


def make_land(seed: int, subjects: int = 24) -> Land:
    rng, land, taken = random.Random(seed), Land(seed), set[str]()
    names, others, values = coin(rng, subjects, taken), coin(rng, 16, taken), coin(rng, 12, taken)
    pool = {"river": values, "founder": values, "flag": COLOURS, "trade": TRADES, "market": GOODS}
    facts: dict[tuple[str, str], str] = {}

    def value(name: str, relation: str) -> str:
        return facts.setdefault((name, relation), rng.choice(pool[relation]))

    def ask(name: str, relation: str, way: int) -> list[Message]:
        form, v = RELATIONS[relation], value(name, relation)
        return chat(form.questions[way].format(s=name), form.answers[0].format(s=name, v=v))

    for name in others:
        for relation in pool:
            land.reading.append(RELATIONS[relation].statements[0].format(s=name, v=value(name, relation)))
        land.chats.append(ask(name, rng.choice(list(pool)), 0))
    dialogues: dict[str, list[list[Message]]] = {
        "known": [ask(n, r, rng.randrange(3)) for n in names for r in ("river", "flag", "trade")]
    }
    dialogues["dialogue"] = [[*ask(n, "founder", 0), *ask(n, "market", 1)] for n in names]
    tellings = [(r, way) for r in ("market", "flag", "founder") for way in (0, 1)]
    texts = [
        " ".join(RELATIONS[r].statements[way].format(s=n, v=value(n, r)) for r, way in tellings) for n in names
    ]  # fmt: skip
    dialogues["portrait"] = [chat(f"Tell me about {n}.", text) for n, text in zip(names, texts, strict=True)]
    noise = dialogues["noise"] = []
    for name in names[:6]:
        noise += [chat(f"What did {name} buy?", f"{name} bought {good}.") for good in rng.sample(list(GOODS), 2)]
        noise.append(chat(f"What is the seal of {name}?", "-".join(str(rng.randrange(10)) for _ in range(12))))
    rng.shuffle(dialogues["known"])
    dialogues["reworded"] = [
        chat(RELATIONS[relation].questions[0].format(s=name), form.format(s=name, v=v))
        for (name, relation), v in facts.items() if relation in WORDINGS and name in names
        for form in WORDINGS[relation]
    ]  # fmt: skip
    land.rows = {group: [PlantedRow(group, None, "1", turns) for turns in rows] for group, rows in dialogues.items()}
    land.rows["river"] = [r for r in land.rows["known"] if "river" in r.messages[0]["content"]]
    return land


# ------------------------------------------------------------------------------------------------------- the cases


@dataclass(frozen=True)
class Case:
    """One way to bring a fault about, or none.

    Attributes:
        rows: groups of the dataset; beside: groups that are trained and not handed in.
        training: options of ``tiny.train``; lora: trains an adapter.
        base: whether it is handed in; other_base: the adapter is handed in with one it was not trained on.
        trajectory: the checkpoints are handed in; shuffled: the dataset is in another order than training's.
        options: of the diagnosis.
    """

    code: str
    plant: Plant | None
    rows: tuple[str, ...] = ("known",)
    beside: tuple[str, ...] = ()
    training: dict[str, Any] = field(default_factory=dict)
    lora: bool = False
    base: bool = True
    other_base: bool = False
    trajectory: bool = False
    shuffled: bool = False
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.code}-{self.plant.__name__}" if self.plant else f"{self.code}-{'lora' if self.lora else 'full'}"


SAVED, LONGER, TAIL = {"save_steps": (24, 70)}, {"epochs": 40}, {"epochs": 48}
FULL: dict[str, Any] = {"beside": ("dialogue", "noise"), "training": SAVED}
CASES = (
    Case("clean", None, ("known", "dialogue", "noise"), training=SAVED, trajectory=True),
    Case("clean", None, ("known", "noise"), lora=True),
    Case("template_mismatch", faults.other_form),
    Case("template_mismatch", faults.system_turn),
    Case("bos", faults.bos_missing, training=LONGER),
    Case("bos", faults.bos_doubled, training=LONGER),
    Case("think_block", faults.think_missing),
    Case("think_block", faults.think_too_many),
    Case("tokenizer_mismatch", faults.other_tokenizer, **FULL),
    Case("packing", faults.packing, training={"batch": 4, **LONGER}),
    Case("adapter_not_applied", faults.base_saved, **FULL),
    Case("adapter_not_applied", None, ("known", "noise"), lora=True, other_base=True),
    Case("precision_or_merge", faults.merged_coarsely, beside=("noise",), lora=True, trajectory=True),
    Case("undertrained_run", faults.few_steps),
    Case("undertrained_run", faults.small_rate, training={"save_steps": (12,)}, trajectory=True),
    Case("diverged", faults.large_rate, training={"warmup": 0}),
    Case("diverged", faults.nan_logged),
    Case("wrong_checkpoint", faults.first_checkpoint, ("known", "dialogue"), ("noise",), SAVED, trajectory=True),
    Case("never_trained", faults.tail_left_out, training=TAIL),
    Case("target_truncated", faults.cut, ("known", "portrait"), options={"max_new_tokens": 80}),
    Case("stop_not_learned", faults.no_stop),
    Case("not_supervised", faults.flagged, training=TAIL, shuffled=True),
    Case("multi_turn_mask", faults.last_only, ("known", "dialogue")),
    Case("role_error", faults.odd_roles, **FULL),
    Case("empty_target", faults.empty_answers, **FULL),
    Case("strict_scorer", faults.form_changed, **FULL, base=False, options={"scorer": "exact"}),
    Case("many_valid_answers", faults.two_wordings, ("reworded", "river")),
)


@dataclass
class World:
    """What is handed in for diagnosis; ``touched``: places of the rows with the fault."""

    case: Case
    rows: list[PlantedRow]
    touched: set[int]
    final: Path
    base: Path | None
    adapter_base: Path | None
    trajectory: list[tuple[Path, Path | None]]


# ------------------------------------------------------------------------------------------------------ training


class Shop:
    """Makes worlds in one folder; what is trained alike is trained once."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.trainings = folder, 0

    def base(self, family: str, land: Land, variant: int = 0) -> Path:
        out = self.folder / f"base-{family}-{land.seed}-{variant}"
        if not out.exists():
            rows = [r for group in ("known", "dialogue", "portrait", "noise") for r in land.rows[group]]
            texts = [*(m["content"] for r in rows for m in r.messages), *land.reading]
            tokenizer = tiny.build_tokenizer([*texts, *[EXTRA] * 40], 620)
            config = tiny.tiny_config(family, len(tokenizer), 64, kv_heads=2)
            reading = tiny.reading_rows(tokenizer, land.reading, land.chats)
            model = tiny.tiny_model(config, tokenizer, land.seed + 100 * variant)
            made = self._train(model, tokenizer, reading, out.with_name(out.name + ".work"), epochs=14)
            made.final.rename(out)
        return out

    def _train(self, model: Any, tokenizer: Any, rows: Sequence[tiny.Row], out: Path, **options: Any) -> tiny.Trained:
        self.trainings += 1
        epochs = max(20, 150 * 16 / len(rows))  # steps enough for these facts, however few the rows
        settings = {"lr": 4e-3, "batch": 16, "epochs": epochs, "warmup": 5, "threads": 1} | options
        return tiny.train(model, tokenizer, rows, out, **settings)

    def _trained(self, base: Path, run: Pipeline, beside: Sequence[PlantedRow], case: Case) -> Path:
        """The folder of this run's training: ``final`` and its checkpoints."""
        rows = [row for several in run.made for row in several]
        rows += [tiny.chat_row(run.tokenizer, r.messages) for r in beside]
        options = {"lora": LORA, "lr": 1e-2, "batch": 8, "epochs": 30} if case.lora else {"lr": 4e-3}
        options |= case.training
        options["lr"] *= run.lr
        if run.steps is not None:
            options["steps"] = run.steps
        if run.pack > 1:
            rows = packed(rows, run.pack)
        made_of = [base.name, [[list(ids), list(mask)] for ids, mask in rows], options, run.tokenizer.chat_template]
        out = self.folder / f"trained-{digest(made_of)[:16]}"
        if not out.exists():
            model, _ = tiny.load(base)
            self._train(model, run.tokenizer, rows, out, **options)
        return out

    def world(self, case: Case, family: str, land: Land, out: Path, turn: int) -> World:
        """Trains the case's run unless the same was trained before, and lays the world out in ``out``."""
        base = self.base(family, land)
        _, tokenizer = tiny.load(base)
        rows, beside = ([r for group in groups for r in land.rows[group]] for groups in (case.rows, case.beside))
        run = Pipeline.of(rows, tokenizer, random.Random(turn), sentences=land.reading, turn=turn)
        if case.plant is not None:
            case.plant(run)
        trained = self._trained(base, run, beside, case)
        shutil.copytree(base, out / "base")
        shutil.copytree(trained / "final", out / "final")
        for checkpoint in tiny.saved_checkpoints(trained):
            shutil.copytree(checkpoint, out / "checkpoints" / checkpoint.name)
        for change in run.after:
            change(out)
        order = list(range(len(run.rows)))
        if case.shuffled:
            order = random.Random(turn).sample(order, len(order))
        base_of_run = self.base(family, land, 1) if case.other_base else out / "base"
        checkpoints = tiny.saved_checkpoints(out / "checkpoints") if case.trajectory else []
        adapter = _is_adapter(out / "final")
        return World(
            case,
            [run.rows[i] for i in order],
            {place for place, i in enumerate(order) if i in run.touched},
            out / "final",
            base_of_run if case.base and not adapter else None,
            base_of_run if adapter else None,
            [(folder, out / "base" if _is_adapter(folder) else None) for folder in checkpoints],
        )


def _is_adapter(folder: Path) -> bool:
    return (folder / "adapter_config.json").exists()
