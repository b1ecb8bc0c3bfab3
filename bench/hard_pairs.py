"""Whether one more cheap measurement would tell the causes apart that are hardest to tell apart.

    python -m bench.hard_pairs measure WORLD [WORLD …] --work DIR
    python -m bench.hard_pairs report --work DIR [--out bench/results/hard_pairs.json]

WORLD is a folder written by ``lacuna lab build --real`` whose evidence is kept (``bench.measure_worlds``). Measured of
every sample that was not learned and whose cause is known:

- ``alone``: the part of its loss that goes with one step on this sample alone. A step moves every weight of the
  checkpoint by the run's learning rate against the sign of the gradient: Adam's first step.
- ``taught``: how far other samples that were not learned point the same way: the mean of the five largest cosines
  between their gradients and its own. The gradients are seen at a million weights drawn at random.
- ``shown``, ``base_shown``: the part of its loss that goes, in the checkpoint and in the base, where the sample whose
  prompt is most like its own stands before it as an example.
- ``repeated``: the part of its loss that goes, in the checkpoint, where the sample itself stands before it.

``report`` fits a logistic rule for each pair on all worlds but one, and gives the area under the curve (AUC) on the one
that was left out: by the evidence a diagnosis has, by that and one measurement, by that and all.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench._machine import machine, versions
from bench._worlds import KEPT, Cases, cases, kept
from core.lab.rows import CAUSES, CONFLICT, FORGOTTEN, MISSING, RARE

# Each: its two sides, and what a run of that kind lacks.
PAIRS: Mapping[str, tuple[set[str], set[str], tuple[str, ...]]] = {
    "missing knowledge or too little optimisation": ({MISSING}, {RARE}, ()),
    "missing knowledge or conflict": ({MISSING}, {CONFLICT}, ()),
    "forgotten or never learned, without a trajectory": ({FORGOTTEN}, set(CAUSES) - {FORGOTTEN}, ("trajectory",)),
}
MEASURES = ("alone", "taught", "shown", "base_shown", "repeated")
SEEN, NEAREST, PENALTY = 1_000_000, 5, 0.1


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="bench.hard_pairs", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("do", choices=("measure", "report"))
    parser.add_argument("worlds", nargs="*", type=Path)
    parser.add_argument("--work", type=Path, required=True, help="where measurements are kept")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    if options.do == "measure":
        for folder in options.worlds:
            (options.work / f"{folder.name}.json").write_text(json.dumps(measured(folder)), encoding="utf-8")
        return
    result = report({p.stem: json.loads(p.read_text(encoding="utf-8")) for p in sorted(options.work.glob("*.json"))})
    text = json.dumps(result, indent=1)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")
    print(text)


def measured(folder: Path) -> dict[str, Any]:
    """The measurements of one world's cases, in their order, and what each cost in seconds a sample."""
    import torch

    from core.lab import tiny
    from core.lab.truth import load

    torch.set_num_threads(1)
    spec = json.loads((folder / "world.json").read_text(encoding="utf-8"))["spec"]
    dialogues = [json.loads(line)["messages"] for line in (folder / "dataset.jsonl").read_text("utf-8").splitlines()]
    rows = cases(kept(KEPT / f"{folder.name}.npz")).rows
    model: Any
    model, tokenizer = load(folder / "final", folder / "base")
    if hasattr(model, "merge_and_unload"):
        model = model.merge_and_unload()
    made = [tiny.chat_row(tokenizer, talk) for talk in dialogues]
    alike = nearest([talk[0]["content"] for talk in dialogues], rows)
    behind = {"shown": [[*dialogues[j], *dialogues[i]] for i, j in zip(rows, alike, strict=True)],
              "repeated": [[*dialogues[i], *dialogues[i]] for i in rows]}  # fmt: skip
    spans = {name: [last_answer(tiny.chat_row(tokenizer, talk)) for talk in talks] for name, talks in behind.items()}
    model.eval().requires_grad_(True)
    started = time.process_time()
    alone, taught = steps(model, [made[i] for i in rows], spec["lr"])
    seconds = {"alone, taught": (time.process_time() - started) / len(rows)}
    out: dict[str, Any] = {"alone": alone, "taught": taught}
    before = losses(model, [made[i] for i in rows])
    for name, talks in spans.items():
        started = time.process_time()
        out[name] = gone(before, losses(model, talks))
        seconds[name] = (time.process_time() - started) / len(rows)
    base, _ = tiny.load(folder / "base")
    out["base_shown"] = gone(losses(base, [made[i] for i in rows]), losses(base, spans["shown"]))
    return {"rows": rows.tolist(), **out, "seconds_a_sample": {k: round(v, 3) for k, v in seconds.items()}}


def nearest(prompts: Sequence[str], rows: np.ndarray) -> list[int]:
    """For each of ``rows`` another row whose prompt is most like its own, by pieces of three to five letters."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    matrix = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5)).fit_transform(prompts)
    close = (matrix[rows] @ matrix.T).toarray()
    close[np.arange(len(rows)), rows] = -1
    return [int(i) for i in close.argmax(axis=1)]


def last_answer(row: tuple[Sequence[int], Sequence[bool]]) -> tuple[Sequence[int], Sequence[bool]]:
    """The row with loss on its last answer alone."""
    ids, trained = row[0], np.array(row[1])
    begins = np.flatnonzero(trained & ~np.concatenate([[False], trained[:-1]]))[-1]
    trained[:begins] = False
    return ids, trained.tolist()


def loss_of(model: Any, row: tuple[Sequence[int], Sequence[bool]]) -> Any:
    """Mean loss of the trained tokens, in nats, a tensor."""
    import torch

    ids = torch.as_tensor(np.array(row[0]))[None]
    labels = torch.where(torch.as_tensor(np.array(row[1]))[None], ids, -100)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return model(input_ids=ids, labels=labels).loss.float()


def losses(model: Any, rows: Sequence[tuple[Sequence[int], Sequence[bool]]]) -> np.ndarray:
    import torch

    with torch.no_grad():
        return np.array([float(loss_of(model, row)) for row in rows])


def gone(before: np.ndarray, after: np.ndarray) -> list[float]:
    """The part of each loss that is gone."""
    return [float(x) for x in 1 - after / np.maximum(before, 1e-3)]


def steps(model: Any, rows: Sequence[Any], rate: float) -> tuple[list[float], list[float]]:
    """``alone`` and ``taught`` of each row."""
    import torch

    weights = [p for p in model.parameters() if p.requires_grad]
    drawn = np.random.default_rng(0)
    total = sum(p.numel() for p in weights)
    places = [torch.as_tensor(drawn.integers(p.numel(), size=max(1, SEEN * p.numel() // total))) for p in weights]
    fell, seen = [], []
    for row in rows:
        model.zero_grad(set_to_none=True)
        loss = loss_of(model, row)
        loss.backward()
        slopes: list[Any] = [p.grad for p in weights]
        signs = [slope.sign() * rate for slope in slopes]
        seen.append(torch.cat([slope.flatten()[at] for slope, at in zip(slopes, places, strict=True)]).numpy())
        with torch.no_grad():
            torch._foreach_sub_(weights, signs)
            after = float(loss_of(model, row))
            torch._foreach_add_(weights, signs)
        fell.append(1 - after / max(float(loss.detach()), 1e-3))
    matrix = np.stack(seen)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    cosines = matrix @ matrix.T
    np.fill_diagonal(cosines, -1)
    return fell, [float(np.sort(c)[-NEAREST:].mean()) for c in cosines]


def report(found: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """AUC of each pair by what it is decided with, on worlds left out one at a time."""
    pairs = {}
    for name, (one, other, lacking) in PAIRS.items():
        worlds = [sides(kept(KEPT / f"{w}.npz"), made, one, other, lacking) for w, made in found.items()]
        n = {"one": int(sum(y.sum() for _, _, y in worlds)), "other": int(sum((~y).sum() for _, _, y in worlds))}
        by = {"evidence": (True, ()), **{f"evidence and {m}": (True, (m,)) for m in MEASURES},
              "evidence and all": (True, MEASURES), **{f"{m} alone": (False, (m,)) for m in MEASURES}}  # fmt: skip
        pairs[name] = {"n": n, "auc": {k: auc(worlds, whole, more) for k, (whole, more) in by.items()}}
    cost = {w: made["seconds_a_sample"] for w, made in found.items()}
    return {"worlds": list(found), "pairs": pairs, "seconds_a_sample": cost, "machine": machine(),
            "versions": versions(("torch", "transformers", "scikit-learn"))}  # fmt: skip


Side = tuple[np.ndarray, Mapping[str, np.ndarray], np.ndarray]


def sides(world: Any, made: Mapping[str, Any], one: set[str], other: set[str], lacking: Sequence[str]) -> Side:
    """Evidence (m, k), measurements by name and the side, of the samples that have a cause of one side alone."""
    rows = np.array(made["rows"])
    own: Cases = cases(world.without(*lacking), rows)
    keep = np.array([bool(t & one) != bool(t & other) for t in own.truth])
    evidence = np.nan_to_num(np.stack([own.evidence[k] for k in sorted(own.evidence)], axis=1))
    return (evidence[keep], {m: np.array(made[m])[keep] for m in MEASURES},
            np.array([bool(t & one) for t in own.truth])[keep])  # fmt: skip


def auc(worlds: Sequence[Side], whole: bool, more: Sequence[str]) -> dict[str, float]:
    """Mean AUC over worlds, each by a rule fitted on the others, and the smallest."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def inputs(side: Side) -> np.ndarray:
        return np.hstack([side[0]] * whole + [side[1][m][:, None] for m in more])

    out = []
    for i, held in enumerate(worlds):
        rest = [w for j, w in enumerate(worlds) if j != i]
        rule = make_pipeline(StandardScaler(), LogisticRegression(C=PENALTY, class_weight="balanced", max_iter=2000))
        rule.fit(np.vstack([inputs(w) for w in rest]), np.concatenate([w[2] for w in rest]))
        out.append(float(roc_auc_score(held[2], rule.decision_function(inputs(held)))))
    return {"mean": round(float(np.mean(out)), 3), "least": round(min(out), 3)}


if __name__ == "__main__":
    main()
