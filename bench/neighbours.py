"""Time, memory and recall of finding the rows that ask the same, on real instruction rows.

    .venv/bin/python bench/neighbours.py --data FOLDER [--rows 50000] [--out bench/results/neighbours.json]
        [--groups FILE]

Rows are those of the published sets in ``FOLDER`` (sft/, reasoning/, knowledge/, continual/), each once, in the order
of their files. Where they are fewer than asked for, questions of EntityQuestions are repeated in another wording, and
the result says how many. What is timed is what the signal does, step by step; recall compares its index with all
cosines in float64, on 500 prompts drawn with a fixed seed.

``--groups`` finds the contradictions among these rows as a diagnosis would, less what a checkpoint's behaviour adds
(there is none), and writes 50 of the groups, drawn with a fixed seed, to be read by hand.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from core.types import Checkpoint, RunSpec, SignalTable  # noqa: E402


def rows(folder: Path) -> Iterator[tuple[str, str]]:
    """(prompt, answer) of every published row."""
    for path in sorted(folder.glob("sft/**/*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        for row in content if isinstance(content, list) else ():
            if isinstance(row, dict) and isinstance(row.get("instruction"), str) and isinstance(row.get("output"), str):
                yield "\n".join(p for p in (row["instruction"], row.get("input") or "") if p), row["output"]
    for path in sorted(folder.glob("reasoning/gsm8k/**/*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            if {"question", "answer"} <= row.keys():
                yield row["question"], row["answer"]
    for path in sorted(folder.glob("continual/*/train.json")):
        for row in json.loads(path.read_text(encoding="utf-8")):
            yield row["sentence"], str(row["label"])
    yield from entities(folder)


def entities(folder: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(folder.glob("knowledge/entityquestions/test/*.json")):
        for row in json.loads(path.read_text(encoding="utf-8")):
            if row["answers"]:
                yield row["question"], row["answers"][0]


def reworded(folder: Path) -> Iterator[tuple[str, str]]:
    """Questions on entities in another wording, with the same answer."""
    from bench.fit_same_question import WAYS

    for relation, ways in WAYS.items():
        before, after = ways[0].split("[X]")
        path = folder / f"knowledge/entityquestions/test/{relation}.test.json"
        for row in json.loads(path.read_text(encoding="utf-8")):
            name = row["question"][len(before) : len(row["question"]) - len(after)]
            yield ways[1].replace("[X]", name), row["answers"][0]


class NoCheckpoint:
    """What a signal is lent where rows and their neighbours are known and no model is at hand."""

    spec = RunSpec(0, "", Checkpoint("", None, None, "none", "0" * 64))

    def __init__(self, samples: Sequence[Any], near: Mapping[str, dict[str, Any]]) -> None:
        self._samples, self._near = samples, near

    def samples(self) -> Sequence[Any]:
        return self._samples

    def measured(self) -> Any:
        same = [max((n["same"] for n in self._near[s.content_hash]["neighbours"]), default=0.0) for s in self._samples]
        columns = {"same_question": np.array(same), "greedy_exact": np.full(len(same), np.nan)}
        return SignalTable(tuple(s.content_hash for s in self._samples), columns)

    def details(self, measure: Any, content_hash: str) -> Mapping[str, Any] | None:
        return self._near[content_hash]


def contradictions(
    found: Sequence[tuple[str, str]], asked: Sequence[Any], near: Any
) -> tuple[list[dict[str, Any]], int]:
    """(groups as prompts and answers of their sides, pairs looked at)."""
    from core.intake.datasets import read, scan
    from core.pairs.groups import grouped
    from core.signals import _disputes, neighbours

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        path.write_text("".join(json.dumps({"prompt": p, "completion": a}) + "\n" for p, a in found), encoding="utf-8")
        samples = [s for s in read([path], scan([path]).reading) if hasattr(s, "content_hash")]
    place = {q: i for i, q in enumerate(asked)}
    of = [place.get(neighbours.prompt_of(s)) for s in samples]
    contents: dict[Any, list[str]] = {}
    for sample, at in zip(samples, of, strict=True):
        if at is not None:
            contents.setdefault(asked[at], []).append(sample.content_hash)
    known = {}
    for sample, at in zip(samples, of, strict=True):
        twins = [] if at is None else [k for k in contents[asked[at]] if k != sample.content_hash]
        rows = [n for n in near[at] if asked[n.place] in contents] if at is not None else []
        known[sample.content_hash] = neighbours.near_rows(twins, rows, asked, contents).as_dict()

    class Rows(_disputes.Disputes):
        def output(self, i: int) -> str | None:
            return None

    world = Rows(NoCheckpoint(samples, known))  # type: ignore[arg-type]
    pairs = world.pairs(lambda: False) or []
    groups = [
        {
            "strength": round(g.strength, 3),
            "sides": [
                [{"prompt": world.samples[m].prompt, "answer": world.samples[m].response} for m in side]
                for side in g.sides
            ],
        }
        for g in grouped(pairs, world.copies)
        if g.strength > 0
    ]
    return groups, len(pairs)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--groups", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--out", type=Path, default=ROOT / "bench/results/neighbours.json")
    args = parser.parse_args()
    from bench._machine import machine, peak_memory, versions
    from core.pairs import candidates
    from core.pairs.wording import Rarity, words
    from core.plugins import kind
    from core.settings import quiet_libraries
    from core.signals import neighbours as signal

    quiet_libraries()
    found = list(dict.fromkeys(rows(args.data)))
    published = min(len(found), args.rows)
    # Every k-th row, so that a smaller bench is made of all sets too.
    if len(found) > args.rows:
        found = [found[i] for i in np.linspace(0, len(found) - 1, args.rows).astype(int)]
    else:
        found = list(dict.fromkeys([*found, *reworded(args.data)]))[: args.rows]
    asked = list(dict.fromkeys(signal.Prompt("", " ".join(p.split()), 1) for p, _ in found))
    texts = [q.text for q in asked]
    seconds: dict[str, float] = {}
    processor: dict[str, float] = {}
    spent = [time.process_time()]

    def timed(name: str, began: float) -> None:
        seconds[name] = round(time.perf_counter() - began, 1)
        spent.append(time.process_time())
        processor[name] = round(spent[-1] - spent[-2], 1)
        print(name, seconds[name], processor[name], file=sys.stderr, flush=True)

    began = time.perf_counter()
    read = [words(t) for t in texts]
    rarity = Rarity(read)
    timed("words", began)
    began = time.perf_counter()
    encoder = kind("encoders", "sentence_transformer").open("")
    timed("opening the encoder", began)
    began = time.perf_counter()
    vectors = signal.embed(texts, encoder)
    timed("embedding", began)
    began = time.perf_counter()
    places, _ = candidates.nearest(vectors, signal.NEAREST)
    timed("nearest by meaning", began)
    began = time.perf_counter()
    candidates.sharing_words(read, rarity, signal.NEAREST)
    timed("nearest by rare words", began)
    began = time.perf_counter()
    forms = signal.form_vectors(texts, vectors, rarity, encoder)
    timed("embedding without names", began)
    began = time.perf_counter()
    near = signal.compare(asked, vectors, forms, read, rarity)
    timed("candidates again, and evidence of every pair", began)

    some = np.random.default_rng(0).choice(len(texts), min(500, len(texts)), replace=False)
    exact = vectors[some].astype(np.float64) @ vectors.T.astype(np.float64)
    exact[np.arange(len(some)), some] = -np.inf
    k = places.shape[1]
    cut = -np.partition(-exact, k - 1, axis=1)[:, k - 1]
    # Ties at the last place are all right.
    hits = np.take_along_axis(exact, places[some], 1) >= cut[:, None] - 1e-6
    result = {
        "case": f"{len(found):,} rows, {len(texts):,} distinct prompts",
        "published_rows": published,
        "reworded_rows": len(found) - published,
        "seconds": seconds,
        "processor_seconds": processor,
        f"recall_at_{k}": round(float(hits.mean()), 5),
        "pairs_same": sum(f.same >= signal.SAME for row in near for f in row) // 2,
        "peak_memory_mib": round(peak_memory() / 2**20),
        "machine": machine(),
        "versions": versions(("torch", "sentence-transformers", "scikit-learn", "numpy")),
    }
    if args.groups:
        began = time.perf_counter()
        groups, looked_at = contradictions(found, asked, near)
        timed("contradictions", began)
        result |= {"contradiction_groups": len(groups), "pairs_looked_at": looked_at}
        some_groups = random.Random(0).sample(groups, min(50, len(groups)))
        args.groups.write_text("".join(json.dumps(g, ensure_ascii=False) + "\n" for g in some_groups), encoding="utf-8")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
