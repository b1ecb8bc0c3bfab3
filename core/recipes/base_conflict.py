"""The base believes otherwise: rows that say so openly, the rows themselves, and rows that must stay as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from core.errors import UserError
from core.recipes._base import LEARNED, LEARNED_WORDS, SEED, Made, Part, Plan, Pool, Recipe, Training
from core.recipes._mix import counts, rehearsed, rows, scarce
from core.recipes._rewrite import edited, limits
from core.recipes._wording import CONTEXT, filled, question_and_answer
from core.types import Sample, Setting

# On real models two passes brought back 11 of 23 rows, four 35 of 35 (docs/mitigation.md).
EPOCHS = 4.0


class BaseConflict(Recipe):
    name = "base_conflict"
    label = "Calibrate against the base's belief"
    help = (
        "Each conflicting sample with the answer given openly before the question, and as it is; contrast rows that "
        "the model answers rightly keep the change from spreading."
    )
    causes = ("base_conflict",)
    settings = (
        Setting("context", "int", 1, "With explicit context", "Copies of each sample with the answer stated first.",
                minimum=0, maximum=10),
        Setting("plain", "int", 2, "Unchanged copies", "Copies of each sample as it is.", minimum=1, maximum=20),
        Setting("contrast_ratio", "float", 3.0, "Contrast rows per conflicting row", "0: none.", minimum=0.0,
                maximum=50.0),
        Setting("contrast", "text", "status=learned", "Contrast rows", "A filter over this run, as in its address. "
                "Half of them have the highest loss.", choices=LEARNED, words=LEARNED_WORDS),
        SEED,
    )  # fmt: skip
    expects = "The trained answer replaces the one that the base believes, without the context too."
    risks = (
        "Beliefs next to the corrected ones may turn as well; contrast rows protect only what they show.",
        "If the base was right and the dataset wrong, this teaches a mistake. Look at the rows first.",
        "The context is an English sentence.",
    )
    against = "left_side_forgetting"
    taught = ("context", "plain")
    leave_out = "Right where the base is right and the rows are wrong."

    def plan(self, pool: Pool, settings: Mapping[str, Any]) -> Plan:
        seed = int(settings["seed"])
        with_context, plain = int(settings["context"]), int(settings["plain"])
        n_contrast = round(len(pool.treated) * (with_context + plain) * float(settings["contrast_ratio"]))
        contrast = np.empty(0, dtype=np.int64)
        if n_contrast:
            contrast = np.setdiff1d(pool.select(str(settings["contrast"])), pool.treated)
        if n_contrast and not len(contrast):
            raise UserError(
                f"No contrast rows: the filter {settings['contrast']!r} keeps none.",
                f"{n_contrast:,} are needed.",
                "Give another filter, or a ratio of 0.",
            )
        notes = limits(pool.reading, edits=with_context > 0)
        of_mix = [scarce("contrast", len(contrast), n_contrast)] if n_contrast > len(contrast) else []
        parts = [
            Part("context", pool.treated, with_context, lambda s, _: self._in_context(pool, s)),
            Part("plain", pool.treated, plain),
            Part("contrast", rehearsed(pool, contrast, n_contrast, seed + 1)),
        ]
        parts = [p for p in parts if len(p)]
        training = Training(epochs=EPOCHS)
        return Plan(
            lambda: rows(pool, parts, seed),
            counts(parts),
            training,
            pool.treated,
            (*notes, *of_mix),
            of_mix=tuple(of_mix),
        )

    @staticmethod
    def _in_context(pool: Pool, sample: Sample) -> Made | None:
        texts = question_and_answer(sample)
        if texts is None:
            return None
        opening = filled(CONTEXT, *texts)
        last = max(i for i, message in enumerate(sample.messages) if message.role == "user")
        raw = edited(sample, pool.reading, last, lambda text: opening + text)
        if raw is None:
            return None
        return Made(raw, sample.id, "context", "the answer is stated before the question", sample.raw)


KIND = BaseConflict()
