"""What is true of a world's rows, looked up inside the models that were trained: belief, learned, forgotten.

A row is right at a checkpoint when the argmax is right at every trained token of its answer, stop token included;
by induction that is what greedy decoding gives. What a base believes is looked up, not asked: the answer's words up to
the value stand in front, and the value is whatever is most probable next, over several ways to ask.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.lab import tiny
from core.lab.corpus import Facts
from core.lab.rows import CONFLICT, FORGOTTEN, INCONSISTENT, MISSING, RARE, PlantedRow
from core.lab.words import Message, chat
from core.proof.trainer import collate

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

BELIEF = 0.5
"""Mean probability a base gives the value it was told, over the ways to ask, for that to be its belief."""

FIRM = 0.9
"""Above this, and unanimous, a base that was never told holds a belief all the same: neither ignorant nor told."""

NEVER = 0.3
"""Mean probability of the target below which a base does not know it."""


@dataclass(frozen=True, slots=True)
class Belief:
    """What a base makes of a question, over the ways to ask it.

    Attributes:
        value: the value most often most probable, by its first token; told: whether the corpus held it.
        share: of the ways to ask, those that give ``value``.
        p: mean probability of ``value``; p_told, p_target: of what the corpus held (the most probable of several; NaN
            where it held nothing) and of what the row teaches.
    """

    value: int
    share: float
    p: float
    p_told: float
    p_target: float
    told: bool


def scores(
    model: PreTrainedModel | PeftModel, rows: Sequence[tiny.Row], batch: int = 32
) -> tuple[np.ndarray, np.ndarray]:
    """The first trained token that is not the argmax, by its place in the row, -1 if there is none, (n,); and the mean
    loss over trained tokens in nats, (n,).
    """
    import torch

    missed, nll = np.zeros(len(rows), int), np.zeros(len(rows))
    order = sorted(range(len(rows)), key=lambda i: len(rows[i][0]))
    model.eval()
    for start in range(0, len(order), 32):
        part = order[start : start + 32]
        made = collate([rows[i] for i in part])
        with torch.no_grad():
            logp = model(input_ids=made["input_ids"]).logits[:, :-1].float().log_softmax(-1)
        labels = made["labels"][:, 1:]
        mask = labels != -100
        miss = (logp.argmax(-1) != labels) & mask
        gold = logp.gather(-1, labels.clamp(min=0)[..., None])[..., 0]
        missed[part] = torch.where(miss.any(-1), miss.int().argmax(-1) + 1, -1).numpy()
        nll[part] = (-(gold * mask).sum(-1) / mask.sum(-1)).numpy()
    return missed, nll


def beliefs(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerFast,
    facts: Facts,
    rows: Sequence[PlantedRow],
) -> list[Belief | None]:
    """The base's belief about every row that asks for one fact; None for the others."""
    import torch

    held = facts.held()
    questions = [(i, r.fact) for i, r in enumerate(rows) if r.fact is not None]
    prompts: list[list[int]] = []
    for _, fact in questions:
        wording = facts.wordings[fact.relation]
        lead = wording.answer.partition("{v}")[0].format(s=fact.subject).rstrip(" ")
        for way in range(3):
            text = tiny.rendered(tokenizer, chat(wording.question(fact.subject, way)), prompt=True)
            prompts.append(tokenizer.encode(text + lead, add_special_tokens=False))
    probabilities = np.zeros((len(prompts), model.config.vocab_size), np.float32)
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    model.eval()
    for start in range(0, len(order), 64):
        part = order[start : start + 64]
        length = max(len(prompts[i]) for i in part)
        ids = torch.full((len(part), length), tokenizer.pad_token_id)
        for k, i in enumerate(part):
            ids[k, : len(prompts[i])] = torch.as_tensor(prompts[i])
        with torch.no_grad():
            logits = model(input_ids=ids).logits
        last = torch.as_tensor([len(prompts[i]) - 1 for i in part])
        probabilities[part] = logits[torch.arange(len(part)), last].float().softmax(-1).numpy()
    held_by_base: list[Belief | None] = [None] * len(rows)
    for k, (i, fact) in enumerate(questions):
        answer = facts.wordings[fact.relation].answer
        spaced = " " if answer.partition("{v}")[0].endswith(" ") else ""
        first = {v: tokenizer.encode(spaced + v, add_special_tokens=False)[0] for v in facts.values[fact.relation]}
        p = probabilities[3 * k : 3 * k + 3]
        best = p.argmax(-1)
        values, counts = np.unique(best, return_counts=True)
        means = p.mean(0)
        value = max(values[counts == counts.max()], key=lambda v: means[v])
        told = [first[v] for v in held.get((fact.subject, fact.relation), [])]
        held_by_base[i] = Belief(
            int(value),
            float((best == value).mean()),
            float(means[value]),
            max((float(means[t]) for t in told), default=math.nan),
            float(means[first[fact.value]]),
            bool(value in told),
        )
    return held_by_base


@dataclass(frozen=True, slots=True)
class Looked:
    """What the models of a world make of its rows.

    Attributes:
        belief: of the base, per row. names: checkpoints in step order, base first, final last.
        stage: of each checkpoint, base 0.
        missed: place of the first token of a row that is wrong, -1 where it is right, (n, checkpoints); nll: mean loss
            in nats, (n, checkpoints).
        apart: place of the first token at which a row differs from the others of its dispute, -1 without one, (n,).
        value: place of the first token of the value that a row's answer gives, -1 where it asks for no fact, (n,).
    """

    belief: list[Belief | None]
    names: list[str]
    stage: np.ndarray
    missed: np.ndarray
    nll: np.ndarray
    apart: np.ndarray
    value: np.ndarray

    @property
    def right(self) -> np.ndarray:
        """Whether a row is reproduced, (n, checkpoints)."""
        return self.missed < 0


def look(
    folders: Mapping[str, Path], stages: Sequence[int], facts: Facts, rows: Sequence[PlantedRow], base: Path
) -> Looked:
    """Loads every checkpoint once. ``folders`` are in step order, base first, final last."""
    missed: list[np.ndarray] = []
    nll: list[np.ndarray] = []
    belief: list[Belief | None] = []
    _, own = tiny.load(base)
    made = [_made(own, r) for r in rows]
    for name, folder in folders.items():
        model, tokenizer = load(folder, base)
        if name == "final":
            tokenizer = tiny.load_tokenizer(folder)
        belief = belief or beliefs(model, tokenizer, facts, rows)
        first_missed, loss = scores(model, [_made(tokenizer, r) for r in rows])
        missed.append(first_missed)
        nll.append(loss)
    return Looked(
        belief,
        list(folders),
        np.asarray(stages),
        np.stack(missed, 1),
        np.stack(nll, 1),
        apart(made, [r.dispute for r in rows]),
        _value(own, facts, made, rows),
    )


def _value(
    tokenizer: PreTrainedTokenizerFast, facts: Facts, made: Sequence[tiny.Row], rows: Sequence[PlantedRow]
) -> np.ndarray:
    places = np.full(len(rows), -1)
    for i, row in enumerate(rows):
        if row.fact is not None and row.group not in ("early", "long_dispute"):
            lead = facts.wordings[row.fact.relation].answer.partition("{v}")[0].format(s=row.fact.subject).rstrip(" ")
            places[i] = made[i][1].index(True) + len(tokenizer.encode(lead, add_special_tokens=False))
    return places


def _made(tokenizer: PreTrainedTokenizerFast, row: PlantedRow) -> tiny.Row:
    """The row as the template renders it; one it refuses asks for padding, which no model gives."""
    from jinja2 import TemplateError

    try:
        return tiny.chat_row(tokenizer, row.messages)
    except TemplateError:
        return [tokenizer.eos_token_id, tokenizer.pad_token_id], [False, True]


def apart(made: Sequence[tiny.Row], disputes: Sequence[int | None]) -> np.ndarray:
    """Place of the first answer token that no other side of the dispute has there, counted in the row, (n,); -1 where
    the row is of no dispute, or its only side.
    """
    places = np.full(len(made), -1)
    for i, dispute in enumerate(disputes):
        others = [k for k, other in enumerate(disputes) if k != i and other is not None and other == dispute]
        if not others:
            continue
        start = made[i][1].index(True)
        answers = [[t for t, on in zip(*made[k], strict=True) if on] for k in (i, *others)]
        same = 0
        while all(same < len(a) and a[same] == answers[0][same] for a in answers):
            same += 1
        places[i] = start + same
    return places


def load(folder: Path, base: Path) -> tuple[PreTrainedModel | PeftModel, PreTrainedTokenizerFast]:
    """A full checkpoint, or an adapter on ``base``."""
    if not (folder / "adapter_config.json").exists():
        return tiny.load(folder)
    from peft import PeftModel

    model, tokenizer = tiny.load(base)
    return PeftModel.from_pretrained(model, str(folder)), tokenizer


def reproduced(folder: Path, base: Path, dialogues: Sequence[list[Message]]) -> list[bool]:
    """Whether the checkpoint gives every answer of each dialogue."""
    model, tokenizer = load(folder, base)
    missed, _ = scores(model, [tiny.chat_row(tokenizer, messages) for messages in dialogues])
    return [place < 0 for place in missed]


def truth(rows: Sequence[PlantedRow], looked: Looked, facts: Facts) -> list[dict[str, Any]]:
    """One record a row: ``planted``, ``learned``, ``scored`` and what the judgement rests on.

    A row's true causes are all that fit, whichever of them it was made for. The first two want the answer to be right
    up to its value, so that what fails is the fact.

    - ``missing_knowledge``: it asks for a fact that the corpus told of no such subject, the base gives the target in
      no majority of wordings and at less than ``NEVER``, and holds no firm belief of its own.
    - ``base_conflict``: the corpus told another value, which the base gives in most wordings and at ``BELIEF``.
    - ``data_inconsistency``: a side of a planted contradiction of which at least one side was not learned; where it is
      this one, the first wrong token is the first in which the sides differ.
    - ``left_side_forgetting``: right at a checkpoint after its training began, wrong at the end.
    - ``under_optimised``: a pattern that occurs twice, derivable from the prompt, never right, not forgotten, and its
      loss below the base's.

    ``scored`` wants the cause it was made for among them. A control that was learned is scored with no cause; one
    that was not is scored only where it was learned once. The records carry the group and the numbers looked at.
    """
    held = facts.held()
    learned = looked.right[:, -1]
    sides: dict[int, list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        if row.dispute is not None:
            sides[row.dispute].append(i)
    records = []
    for i, row in enumerate(rows):
        belief, fact = looked.belief[i], row.fact
        since = looked.stage >= int(row.stage)
        was_right = looked.right[i] & since
        was_right[-1] = False
        early = bool((looked.right[i] & ~since)[1:].any())
        fits = []
        if fact is not None and belief is not None and row.group != "long_dispute":
            told = held.get((fact.subject, fact.relation), [])
            reached = learned[i] or looked.missed[i, -1] >= looked.value[i]
            ignorant = belief.p_target < NEVER and not (belief.share == 1 and belief.p >= FIRM)
            if not told and ignorant and reached:
                fits.append(MISSING)
            if (
                told
                and reached
                and fact.value not in told
                and belief.told
                and belief.share > 0.5
                and belief.p_told >= BELIEF
            ):
                fits.append(CONFLICT)
        apart = learned[i] or looked.missed[i, -1] == looked.apart[i]
        if row.dispute is not None and apart and not all(learned[k] for k in sides[row.dispute]):
            fits.append(INCONSISTENT)
        if not learned[i] and was_right.any() and row.group != "many":  # there the other right answer took its place
            fits.append(FORGOTTEN)
        falling = looked.nll[i, -1] < looked.nll[i, 0]
        if row.cause == RARE and not looked.right[i, :-1].any() and (learned[i] or falling):
            fits.append(RARE)
        fits.sort(key=lambda c: c != row.cause)
        if learned[i]:
            planted = [row.cause] if row.cause else []
            scored = row.cause is None or row.cause in fits
        else:
            planted = fits
            scored = bool(fits) and (row.cause is None or row.cause in fits) and (not early or fits != [RARE])
        records.append(
            {
                "planted": planted,
                "learned": bool(learned[i]),
                "scored": bool(scored),
                "group": row.group,
                "made_for": row.cause,
                "dispute": row.dispute,
                "right_at": [n for n, r in zip(looked.names, looked.right[i], strict=True) if r],
                "nll": [round(float(x), 4) for x in looked.nll[i]],
                "belief": _belief(belief),
            }
        )
    return records


def _belief(belief: Belief | None) -> dict[str, Any] | None:
    if belief is None:
        return None
    numbers = {"share": belief.share, "p": belief.p, "p_told": belief.p_told, "p_target": belief.p_target}
    return {
        "as_told": belief.told,
        **{k: None if math.isnan(v) else round(v, 4) for k, v in numbers.items()},
    }
