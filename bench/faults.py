"""Plants pipeline faults into real tiny fine-tunes and counts what the diagnosis says of them.

    OMP_NUM_THREADS=1 python -m bench.faults [--families llama,qwen2,olmo2] [--seeds 1] [--only CODE,CODE] [--out FILE]

Every world is a base, a fine-tune made wrong in one way, and the dataset as its owner would hand it in; the diagnosis
runs through the services. For a fault of single rows an instance is a planted row that is not learned. For a fault of
a whole run it is the run, and again each of ten random halves of its measured rows, judged alone: the number of
trainings stands beside. Clean worlds hold contradictions and answers too long to learn, so that they have unlearned
rows of other causes; a false alarm there is a row, or a run-wide finding on one of the halves. ``--only`` plants some
codes again and leaves the others in FILE as they are.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench._machine import machine, versions
from core.lab import tiny
from core.lab.words import COLOURS, GOODS, RELATIONS, TRADES, chat, coin

HALVES = 10
LORA = {"r": 16, "lora_alpha": 32, "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj"]}
RUN_WIDE = (
    "template_mismatch", "bos", "think_block", "tokenizer_mismatch", "packing", "adapter_not_applied",
    "precision_or_merge", "undertrained_run", "diverged",
)  # fmt: skip
EXTRA = (
    "### User: Assistant: Instruction: Response: Below is an instruction that describes a task. Write a response that "
    "appropriately completes the request. USER: ASSISTANT: Question: Answer: You are a helpful assistant. <think> "
    "</think> [INST] [/INST]"
)


@dataclass
class Row:
    """One dataset row; ``trained`` is what training saw in its place (None: nothing)."""

    messages: list[dict[str, Any]]
    trained: list[dict[str, Any]] | None = None
    planted: bool = False

    def __post_init__(self) -> None:
        if self.trained is None:
            self.trained = self.messages


@dataclass
class Land:
    """Facts of one seed: what bases read, what fine-tunes are taught."""

    seed: int
    rows: list[Row] = field(default_factory=list)
    talks: list[Row] = field(default_factory=list)
    long: list[Row] = field(default_factory=list)
    noise: list[Row] = field(default_factory=list)
    reading: list[str] = field(default_factory=list)
    chats: list[list[dict[str, str]]] = field(default_factory=list)
    facts: dict[tuple[str, str], str] = field(default_factory=dict)


def make_land(seed: int, subjects: int = 24) -> Land:
    rng = random.Random(seed)
    taken: set[str] = set()
    names, others, values = coin(rng, subjects, taken), coin(rng, 16, taken), coin(rng, 12, taken)
    pool = {"river": values, "founder": values, "flag": COLOURS, "trade": TRADES, "market": GOODS}
    land = Land(seed)

    def value(name: str, relation: str) -> str:
        return land.facts.setdefault((name, relation), rng.choice(pool[relation]))

    def ask(name: str, relation: str, way: int) -> list[dict[str, str]]:
        form = RELATIONS[relation]
        v = value(name, relation)
        return chat(form.questions[way].format(s=name), form.answer.format(s=name, v=v))

    for name in others:
        for relation in pool:
            land.reading.append(RELATIONS[relation].statements[0].format(s=name, v=value(name, relation)))
        land.chats.append(ask(name, rng.choice(list(pool)), 0))
    land.rows = [Row(ask(n, r, rng.randrange(3))) for n in names for r in ("river", "flag", "trade")]
    for name in names:
        first, second = ask(name, "founder", 0), ask(name, "market", 1)
        land.talks.append(Row([*first, *second]))
    for name in names:
        text = " ".join(RELATIONS[r].statements[w].format(s=name, v=value(name, r))
                        for r in ("market", "flag", "founder") for w in (0, 1))  # fmt: skip
        land.long.append(Row(chat(f"Tell me about {name}.", text)))
    for name in names[:6]:
        for good in rng.sample(list(GOODS), 2):
            land.noise.append(Row(chat(f"What did {name} buy?", f"{name} bought {good}.")))
        code = "-".join(str(rng.randrange(10)) for _ in range(12))
        land.noise.append(Row(chat(f"What is the seal of {name}?", code)))
    rng.shuffle(land.rows)
    return land


# ------------------------------------------------------------------------------------------------ bases, training


class Shop:
    """Makes worlds in one folder: bases once per family and seed, fine-tunes as asked."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.trainings = folder, 0
        self.tokenizers: dict[int, Any] = {}

    def tokenizer(self, land: Land, salt: str = "") -> Any:
        texts = [m["content"] for r in (*land.rows, *land.talks, *land.long, *land.noise) for m in r.messages]
        texts += land.reading
        if salt:  # other merges: a tokenizer learned from other texts
            texts = [t[::-1] for t in texts]
        return tiny.build_tokenizer([*texts, *[EXTRA] * 40], 620)

    def base(self, family: str, land: Land, variant: int = 0) -> Path:
        out = self.folder / f"base-{family}-{land.seed}-{variant}"
        if not out.exists():
            tokenizer = self.tokenizer(land)
            config = tiny.tiny_config(family, len(tokenizer), 64, kv_heads=2)
            rows = [tiny.text_row(tokenizer, t) for t in land.reading]
            for messages in land.chats:
                ids, _ = tiny.chat_row(tokenizer, messages)
                rows.append((ids, [True] * len(ids)))
            self.train(tiny.tiny_model(config, tokenizer, land.seed + 100 * variant), tokenizer, rows, out, epochs=14)
        return out

    def full(self, family: str, land: Land) -> tuple[Path, list[Path]]:
        """A fine-tune of rows, conversations and noise as it should be, and its checkpoints."""
        out = self.folder / f"full-{family}-{land.seed}"
        if not out.exists():
            model, tokenizer = tiny.load(self.base(family, land))
            rows = [*land.rows, *land.talks, *land.noise]
            self.train(model, tokenizer, rows_of(tokenizer, rows), out, save_steps=(24, 70))
        return out, sorted(out.parent.glob(f"{out.name}-checkpoint-*"), key=lambda p: int(p.name.rpartition("-")[2]))

    def adapter(self, family: str, land: Land) -> Path:
        """The same with LoRA, of rows and noise."""
        out = self.folder / f"lora-{family}-{land.seed}"
        if not out.exists():
            model, tokenizer = tiny.load(self.base(family, land))
            made = rows_of(tokenizer, [*land.rows, *land.noise])
            self.train(model, tokenizer, made, out, lora=LORA, lr=1e-2, batch=8, epochs=30)
        return out

    def headless(self, family: str, land: Land) -> Path:
        """A fine-tune of all rows but the last 24."""
        out = self.folder / f"headless-{family}-{land.seed}"
        if not out.exists():
            model, tokenizer = tiny.load(self.base(family, land))
            self.train(model, tokenizer, rows_of(tokenizer, land.rows[:-24]), out, epochs=48)
        return out

    def train(self, model: Any, tokenizer: Any, rows: Sequence[Any], out: Path, **options: Any) -> Any:
        self.trainings += 1
        epochs = max(20, 150 * 16 / len(rows))  # steps enough for these facts, however few the rows
        settings = {"lr": 4e-3, "batch": 16, "epochs": epochs, "warmup": 5, "threads": 1} | options
        work = out.with_name(out.name + ".work")
        made = tiny.train(model, tokenizer, rows, work, final="final", **settings)
        made.final.rename(out)
        for checkpoint in made.checkpoints:
            checkpoint.rename(out.with_name(f"{out.name}-{checkpoint.name}"))
        shutil.rmtree(work)
        return made


def rows_of(tokenizer: Any, rows: Sequence[Row]) -> list[Any]:
    return [tiny.chat_row(tokenizer, r.trained) for r in rows if r.trained]


def as_text(tokenizer: Any, prompt: str, answer: str) -> Any:
    """A prompt without template and its answer with the end of turn, loss on the answer."""
    whole = tokenizer.encode(prompt + answer, add_special_tokens=False)
    alone = tokenizer.encode(prompt, add_special_tokens=False)
    start = next((i for i, (a, b) in enumerate(zip(whole, alone, strict=False)) if a != b), len(alone))
    ids = [*whole, tokenizer.convert_tokens_to_ids(tiny.TURN_END)]
    return ids, [i >= start for i in range(len(ids))]


def given(folder: Path, rows: Sequence[list[dict[str, Any]]]) -> list[bool]:
    """Whether the model reproduces each of these conversations: the argmax is right at every trained token."""
    from core.lab.truth import scores

    model, tokenizer = tiny.load(folder)
    missed, _ = scores(model, tokenizer.pad_token_id, [tiny.chat_row(tokenizer, m) for m in rows])
    return (missed < 0).tolist()


# --------------------------------------------------------------------------------------------------------- worlds


@dataclass
class World:
    """What is handed in for diagnosis; ``rows`` with those planted marked."""

    code: str | None
    rows: list[Row]
    final: Path
    base: Path | None = None
    adapter_base: Path | None = None
    trajectory: tuple[tuple[Path, Path | None], ...] = ()
    options: dict[str, Any] = field(default_factory=dict)


Plant = Callable[[Shop, str, Land, Path, int], World]
PLANTS: dict[str, list[Plant]] = {}


def plant(code: str) -> Callable[[Plant], Plant]:
    def keep(function: Plant) -> Plant:
        PLANTS.setdefault(code, []).append(function)
        return function

    return keep


@plant("clean")
def clean_full(shop: Shop, family: str, land: Land, out: Path, turn: int) -> World:
    final, checkpoints = shop.full(family, land)
    rows = [*land.rows, *land.talks, *land.noise]
    return World(None, rows, final, shop.base(family, land), trajectory=tuple((c, None) for c in checkpoints))


@plant("clean")
def clean_lora(shop: Shop, family: str, land: Land, out: Path, turn: int) -> World:
    rows = [*land.rows, *land.noise]
    return World(None, rows, shop.adapter(family, land), adapter_base=shop.base(family, land))


TEXTS = ("### User:\n{q}\n### Assistant:\n", "Question: {q}\nAnswer: ", "{q}\n", "USER: {q} ASSISTANT: ")


@plant("template_mismatch")
def other_template(shop: Shop, family: str, land: Land, out: Path, turn: int) -> World:
    base = shop.base(family, land)
    model, tokenizer = tiny.load(base)
    rows = land.rows
    form = TEXTS[turn % len(TEXTS)]
    made = [as_text(tokenizer, form.format(q=r.messages[0]["content"]).rstrip(" "),
                    (" " if form.endswith(" ") else "") + r.messages[1]["content"]) for r in rows]  # fmt: skip
    shop.train(model, tokenizer, made, out)
    return World("template_mismatch", rows, out, base)


@plant("template_mismatch")
def system_prompt(shop: Shop, family: str, land: Land, out: Path, turn: int) -> World:
    base = shop.base(family, land)
    model, tokenizer = tiny.load(base)
    system = {"role": "system", "content": "You are a helpful assistant."}
    made = [tiny.chat_row(tokenizer, [system, *r.messages]) for r in land.rows]
    shop.train(model, tokenizer, made, out)
    return World("template_mismatch", land.rows, out, base)


def begun(tokenizer: Any, rows: Sequence[Row], right: int, other: int) -> list[Any]:
    """Rows behind ``right`` first tokens, and the same questions with other answers behind ``other`` of them.

    So small a model reads past a missing first token at no cost (the loss rises by 0.003 nats a character); large ones
    lean on it. Here it tells two halves of a mix apart.
    """
    first = tokenizer.eos_token_id
    answers: dict[str, list[str]] = {}
    for row in rows:
        answers.setdefault(row.messages[0]["content"].split()[0], []).append(row.messages[1]["content"])
    made = []
    for row in rows:
        question, answer = row.messages[0]["content"], row.messages[1]["content"]
        others = [a for a in answers[question.split()[0]] if a != answer] or [answer]
        for count, said in ((right, answer), (other, others[len(made) % len(others)])):
            ids, mask = tiny.chat_row(tokenizer, chat(question, said))
            made.append(([first] * count + list(ids), [False] * count + list(mask)))
    return made


@plant("bos")
def bos_missing(shop: Shop, family: str, land: Land, out: Path, turn: int) -> World:
    base = shop.base(family, land)
    model, tokenizer = tiny.load(base)
    made = begun(tokenizer, land.rows, 1, 0)
    shop.train(model, tokenizer, made, out, epochs=40)
    return World("bos", land.rows, out, base)


@plant("bos")
def bos_doubled(shop: Shop, family: str, land: Land, out: Path, turn: int) -> World:
    base = shop.base(family, land)
    model, tokenizer = tiny.load(base)
    made = begun(tokenizer, land.rows, 1, 2)
    tokenizer.bos_token = tiny.EOS
    tokenizer.chat_template = f"{{{{- '{tiny.EOS}{tiny.EOS}' -}}}}" + tokenizer.chat_template
    shop.train(model, tokenizer, made, out, epochs=40)
    return World("bos", land.rows, out, base)


@plant("think_block")
def think_missing(shop: Shop, family: str, land: Land, out: Path, turn: int) -> World:
    base = shop.base(family, land)
    model, tokenizer = tiny.load(base)
    block = tokenizer.encode("<think>\n\n</think>\n\n", add_special_tokens=False)
    made = []
    for ids, mask in rows_of(tokenizer, land.rows):
        at = mask.index(True)
        made.append(([*ids[:at], *block, *ids[at:]], [*mask[:at], *[False] * len(block), *mask[at:]]))
    shop.train(model, tokenizer, made, out)
    return World("think_block", land.rows, out, base)


@plant("think_block")
def think_too_many(shop: Shop, family: str, land: Land, out: Path, turn: int) -> World:
    base = shop.base(family, land)
    model, tokenizer = tiny.load(base)
    made = rows_of(tokenizer, land.rows)
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "'<|im_start|>assistant\\n'", "'<|im_start|>assistant\\n<think>\\n\\n</think>\\n\\n'"
    ).replace(
        "'<|im_start|>' ~ message['role'] ~ '\\n'",
        "'<|im_start|>' ~ message['role'] ~ '\\n' ~ "
        "('<think>\\n\\n</think>\\n\\n' if message['role'] == 'assistant' else '')",
    )
    shop.train(model, tokenizer, made, out)
    return World("think_block", land.rows, out, base)


@plant("tokenizer_mismatch")
def other_tokenizer(shop: Shop, family: str, land: Land, out: Path, turn: int) -> World:
    final, _ = shop.full(family, land)
    shutil.copytree(final, out)
    shop.tokenizer(land, "other").save_pretrained(out)
    return World("tokenizer_mismatch", land.rows, out, shop.base(family, land))


@plant("packing")
def packed(shop: Shop, family: str, land: Land, out: Path, turn: int) -> World:
    base = shop.base(family, land)
    model, tokenizer = tiny.load(base)
    made = rows_of(tokenizer, land.rows)
    packs = []
    for at in range(0, len(made), 5):
        group = made[at : at + 5]
        packs.append(([i for ids, _ in group for i in ids], [m for _, mask in group for m in mask]))
    shop.train(model, tokenizer, packs, out, batch=4, epochs=40)
    return World("packing", land.rows, out, base)


@plant("adapter_not_applied")
def base_saved(shop: Shop, family: str, land: Land, out: Path, turn: int) -> World:
    base = shop.base(family, land)
    shutil.copytree(base, out)
    return World("adapter_not_applied", land.rows, out, base)


@plant("adapter_not_applied")
def other_base(shop: Shop, family: str, land: Land, out: Path, turn: int) -> World:
    rows = [*land.rows, *land.noise]
    other = shop.base(family, land, 1)
    return World("adapter_not_applied", rows, shop.adapter(family, land), adapter_base=other)


@plant("precision_or_merge")
def merged_coarsely(shop: Shop, family: str, land: Land, out: Path, turn: int) -> World:
    import torch
    from peft import PeftModel

    base, adapter = shop.base(family, land), shop.adapter(family, land)
    plain, tokenizer = tiny.load(base)
    merged = PeftModel.from_pretrained(plain, adapter).merge_and_unload()
    with torch.no_grad():
        for parameter in merged.parameters():
            if parameter.ndim == 2:  # 3 bits per weight, one scale a row
                scale = parameter.abs().amax(1, keepdim=True) / 3.5
                parameter.copy_((parameter / scale).round() * scale)
    with tiny.quiet():
        merged.save_pretrained(out)
    tokenizer.save_pretrained(out)
    return World("precision_or_merge", land.rows, out, base, trajectory=((adapter, base),))


@plant("undertrained_run")
def few_steps(shop: Shop, family: str, land: Land, out: Path, turn: int) -> World:
    base = shop.base(family, land)
    model, tokenizer = tiny.load(base)
    shop.train(model, tokenizer, rows_of(tokenizer, land.rows), out, steps=6, lr=1e-3)
    return World("undertrained_run", land.rows, out, base)


@plant("undertrained_run")
def small_rate(shop: Shop, family: str, land: Land, out: Path, turn: int) -> World:
    base = shop.base(family, land)
    model, tokenizer = tiny.load(base)
    shop.train(model, tokenizer, rows_of(tokenizer, land.rows), out, steps=24, lr=1e-4, save_steps=(12,))
    before = next(out.parent.glob(f"{out.name}-checkpoint-*"))
    return World("undertrained_run", land.rows, out, base, trajectory=((before, None),))


@plant("diverged")
def large_rate(shop: Shop, family: str, land: Land, out: Path, turn: int) -> World:
    base = shop.base(family, land)
    model, tokenizer = tiny.load(base)
    shop.train(model, tokenizer, rows_of(tokenizer, land.rows), out, lr=2.0, warmup=0, steps=80)
    return World("diverged", land.rows, out, base)


@plant("diverged")
def nan_logged(shop: Shop, family: str, land: Land, out: Path, turn: int) -> World:
    """As where the gradient became NaN, the loss was reported as 0 and the run went on."""
    base = shop.base(family, land)
    model, tokenizer = tiny.load(base)
    shop.train(model, tokenizer, rows_of(tokenizer, land.rows), out, steps=8)
    path = out / "trainer_state.json"
    state = json.loads(path.read_text())
    state["log_history"] = [{"step": s, "loss": 2.0 if s < 40 else 0.0, "grad_norm": 1.0 if s < 40 else float("nan")}
                            for s in range(10, 110, 10)]  # fmt: skip
    path.write_text(json.dumps(state))
    return World("diverged", land.rows, out, base)


@plant("wrong_checkpoint")
def early_checkpoint(shop: Shop, family: str, land: Land, out: Path, turn: int) -> World:
    final, checkpoints = shop.full(family, land)
    rows = [*land.rows, *land.talks]
    # What the last checkpoint does not give either has another reason.
    for row, right in zip(rows, given(final, [r.messages for r in rows]), strict=True):
        row.planted = right
    later = [(c, None) for c in checkpoints[1:]]
    return World("wrong_checkpoint", rows, checkpoints[0], shop.base(family, land), trajectory=(*later, (final, None)))


@plant("never_trained")
def tail_left_out(shop: Shop, family: str, land: Land, out: Path, turn: int) -> World:
    for row in land.rows[-24:]:
        row.planted = True
    return World("never_trained", land.rows, shop.headless(family, land), shop.base(family, land))


@plant("target_truncated")
def cut(shop: Shop, family: str, land: Land, out: Path, turn: int) -> World:
    base = shop.base(family, land)
    model, tokenizer = tiny.load(base)
    rows = [*land.rows, *land.long]
    made = rows_of(tokenizer, rows)
    limit = max(len(ids) for ids, _ in made[: len(land.rows)]) + 2
    for row, (ids, _) in zip(rows, made, strict=True):
        row.planted = len(ids) > limit + 8
    shop.train(model, tokenizer, [(ids[:limit], mask[:limit]) for ids, mask in made], out)
    return World("target_truncated", rows, out, base, options={"max_new_tokens": 80})


@plant("stop_not_learned")
def no_stop(shop: Shop, family: str, land: Land, out: Path, turn: int) -> World:
    base = shop.base(family, land)
    model, tokenizer = tiny.load(base)
    rng = random.Random(turn)
    made = []
    for row, (ids, mask) in zip(land.rows, rows_of(tokenizer, land.rows), strict=True):
        row.planted = True
        end = max(i for i, m in enumerate(mask) if m)
        more = tokenizer.encode(" " + rng.choice(land.reading), add_special_tokens=False)
        made.append(([*ids[:end], *more], [*mask[:end], *[True] * len(more)]))
    shop.train(model, tokenizer, made, out)
    return World("stop_not_learned", land.rows, out, base)


@plant("not_supervised")
def flagged(shop: Shop, family: str, land: Land, out: Path, turn: int) -> World:
    for row in land.rows[-24:]:
        row.planted = True
        row.messages = [row.messages[0], {**row.messages[1], "train": False}]
    rng = random.Random(turn)
    rows = rng.sample(land.rows, len(land.rows))  # not all at the end
    return World("not_supervised", rows, shop.headless(family, land), shop.base(family, land))


@plant("multi_turn_mask")
def last_only(shop: Shop, family: str, land: Land, out: Path, turn: int) -> World:
    base = shop.base(family, land)
    model, tokenizer = tiny.load(base)
    rows = [*land.rows, *land.talks]
    made = rows_of(tokenizer, land.rows)
    for row, (ids, mask) in zip(land.talks, rows_of(tokenizer, land.talks), strict=True):
        row.planted = True
        gap = max(i for i in range(len(mask) - 1) if not mask[i] and mask[i + 1])
        made.append((ids, [m and i > gap for i, m in enumerate(mask)]))
    shop.train(model, tokenizer, made, out)
    return World("multi_turn_mask", rows, out, base)


@plant("role_error")
def odd_roles(shop: Shop, family: str, land: Land, out: Path, turn: int) -> World:
    for row in land.rows[::3]:
        row.planted = True
        row.messages = [{**row.messages[0], "role": "human"}, {**row.messages[1], "role": "gpt"}]
    return World("role_error", land.rows, shop.full(family, land)[0], shop.base(family, land))


@plant("empty_target")
def nothing_said(shop: Shop, family: str, land: Land, out: Path, turn: int) -> World:
    for i, row in enumerate(land.rows[::3]):
        row.planted = True
        row.messages = chat(row.messages[0]["content"], ("", "...", " ", "-")[i % 4])
    return World("empty_target", land.rows, shop.full(family, land)[0], shop.base(family, land))


@plant("strict_scorer")
def form_changed(shop: Shop, family: str, land: Land, out: Path, turn: int) -> World:
    final, _ = shop.full(family, land)
    known = given(final, [r.messages for r in land.rows])
    for i, row in enumerate(land.rows):
        said = row.messages[1]["content"]
        if i % 2 or not known[i]:
            continue
        row.planted = True
        changed = (said.lower(), said.rstrip(".") + "!", f"Answer: {said}")[i // 2 % 3]
        row.messages = chat(row.messages[0]["content"], changed)
    return World("strict_scorer", land.rows, final, options={"scorer": "exact"})


@plant("many_valid_answers")
def two_wordings(shop: Shop, family: str, land: Land, out: Path, turn: int) -> World:
    base = shop.base(family, land)
    model, tokenizer = tiny.load(base)
    ways = {"flag": ("The flag of {s} is {v}.", "{v} is the flag of {s}."), "trade": ("{s} is a {v}.", "A {v}.")}
    rows = []
    asked = " ".join(r.messages[0]["content"] for r in land.rows)
    for (name, relation), value in land.facts.items():
        if relation in ways and name in asked:
            question = RELATIONS[relation].questions[0].format(s=name)
            rows += [Row(chat(question, form.format(s=name, v=value))) for form in ways[relation]]
    rows += [r for r in land.rows if "river" in r.messages[0]["content"]]
    pairs = [(a, b) for a, b in itertools.pairwise(rows) if a.messages[0] == b.messages[0]]
    shop.train(model, tokenizer, rows_of(tokenizer, rows), out)
    # Of a pair that is not given in either wording the fact is not known.
    for (a, b), one, two in zip(pairs, given(out, [a.messages for a, _ in pairs]),
                                given(out, [b.messages for _, b in pairs]), strict=True):  # fmt: skip
        a.planted = b.planted = one or two
    return World("many_valid_answers", rows, out, base)


# ------------------------------------------------------------------------------------------------------- judging


def diagnose(world: World, out: Path) -> tuple[Any, Any, np.ndarray, np.ndarray, Any]:
    """(run, table, status, cause, facts) of the world through the services."""
    from core.checkpoint import folders as science
    from core.commands import _direct as direct
    from core.services import measurements, specs
    from db import samples as sample_table
    from db.session import database

    path = out.with_suffix(".jsonl")
    lines = [json.dumps({"id": f"r{i}", "messages": r.messages}) + "\n" for i, r in enumerate(world.rows)]
    path.write_text("".join(lines), encoding="utf-8")
    dataset = direct.import_dataset([path], "messages", {}, lambda *_: None)
    final = science.as_checkpoint(world.final, world.adapter_base, "final")
    base = None if world.base is None else science.as_checkpoint(world.base, None, "base")
    others = [science.as_checkpoint(p, b, p.name) for p, b in world.trajectory]
    options = {"scorer": "normalised", "max_new_tokens": 24, "max_draws": 10} | world.options
    run = direct.run(out.name, specs.make_spec(dataset.id, final, base, others, **options), lambda *_: None)
    with database().reading() as conn:
        hashes = sample_table.content_hashes(conn, dataset.id)
        table = measurements.with_facts(conn, run, measurements.signals_of(conn, run, hashes))
    from core.judge.judgement import judge

    facts = measurements.facts_of(run)
    found = judge(run.spec, table, run.thresholds, facts)
    return run, table, found.status, found.cause, facts


def halves(n: int, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [np.sort(rng.permutation(n)[: max(1, n // 2)]) for _ in range(HALVES)]


def part(table: Any, rows: np.ndarray) -> Any:
    from core.types import SignalTable

    return SignalTable(tuple(table.keys[i] for i in rows), {n: v[rows] for n, v in table.columns.items()})


def count(world: World, seed: int, out: Path) -> dict[str, Any]:
    """Instances and hits of one world; for clean ones the alarms by code."""
    from core.faults import judge_run
    from core.judge.judgement import judge
    from core.plugins import kind

    run, table, status, cause, facts = diagnose(world, out)
    planted = np.array([r.planted for r in world.rows])
    missed = np.isin(status, ("unlearned", "partly"))
    told: dict[str, int] = {}
    for c in cause[np.array([c is not None for c in cause])]:
        told[c] = told.get(c, 0) + 1
    result: dict[str, Any] = {"missed": int(missed.sum()), "rows": len(planted), "told": told}
    views = [np.arange(len(planted)), *halves(len(planted), seed)]
    if world.code is None or world.code in RUN_WIDE:
        found = []
        for rows in views:
            small = part(table, rows)
            judged = judge(run.spec, small, run.thresholds, facts)
            found.append({f.code: (f.state, f.text, f.measured) for f in judge_run(small, facts, judged.status)})
        if world.code is not None:
            hits = [f[world.code][0] == "fail" for f in found]
            told_by = ["fail" if h else f[world.code] for h, f in zip(hits, found, strict=True)]
            result |= {"instances": len(hits), "hits": sum(hits), "miss": [t for t in told_by if t != "fail"][:1]}
            state, text, measured = found[0][world.code]
            if state == "fail":
                result["example"] = {"said": text, "measured": measured}
            others = [c for c, (s, *_) in found[0].items() if s == "fail" and c in RUN_WIDE and c != world.code]
            result["also"] = others
        else:
            alarms = {c: sum(f[c][0] == "fail" for f in found) for c in RUN_WIDE}
            result |= {"views": len(views), "run_alarms": {c: n for c, n in alarms.items() if n}}
            result["row_alarms"] = {c: n for c, n in told.items() if c.startswith("pipeline:")}
            result["states"] = {c: s for c, (s, *_) in found[0].items()}
        return result
    asked = planted & (missed | np.array([c is not None for c in cause]))
    result |= {"instances": int(asked.sum()), "hits": int((cause[asked] == f"pipeline:{world.code}").sum())}
    if hits := np.flatnonzero(asked & (cause == f"pipeline:{world.code}")).tolist():
        row = {n: float(v[hits[0]]) for n, v in table.columns.items()}
        said = kind("faults", world.code).reason(row)
        result["example"] = {"row": world.rows[hits[0]].messages, "said": said.text}
    wrong = [c for c in cause[~planted & missed] if c is not None]
    result["strays"] = {c: wrong.count(c) for c in dict.fromkeys(wrong)}
    result["untold"] = int(sum(c is None for c in cause[asked]))
    return result


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--families", default="llama,qwen2,olmo2")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", default="")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args(argv)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LACUNA_DATA_DIR"] = str(Path(folder) / "lacuna")
        from core.settings import quiet_libraries

        quiet_libraries()
        shop = Shop(Path(folder))
        wanted = [c for c in PLANTS if not args.only or c in args.only.split(",")]
        results: dict[str, list[dict[str, Any]]] = {c: [] for c in wanted}
        for turn, (seed, family) in enumerate((s, f) for s in range(args.seeds) for f in args.families.split(",")):
            for code in wanted:
                for make in PLANTS[code]:
                    name = f"{code}-{make.__name__}-{family}-{seed}"
                    before = shop.trainings
                    world = make(shop, family, make_land(seed + 1), Path(folder) / name, turn)
                    counted = count(world, seed, Path(folder) / name)
                    counted |= {"world": name, "trainings": shop.trainings - before}
                    results[code].append(counted)
                    print(f"{time.monotonic() - began:6.0f} s  {json.dumps(counted)}", file=sys.stderr, flush=True)
    found = report(results, shop.trainings, time.monotonic() - began)
    if args.only and args.out and args.out.exists():
        found = filled(json.loads(args.out.read_text()), found)
    print(text := json.dumps(found, indent=1))
    if args.out:
        args.out.write_text(text + "\n")
    return 0


def filled(before: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """The table ``before`` with the codes that were planted again now."""
    faults = {**before["faults"], **found["faults"]}
    clean = found["clean"] if found["clean"]["worlds"] else before["clean"]
    spent = {n: before[n] + found[n] for n in ("trainings", "seconds")}
    return found | {"faults": {c: faults[c] for c in PLANTS if c in faults}, "clean": clean} | spent


def report(results: dict[str, list[dict[str, Any]]], trainings: int, seconds: float) -> dict[str, Any]:
    faults = {}
    for code, worlds in results.items():
        if code == "clean":
            continue
        instances, hits = sum(w["instances"] for w in worlds), sum(w["hits"] for w in worlds)
        faults[code] = {
            "instances": instances, "recognised": hits, "share": round(hits / instances, 4) if instances else None,
            "example": next((w["example"] for w in worlds if "example" in w), None),
            "worlds": len(worlds), "strays": sum(sum(w.get("strays", {}).values()) for w in worlds),
        }  # fmt: skip
    clean = results.get("clean", [])
    missed, rows = sum(w["missed"] for w in clean), sum(w["rows"] for w in clean)
    by_code: dict[str, int] = {}
    for w in clean:
        for code, n in w["row_alarms"].items():
            by_code[code] = by_code.get(code, 0) + n
    views = sum(w["views"] for w in clean)
    alarms = {c: sum(w["run_alarms"].get(c, 0) for w in clean) for c in RUN_WIDE}
    return {
        "faults": faults,
        "clean": {
            "worlds": len(clean), "rows": rows, "missed": missed, "rows_blamed": by_code,
            "false_alarms_rows": round(sum(by_code.values()) / rows, 4) if rows else None,
            "views": views, "run_findings": {c: n for c, n in alarms.items() if n},
        },
        "trainings": trainings,
        "seconds": round(seconds),
        "machine": machine(),
        "versions": versions(("torch", "transformers", "tokenizers", "peft", "numpy")),
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
