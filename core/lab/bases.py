"""Base models of the lab: pretrained on a corpus once, kept in a cache by what they were made of."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.lab import tiny
from core.lab.corpus import Facts, readings
from core.types import digest

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Progress = Callable[[str, int, int], None]

VERSION = 1
"""Counts changes of what a base is trained on that its settings do not show."""


@dataclass(frozen=True, slots=True)
class ModelSize:
    """The model and its pretraining. ``row`` is the length in tokens to which documents are packed."""

    hidden: int = 192
    layers: int = 3
    vocab: int = 6000
    lr: float = 2e-3
    batch: int = 8
    row: int = 112


def pretraining_texts(facts: Facts, seed: int) -> list[list[object]]:
    """Every pass through the corpus."""
    rng = random.Random(f"reading {seed}")
    return [list(readings(facts, rng)) for _ in range(facts.size.passes)]


def _plain(document: object) -> str:
    if isinstance(document, str):
        return document
    assert isinstance(document, list)
    if isinstance(document[0], dict):
        return "\n".join(m["content"] for m in document)
    return "\n\n".join(f"Question: {q}\nAnswer: {a}" for q, a in document)


def _ids(tokenizer: PreTrainedTokenizerFast, document: object) -> list[int]:
    if isinstance(document, list) and isinstance(document[0], dict):
        return [*tiny.chat_row(tokenizer, document)[0], tokenizer.eos_token_id]
    return [*tokenizer.encode(_plain(document), add_special_tokens=False), tokenizer.eos_token_id]


def _packed(documents: Iterator[list[int]], length: int) -> list[tiny.Row]:
    """Documents one after the other in rows of up to ``length`` tokens; none is cut."""
    rows: list[list[int]] = [[]]
    for ids in documents:
        if rows[-1] and len(rows[-1]) + len(ids) > length:
            rows.append([])
        rows[-1].extend(ids)
    return [(ids, [True] * len(ids)) for ids in rows]


def pretrain(folder: Path, family: str, facts: Facts, size: ModelSize, seed: int, progress: Progress) -> None:
    """Trains a base model into ``folder``, which must not exist."""
    passes = pretraining_texts(facts, seed)
    tokenizer = tiny.build_tokenizer((_plain(d) for documents in passes[:6] for d in documents), size.vocab)
    rows = [row for documents in passes for row in _packed((_ids(tokenizer, d) for d in documents), size.row)]
    config = tiny.tiny_config(family, len(tokenizer), size.hidden, size.layers)
    tiny.train(
        tiny.tiny_model(config, tokenizer, seed),
        tokenizer,
        rows,
        folder.parent,
        lr=size.lr,
        batch=size.batch,
        shuffle=False,
        schedule="cosine",
        warmup=30,
        seed=seed,
        threads=1,
        final=folder.name,
        progress=lambda done, total: progress("pretraining", done, total),
    )


def base_key(family: str, facts: Facts, size: ModelSize, seed: int) -> str:
    """What the base is made of, as a short name."""
    told = [asdict(f) for f, _ in facts.told()]
    made_of = [VERSION, family, seed, facts.domain.name, asdict(size), asdict(facts.size), told]
    return f"{family}-{facts.domain.name}-{seed}-{digest(made_of)[:10]}"


def cached_base(cache: Path, family: str, facts: Facts, size: ModelSize, seed: int, progress: Progress) -> Path:
    """The folder of the base in ``cache``, trained now if it is not there."""
    folder = cache / base_key(family, facts, size, seed)
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        part = folder.with_name(folder.name + ".partial")
        shutil.rmtree(part, ignore_errors=True)
        pretrain(part, family, facts, size, seed, progress)
        part.rename(folder)
    return folder
