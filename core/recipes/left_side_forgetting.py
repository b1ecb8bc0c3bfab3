"""Learned early and overwritten: train the early rows again, beside the others, in no order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from core.recipes._base import OTHERS, SEED, Part, Plan, Pool, Recipe, Shares, Training
from core.recipes._mix import counts, keepers, rehearsed, rows
from core.signals import _columns as col
from core.types import Setting

# What was known once comes back at a fraction of the rate that teaches something new, and less beside it is lost.
RATE = 0.25
# A training that is held to the checkpoint moves slowly: on an adapter of a real model two passes brought back 7 of 12
# rows, three 11 (docs/mitigation.md).
EPOCHS = 3.0
# Quarters of the training order stand in for stages where rows name none.
_QUARTERS = tuple(f"quarter {i}" for i in range(1, 5))


class LeftSideForgetting(Recipe):
    name = "left_side_forgetting"
    label = "Replay"
    help = "The forgotten samples and a mix of all stages, shuffled; a stage with a higher loss gets more rows."
    causes = ("left_side_forgetting",)
    settings = (
        Setting("repeats", "int", 2, "Copies of each forgotten sample", "", minimum=1, maximum=50),
        Setting("share", "float", 0.15, "Share of forgotten samples in the mix", "", minimum=0.05, maximum=1.0),
        Setting("stages", "choice", "loss", "Mix stages by", "", ("loss", "size", "equal"),
                words=("Mean loss of the stage", "Size of the stage", "Equal parts")),
        OTHERS,
        SEED,
    )  # fmt: skip
    expects = "The samples were right once and come back within few steps, while later stages are kept by the mix."
    risks = (
        "Without rows of the later stages the replay overwrites them in turn.",
        "Replay of samples that contradict later rows brings the older answer back.",
    )
    against = "base_conflict"
    taught = ("forgotten",)
    shuffles = True

    def plan(self, pool: Pool, settings: Mapping[str, Any]) -> Plan:
        seed = int(settings["seed"])
        core = Part("forgotten", pool.treated, int(settings["repeats"]))
        n_others = Shares(len(core), float(settings["share"])).others
        rest, remarks = keepers(pool, str(settings["others"]))
        quotas, notes = self._quotas(pool, rest, n_others, str(settings["stages"]))
        parts = [core]
        for i, (name, ordinals, quota) in enumerate(quotas):
            parts.append(Part(f"replay of {name}", rehearsed(pool, ordinals, quota, seed + 1 + i)))
        parts = [p for p in parts if len(p)]
        notes += remarks
        training = Training(epochs=EPOCHS, rate=RATE)
        said = tuple(notes)
        return Plan(lambda: rows(pool, parts, seed), counts(parts), training, pool.treated, said, of_mix=said)

    @staticmethod
    def _quotas(
        pool: Pool, rest: np.ndarray, total: int, by: str
    ) -> tuple[list[tuple[str, np.ndarray, int]], list[str]]:
        """(stage, ordinals of ``rest`` to draw from, rows to draw) for each stage, by largest remainder."""
        codes, values = pool.labels("stage")
        if all(v is None for v in values):
            codes, values = np.arange(pool.n) * 4 // max(pool.n, 1), _QUARTERS
        loss = pool.numbers(col.NLL)
        stages = [(v or "no stage", rest[codes[rest] == i], loss[codes == i]) for i, v in enumerate(values)]
        stages = [s for s in stages if len(s[1])]
        means = np.array([np.nanmean(s[2]) if np.isfinite(s[2]).any() else np.nan for s in stages])
        notes = []
        if by == "loss" and np.isnan(means).any():
            by = "size"
            notes.append("A stage has no measured loss, so stages are mixed by size.")
        weights = {"loss": means, "size": np.array([float(len(s[1])) for s in stages]), "equal": np.ones(len(stages))}
        weight = np.maximum(weights[by], 1e-12)
        if by == "loss":
            words = ", ".join(f"{s[0]} {m:.3f}" for s, m in zip(stages, means, strict=True))
            notes.append(f"Mean loss by stage: {words}.")
        exact = total * weight / weight.sum() if len(stages) else np.empty(0)
        quota = np.floor(exact).astype(int)
        for i in np.argsort(quota - exact, kind="stable")[: (total if len(stages) else 0) - int(quota.sum())]:
            quota[i] += 1
        return [(s[0], s[1], int(q)) for s, q in zip(stages, quota, strict=True)], notes


KIND = LeftSideForgetting()
