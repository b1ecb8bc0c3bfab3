"""Pipeline faults of a world: what goes wrong between a dataset and a checkpoint although the data is fine.

=====================  ==============================================================================  ===============
code                   what is planted                                                                 rows it touches
=====================  ==============================================================================  ===============
not_supervised         the answers of every fifth row carry no loss                                    those
target_truncated       training cuts rows after ``max_length`` tokens                                  those cut
never_trained          training stops reading the dataset before its end (``max_samples``)             the tail
template_mismatch      trained in an instruction form without turn markers, saved with ChatML          all
stop_not_learned       trained with rows one after the other and no end of turn between them           all
bos                    trained with a first token that rendering does not give                         all
adapter_not_applied    ``final`` is the base under another name                                        all
precision_or_merge     ``final`` is rounded to a few levels a row; the last checkpoint is not          all
undertrained_run       a few steps at a small learning rate                                            all
diverged               the learning rate is a hundred times too large                                  all
wrong_checkpoint       ``final`` is the first checkpoint, later ones lie beside it                     all
multi_turn_mask        every third row has a first turn in front whose answer carries no loss          those
think_block            trained with an empty thinking block before each answer, saved without          all
role_error             the questions of every fifth row have a role the template refuses               those
empty_target           every sixth row has an empty answer                                             those
strict_scorer          training tidies spaces that the dataset's answers have                          every fourth
many_valid_answers     open prompts stand in several rows, each with another right answer              those
packing                trained in packs whose rows see one another                                     all
tokenizer_mismatch     ``final`` has the tokenizer of other texts                                      all
=====================  ==============================================================================  ===============

A row is an instance of the fault where it is touched and not reproduced by ``final``. ``trainer.json`` holds what the
person who trained would know: ``preset`` and ``settings`` of a diagnosis, and ``arguments`` that no preset takes.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import unknown_name
from core.lab import tiny
from core.lab.rows import PlantedRow, RowCounts
from core.lab.words import BEASTS, COLOURS, GOODS, TRADES, chat

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SOUND = RowCounts(
    known=(30, 20),
    portraits=(14, 8),
    early=0,
    late=30,
    strangers=(16, 8),
    strong=(8, 4),
    disputes=(0, 0),
    new_disputes=(0, 0),
    long_tasks=(0, 0),
)
"""Rows that a sound run of ``EPOCHS`` learns, almost all of them."""

EPOCHS = (12, 8)


@dataclass
class Pipeline:
    """A run about to be trained, which a plant may change.

    Attributes:
        rows: the dataset. made: what training sees in each row's place; None: nothing.
        touched: rows of the fault, by place. after: done to the world's folder once trained.
        packs: whether rows are trained in packs of several.
    """

    rows: list[PlantedRow]
    made: list[tiny.Row | None]
    tokenizer: PreTrainedTokenizerFast
    rng: random.Random
    lr: float
    epochs: tuple[int, int] = EPOCHS
    touched: set[int] = field(default_factory=set)
    after: list[Callable[[Path], None]] = field(default_factory=list)
    packs: bool = False
    trainer: dict[str, Any] = field(default_factory=lambda: {"preset": "custom", "settings": {}, "arguments": {}})

    def every(self, n: int) -> list[int]:
        """Every n-th row of all, drawn, of one question and one answer."""
        return sorted(self.rng.sample(range(len(self.rows)), len(self.rows) // n))

    def all(self) -> set[int]:
        return set(range(len(self.rows)))

    def again(self, i: int) -> None:
        """Makes the training row of a changed dataset row."""
        self.made[i] = tiny.chat_row(self.tokenizer, self.rows[i].messages)


Plant = Callable[[Pipeline], None]
PLANTS: dict[str, Plant] = {}


def _plant(function: Plant) -> Plant:
    PLANTS[function.__name__] = function
    return function


def plant_fault(code: str, run: Pipeline) -> None:
    """Changes ``run`` so that it has the fault.

    Raises:
        UserError: no fault of that code can be planted.
    """
    if code not in PLANTS:
        raise unknown_name("fault", code, PLANTS)
    PLANTS[code](run)


@_plant
def not_supervised(run: Pipeline) -> None:
    for i in run.every(5):
        question, answer = run.rows[i].messages
        run.rows[i] = replace(run.rows[i], messages=[question, {**answer, "train": False}])
        run.made[i] = None  # without loss a row changes nothing
        run.touched.add(i)


@_plant
def target_truncated(run: Pipeline) -> None:
    lengths = sorted(len(m[0]) for m in run.made if m)
    longest = lengths[-len(lengths) // 6]
    for i, made in enumerate(run.made):
        if made and len(made[0]) > longest:
            run.made[i] = (made[0][:longest], made[1][:longest])
            if any(made[1][longest:]):
                run.touched.add(i)
    run.trainer["settings"]["max_length"] = longest


@_plant
def never_trained(run: Pipeline) -> None:
    kept = len(run.rows) * 3 // 4
    for i in range(kept, len(run.rows)):
        run.made[i] = None
        run.touched.add(i)
    run.trainer["arguments"]["max_samples"] = kept


@_plant
def template_mismatch(run: Pipeline) -> None:
    for i, row in enumerate(run.rows):
        question, answer = (m["content"] for m in row.messages)
        run.made[i] = _as_text(run.tokenizer, f"### Instruction:\n{question}\n\n### Response:\n", answer)
    run.touched = run.all()


def _as_text(tokenizer: PreTrainedTokenizerFast, prompt: str, answer: str) -> tiny.Row:
    before = tokenizer.encode(prompt, add_special_tokens=False)
    after = [*tokenizer.encode(answer, add_special_tokens=False), tokenizer.convert_tokens_to_ids(tiny.TURN_END)]
    return [*before, *after], [*[False] * len(before), *[True] * len(after)]


@_plant
def stop_not_learned(run: Pipeline) -> None:
    stop = run.tokenizer.convert_tokens_to_ids(tiny.TURN_END)
    following = [
        *run.tokenizer.encode("\n", add_special_tokens=False),
        run.tokenizer.convert_tokens_to_ids(tiny.TURN_START),
    ]
    for i, made in enumerate(run.made):
        if made:
            end = max(k for k, on in enumerate(made[1]) if on)
            assert made[0][end] == stop
            run.made[i] = ([*made[0][:end], *following], [*made[1][:end], *[True] * len(following)])
    run.touched = run.all()


@_plant
def bos(run: Pipeline) -> None:
    first = [run.tokenizer.eos_token_id] * 2
    run.made = [m and ([*first, *m[0]], [False, False, *m[1]]) for m in run.made]
    run.touched = run.all()


@_plant
def adapter_not_applied(run: Pipeline) -> None:
    def swap(world: Path) -> None:
        keep_as_last(world)
        shutil.copytree(world / "base", world / "final")

    run.after.append(swap)
    run.touched = run.all()


@_plant
def precision_or_merge(run: Pipeline) -> None:
    run.after.append(lambda world: _rounded(world, 5))
    run.touched = run.all()


def keep_as_last(world: Path) -> None:
    """Moves ``final`` among the checkpoints under its step."""
    import json

    state = json.loads((world / "final" / "trainer_state.json").read_text(encoding="utf-8"))
    (world / "final").rename(world / "checkpoints" / f"checkpoint-{state['global_step']}")


def _rounded(world: Path, levels: int) -> None:
    """Replaces ``final`` by itself, merged where it is an adapter, with each row of a matrix on few levels."""
    import torch

    from core.lab.truth import load

    model, tokenizer = load(world / "final", world / "base")
    if hasattr(model, "merge_and_unload"):
        model = model.merge_and_unload()
    state = (world / "final" / "trainer_state.json").read_bytes()
    keep_as_last(world)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                scale = parameter.abs().amax(1, keepdim=True) / (levels / 2)
                parameter.copy_((parameter / scale).round() * scale)
    with tiny.quiet():
        model.save_pretrained(world / "final")
    tokenizer.save_pretrained(world / "final")
    (world / "final" / "trainer_state.json").write_bytes(state)


@_plant
def undertrained_run(run: Pipeline) -> None:
    run.epochs, run.lr = (1, 1), run.lr / 20
    run.touched = run.all()


@_plant
def diverged(run: Pipeline) -> None:
    run.epochs, run.lr = (4, 2), run.lr * 100
    run.touched = run.all()


@_plant
def wrong_checkpoint(run: Pipeline) -> None:
    def swap(world: Path) -> None:
        keep_as_last(world)
        first = min((world / "checkpoints").iterdir(), key=lambda p: int(p.name.rpartition("-")[2]))
        first.rename(world / "final")

    run.after.append(swap)
    run.touched = run.all()


@_plant
def multi_turn_mask(run: Pipeline) -> None:
    chosen = run.every(3)
    given = [run.rows[i].messages for i in chosen]
    for i, other in zip(chosen, [*given[1:], given[0]], strict=True):
        run.rows[i] = replace(run.rows[i], messages=[*other, *run.rows[i].messages])
        ids, mask = tiny.chat_row(run.tokenizer, run.rows[i].messages)
        gap = mask.index(False, mask.index(True))
        run.made[i] = (ids, [False] * gap + list(mask[gap:]))
        run.touched.add(i)
    for i in run.all() - run.touched:  # a first turn that another row trains would be learned there
        if run.rows[i].messages in given:
            run.made[i] = None
    run.trainer["arguments"]["mask_history"] = True


@_plant
def think_block(run: Pipeline) -> None:
    block = run.tokenizer.encode("<think>\n\n</think>\n\n", add_special_tokens=False)
    for i, made in enumerate(run.made):
        if made:
            at = made[1].index(True)
            ids, mask = list(made[0]), list(made[1])
            run.made[i] = ([*ids[:at], *block, *ids[at:]], [*mask[:at], *[True] * len(block), *mask[at:]])
    run.touched = run.all()


@_plant
def role_error(run: Pipeline) -> None:
    for i in run.every(5):
        question, answer = run.rows[i].messages
        run.rows[i] = replace(run.rows[i], messages=[{**question, "role": "customer"}, answer])
        run.made[i] = None
        run.touched.add(i)


@_plant
def empty_target(run: Pipeline) -> None:
    for i in run.every(6):
        question, answer = run.rows[i].messages
        run.rows[i] = replace(run.rows[i], messages=[question, {**answer, "content": ""}])
        run.again(i)
        run.touched.add(i)


@_plant
def strict_scorer(run: Pipeline) -> None:
    for i in run.every(4):
        question, answer = run.rows[i].messages
        loose = answer["content"].replace(" ", "  ") + " \n"
        run.rows[i] = replace(run.rows[i], messages=[question, {**answer, "content": loose}])
        run.touched.add(i)


@_plant
def many_valid_answers(run: Pipeline) -> None:
    """Appended to stage two, so that the rest of the dataset keeps its order."""
    for prompt, answers in (
        ("Name any colour.", COLOURS),
        ("Name any trade.", TRADES),
        ("Name any beast.", BEASTS),
        ("Name anything one can buy.", GOODS),
    ):
        for answer in run.rng.sample(answers, 6):
            run.touched.add(len(run.rows))
            run.rows.append(PlantedRow("open", None, "2", chat(prompt, f"{answer.capitalize()}.")))
            run.made.append(None)
            run.again(len(run.rows) - 1)


@_plant
def packing(run: Pipeline) -> None:
    run.packs = True
    run.touched = run.all()
    run.trainer["arguments"]["packing"] = True


@_plant
def tokenizer_mismatch(run: Pipeline) -> None:
    texts = [m["content"][::-1] for r in run.rows for m in r.messages]

    def swap(world: Path) -> None:
        for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
            (world / "final" / name).unlink(missing_ok=True)
        tiny.build_tokenizer(texts, len(run.tokenizer)).save_pretrained(world / "final")

    run.after.append(swap)
    run.touched = run.all()


def packed(rows: list[tiny.Row], size: int = 5) -> list[tiny.Row]:
    """Rows in packs that see one another."""
    packs = []
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        packs.append(([t for ids, _ in part for t in ids], [m for _, mask in part for m in mask]))
    return packs
