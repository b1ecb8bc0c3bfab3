"""How often the named cause is right, on worlds whose generator took no part in the fit.

    python -m bench.attribution [WORLD …] [--out FILE]
    python -m bench.attribution --as-shipped WORLD [WORLD …]

WORLD is a name in ``bench/evidence``; without any, all are looked at. No model is loaded. Every generator (the lab's
own, each hand, real models) is held out in turn: its worlds are judged by weights and a confidence fitted on the worlds
of all others, so that no figure rests on a handwriting the weights have seen. Real worlds are also judged by weights
that saw the other real ones, as the weights that ship have: that is the figure for a model of one's own.

One table for each kind of world: Lacuna, the paper's own rules, a nearest-centroid classifier on the same evidence,
and for contradictions plain cosine at the threshold that is best on these very worlds. Then what each piece of evidence
was worth (fitted again without it), and what is left without base or trajectory. ``--out`` is the file the self-test
page reads. ``--as-shipped`` judges worlds that took no part in the fit by the weights that ship, and nothing else.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench._machine import machine, versions
from bench._worlds import Cases, World, cases, kept_worlds, pooled
from bench.calibrate import LACKING, f1_of, fit_all, generators_of, judged, name_causes
from core.causes import UNDETERMINED, parameters
from core.causes._fit import fit
from core.derived import derive
from core.judge.judgement import judge
from core.lab.rows import CAUSES
from core.lab.score import BINS, Confusion, confusion, macro_f1, tallies
from core.statistics import calibration_bins, calibration_error, share
from core.types import Thresholds

SURE = (0.95, 0.99)
# Least confidence that a reader may ask for.
LIMITS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


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
        "coverage": round(float(np.mean(covered)), 4) if covered else None, "named_and_right": right_of(named),
        "calibration_error": calibration(named)["error"],
        "sure": {f"over {cut:.0%}": sure_of(named, cut) for cut in SURE},
        "by_cause": {
            cause: {"n": t.true, "precision": _share(t.hits, t.named), "recall": _share(t.hits, t.true),
                    "f1": None if t.f1 is None else round(t.f1, 4)}
            for cause, t in tallies(counts).items()
        },
    }  # fmt: skip


def _share(k: int, n: int) -> list[float | None]:
    part = share(k, n)
    return [round(x, 4) if np.isfinite(x) else None for x in (part.value, part.low, part.high)]


def sure_of(named: Named, cut: float) -> dict[str, int]:
    """How many verdicts have a confidence above ``cut``, and how many of these are wrong."""
    above = [n in t for n, t, p in zip(named.cause, named.truth, named.confidence, strict=True) if p > cut]
    return {"n": len(above), "wrong": above.count(False)}


def right_of(named: Named) -> list[float | None]:
    """Of the verdicts that name a cause, the share that is right."""
    told = [n in t for n, t in zip(named.cause, named.truth, strict=True) if n in CAUSES]
    return _share(sum(told), len(told))


def risks(named: Named) -> list[dict[str, Any]]:
    """Risk against coverage: for each least confidence the share of samples still named, and of these the wrong."""
    out = []
    for limit in LIMITS:
        told = np.array([n in CAUSES and p >= limit for n, p in zip(named.cause, named.confidence, strict=True)])
        wrong = sum(n not in t for n, t, is_told in zip(named.cause, named.truth, told, strict=True) if is_told)
        out.append({"from": limit, "named": round(float(told.mean()), 4), "wrong": _share(wrong, int(told.sum()))})
    return out


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


# World to the sets of parameters that were fitted without it.
Sets = Mapping[str, Mapping[str, Any]]
# Whether the second world took part in a fit that is tested on the first.
Seen = Callable[[Cases, Cases], bool]


def other_author(tested: Cases, other: Cases) -> bool:
    return other.generator != tested.generator


def other_world(tested: Cases, other: Cases) -> bool:
    return other.world != tested.world


def joined(parts: Sequence[Named]) -> Named:
    return Named(
        [c for p in parts for c in p.cause],
        np.concatenate([np.asarray(p.confidence, dtype=float) for p in parts]),
        [t for p in parts for t in p.truth],
    )


def ours(found: Sequence[Cases], sets: Sets, name: str = "base+trajectory") -> Named:
    """What the weights that were fitted without a world say of it."""
    out = []
    for c in found:
        cause, confidence = name_causes(sets[c.world][name], dict(c.evidence))
        out.append(Named(np.where(c.edge, UNDETERMINED, cause), np.where(c.edge, np.nan, confidence), c.truth))
    return joined(out)


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


def ablation(everything: Sequence[Cases], penalties: Mapping[str, float]) -> dict[str, float]:
    """Mean macro-F1 over generators, with weights fitted without each piece of evidence in turn.

    Args:
        penalties: of the set that was fitted without each generator.
    """
    out = {}
    for name in everything[0].evidence:
        without = [replace(c, evidence={**c.evidence, name: np.full(len(c.truth), np.nan)}) for c in everything]
        scores_of = []
        for generator, penalty in penalties.items():
            evidence, truth, weights = pooled([c for c in without if c.generator != generator])
            fitted = {"base+trajectory": fit(evidence, truth, weights, list(CAUSES), penalty)}
            own = [ours([c], {c.world: fitted}) for c in without if c.generator == generator]
            scores_of.append(np.mean([f1_of(n.cause, n.truth, CAUSES) for n in own]))
        out[name] = round(float(np.mean(scores_of)), 4)
    return out


def accusations(worlds: Sequence[World]) -> dict[str, Any]:
    """Learned samples that got a cause, and unlearned controls that were accused of a contradiction."""
    learned = blamed = controls = accused = 0
    for world in worlds:
        found = judge(world.spec, world.table, Thresholds(), world.facts)
        for cause, truth in zip(found.cause, world.truth, strict=True):
            learned += truth["learned"]
            blamed += truth["learned"] and cause not in (None, UNDETERMINED)
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


def compare(worlds: Sequence[World], test: Sequence[World], sets: Sets, seen: Seen = other_author) -> dict[str, Any]:
    """Everything the module's docstring names, for one kind of world."""
    everything = [cases(w) for w in worlds]
    tested = [cases(w) for w in test]
    mine = ours(tested, sets)
    rules = paper(tested)
    centroids = [centroid([e for e in everything if seen(c, e)], [c]) for c in tested]
    out: dict[str, Any] = {
        "worlds": [w.name for w in test], "lacuna": scores(mine),
        "confusion": {c: dict(row) for c, row in counts_of(mine).items()},
        "calibration": calibration(mine), "risks": risks(mine),
        "by_world": {c.world: scores(ours([c], sets))["macro_f1"] for c in tested},
        "paper": scores(rules) if rules else "multiple choice was not measured",
        "nearest_centroid": scores(joined(centroids)), "plain_cosine": cosine(tested),
        "accusations": accusations(test), "forgotten": forgotten(test),
    }  # fmt: skip
    for name, lacking in LACKING.items():
        if not lacking:
            continue
        causes = judged(lacking)
        some = [cases(w.without(*lacking), c.rows) for w, c in zip(test, tested, strict=True)]
        # A row that a fault is said to explain has lost its cause.
        fault = np.concatenate([c.fault for c in some])
        said = ours(some, sets, name)
        kept = [None if f else c for c, f in zip(said.cause, fault, strict=True)]
        less = replace(said, cause=kept, confidence=np.where(fault, np.nan, said.confidence))
        of_less = scores(less)
        out[f"with {name}"] = {
            "not_judged": sorted(set(CAUSES) - set(causes)),
            "macro_f1": round(f1_of(less.cause, less.truth, causes), 4),
            "with_everything": round(f1_of(mine.cause, mine.truth, causes), 4),
            "explained_by_a_fault": int(fault.sum()),
            **{k: of_less[k] for k in ("coverage", "named_and_right", "calibration_error", "sure")},
        }  # fmt: skip
    return out


def by_world(everything: Sequence[Cases], sets: Sets, penalty: float) -> dict[str, Any]:
    """Macro-F1 of each world by weights that saw no world of its author, and by those that saw all but this one.

    Args:
        penalty: of the weights that are fitted on all other worlds.
    """
    out = {}
    for own in everything:
        rest = [c for c in everything if c.world != own.world]
        evidence, truth, weights = pooled(rest)
        fitted = fit(evidence, truth, weights, list(CAUSES), penalty, generators_of(rest))
        others = ours([own], {own.world: {"base+trajectory": fitted}})
        out[own.world] = {
            "author": own.generator, "n": len(own.truth),
            "author held out": scores(ours([own], sets))["macro_f1"], "world held out": scores(others)["macro_f1"],
        }  # fmt: skip
    return out


def as_shipped(worlds: Sequence[World]) -> dict[str, Any]:
    """How the weights that ship do on worlds that they have not seen, by world and on all."""
    shipped = parameters()
    if seen := sorted({w.name for w in worlds} & set(shipped["worlds"])):
        sys.exit(f"The weights that ship were fitted on {', '.join(seen)}.")
    found = [cases(w) for w in worlds]
    sets = {c.world: shipped["sets"] for c in found}
    each = {
        w.name: {**scores(ours([c], sets)), **accusations([w])} for w, c in zip(worlds, found, strict=True)
    }  # fmt: skip
    return {**each, "all": {**scores(ours(found, sets)), **accusations(worlds)}}


# Real worlds by weights of toys alone, and by weights that also saw the other real worlds.
REAL_ONES, BESIDE_OTHERS = "real model, by toys alone", "real model"


def kind_of(world: World) -> str:
    """What the self-test page calls the world's kind."""
    if world.generator == "real":
        return REAL_ONES
    return f"{'lab' if world.generator == 'lab' else 'other authors'}, {'hard' if 'hard' in world.name else 'easy'}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="bench.attribution", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("worlds", nargs="*", help="names in bench/evidence (default: all)")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--as-shipped", action="store_true", help="by the weights that ship, which saw none of them")
    options = parser.parse_args(arguments)
    worlds = kept_worlds(options.worlds)
    if options.as_shipped:
        print(json.dumps(as_shipped(worlds), indent=1))
        return
    generators = sorted({w.generator for w in worlds})
    if len(generators) < 2:
        sys.exit(f"All worlds are of one generator ({generators[0]}); without it there is nothing to fit on.")
    without = {g: fit_all([w for w in worlds if w.generator != g])[0] for g in generators}
    sets = {w.name: without[w.generator] for w in worlds}
    kinds: dict[str, list[World]] = {}
    for world in worlds:
        kinds.setdefault(kind_of(world), []).append(world)
    everything = [cases(w) for w in worlds]
    penalties = {g: without[g]["base+trajectory"]["penalty"] for g in generators}
    each = by_world(everything, sets, float(np.median(list(penalties.values()))))
    means = {
        g: round(float(np.mean([w["author held out"] for w in each.values() if w["author"] == g])), 4)
        for g in generators
    }
    groups = {name: compare(worlds, some, sets) for name, some in sorted(kinds.items())}
    if len(real := kinds.get(REAL_ONES, [])) > 1:
        beside = {w.name: fit_all([other for other in worlds if other is not w])[0] for w in real}
        groups[BESIDE_OTHERS] = compare(worlds, real, beside, other_world)
    result: dict[str, Any] = {
        "made_by": "python -m bench.attribution " + " ".join(w.name for w in worlds),
        "by_generator": means,
        "by_world": each,
        "groups": groups,
        "ablation": {"held-out authors": {"everything": round(float(np.mean(list(means.values()))), 4),
                                          "without": ablation(everything, penalties)}},
        "machine": machine(), "versions": versions(("torch", "transformers")),
    }  # fmt: skip
    text = json.dumps(result, indent=1)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
