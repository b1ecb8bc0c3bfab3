"""Base models of the lab: pretrained on a corpus once, kept in a cache by what they were made of."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from core.lab import tiny
from core.lab.corpus import Document, Facts, curriculum
from core.types import digest

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Progress = Callable[[str, int, int], None]

VERSION = 1
"""Counts changes of what a base is trained on that its settings do not show."""

KNOWN = 0.95
"""Share of plainly told facts that a base must give to count as trained."""


@dataclass(frozen=True, slots=True)
class ModelSize:
    """The model and its pretraining.

    Attributes:
        row: length in tokens to which documents are packed. prompts: share of dialogues whose prompts are trained too.
    """

    hidden: int = 192
    layers: int = 3
    vocab: int = 6000
    lr: float = 1.3e-3
    batch: int = 4
    row: int = 112
    prompts: float = 0.2


def _plain(document: Document) -> str:
    if isinstance(document, str):
        return document
    if isinstance(document[0], dict):
        return "\n".join(m["content"] for m in document)
    return "\n\n".join(f"Question: {q}\nAnswer: {a}" for q, a in document)


def _row(tokenizer: PreTrainedTokenizerFast, document: Document, prompts: bool) -> tiny.Row:
    """Ids and the mask of what is trained; a dialogue's prompts only where ``prompts`` says so."""
    if isinstance(document, str) or not isinstance(document[0], dict):
        return tiny.text_row(tokenizer, _plain(document))
    ids, mask = tiny.chat_row(tokenizer, document)
    return [*ids, tokenizer.eos_token_id], [*([True] * len(ids) if prompts else mask), prompts]


def _packed(documents: Iterable[tiny.Row], length: int) -> list[tiny.Row]:
    """Documents one after the other in rows of up to ``length`` tokens; none is cut."""
    rows: list[tiny.Row] = [([], [])]
    for ids, mask in documents:
        if rows[-1][0] and len(rows[-1][0]) + len(ids) > length:
            rows.append(([], []))
        rows[-1][0].extend(ids)
        rows[-1][1].extend(mask)
    return rows


def pretrain(
    folder: Path, family: str, facts: Facts, size: ModelSize, seed: int, progress: Progress, attempt: int = 0
) -> None:
    """Trains a base model into ``folder``, which must not exist; ``attempt`` draws other first weights only."""
    rng = random.Random(f"reading {seed}")
    documents = curriculum(facts, rng)
    tokenizer = tiny.build_tokenizer(map(_plain, documents), size.vocab)
    # Names in prompts cannot be foreseen; trained on everywhere they would be most of the loss.
    rows = _packed((_row(tokenizer, d, rng.random() < size.prompts) for d in documents), size.row)
    config = tiny.tiny_config(family, len(tokenizer), size.hidden, size.layers)
    tiny.train(
        tiny.tiny_model(config, tokenizer, seed + 1000 * attempt),
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


def knows(folder: Path, facts: Facts) -> float:
    """Share of plainly told facts that the base gives when asked, most often over three ways to ask."""
    from core.lab.rows import PlantedRow
    from core.lab.truth import beliefs

    model, tokenizer = tiny.load(folder)
    rows = [PlantedRow("known", None, "1", [], fact) for fact in facts.known]
    told = [b.told for b in beliefs(model, tokenizer, facts, rows) if b is not None]
    return sum(told) / max(1, len(told))


def base_key(family: str, facts: Facts, size: ModelSize, seed: int) -> str:
    """What the base is made of, as a short name."""
    told = [asdict(f) for f, _ in facts.told()]
    made_of = [VERSION, family, seed, asdict(replace(facts.domain, early=())), asdict(size), asdict(facts.size), told]
    return f"{family}-{facts.domain.name}-{seed}-{digest(made_of)[:10]}"


def cached_base(
    cache: Path, family: str, facts: Facts, size: ModelSize, seed: int, progress: Progress, attempts: int = 3
) -> Path:
    """The folder of the base in ``cache``, trained now if it is not there.

    Some first weights leave the plateau before any fact is learned too late (one in twelve), and the base then knows
    two facts in three. It is trained again from others, ``attempts`` times at most; the best is kept.
    """
    folder = cache / base_key(family, facts, size, seed)
    if folder.exists():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    best, part = 0.0, folder.with_name(folder.name + ".partial")
    kept = folder.with_name(folder.name + ".best")
    shutil.rmtree(kept, ignore_errors=True)
    for attempt in range(attempts):
        shutil.rmtree(part, ignore_errors=True)
        pretrain(part, family, facts, size, seed, progress, attempt)
        share = knows(part, facts) if attempts > 1 else 1.0
        if attempt == 0 or share > best:
            shutil.rmtree(kept, ignore_errors=True)
            best = share
            part.rename(kept)
        if best >= KNOWN:
            break
    shutil.rmtree(part, ignore_errors=True)
    kept.rename(folder)
    return folder
