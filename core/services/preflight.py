"""The check before a run: the checkpoint's sanity card, a few rows as the trainer saw them, the cost."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from core.backends._base import GeneratingBackend, ScoreRow, ScoringBackend
from core.errors import UserError
from core.services import checkpoints, datasets, jobs, precision, recorded, reuse
from core.services.jobs import Work
from core.services.measurements import StoredDataset
from core.services.specs import checkpoints_of, make_spec
from core.services.views import RowPreview, TokenPiece
from core.settings import settings
from core.signals._instruments import Instruments
from core.signals._plan import gaps_of
from core.types import (
    DEFAULT_PRESET,
    Check,
    Decoding,
    RunSpec,
    Sample,
    Supervision,
)
from db import samples as sample_table
from db.session import database

# Rows that a preflight renders; more would make people wait for a preview.
PREFLIGHT_ROWS = 2_000
LOOKING_UP = "looking up what is known"


def start_preflight(
    dataset_id: int,
    final_id: int,
    base_id: int | None = None,
    trajectory_ids: Sequence[int] = (),
    preset: str = DEFAULT_PRESET,
    preset_settings: Mapping[str, Any] | None = None,
    scorer: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> int:
    """Checks the checkpoint, renders a few rows and estimates the cost, before any long compute."""
    spec = make_spec(
        dataset_id, *checkpoints_of(final_id, base_id, trajectory_ids), preset=preset, preset_settings=preset_settings,
        scorer=scorer, **(options or {}),
    )  # fmt: skip
    return jobs.enqueue("preflight", {"spec": spec.as_dict()}, title=f"Check {spec.final.label}")


def some_samples(dataset_id: int, n_samples: int, most: int) -> list[Sample]:
    ordinals = sorted({int(i) for i in np.linspace(0, max(n_samples - 1, 0), num=min(n_samples, most))})
    with database().reading() as conn:
        return list(sample_table.iter_samples(conn, dataset_id, ordinals))


def card_of(spec: RunSpec, samples: Sequence[Sample], whole: bool = True) -> tuple[dict[str, Any], RunSpec]:
    """The sanity card as a dict, and the spec with the tokenizer variant and, where that was left open, the number type
    that fit.

    Args:
        whole: match files with all rows of the dataset, and not with the first ones only.
    """
    fit = tuple(recorded.checks_of(spec, None if whole else PREFLIGHT_ROWS))
    if not spec.final.has_weights:
        examined = recorded.card_of(spec)
        return checkpoints.card_as_dict(replace(examined, checks=(*examined.checks, *fit))), spec
    from core.checkpoint.card import card

    examined, final = card(
        spec.final, spec.base, samples, preset=spec.preset, preset_settings=spec.preset_settings, dtype=spec.dtype,
        device=settings().device, backend=spec.backend,
    )  # fmt: skip
    spec, held = precision.settled(replace(spec, final=final), samples)
    missing = tuple(Check("backend", "unknown", gap.text) for gap in gaps_of(spec))
    checks = (*examined.checks, *([held] if held is not None else []), *fit, *missing)
    return checkpoints.card_as_dict(replace(examined, checks=checks)), spec


def checking(spec: RunSpec) -> str:
    """The stage in which the checkpoint is looked at, in words."""
    return "checking what is given" if spec.final.is_nothing else "checking weights and tokenizer"


def handle_preflight(work: Work, payload: Mapping[str, Any]) -> Mapping[str, Any]:
    spec = RunSpec.from_dict(payload["spec"])
    dataset = datasets.get_dataset(spec.dataset_id)
    work.plan(dict.fromkeys((checking(spec), "rendering rows", LOOKING_UP, "timing the model"), ""))
    work.progress(checking(spec))
    samples = some_samples(dataset.id, dataset.n_samples, PREFLIGHT_ROWS)
    card, spec = card_of(spec, samples[:64], whole=False)
    spec = reuse.continued(spec)
    usable = not any(c["state"] == "fail" for c in card["checks"])
    may_run = usable and spec.final.has_weights
    instruments = Instruments(spec, settings().device, StoredDataset(dataset.id))
    try:
        if not instruments.renders():
            samples = []  # nothing says what the trainer saw
        counts, previews, seen = _render(work, samples, instruments, dataset.n_samples)
        work.progress(LOOKING_UP)
        steps = reuse.steps_of(spec, instruments)
        estimate = _estimate(work, spec, seen, counts, steps, instruments) if may_run and seen else None
    finally:
        instruments.close()
    return {
        "card": card, "rows": previews, "counts": counts, "estimate": estimate, "usable": usable,
        "steps": [asdict(step) for step in steps], "known": reuse.in_words(spec, steps),
    }  # fmt: skip


def _render(
    work: Work, samples: Sequence[Sample], instruments: Instruments, n_samples: int
) -> tuple[dict[str, int], list[dict[str, Any]], list[Supervision]]:
    from core.rendering.render import pieces

    counts = dict.fromkeys(
        ("samples", "looked_at", "tokens", "target_tokens", "dropped", "refused", "truncated", "not_supervised"), 0
    )
    counts["samples"], counts["looked_at"] = n_samples, len(samples)
    previews: list[dict[str, Any]] = []
    seen: list[Supervision] = []
    for i, sample in enumerate(samples):
        work.progress("rendering rows", i, len(samples), "rows")
        try:
            row = instruments.supervision(sample)
        except UserError as refusal:
            counts["refused"] += 1
            if len(previews) < 5:
                previews.append(asdict(RowPreview(sample.id, (), (), str(refusal))))
            continue
        seen.append(row)
        counts["tokens"] += len(row.ids)
        counts["target_tokens"] += int(row.target.sum())
        counts["dropped"] += row.dropped is not None
        counts["truncated"] += row.truncated
        counts["not_supervised"] += bool((row.target & ~row.trained).any())
        if len(previews) < 5:
            texts = pieces(instruments.tokenizer(), row.ids)
            marks = zip(texts, row.ids.tolist(), row.trained.tolist(), row.target.tolist(), strict=True)
            shown = tuple(TokenPiece(t, i, a, b) for t, i, a, b in marks)
            notes = (
                *row.notes,
                *((f"the trainer leaves this row out: {row.dropped}",) if row.dropped else ()),
            )
            previews.append(asdict(RowPreview(sample.id, shown, notes)))
    return counts, previews, seen


def _estimate(
    work: Work,
    spec: RunSpec,
    seen: Sequence[Supervision],
    counts: Mapping[str, int],
    steps: Sequence[reuse.Step],
    instruments: Instruments,
) -> dict[str, Any]:
    """Seconds for what is not known yet, from a measured handful of rows under the final checkpoint."""
    work.progress("timing the model")
    backend = instruments.backend(spec.final)
    some = sorted(seen, key=lambda s: len(s.ids))[:: max(1, len(seen) // 12)][:12]
    per_token = _seconds_to_score(backend, some) if isinstance(backend, ScoringBackend) else 0.0
    per_new = _seconds_to_generate(backend, some) if isinstance(backend, GeneratingBackend) else 0.0
    scale = counts["samples"] / max(1, counts["looked_at"])
    checkpoints_used = 1 + (spec.base is not None) + len(spec.trajectory)
    scored = [step for step in steps if step.signal == "likelihood"]
    left = [1 - step.stored / max(1, step.samples) for step in scored] or [1.0]
    scoring = per_token * counts["tokens"] * scale * sum(left)
    # One greedy answer and about ten draws for each row that is not reproduced.
    asking = per_new * counts["target_tokens"] * scale * 11 * left[0]
    low, high = scoring + 0.1 * asking, scoring + 0.6 * asking
    text = (
        f"About {jobs.duration(scoring)} to score {counts['samples']:,} samples under {checkpoints_used} "
        f"checkpoint{'s' if checkpoints_used > 1 else ''}"
    )
    drawn = f"{jobs.duration(low)} (a tenth of the rows) to {jobs.duration(high)} (most of them)."
    if not per_token:
        text = f"To draw answers for {counts['samples']:,} samples {drawn}"
    else:
        text += f"; with answers drawn for what is not reproduced {drawn}" if per_new else "."
    return {"seconds": scoring + 0.3 * asking, "scoring_seconds": scoring, "low": low, "high": high, "text": text}


def _seconds_to_score(backend: ScoringBackend, renderings: Sequence[Supervision]) -> float:
    """Seconds a token that is read."""
    rows = [ScoreRow(s.ids, np.flatnonzero(s.target[1:]) + 1) for s in renderings]
    backend.score(rows[:1])  # the first call pays for set-up
    began = time.perf_counter()
    backend.score(rows)
    return (time.perf_counter() - began) / sum(len(row.ids) for row in rows)


def _seconds_to_generate(backend: GeneratingBackend, renderings: Sequence[Supervision]) -> float:
    """Seconds a token that is generated."""
    prompts = [s.ids[: turn.start] for s in renderings for turn in s.turns if turn.start > 0][:8]
    began = time.perf_counter()
    generations = backend.generate(prompts, [Decoding(max_new_tokens=16)] * len(prompts), ())
    return (time.perf_counter() - began) / max(1, sum(len(g.tokens) for g in generations))
