"""Tables made by hand for tests of faults."""

import numpy as np

from core.plugins import kinds
from core.types import Checkpoint, RunFacts, RunSpec, SignalTable, TrainerState


def fault(name):
    return kinds("faults")[name]


def table(n=1, **columns):
    """Columns given as one value for all rows, or as a list."""
    keys = tuple(f"{i:08x}" for i in range(n))
    return SignalTable(keys, {k: np.broadcast_to(np.asarray(v, float), (n,)).copy() for k, v in columns.items()})


def says(name, facts=None, n=1, **columns):
    return fault(name).explains(table(n, **columns), facts or RunFacts())


def judged(name, facts=None, n=1, **columns):
    return fault(name).judge(table(n, **columns), facts or RunFacts(), np.ones(n, dtype=bool))


def spec(adapter=False, trajectory=(), step=None):
    def checkpoint(label, base=None, step=None):
        return Checkpoint(f"/x/{label}", base, step, label, label)

    others = tuple(checkpoint(f"c{i}", base, s) for i, (base, s) in enumerate(trajectory))
    return RunSpec(1, "d", checkpoint("final", "/x/base" if adapter else None, step), trajectory=others)


def log(*losses, norms=(), epoch=3.0):
    steps = range(10, 10 * len(losses) + 10, 10)
    return TrainerState("final", 100, 100, epoch, 8, tuple(zip(steps, losses, strict=True)),
                        tuple((10 * i, v) for i, v in enumerate(norms)))  # fmt: skip
