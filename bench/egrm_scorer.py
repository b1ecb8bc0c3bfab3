"""The scorer on labelled paths of GSM8K: four models' solutions, split by question, the source hidden.

    python -m bench.egrm_scorer --data example_model_solutions.jsonl [--seeds 5] [--embeddings FILE.npz]
    python -m bench.egrm_scorer --data example_model_solutions.jsonl --unseen [--seeds 5] --out egrm_scorer_unseen.json

Five folds by question: every question is scored by a scorer that never saw it, and the other folds' early stopping did
not see it either. Compared on the same questions: majority vote, the best single source, preferring the shorter path,
the hybrid objective and each half of it alone.

With ``--unseen`` each path is scored by a scorer that saw neither its question nor its source: what is left of a scorer
where new models write the paths. Beside the linear head, boosted trees on the same inputs: whether the head or
the inputs are the limit. No embeddings there.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench._machine import machine, versions
from bench.egrm import interval
from core.egrm.preferences import read_labelled, records
from core.egrm.scorer_inputs import Labelled, ScorerSettings, batch_inputs
from core.egrm.scorer_metrics import metrics
from core.egrm.scorer_training import train_inputs
from core.statistics import bootstrap_mean

FOLDS = 5
# Learns from questions with their inputs, and then scores the (k, f) inputs of one question.
Learn = Callable[[list[Labelled], list[np.ndarray]], Callable[[np.ndarray], np.ndarray]]
VARIANTS = {"hybrid": {}, "huber_alone": {"alpha": 0.0}, "hinge_alone": {"alpha": 1.0}}
INPUTS = {
    "all": {},
    "without_embeddings": {"embeddings": False},
    "without_agreement": {"agreement": False},
    "without_arithmetic": {"arithmetic": False},
    "embeddings_alone": {"agreement": False, "arithmetic": False, "form": False},
}


def vectors(path: Path | None, texts: list[str]) -> dict[str, np.ndarray]:
    """Text to vector, from the default encoder; kept in ``path`` for the next run."""
    if path is not None and path.exists():
        found = np.load(path)
        held = dict(zip(found["texts"].tolist(), found["vectors"], strict=True))
        if all(t in held for t in texts):
            return held
    from core.plugins import kind

    encoder = kind("encoders", "sentence_transformer").open("", "auto")
    made = encoder.encode(texts)
    if path is not None:
        np.savez(path, texts=np.array(texts), vectors=made)
    return dict(zip(texts, made, strict=True))


def folded(data: list[Labelled], rows: list[np.ndarray], settings: ScorerSettings) -> list[np.ndarray]:
    """Scores of every question by a scorer that never saw it."""
    place = np.random.default_rng(settings.seed).permutation(len(data)) % FOLDS
    scores: list[np.ndarray] = [np.empty(0)] * len(data)
    for fold in range(FOLDS):
        seen = np.flatnonzero(place != fold)
        scorer = train_inputs([data[i] for i in seen], [rows[i] for i in seen], settings)
        for i in np.flatnonzero(place == fold):
            scores[i] = scorer.score_inputs(rows[i])
    return scores


def unseen(data: list[Labelled], rows: list[np.ndarray], learn: Learn) -> list[np.ndarray]:
    """Scores of every path by a scorer that saw neither its question nor its source."""
    place = np.random.default_rng(0).permutation(len(data)) % FOLDS
    scores = [np.zeros(len(d.paths)) for d in data]
    for fold in range(FOLDS):
        seen = np.flatnonzero(place != fold)
        for source in range(len(data[0].paths)):
            others = [i for i in range(len(data[0].paths)) if i != source]
            less = [
                Labelled(d.question, tuple(d.paths[i] for i in others), tuple(d.labels[i] for i in others))
                for d in (data[i] for i in seen)
            ]
            score = learn(less, [rows[i][others] for i in seen])
            for i in np.flatnonzero(place == fold):
                scores[i][source] = score(rows[i])[source]
    return scores


def linear(settings: ScorerSettings) -> Learn:
    """The product's scorer."""
    return lambda data, rows: train_inputs(data, rows, settings).score_inputs


def trees(settings: ScorerSettings) -> Learn:
    from sklearn.ensemble import HistGradientBoostingClassifier

    def learn(data: list[Labelled], rows: list[np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
        right = np.concatenate([d.labels for d in data]) > 0.5
        model = HistGradientBoostingClassifier(
            max_depth=4, learning_rate=0.05, max_iter=150, l2_regularization=1.0, random_state=settings.seed
        ).fit(np.concatenate(rows), right)
        return lambda asked: model.predict_proba(asked)[:, 1]

    return learn


def of_unseen(data: list[Labelled], seeds: int) -> dict[str, Any]:
    """Best-of-k and weighted vote of both learners on questions and sources that they did not see."""
    out = {}
    base = ScorerSettings(embeddings=False)
    rows = batch_inputs([(d.question, d.paths) for d in data], base, None)
    for name, learner in (("linear", linear), ("trees", trees)):
        found = [metrics(data, unseen(data, rows, learner(replace(base, seed=seed)))) for seed in range(seeds)]
        out[f"source_unseen/{name}"] = {n: interval([f[n]["value"] for f in found]) for n in ("best_of_k", "weighted")}
        print(name, out[f"source_unseen/{name}"], flush=True)
    return out


def hits(data: list[Labelled], scores: list[np.ndarray]) -> np.ndarray:
    return np.array([d.labels[int(np.argmax(s))] for d, s in zip(data, scores, strict=True)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--embeddings", type=Path, help="file that holds the embeddings, made where it is missing")
    parser.add_argument("--no-embeddings", action="store_true")
    parser.add_argument("--unseen", action="store_true", help="sources unseen, too; nothing else")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--inputs", nargs="*", default=["all", "without_embeddings"], choices=list(INPUTS))
    parser.add_argument("--out", default=str(Path(__file__).parent / "results" / "egrm_scorer.json"))
    options = parser.parse_args()
    data, _ = read_labelled(options.data, "numeric")
    raw = [row for _, row in records(options.data)]
    sources = [k for k, v in raw[0].items() if isinstance(v, dict)]
    right = np.array([[float(row[s]["is_correct"]) for s in sources] for row in raw])
    best = int(right.mean(0).argmax())
    agree = np.array([[p.key for p in d.paths] for d in data], dtype=object)
    counts = np.array([[list(row).count(k) for k in row] for row in agree])
    # Expected accuracy of a vote that settles ties at random; and the share of questions where there is one to settle.
    vote = np.array([right[i][counts[i] == counts[i].max()].mean() for i in range(len(data))])
    tied = np.mean([len(set(agree[i][counts[i] == counts[i].max()])) > 1 for i in range(len(data))])
    figures: dict[str, Any] = {
        "questions": len(data),
        "majority_vote_ties_at_random": round(float(vote.mean()), 4),
        "tied": round(float(tied), 4),
        "best_single_source": {"name": sources[best], "accuracy": round(float(right[:, best].mean()), 4)},
        "oracle": round(float(right.max(1).mean()), 4),
    }
    encode = None
    if options.unseen:
        options.inputs, options.no_embeddings = [], True
        figures |= of_unseen(data, options.seeds)
    if not options.no_embeddings:
        texts = dict.fromkeys(t for d in data for t in (d.question, *(p.text for p in d.paths),
                                                        *(p.raw or "" for p in d.paths)))  # fmt: skip
        held = vectors(options.embeddings, list(texts))
        encode = lambda asked: np.stack([held[t] for t in asked])  # noqa: E731
    for name in options.inputs:
        base = ScorerSettings(**INPUTS[name])
        if base.embeddings and encode is None:
            continue
        rows = batch_inputs([(d.question, d.paths) for d in data], base, encode)
        for variant, changes in VARIANTS.items() if name == options.inputs[0] else [("hybrid", {})]:
            per_seed = []
            for seed in range(options.seeds):
                settings = replace(base, seed=seed, **changes)
                scores = folded(data, rows, settings)
                found = metrics(data, scores)
                gain = bootstrap_mean(hits(data, scores) - right[:, best])
                per_seed.append(
                    {"best_of_k": found["best_of_k"]["value"], "weighted": found["weighted"]["value"],
                     "pairwise": found["pairwise"]["value"], "pairwise_shorter": found["pairwise_shorter"]["value"],
                     "auroc": found["auroc"], "ece": found["ece"], "length_correlation": found["length_correlation"],
                     "over_best_source": gain.value, "over_best_source_low": gain.low,
                     "over_best_source_high": gain.high, "pairwise_low": found["pairwise"]["low"],
                     "pairwise_high": found["pairwise"]["high"]}
                )  # fmt: skip
                print(name, variant, seed, {k: round(v, 4) for k, v in per_seed[-1].items()}, flush=True)
            figures[f"{name}/{variant}"] = {k: interval([p[k] for p in per_seed]) for k in per_seed[0]}
    result = {"case": {"data": options.data.name, "folds": FOLDS, "seeds": options.seeds}, "machine": machine(),
              "versions": versions(("torch", "sentence-transformers")), "figures": figures}  # fmt: skip
    out = Path(options.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
