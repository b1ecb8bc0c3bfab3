"""Reading a corpus, fine-tuning in stages, and looking at what a model says."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from core.lab.hands._base import Dataset, Document, Fact, Shape, Stage
from core.lab.hands._models import Tokens, chat_tokens, plain_tokens, prompt_ids

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

IGNORED = -100
PROMPT_WEIGHT = 0.1
"""Loss on what a person says in the corpus, against 1 for answers and prose: names cannot be predicted."""

Weights = dict[str, "torch.Tensor"]
Told = Callable[[str, int, int], None]
"""Is told a stage, how much of it is done, and how much there is."""


@contextlib.contextmanager
def one_thread(seed: int) -> Iterator[None]:
    """Torch on one thread with its own random numbers, so that a world does not depend on the machine's load."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


# ------------------------------------------------------------------------------------------------------------ base


def pretrain(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    shape: Shape,
    readings: Sequence[Sequence[Document]],
    known: Callable[[], float],
    enough: float,
    seed: int,
    told: Told,
) -> int:
    """Reads until ``known`` gives ``enough``, or ``shape.passes`` passes; returns how many passes it took.

    Args:
        readings: passes over the corpus; read in turn, again and again.
        known: share of the facts that the model gives.
    """
    import torch

    tokens = [[_weighted(tokenizer, document) for document in reading] for reading in readings]
    rng = random.Random(f"order-{seed}")
    inner = [p for name, p in model.named_parameters() if p.ndim == 2 and "layers" in name]
    taken = {id(p) for p in inner}
    outer = [p for p in model.parameters() if id(p) not in taken]
    optimisers = [
        torch.optim.Muon(inner, lr=0.02, momentum=0.95, weight_decay=0.01),
        torch.optim.AdamW(outer, lr=3e-3, weight_decay=0.01, betas=(0.9, 0.98)),
    ]
    peaks = [group["lr"] for optimiser in optimisers for group in optimiser.param_groups]
    per_pass = max(1, sum(len(ids) for ids, _ in tokens[0]) // (shape.length * shape.batch))
    looks, fall = max(5, shape.passes // 40), max(40, 6 * per_pass)
    warm, step, falling = 2 * per_pass, 0, 0
    for reading in range(shape.passes):
        order = list(tokens[reading % len(tokens)])
        rng.shuffle(order)
        ids = np.array([i for row, _ in order for i in row])
        weights = np.array([w for _, row in order for w in row], dtype=np.float32)
        block = shape.length * shape.batch
        for start in range(0, len(ids) - block + 1, block):
            # The rate is flat, and falls over the last fifth of the passes or once the facts are known.
            left = (shape.passes - reading) / max(1, shape.passes // 5)
            scale = min(1.0, (step + 1) / warm, left, 1.0 if not falling else max(0.05, 1 - falling / fall))
            _set_rates(optimisers, peaks, scale)
            _read(model, ids[start : start + block], weights[start : start + block], shape)
            for optimiser in optimisers:
                optimiser.step()
                optimiser.zero_grad(set_to_none=True)
            step, falling = step + 1, falling + bool(falling)
        told("base", reading + 1, shape.passes)
        if falling >= fall:
            return reading + 1
        if not falling and reading % looks == looks - 1 and known() >= enough:
            falling = 1
    return shape.passes


def _weighted(tokenizer: PreTrainedTokenizerFast, document: Document) -> tuple[list[int], list[float]]:
    whole = plain_tokens(tokenizer, document) if isinstance(document, str) else chat_tokens(tokenizer, document)
    return whole.ids, [1.0 if said else PROMPT_WEIGHT for said in whole.said]


def _set_rates(optimisers: Sequence[torch.optim.Optimizer], peaks: Sequence[float], scale: float) -> None:
    groups = [group for optimiser in optimisers for group in optimiser.param_groups]
    for group, peak in zip(groups, peaks, strict=True):
        group["lr"] = peak * scale


def _read(model: PreTrainedModel, ids: np.ndarray, weights: np.ndarray, shape: Shape) -> None:
    import torch
    from torch.nn import functional

    model.train()
    rows = torch.from_numpy(ids).view(-1, shape.length)
    weight = torch.from_numpy(weights).view(-1, shape.length)[:, 1:].reshape(-1)
    logits = model(input_ids=rows).logits[:, :-1]
    loss = functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), rows[:, 1:].reshape(-1), reduction="none")
    ((loss * weight).sum() / weight.sum()).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)


# ------------------------------------------------------------------------------------------------------- fine-tune


@dataclass(frozen=True, slots=True)
class Look:
    """What a model makes of rows: per row its loss in nats per said token, and the first said token it gets wrong.

    ``wrong`` is the token's position in the row, -1 where every token is the most probable one.
    """

    nll: np.ndarray
    wrong: np.ndarray

    @property
    def right(self) -> np.ndarray:
        return self.wrong < 0


def look(model: PreTrainedModel, rows: Sequence[Tokens], pad: int) -> Look:
    import torch

    model.eval()
    nll, wrong = np.zeros(len(rows)), np.full(len(rows), -1)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i].ids))
    for start in range(0, len(order), 32):
        chosen = order[start : start + 32]
        ids, labels, mask = _batch([rows[i] for i in chosen], pad)
        with torch.inference_mode():
            logprobs = model(input_ids=ids, attention_mask=mask).logits[:, :-1].log_softmax(-1)
        targets = labels[:, 1:]
        said = targets != IGNORED
        own = logprobs.gather(-1, targets.clamp(min=0)[..., None])[..., 0]
        losses = (-(own * said).sum(1) / said.sum(1)).numpy()
        errors = (said & (logprobs.argmax(-1) != targets)).numpy()
        for i, loss, row in zip(chosen, losses, errors, strict=True):
            nll[i] = loss
            wrong[i] = int(row.argmax()) + 1 if row.any() else -1
    return Look(nll, wrong)


def _batch(rows: Sequence[Tokens], pad: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    import torch

    longest = max(len(row.ids) for row in rows)
    ids = torch.full((len(rows), longest), pad)
    labels = torch.full((len(rows), longest), IGNORED)
    mask = torch.zeros((len(rows), longest), dtype=torch.long)
    for i, row in enumerate(rows):
        n = len(row.ids)
        ids[i, :n] = torch.tensor(row.ids)
        labels[i, :n] = torch.tensor([t if said else IGNORED for t, said in zip(row.ids, row.said, strict=True)])
        mask[i, :n] = 1
    return ids, labels, mask


@dataclass(frozen=True, slots=True)
class Saved:
    """Weights after ``step`` optimiser steps, at the end of an epoch of ``stage``."""

    step: int
    stage: int
    weights: Weights


def finetune(
    model: PreTrainedModel, dataset: Dataset, rows: Sequence[Tokens], pad: int, seed: int, told: Told
) -> list[Saved]:
    """Trains stage by stage; the weights after every epoch, the last being the final ones."""
    saved: list[Saved] = []
    step = 0
    for number, stage in enumerate(dataset.stages, start=1):
        own = [i for i, row in enumerate(dataset.rows) if row.stage == number]
        goal, share = stage.until or ("", 0.0)
        watched = [rows[i] for i in own if dataset.rows[i].group == goal]
        for epoch, steps in enumerate(epochs(model, [rows[i] for i in own], stage, pad, seed * 10 + number), start=1):
            step += steps
            saved.append(Saved(step, number, _copy(model)))
            told(f"stage {number}", epoch, stage.epochs)
            if watched and look(model, watched, pad).right.mean() >= share:
                break
    return saved


def epochs(model: PreTrainedModel, rows: Sequence[Tokens], stage: Stage, pad: int, seed: int) -> Iterator[int]:
    """Trains the rows for the stage's epochs; yields the number of steps after each."""
    import torch

    rng = random.Random(f"epochs-{seed}")
    optimiser = torch.optim.AdamW(model.parameters(), lr=stage.rate, weight_decay=0.0, betas=(0.9, 0.99))
    per_epoch = -(-len(rows) // stage.batch)
    done = 0
    for _ in range(stage.epochs):
        order = list(rows)
        rng.shuffle(order)
        model.train()
        for start in range(0, len(order), stage.batch):
            ids, labels, mask = _batch(order[start : start + stage.batch], pad)
            _set_rates([optimiser], [stage.rate], _scale(stage.schedule, done / (per_epoch * stage.epochs)))
            model(input_ids=ids, attention_mask=mask, labels=labels).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            done += 1
        yield per_epoch


def _scale(schedule: str, share: float) -> float:
    if schedule == "linear":
        return 1 - 0.9 * share
    if schedule == "cosine":
        return float(0.1 + 0.45 * (1 + np.cos(np.pi * share)))
    return 1.0


def _copy(model: PreTrainedModel) -> Weights:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


# --------------------------------------------------------------------------------------------------------- beliefs


@dataclass(frozen=True, slots=True)
class Belief:
    """What the base says to each of a fact's probes.

    Attributes:
        said: its answers, greedily decoded.
        sure: the probability of each.
        values: the probability of each value's plain answer, mean over the probes.
    """

    said: tuple[str, ...]
    sure: tuple[float, ...]
    values: dict[str, float]


def beliefs(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, facts: Sequence[tuple[Fact, Sequence[str]]], pad: int
) -> list[Belief]:
    """Asks every fact by its own probes, and scores the plain answer with each of the values given beside it."""
    stop = str(tokenizer.eos_token)
    probes = [(i, probe) for i, (fact, _) in enumerate(facts) for probe in fact.probes]
    asked = [(i, probe, value) for i, probe in probes for value in facts[i][1]]
    rows = [
        chat_tokens(tokenizer, [*probe, {"role": "assistant", "content": facts[i][0].plain.format(value)}])
        for i, probe, value in asked
    ]
    last = [_last_turn(row) for row in rows]
    longest = max(sum(row.said) for row in last)
    said = greedy(model, tokenizer, [prompt_ids(tokenizer, probe) for _, probe in probes], pad, longest + 1)
    scored = look(model, last, pad)
    chances = np.exp(-scored.nll * [sum(row.said) for row in last])
    out = []
    for i, (_, values) in enumerate(facts):
        own = [answer for (j, _), answer in zip(probes, said, strict=True) if j == i]
        means = {
            value: float(np.mean([p for (j, _, v), p in zip(asked, chances, strict=True) if (j, v) == (i, value)]))
            for value in values
        }
        out.append(Belief(tuple(text.removesuffix(stop).strip() for text, _ in own), tuple(p for _, p in own), means))
    return out


def _last_turn(row: Tokens) -> Tokens:
    """The row with its last answer alone as said."""
    start = len(row.said)
    while start and not row.said[start - 1]:
        start -= 1
    while start and row.said[start - 1]:
        start -= 1
    return Tokens(row.ids, [said and i >= start for i, said in enumerate(row.said)])


def greedy(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[Sequence[int]],
    pad: int,
    limit: int = 48,
) -> list[tuple[str, float]]:
    """The most probable continuation of each prompt, token by token, with its probability."""
    import torch

    model.eval()
    out: list[tuple[str, float]] = [("", 0.0)] * len(prompts)
    by_length: dict[int, list[int]] = {}
    for i, prompt in enumerate(prompts):
        by_length.setdefault(len(prompt), []).append(i)
    for chosen in by_length.values():
        ids = torch.tensor([list(prompts[i]) for i in chosen])
        live, logprob = torch.ones(len(chosen), dtype=torch.bool), torch.zeros(len(chosen))
        length, cache, step = ids.shape[1], None, ids
        with torch.inference_mode():
            while live.any() and ids.shape[1] < length + limit:
                result = model(input_ids=step, past_key_values=cache, use_cache=True)
                cache = result.past_key_values
                best, step = result.logits[:, -1].log_softmax(-1).max(-1, keepdim=True)
                step = torch.where(live[:, None], step, torch.full_like(step, pad))
                logprob += torch.where(live, best[:, 0], torch.zeros_like(best[:, 0]))
                ids = torch.cat([ids, step], 1)
                live &= step[:, 0] != tokenizer.eos_token_id
        for row, i in enumerate(chosen):
            text = tokenizer.decode(ids[row, length:], skip_special_tokens=True)
            out[i] = (str(text), float(logprob[row].exp()))
    return out
