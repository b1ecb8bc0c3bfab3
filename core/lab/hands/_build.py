"""A hand's world as a folder: base, fine-tune, truth."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.errors import UserError
from core.lab.hands._base import Dataset, Document, Fact, Hand, Row, Shape, says
from core.lab.hands._models import Tokens, chat_tokens, model_of, prompt_ids, tokenizer_of
from core.lab.hands._training import Saved, Told, beliefs, epochs, finetune, greedy, look, one_thread, pretrain
from core.lab.hands._truth import Seen, rivals, truth

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

READINGS = 12
"""Passes over the corpus written out before training, each in other wordings; read in turn."""
ENOUGH = 0.98
"""Share of the facts told with one value that the base gives before its reading ends early."""
ASKED = 60
"""Facts asked to see whether the reading may end."""
CHECKPOINTS = 6
"""Checkpoints that are kept, the end of every stage among them."""
MORE = 5
"""Epochs of continued training that show whether more passes would have taught a row."""
BASE_SEED = 0
"""One base serves every seed and variant of a hand."""


def build(
    out: Path, hand: Hand, seed: int, hard: bool, cache: Path, progress: Told = lambda *_: None
) -> dict[str, Any]:
    """Builds the world into ``out``, which exists only when it is complete; returns a summary.

    Args:
        cache: folder of base models, kept by what they were made of.

    Raises:
        UserError: ``out`` exists.
    """
    if out.exists():
        raise UserError(f"{out} exists.", "A world is built into a folder of its own.", "Name another, or remove it.")
    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    dataset = hand.dataset(seed, hard)
    with one_thread(seed):
        shutil.copytree(_base(hand, cache, progress), part / "base")
        summary = _finish(part, hand, dataset, seed, progress)
    summary = {"spec": {"hand": hand.name, "family": hand.shape.family, "seed": seed, "hard": hard}, **summary}
    (part / "world.json").write_text(json.dumps(summary, indent=2), encoding="utf-8")
    os.replace(part, out)
    return summary


# ------------------------------------------------------------------------------------------------------------ base


def readings(hand: Hand, count: int = READINGS) -> list[list[Document]]:
    """The corpus, ``count`` passes of it."""
    rng = random.Random(f"{hand.name}-corpus-{BASE_SEED}")
    return [hand.read(rng) for _ in range(count)]


def _base(hand: Hand, cache: Path, progress: Told) -> Path:
    """The folder of the hand's base, trained unless the cache has it."""
    corpus = readings(hand, min(READINGS, hand.shape.passes))
    facts = [(fact.subject, fact.relation, fact.told) for fact in hand.facts()]
    made_of = json.dumps([asdict(hand.shape), corpus, facts], ensure_ascii=False)
    folder = cache / f"hand-{hand.name}-{hashlib.sha256(made_of.encode()).hexdigest()[:12]}"
    if folder.exists():
        return folder
    tokenizer = tokenizer_of(hand.shape, [document for reading in corpus for document in reading])
    model = model_of(hand.shape, tokenizer, BASE_SEED)
    single = [fact for fact in hand.facts() if len(fact.told) == 1]
    sample = random.Random(BASE_SEED).sample(single, min(ASKED, len(single)))
    passes = pretrain(
        model,
        tokenizer,
        hand.shape,
        corpus,
        lambda: known(model, tokenizer, sample),
        ENOUGH,
        BASE_SEED,
        progress,
    )
    part = cache / f".{folder.name}.{os.getpid()}.part"
    _save(model, tokenizer, part)
    facts_known = {"passes": passes, "known": round(known(model, tokenizer, single), 4)}
    (part / "reading.json").write_text(json.dumps(facts_known), encoding="utf-8")
    os.replace(part, folder)
    return folder


def known(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, facts: Sequence[Fact]) -> float:
    """Share of the facts whose told value the model says to the first probe."""
    prompts = [prompt_ids(tokenizer, fact.probes[0]) for fact in facts]
    said = greedy(model, tokenizer, prompts, _pad(tokenizer))
    return float(np.mean([says(text, fact.told[0]) for fact, (text, _) in zip(facts, said, strict=True)]))


def _pad(tokenizer: PreTrainedTokenizerFast) -> int:
    return int(str(tokenizer.pad_token_id))


def _save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _load(folder: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(folder)
    return model, tokenizer


# ----------------------------------------------------------------------------------------------------------- world


def _finish(part: Path, hand: Hand, dataset: Dataset, seed: int, progress: Told) -> dict[str, Any]:
    model, tokenizer = _load(part / "base")
    reading = json.loads((part / "base" / "reading.json").read_text(encoding="utf-8"))
    (part / "base" / "reading.json").unlink()
    pad = _pad(tokenizer)
    tokens = [chat_tokens(tokenizer, row.messages) for row in dataset.rows]
    held = _beliefs(model, tokenizer, dataset.rows, pad)
    looks, stages = {"base": look(model, tokens, pad)}, [0]

    saved = finetune(model, dataset, tokens, pad, seed, progress)
    for point in _kept(saved):
        model.load_state_dict(point.weights)
        looks[f"checkpoint-{point.step}"] = look(model, tokens, pad)
        stages.append(point.stage)
        _save(model, tokenizer, part / "checkpoints" / f"checkpoint-{point.step}")
    model.load_state_dict(saved[-1].weights)
    _save(model, tokenizer, part / "final")
    looks["final"] = look(model, tokens, pad)
    stages.append(len(dataset.stages))

    more = _more(model, dataset, tokens, pad, seed)
    seen = Seen(looks, stages, held, _partings(tokenizer, dataset.rows, tokens), more)
    records = truth(dataset.rows, seen)
    ids = [f"{hand.name}-{i:04d}" for i in range(len(dataset.rows))]
    _write_lines(
        part / "dataset.jsonl",
        (
            {"id": i, "stage": row.stage, "messages": list(row.messages)}
            for i, row in zip(ids, dataset.rows, strict=True)
        ),
    )
    _write_lines(part / "truth.jsonl", ({"id": i, **record} for i, record in zip(ids, records, strict=True)))
    arguments = {"num_train_epochs": len(saved), "stages": [asdict(stage) for stage in dataset.stages]}
    trainer = {"preset": "custom", "settings": {}, "arguments": arguments}
    (part / "trainer.json").write_text(json.dumps(trainer, indent=2), encoding="utf-8")
    size = sum(p.numel() for p in model.parameters())
    return {"base": {**reading, "parameters": size}, "epochs": [point.stage for point in saved], **counts(records)}


def _beliefs(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, rows: Sequence[Row], pad: int) -> list[Any]:
    """The base's belief per row, None where the row asks no fact."""
    asking = [i for i, row in enumerate(rows) if row.fact is not None]
    facts = [(fact, (*fact.told, rows[i].value)) for i in asking if (fact := rows[i].fact) is not None]
    held = dict(zip(asking, beliefs(model, tokenizer, facts, pad), strict=True))
    return [held.get(i) for i in range(len(rows))]


def _kept(saved: Sequence[Saved]) -> list[Saved]:
    """The ends of the stages and, of the other epochs, evenly spread ones; ``CHECKPOINTS`` in all, at most."""
    ends = [i for i, point in enumerate(saved) if i + 1 == len(saved) or saved[i + 1].stage != point.stage]
    others = [i for i in range(len(saved)) if i not in ends]
    n = min(len(others), max(0, CHECKPOINTS - len(ends)))
    spread = {others[int((k + 0.5) * len(others) / n)] for k in range(n)}
    return [point for i, point in enumerate(saved) if i in spread or i in ends]


def _more(model: PreTrainedModel, dataset: Dataset, tokens: Sequence[Tokens], pad: int, seed: int) -> list[int]:
    """Per row the epoch of continued training after which it is reproduced first; 0: none of ``MORE``.

    Training goes on with the rows of the row's own stage, at that stage's full rate, from the final weights.
    """
    final = {name: value.clone() for name, value in model.state_dict().items()}
    out = [0] * len(tokens)
    for number, stage in enumerate(dataset.stages, start=1):
        own = [i for i, row in enumerate(dataset.rows) if row.stage == number]
        if not any(not dataset.rows[i].is_new for i in own):
            continue
        model.load_state_dict(final)
        again = replace(stage, epochs=MORE, schedule="constant", until=None)
        for epoch, _ in enumerate(epochs(model, [tokens[i] for i in own], again, pad, seed * 10 + 9), start=1):
            right = look(model, [tokens[i] for i in own], pad).right
            for i, hit in zip(own, right, strict=True):
                out[i] = out[i] or (epoch if hit else 0)
    model.load_state_dict(final)
    return out


def _partings(tokenizer: PreTrainedTokenizerFast, rows: Sequence[Row], tokens: Sequence[Tokens]) -> list[list[int]]:
    """Per row the positions at which its tokens part from the same row with a rival's value in the answer."""
    out: list[list[int]] = []
    for i, others in enumerate(rivals(rows)):
        places = []
        for value in sorted({rows[j].value for j in others}):
            *before, last = rows[i].messages
            changed = {**last, "content": last["content"].replace(rows[i].value, value)}
            there = chat_tokens(tokenizer, [*before, changed]).ids
            here = tokens[i].ids
            places.append(next(k for k in range(len(here)) if k >= len(there) or here[k] != there[k]))
        out.append(places)
    return out


def counts(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Rows, scored unlearned rows per cause, and per group its rows and how many were learned."""
    judged = [r for r in records if r["scored"] and not r["learned"]]
    groups = sorted({str(r["group"]) for r in records})
    controls = [r for r in records if not r["made_for"]]
    return {
        "rows": len(records),
        "scored": sum(bool(r["scored"]) for r in records),
        "unlearned_by_cause": dict(sorted(Counter(cause for r in judged for cause in r["planted"]).items())),
        "controls_learned": round(sum(bool(r["learned"]) for r in controls) / max(1, len(controls)), 3),
        "groups": {
            name: {
                "rows": sum(r["group"] == name for r in records),
                "learned": sum(r["group"] == name and bool(r["learned"]) for r in records),
                "scored": sum(r["group"] == name and bool(r["scored"]) for r in records),
            }
            for name in groups
        },
    }


def _write_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), encoding="utf-8")


def tiny(shape: Shape) -> Shape:
    """The shape small enough for a test that looks at the folder, not at what was learned."""
    return replace(shape, width=32, layers=1, heads=2, inner=64, passes=2)
