"""Nearest neighbours among very many vectors: time, memory and recall of the product's graph, beside others.

    .venv/bin/python bench/nearest.py --vectors FILE.npy [--rows 100000] [--beside exact usearch …] [--out FILE.json]

``--vectors`` holds the encoder's unit vectors of real prompts (n, d). Where they are fewer than ``--rows``, more are
made of them: a real one plus half the difference of two others, so that they spread as real ones do. The result says
how many are real. Recall is over 12 neighbours of 500 rows drawn with a fixed seed, against all cosines; an equal
cosine counts.

Peers in the same run (``--beside``): usearch (HNSW), and sentence-transformers' ``paraphrase_mining_embeddings``, which
is exact: at a million rows it would take hours, as all cosines do. Each method runs in a process of its own, which says
its time of the processor, its time on the wall and its peak of memory.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

K, TRIED = 12, 500


def vectors_of(file: Path, rows: int) -> np.ndarray:
    real = np.load(file).astype(np.float32)
    if rows <= len(real):
        return np.ascontiguousarray(real[:rows])
    random = np.random.default_rng(0)
    out = np.empty((rows, real.shape[1]), np.float32)
    out[: len(real)] = real
    for at in range(len(real), rows, 65_536):
        end = min(at + 65_536, rows)
        a, b, c = (real[random.integers(0, len(real), end - at)] for _ in range(3))
        out[at:end] = a + 0.5 * (b - c)
    out /= np.linalg.norm(out, axis=1, keepdims=True)
    return out


def lacuna(vectors: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
    from core.pairs import candidates, index

    candidates.MANY = min(index.MANY, len(vectors))
    made: list[index.Graph] = []

    def seen(*args: Any) -> index.Graph:
        made.append(index.graph(*args))
        return made[-1]

    candidates.graph = seen
    places, _ = candidates.nearest(vectors, K)
    return places, {"effort": asdict(made[0].effort), "own_recall": round(made[0].recall, 4)}


def exact(vectors: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
    from core.pairs import candidates

    candidates.MANY = 1 << 60
    return candidates.nearest(vectors, K)[0], {}


def usearch(vectors: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
    from usearch.index import Index

    threads = int(os.environ.get("OMP_NUM_THREADS", "0"))
    index = Index(
        ndim=vectors.shape[1], metric="ip", dtype="f32", connectivity=16, expansion_add=128, expansion_search=64
    )
    index.add(np.arange(len(vectors)), vectors, threads=threads)
    keys = index.search(vectors, K + 1, threads=threads).keys.astype(np.int64)
    return others(keys), {"connectivity": 16, "expansion_add": 128, "expansion_search": 64}


def sentence_transformers(vectors: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
    import torch
    from sentence_transformers.util import paraphrase_mining_embeddings

    pairs = paraphrase_mining_embeddings(torch.from_numpy(vectors), top_k=K, max_pairs=len(vectors) * K)
    near: list[list[int]] = [[] for _ in range(len(vectors))]
    for _, i, j in pairs:
        near[i].append(j)
        near[j].append(i)
    out = np.full((len(vectors), K), -1, np.int64)
    for i, row in enumerate(near):
        out[i, : min(K, len(row))] = row[:K]
    return out, {}


METHODS = {"lacuna": lacuna, "exact": exact, "usearch": usearch, "sentence_transformers": sentence_transformers}


def others(keys: np.ndarray) -> np.ndarray:
    """The neighbours without the row itself."""
    own = keys == np.arange(len(keys))[:, None]
    own[~own.any(axis=1), -1] = True
    return keys[~own].reshape(len(keys), -1)


def recall(vectors: np.ndarray, places: np.ndarray) -> float:
    tried = np.random.default_rng(1).choice(len(vectors), min(TRIED, len(vectors)), replace=False)
    hits = 0
    for i in tried:
        cosines = vectors @ vectors[i]
        cosines[i] = -2.0
        limit = np.partition(cosines, -K)[-K]
        found = places[i][places[i] >= 0]
        hits += int((cosines[found] >= limit - 1e-5).sum())
    return hits / (len(tried) * K)


def one(method: str, file: Path, rows: int) -> dict[str, Any]:
    vectors = vectors_of(file, rows)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    wall, cpu = time.perf_counter(), time.process_time()
    places, facts = METHODS[method](vectors)
    out = {"wall_s": round(time.perf_counter() - wall, 1), "cpu_s": round(time.process_time() - cpu, 1)}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    out |= {"peak_gib": round(peak / 2**30, 2), "vectors_gib": round(before / 2**30, 2)}
    return out | {"recall": round(recall(vectors, places), 4)} | facts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--beside", nargs="*", choices=[m for m in METHODS if m != "lacuna"], default=[])
    parser.add_argument("--method", choices=METHODS, help="(internal) run this one in this process")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.method:
        print(json.dumps(one(args.method, args.vectors, args.rows)))
        return
    results = {}
    for method in ("lacuna", *args.beside):
        command = [sys.executable, __file__, "--vectors", str(args.vectors), "--rows", str(args.rows)]
        done = subprocess.run([*command, "--method", method], capture_output=True, text=True, check=True)
        results[method] = json.loads(done.stdout.splitlines()[-1])
        print(method, results[method], file=sys.stderr)
    import faiss

    real = len(np.load(args.vectors, mmap_mode="r"))
    out = {
        "case": {"rows": args.rows, "real_rows": min(real, args.rows), "width": 384, "neighbours": K},
        "machine": {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count(),
                    "threads": os.environ.get("OMP_NUM_THREADS", "all")},
        "versions": {"faiss": faiss.__version__, "numpy": np.__version__},
        "results": results,
    }  # fmt: skip
    if args.out:
        args.out.write_text(json.dumps(out, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
