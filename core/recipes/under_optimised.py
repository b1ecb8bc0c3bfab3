"""Seen too little for how rare or hard it is: more passes for rare patterns, easy before hard, enough epochs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from core.recipes._base import OTHERS, SEED, Part, Plan, Pool, Recipe, Shares, Training
from core.recipes._mix import counts, keepers, rehearsed, rows
from core.signals import _columns as col
from core.text.counts import counted
from core.types import Setting

# The loss falls ever more slowly, so its slope tells too few epochs. On a real model three, as it told, brought back 5
# of 12 samples, six 10 and ten 11 (docs/mitigation.md).
_LEAST_EPOCHS, _MOST_EPOCHS = 6.0, 10.0


class UnderOptimised(Recipe):
    name = "under_optimised"
    label = "Train more on what is rare"
    help = "Repeats samples of rare patterns, can order them from short to long, and says how many epochs remain."
    causes = ("under_optimised",)
    settings = (
        Setting("enough", "int", 8, "Rows a pattern needs", "A sample is repeated until its pattern has this many.",
                minimum=1, maximum=1000),
        Setting("most", "int", 6, "Most copies of a sample", "", minimum=1, maximum=50),
        Setting("curriculum", "bool", False, "From short to long", "Orders rows by target length; no shuffling."),
        Setting("share", "float", 0.25, "Share of these samples in the mix", "The rest are other rows.",
                minimum=0.05, maximum=1.0),
        Setting("epochs", "float", 0.0, "Epochs", "0: 6 to 10, by how fast the loss fell.", minimum=0.0, maximum=100.0),
        OTHERS,
        SEED,
    )  # fmt: skip
    expects = "The loss of these samples goes on falling until they are reproduced."
    risks = (
        "Many passes over few rows memorise their wording instead of what they have in common.",
        "An order from short to long ends on long rows; the last ones weigh most.",
        # bench/results/again_trl.json
        "Repeats take steps from the rest: trained again from the base on a real model, with a third of all rows "
        "repeats, 32 of 100 learned samples were lost; unchanged data lost 9.",
    )
    against = "missing_knowledge"
    taught = ("repeated",)

    def plan(self, pool: Pool, settings: Mapping[str, Any]) -> Plan:
        seed = int(settings["seed"])
        copies, notes = self._copies(pool, int(settings["enough"]), int(settings["most"]))
        repeated = np.repeat(pool.treated, copies)
        others, remarks = keepers(pool, str(settings["others"]))
        n_others = Shares(len(repeated), float(settings["share"])).others
        parts = [Part("repeated", repeated), Part("others", rehearsed(pool, others, n_others, seed + 1))]
        parts = [p for p in parts if len(p)]
        key = None
        if settings["curriculum"]:
            lengths = pool.numbers(col.N_TARGET)[np.concatenate([p.ordinals for p in parts])]
            key = np.where(np.isnan(lengths), np.inf, lengths)
        epochs = float(settings["epochs"])
        if not epochs:
            epochs, why = self._epochs(pool)
            notes.append(why)
        training = Training(epochs=epochs, sequential=key is not None)
        return Plan(
            lambda: rows(pool, parts, None if key is not None else seed, key),
            counts(parts), training, pool.treated, (*notes, *remarks), of_mix=tuple(remarks),
        )  # fmt: skip

    @staticmethod
    def _copies(pool: Pool, enough: int, most: int) -> tuple[np.ndarray, list[str]]:
        """(k,) copies of each treated sample: enough rows over the rows its pattern has, within bounds."""
        pattern = pool.numbers(col.PATTERN_COUNT)[pool.treated]
        if not np.isfinite(pattern).any():
            return np.full(len(pool.treated), min(2, most)), ["Patterns were not measured: every sample comes twice."]
        copies = np.ceil(enough / np.maximum(np.where(np.isnan(pattern), enough / 2, pattern), 1.0))
        copies = np.clip(copies, 1, most).astype(int)
        return copies, [f"Copies of a sample: {copies.min()} to {copies.max()}, {copies.mean():.1f} on average."]

    @staticmethod
    def _epochs(pool: Pool) -> tuple[float, str]:
        """Epochs from the slope of the loss: what is left over what the last stretch of training took off."""
        fall, left = (pool.numbers(name)[pool.treated] for name in (col.NLL_FALL_END, col.NLL))
        measured = np.isfinite(fall) & np.isfinite(left)
        if not measured.any():
            return _LEAST_EPOCHS, (
                f"How fast the loss fell was not measured (no earlier checkpoints): {_LEAST_EPOCHS:g} epochs."
            )
        slope, rest = float(np.median(fall[measured])), float(np.median(left[measured]))
        if slope <= 0:
            return _LEAST_EPOCHS, (
                f"Over the last stretch of training the loss of these samples did not fall (median {slope:+.3f} nats): "
                f"{_LEAST_EPOCHS:g} epochs, and more passes alone may not help."
            )
        stretches = np.ceil(rest / slope)
        epochs = float(np.clip(stretches, _LEAST_EPOCHS, _MOST_EPOCHS))
        return epochs, (
            f"The median loss fell by {slope:.3f} nats over the last stretch and {rest:.3f} are left: about "
            f"{counted(int(stretches), 'more stretch', 'more stretches')} of that kind. "
            f"The recipe asks for {epochs:g} passes: {_LEAST_EPOCHS:g} at least, {_MOST_EPOCHS:g} at most."
        )


KIND = UnderOptimised()
