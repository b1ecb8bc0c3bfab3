"""Does a checkpoint find the answers likelier under another rendering than the run's?

A bounded subset of rows, chosen by their content alone, is scored under each of the renderings of ``_renderings``, and
under other tokenizers where there are any. Numbers are nats per character of the last answer's text: token counts
differ between tokenizers and seams, characters do not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from core.backends._base import ScoreRow, ScoringBackend
from core.errors import UserError
from core.presets._tokenised import supervision_of
from core.rendering.tokenizers import VOCABULARY_FILES, open_tokenizer
from core.signals import _columns as col
from core.signals._base import Instruments, Measure, Signal, chunked, supervision_digest, supervision_facts
from core.signals._renderings import LABELS, NAMES, View, id_views, last_answer, system_views, text_views, within
from core.types import BASE, FINAL, Chunk, Column, RunSpec, Sample, SignalTable, digest

# Rows scored under each rendering, and the longest of them in tokens.
ROWS, LONGEST = 32, 2048


def few(table: SignalTable, most: int = ROWS) -> np.ndarray:
    """(n,) bool: at most ``most`` distinct samples with a measured answer, by content hash: no order plays a part."""
    fit = (table.get(col.N_TARGET) > 0) & np.isfinite(table.get(col.NLL)) & (table.get(col.N_TOKENS) <= LONGEST)
    fit &= ~(table.get(col.CUT_TARGET) > 0)
    chosen = set(sorted({key for key, ok in zip(table.keys, fit, strict=True) if ok})[:most])
    return np.asarray(np.array([key in chosen for key in table.keys], dtype=bool) & fit)


def base_of(spec: RunSpec) -> Any:
    """The model before fine-tuning: the one given, else an adapter's base; None where there is neither."""
    if spec.base is not None:
        return spec.base
    if spec.final.base is None:
        return None
    mark = f"base of {spec.final.fingerprint}"
    return replace(spec.final, path=spec.final.base, base=None, step=None, label="base", fingerprint=mark)


class Alternatives(Signal):
    name = "alternatives"
    label = "Other renderings"
    version = 2
    needs = (col.NLL, col.N_TARGET, col.N_TOKENS, col.CUT_TARGET)
    columns = tuple(
        Column(col.alt(name), "number", f"Loss: {LABELS.get(name, 'as in this run')}", "Nats per character of the "
               "answer under this rendering; a subset of rows.", "nats", "low")
        for name in NAMES
    )  # fmt: skip

    def plan(self, spec: RunSpec) -> list[Measure]:
        roles = [(FINAL, spec.final), (BASE, base_of(spec))]
        measures = []
        for role, checkpoint in roles:
            if checkpoint is None:
                continue
            kin = {"signal": self.name, "version": self.version, "weights": checkpoint.fingerprint,
                   # The tokenizer of the base.
                   "base": getattr(base_of(spec), "fingerprint", None), **supervision_facts(spec)}  # fmt: skip
            # The neighbour in front of a row.
            depends = {**kin, "dataset": spec.dataset_fingerprint}
            measures.append(Measure(self.name, role, checkpoint, depends, ("logprobs",), kin=kin))
        return measures

    def subjects(self, measure: Measure, sample: Sample, instruments: Instruments) -> tuple[str, ...]:
        before = _row_before(sample, instruments)
        raw = hashlib.sha256(sample.raw).hexdigest()  # variables of the template stand there
        ids = None if before is None else before.tolist()
        return (digest([supervision_digest(sample, instruments), sample.content_hash, raw, ids]),)

    def applies_to(self, table: SignalTable) -> np.ndarray:
        return few(table)

    def measure(
        self, measure: Measure, samples: Sequence[Sample], instruments: Instruments, stop: Callable[[], bool]
    ) -> Iterator[Chunk]:
        backend = instruments.scoring(measure.checkpoint)
        for chunk in chunked(samples, lambda s: 1, 16, 16):
            if stop():
                return
            yield self._chunk(measure, chunk, instruments, backend)

    def _chunk(
        self, measure: Measure, samples: list[Sample], instruments: Instruments, backend: ScoringBackend
    ) -> Chunk:
        views = [views_of(sample, instruments) for sample in samples]
        jobs = [
            (i, name, fit)
            for i, by_name in enumerate(views)
            for name, view in by_name.items()
            if (fit := within(view, backend.context_length, backend.vocab_size)) is not None
        ]
        scored = backend.score([ScoreRow(view.ids, view.positions) for _, _, view in jobs])
        columns = {c.name: np.full(len(samples), np.nan) for c in self.columns}
        for (i, name, _), scores in zip(jobs, scored, strict=True):
            characters = max(1, len(samples[i].response))
            columns[col.alt(name)][i] = -float(scores.logprobs.sum(dtype=np.float64)) / characters
        return Chunk(measure.key, tuple(s.content_hash for s in samples), columns)


def views_of(sample: Sample, instruments: Instruments) -> dict[str, View]:
    """Name to rendering; empty where the row cannot be rendered or is too long."""
    spec, tokenizer = instruments.spec, instruments.tokenizer()
    try:
        current = last_answer(instruments.supervision(sample), LONGEST)
    except UserError:
        return {}
    if current is None:
        return {}
    out = {"current": current} | id_views(current, tokenizer, _row_before(sample, instruments))
    out |= text_views(sample, tokenizer, current)
    from core.presets._base import template_variables

    day = spec.preset_settings.get("day")
    out |= system_views(sample, tokenizer, {"variables": template_variables(sample)} | ({"day": day} if day else {}))
    for name, other in _other_tokenizers(spec):
        # Vocabularies are compared, under one template; templates are compared above, with one vocabulary.
        other.chat_template = tokenizer.chat_template
        if (view := _under(sample, other, spec)) is not None and not np.array_equal(view.ids, current.ids):
            out[name] = view
    return out


def _row_before(sample: Sample, instruments: Instruments) -> np.ndarray | None:
    """Ids of the row before this one in training order."""
    if sample.ordinal == 0:
        return None
    try:
        ids = instruments.supervision(instruments.samples()[sample.ordinal - 1]).ids
    except (UserError, IndexError):
        return None
    return ids if len(ids) <= LONGEST else None


def _other_tokenizers(spec: RunSpec) -> list[tuple[str, Any]]:
    """The folder's tokenizer read the other way, and the base model's; opened once per call, small beside a model."""
    own = spec.final.path if _has_tokenizer(spec.final.path) else spec.final.base
    candidates: list[tuple[str, str | None, Any]] = [
        ("tokenizer_other", own, "file" if spec.final.tokenizer == "auto" else "auto")
    ]
    base = base_of(spec)
    if base is not None and base.path != own:
        candidates.append(("tokenizer_base", base.path, "auto"))
    out = []
    for name, folder, variant in candidates:
        try:
            if folder is not None:
                out.append((name, _opened(folder, variant)))
        except UserError:
            continue
    return out


_OPEN: dict[tuple[str, str, float], Any] = {}


def _opened(folder: str, variant: Any) -> Any:
    """The tokenizer, kept while its file stays as it is: opening one costs more than encoding a row."""
    files = [Path(folder) / name for name in VOCABULARY_FILES]
    changed = max((f.stat().st_mtime for f in files if f.is_file()), default=0.0)
    key = (folder, variant, changed)
    if key not in _OPEN:
        while len(_OPEN) >= 4:
            _OPEN.pop(next(iter(_OPEN)))
        _OPEN[key] = open_tokenizer(folder, variant)
    return _OPEN[key]


def _has_tokenizer(folder: str) -> bool:
    return any((Path(folder) / name).is_file() for name in VOCABULARY_FILES)


def _under(sample: Sample, tokenizer: Any, spec: RunSpec) -> View | None:
    try:
        supervision = supervision_of(spec.preset, sample, tokenizer, spec.preset_settings, None)
    except UserError:
        return None
    return last_answer(supervision, LONGEST)


KIND = Alternatives()
