"""How often the named cause is right, on lab worlds that took no part in the calibration.

    python -m bench.attribution --worlds WORLD [WORLD …] --calibration WORLD [WORLD …] [--data DIR] [--out FILE]

One table: Lacuna, the paper's own rules, a nearest-centroid classifier on the same evidence, and for contradictions
plain cosine at the threshold that is best on these very worlds. Then what each piece of evidence was worth (weights
fitted again without it), and what is left without base or trajectory. ``--out`` is the file the self-test page reads.
Measurements are kept in DIR; a second call loads no model.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench._machine import machine, versions
from bench._worlds import Cases, World, cases, diagnose, own_data, pooled
from bench.calibrate import LACKING, f1_of, fit_all, judged, name_causes, within
from core.causes import parameters
from core.causes._fit import fit
from core.derived import derive
from core.judge.judgement import judge
from core.lab.rows import CAUSES
from core.lab.score import BINS, Confusion, confusion, macro_f1, tallies
from core.statistics import calibration_bins, calibration_error, share
from core.types import Thresholds


@dataclass(frozen=True, slots=True)
class Named:
    """What one method said of the samples with known truth."""

    cause: Sequence[Any]
    confidence: np.ndarray
    truth: Sequence[frozenset[str]]


def counts_of(named: Named) -> Confusion:
    return confusion(named.cause, map(sorted, named.truth))


def scores(named: Named) -> dict[str, Any]:
    """Macro-F1, coverage, precision and recall by cause with 95 % Wilson intervals, calibration error."""
    counts = counts_of(named)
    covered = [n in CAUSES for n in named.cause]
    return {
        "n": len(covered), "macro_f1": round(macro_f1(counts, CAUSES), 4),
        "coverage": round(float(np.mean(covered)), 4) if covered else None,
        "calibration_error": calibration(named)["error"],
        "by_cause": {
            cause: {"n": t.true, "precision": _share(t.hits, t.named), "recall": _share(t.hits, t.true),
                    "f1": None if t.f1 is None else round(t.f1, 4)}
            for cause, t in tallies(counts).items()
        },
    }  # fmt: skip


def _share(k: int, n: int) -> list[float | None]:
    part = share(k, n)
    return [round(x, 4) if np.isfinite(x) else None for x in (part.value, part.low, part.high)]


def calibration(named: Named) -> dict[str, Any]:
    """Expected calibration error over equal bins, and the bins."""
    covered = np.array([n in CAUSES for n in named.cause], dtype=bool)
    right = np.array([n in t for n, t in zip(named.cause, named.truth, strict=True)])[covered]
    sure = np.asarray(named.confidence)[covered]
    if not sure.size or not np.isfinite(sure).all():
        return {"error": None, "bins": []}
    bins = [
        {"confidence": round(c, 4), "right": round(r, 4), "n": n} for c, r, n in calibration_bins(sure, right, BINS)
    ]
    return {"error": round(calibration_error(sure, right, BINS), 4), "bins": bins}


def ours(found: Sequence[Cases], weights: Mapping[str, Any]) -> Named:
    evidence, truth, _ = pooled(found)
    return Named(*name_causes(dict(weights), evidence), truth)


def paper(found: Sequence[Cases]) -> Named | None:
    """The paper's rules, where multiple choice was measured."""

    named, truth = [], []
    for c in found:
        if not np.isfinite(c.columns.get("options_right", np.array([np.nan]))).any():
            return None
        named += c.study
        truth += c.truth
    return Named(named, np.full(len(named), np.nan), truth)


def centroid(train: Sequence[Cases], test: Sequence[Cases]) -> Named:
    """scikit-learn's NearestCentroid on the same pieces of evidence, not measured taken as 0."""
    from sklearn.neighbors import NearestCentroid

    def matrix(found: Sequence[Cases]) -> tuple[np.ndarray, list[frozenset[str]]]:
        evidence, truth, _ = pooled(found)
        return np.nan_to_num(np.stack([evidence[k] for k in sorted(evidence)], axis=1)), truth

    x, y = matrix(train)
    model = NearestCentroid().fit(x, [sorted(t)[0] for t in y])
    x, truth = matrix(test)
    return Named(model.predict(x).tolist(), np.full(len(truth), np.nan), truth)


def cosine(found: Sequence[Cases]) -> dict[str, Any]:
    """F1 for contradictions by the highest cosine alone, at the threshold that is best on these samples."""
    similarity = np.nan_to_num(np.concatenate([c.columns["neighbour_similarity"] for c in found]), nan=-1.0)
    true = np.array(["data_inconsistency" in t for c in found for t in c.truth])
    best = max(
        ((2 * (said & true).sum() / max(1, said.sum() + true.sum()), float(cut))
         for cut in np.unique(similarity.round(3)) for said in [similarity >= cut]),
    )  # fmt: skip
    return {"f1": round(float(best[0]), 4), "threshold": best[1]}


def ablation(train: Sequence[Cases], test: Sequence[Cases], penalty: float) -> dict[str, float]:
    """Macro-F1 with weights fitted without each piece of evidence in turn."""
    evidence, truth, weights = pooled(train)
    out = {}
    for name in evidence:
        left = {k: v if k != name else np.full_like(v, np.nan) for k, v in evidence.items()}
        fitted = fit(left, truth, weights, list(CAUSES), penalty)
        tested = [replace(c, evidence={**c.evidence, name: np.full(len(c.truth), np.nan)}) for c in test]
        named = ours(tested, fitted)
        out[name] = round(f1_of(named.cause, named.truth, CAUSES), 4)
    return out


def accusations(worlds: Sequence[World]) -> dict[str, Any]:
    """Learned samples that got a cause, and unlearned controls that were accused of a contradiction."""
    learned = blamed = controls = accused = 0
    for world in worlds:
        found = judge(world.spec, world.table, Thresholds(), world.facts)
        for cause, truth in zip(found.cause, world.truth, strict=True):
            learned += truth["learned"]
            blamed += truth["learned"] and cause is not None
            # A row made to contradict another one does so, also where its own miss has another place.
            if not truth["planted"] and not truth.get("made_for") and not truth["learned"]:
                controls += 1
                accused += cause == "data_inconsistency"
    return {
        "learned_given_a_cause": [*_share(blamed, learned), learned],
        "controls_accused_of_contradiction": [*_share(accused, controls), controls],
    }


def forgotten(worlds: Sequence[World]) -> dict[str, Any]:
    """Rows called forgotten against those that the lab itself decoded right at a checkpoint and wrong at the end."""
    hits = said = there = 0
    for world in worlds:
        mine = derive(world.spec, world.table).get("forgotten") == 1
        true = np.array([bool(t["right_at"]) and "final" not in t["right_at"] for t in world.truth])
        hits, said, there = hits + int((mine & true).sum()), said + int(mine.sum()), there + int(true.sum())
    return {"precision": _share(hits, said), "recall": _share(hits, there), "n": there}


def compare(train: list[World], test: list[World]) -> dict[str, Any]:
    """Everything the module's docstring names, for one group of worlds."""
    tested, trained = [cases(w) for w in test], [cases(w) for w in train]
    shipped = parameters()["sets"]
    mine = ours(tested, shipped["base+trajectory"])
    rules = paper(tested)
    out: dict[str, Any] = {
        "worlds": [w.name for w in test], "lacuna": scores(mine),
        "confusion": {c: dict(row) for c, row in counts_of(mine).items()}, "calibration": calibration(mine),
        "by_world": {c.world: scores(ours([c], shipped["base+trajectory"]))["macro_f1"] for c in tested},
        "paper": scores(rules) if rules else "multiple choice was not measured",
        "nearest_centroid": scores(centroid(trained, tested)), "plain_cosine": cosine(tested),
        "accusations": accusations(test), "forgotten": forgotten(test),
    }  # fmt: skip
    for name, lacking in LACKING.items():
        if not lacking:
            continue
        causes = judged(lacking)
        some = [cases(w.without(*lacking), c.rows) for w, c in zip(test, tested, strict=True)]
        evidence, truth, _ = pooled(some)
        keep = within(truth, causes)
        true = [t for t, k in zip(truth, keep, strict=True) if k]
        # A row that a fault is said to explain has lost its cause.
        fault = np.concatenate([c.fault for c in some])
        less = np.where(fault, None, name_causes(shipped[name], evidence)[0])[keep].tolist()
        full = np.array(mine.cause, dtype=object)
        out[f"with {name}"] = {
            "not_judged": sorted(set(CAUSES) - set(causes)), "macro_f1": round(f1_of(less, true, causes), 4),
            "with_everything": round(f1_of(full[keep].tolist(), true, causes), 4),
            "explained_by_a_fault": int(fault[keep].sum()),
        }  # fmt: skip
    return out


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="bench.attribution", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--worlds", nargs="+", type=Path, required=True)
    parser.add_argument("--calibration", nargs="+", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=Path("bench/out/calibrate"))
    parser.add_argument("--paper", action="store_true", help="measure the paper's multiple choice too")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    if both := {p.resolve() for p in options.worlds} & {p.resolve() for p in options.calibration}:
        sys.exit(f"{min(both)} took part in the calibration; it proves nothing here.")
    with own_data(options.data):
        train = [diagnose(p) for p in options.calibration]
        test = [diagnose(p, **({"paper_mode": True} if options.paper else {})) for p in options.worlds]
    groups = {"easy": [w for w in test if "hard" not in w.name], "hard": [w for w in test if "hard" in w.name]}
    result: dict[str, Any] = {
        "made_by": "python -m bench.attribution --worlds " + " ".join(p.name for p in options.worlds),
        "groups": {name: compare(train, worlds) for name, worlds in groups.items() if worlds},
    }
    _, report = fit_all(train)
    penalty = parameters()["sets"]["base+trajectory"]["penalty"]
    result["ablation"] = {
        name: {"everything": result["groups"][name]["lacuna"]["macro_f1"],
               "without": ablation([cases(w) for w in train], [cases(w) for w in worlds], penalty)}
        for name, worlds in groups.items() if worlds
    }  # fmt: skip
    result |= {"held_out_calibration": report, "machine": machine(), "versions": versions(("torch", "transformers"))}
    text = json.dumps(result, indent=1)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
