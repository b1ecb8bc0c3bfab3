"""Fits the weights of the causes on lab worlds and writes ``core/causes/parameters.json``.

    python -m bench.calibrate [WORLD …] [--out core/causes/parameters.json]

WORLD is a name in ``bench/evidence``, where ``bench.measure_worlds`` keeps what was measured; without any, all are
fitted on. No model is loaded. One set of weights is fitted for each combination of what a run may have, on all samples:
those whose cause such a run cannot judge are there too, and must not be given another.

What counts is how weights do on worlds whose generator they have not seen: the lab's own, each hand's, and real models
are held out in turn, with all their worlds. The penalty is the largest whose mean macro-F1 lies within 0.002 of the
best. The confidence is fitted on strengths that were held out in the same way.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench._machine import machine, versions
from bench._worlds import Cases, World, cases, kept_worlds, pooled
from core.causes import PARAMETERS, conclude, strength
from core.causes._fit import fit
from core.lab.score import confusion, macro_f1
from core.plugins import kinds

LACKING = {"base+trajectory": (), "base": ("trajectory",), "trajectory": ("base",), "none": ("base", "trajectory")}
PENALTIES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
WITHIN = 0.002


def judged(lacking: Sequence[str]) -> list[str]:
    """Causes that can be judged without these parts."""
    return [n for n, c in kinds("causes").items() if not set(c.requires) & set(lacking)]


def f1_of(named: Sequence[Any], truth: Sequence[frozenset[str]], causes: Sequence[str]) -> float:
    """Macro-F1 over ``causes``; of several true causes the one named counts, or else the first by name."""
    return macro_f1(confusion(named, map(sorted, truth)), causes)


def name_causes(weights: dict[str, Any], evidence: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    return conclude({n: strength(w, evidence) for n, w in weights["causes"].items()}, evidence, weights)


def by_generator(found: Sequence[Cases]) -> list[str]:
    """Generators of the cases, each once."""
    return sorted({c.generator for c in found})


def generators_of(found: Sequence[Cases]) -> np.ndarray:
    """The number of its generator for every sample of the cases."""
    number = {name: i for i, name in enumerate(by_generator(found))}
    return np.concatenate([np.full(len(c.truth), number[c.generator]) for c in found])


def held_out(found: list[Cases], causes: list[str], penalty: float) -> tuple[float, dict[str, float]]:
    """Macro-F1 of each world by weights that saw no world of its generator: its mean over generators, and by world."""
    by_world: dict[str, float] = {}
    means = []
    for generator in by_generator(found):
        fitted = fit(*pooled([c for c in found if c.generator != generator]), causes, penalty)
        own = [c for c in found if c.generator == generator]
        for out in own:
            named, _ = name_causes(fitted, dict(out.evidence))
            by_world[out.world] = f1_of(named.tolist(), out.truth, causes)
        means.append(float(np.mean([by_world[c.world] for c in own])))
    return float(np.mean(means)), by_world


def fit_all(worlds: list[World]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The sets of parameters, and how they did on held-out worlds."""
    sets, report = {}, {}
    for name, lacking in LACKING.items():
        found = [cases(w.without(*lacking)) for w in worlds]
        causes = judged(lacking)
        several = len(by_generator(found)) > 1
        scores = {p: held_out(found, causes, p) for p in PENALTIES} if several else {1e-2: (float("nan"), {})}
        top = max(score for score, _ in scores.values())
        best = max(p for p, (score, _) in scores.items() if not score < top - WITHIN)
        sets[name] = fit(*pooled(found), causes, best, generators_of(found))
        sets[name]["penalty"] = best
        report[name] = {
            "cases": sum(len(c.truth) for c in found),
            "macro_f1_by_penalty": {f"{p:g}": round(s[0], 4) for p, s in scores.items()},
            "macro_f1_by_world": {k: round(v, 4) for k, v in scores[best][1].items()},
        }  # fmt: skip
    return sets, report


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="bench.calibrate", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("worlds", nargs="*", help="names in bench/evidence (default: all)")
    parser.add_argument("--out", type=Path, default=PARAMETERS)
    options = parser.parse_args(arguments)
    worlds = kept_worlds(options.worlds)
    sets, report = fit_all(worlds)
    names = [w.name for w in worlds]
    made = {
        "made_by": "python -m bench.calibrate " + " ".join(names),
        "worlds": names,
        "versions": versions(("torch", "transformers", "scipy", "numpy")),
        "sets": sets,
    }
    options.out.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    json.dump({"held_out": report, "machine": machine()}, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
