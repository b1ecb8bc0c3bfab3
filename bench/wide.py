"""What bfloat16 costs on a processor without instructions for it, as torch multiplies and as Lacuna does.

    python -m bench.wide MODEL [--out bench/results/wide.json]

MODEL is a folder of weights. One thread scores a few rows in float32, in bfloat16 with linear maps widened
(``core/backends/_wide.py``), and in bfloat16 as torch does it; seconds are the processor's, the least of three. Where
the processor has the instructions, nothing is widened and the second and third are the same.
"""

from __future__ import annotations

import argparse
import json
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import torch

from bench._machine import machine, versions
from core.backends import _wide
from core.backends._base import ScoreRow
from core.backends.hf import KIND
from core.checkpoint.folders import as_checkpoint
from core.types import DtypeName

ROWS, TOKENS, TRIES = 4, 60, 3


def seconds(model: Path, dtype: DtypeName, native: bool) -> float:
    """For all rows; ``native``: as if the processor had the instructions."""
    rng = np.random.default_rng(0)
    rows = [ScoreRow(rng.integers(5, 1000, TOKENS), np.arange(TOKENS // 2, TOKENS)) for _ in range(ROWS)]
    kept = _wide.multiplies_bfloat16
    try:
        if native:
            _wide.multiplies_bfloat16 = lambda: True
        backend = KIND.open(as_checkpoint(model), dtype=dtype, device="cpu")
    finally:
        _wide.multiplies_bfloat16 = kept
    with closing(backend):
        backend.score(rows[:1])
        taken = []
        for _ in range(TRIES):
            began = time.process_time()
            backend.score(rows)
            taken.append(time.process_time() - began)
    return min(taken)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.wide", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--out", type=Path, default=Path("bench/results/wide.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    plain = seconds(options.model, "float32", False)
    found = {name: seconds(options.model, "bfloat16", native) for name, native in (("widened", False), ("torch", True))}
    result = {
        "made_by": "python -m bench.wide MODEL",
        "tokens": ROWS * TOKENS,
        "instructions": _wide.multiplies_bfloat16(),
        "float32_seconds": round(plain, 3),
        **{f"bfloat16_{name}_over_float32": round(s / plain, 2) for name, s in found.items()},
        "machine": machine(),
        "versions": versions(("torch", "transformers")),
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
