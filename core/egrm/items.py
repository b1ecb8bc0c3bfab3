"""What was generated of a routes run, with its answers made comparable by one normaliser.

Shape letters: ``n`` items, ``m`` direct answers, ``k`` paths.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.egrm.answers import FORM_FAILURE, NO_ANSWER, key


@dataclass(frozen=True, slots=True)
class Items:
    """What was generated, with answers compared by one normaliser.

    Attributes:
        keys, groups: (n,) of the items.
        judged: (n,) bool, there is a gold answer of the normaliser's form to compare with.
        gold: (n,) its key or None.
        probes, paths: (n, m) and (n, k) object, key of each answer or None.
        probe_tokens, path_tokens: (n, m) and (n, k) generated; ``probe_prompt``, ``path_prompt``: (n,) tokens read.
        probe_seconds, path_seconds: (n,).
        logp, score: (n, k) of the paths; NaN = not measured.
        score_question, score_read: (n,) and (n, k) word pieces that the scorer's encoder read: of the question, and of
            each path with its answer, a text that an earlier path has counted once. 0 for a scorer without embeddings.
        score_states: (n, k) tokens that the checkpoint read once more for the path's pooled hidden states.
        score_seconds: (n,) of encoder, features and head over all k paths. NaN in any of these four = not measured.
        probe_logp, probe_margin: (n, m) of the direct answers; NaN = not measured.
        probe_words: (n, m) object, each direct answer in its own words, None where none could be read.
        swapped: (n, m) bool.
        hygiene: ``texts``, ``cut``, ``unannounced`` and ``failures`` of ``probes`` and of ``paths``, and
            ``greedy_twice``: none of these is ever a silent zero.
        refused: reason to count, for items that were not asked; they are in none of the arrays.
        options: number of options to guess among, None for open answers.
    """

    keys: tuple[str, ...]
    groups: tuple[str | None, ...]
    judged: np.ndarray
    gold: np.ndarray
    probes: np.ndarray
    paths: np.ndarray
    probe_tokens: np.ndarray
    path_tokens: np.ndarray
    probe_prompt: np.ndarray
    path_prompt: np.ndarray
    probe_seconds: np.ndarray
    path_seconds: np.ndarray
    logp: np.ndarray
    score: np.ndarray
    score_question: np.ndarray
    score_read: np.ndarray
    score_states: np.ndarray
    score_seconds: np.ndarray
    probe_logp: np.ndarray
    probe_margin: np.ndarray
    probe_words: np.ndarray
    swapped: np.ndarray
    hygiene: Mapping[str, Any]
    refused: Mapping[str, int]
    options: int | None

    @property
    def n(self) -> int:
        return len(self.keys)

    @property
    def m(self) -> int:
        return int(self.probes.shape[1])

    @property
    def k(self) -> int:
        return int(self.paths.shape[1])

    @property
    def scored(self) -> bool:
        """Whether every path of every item has a score."""
        return bool(self.n) and bool(np.isfinite(self.score).all())


def answer_key(
    answer: Mapping[str, Any], item: Mapping[str, Any], normaliser: str, strict: bool
) -> tuple[str | None, str]:
    """(key, failure) of one kept answer; the failure is empty where there is a key."""
    raw = answer["raw"]
    if raw is None:
        return None, answer["failure"]
    if strict and answer["how"] != "marker":
        return None, NO_ANSWER
    form = "choice" if item["pair"] else normaliser
    own = key(raw, form, item["options"])
    if own is None:
        return None, FORM_FAILURE.get(form, NO_ANSWER)
    if item["pair"]:  # A and B are places; what counts is which reply stood there
        own = str(int((own == "B") != answer["swapped"]))
    return own, ""


def gold_key(item: Mapping[str, Any], normaliser: str) -> str | None:
    if item["pair"]:
        return None if item["better"] is None else str(item["better"])
    return key(item["gold"], normaliser, item["options"])


def load(kept: Sequence[Mapping[str, Any]], normaliser: str, strict: bool = False) -> Items:
    """Items from what ``route.compact`` kept, in the order given."""
    rows = [r for r in kept if not r["refused"]]
    m, k = (len(rows[0]["probes"]), len(rows[0]["paths"])) if rows else (0, 0)
    probes, probe_hygiene = _keys(rows, "probes", m, normaliser, strict)
    paths, path_hygiene = _keys(rows, "paths", k, normaliser, strict)
    golds = np.array([gold_key(r, normaliser) for r in rows], dtype=object)
    sizes = {len(r["options"]) for r in rows}
    return Items(
        keys=tuple(r["key"] for r in rows),
        groups=tuple(r["group"] for r in rows),
        judged=np.array([g is not None for g in golds], dtype=bool),
        gold=golds,
        probes=probes,
        paths=paths,
        probe_tokens=_numbers(rows, "probes", "tokens", m),
        path_tokens=_numbers(rows, "paths", "tokens", k),
        probe_prompt=_column(r["prompt"][0] for r in rows),
        path_prompt=_column(r["prompt"][1] for r in rows),
        probe_seconds=_column(r["seconds"][0] for r in rows),
        path_seconds=_column(r["seconds"][1] for r in rows),
        logp=_numbers(rows, "paths", "logp", k),
        score=_numbers(rows, "paths", "score", k),
        score_question=_scoring(rows, "question"),
        score_read=_numbers(rows, "paths", "read", k),
        score_states=_numbers(rows, "paths", "states", k),
        score_seconds=_scoring(rows, "seconds"),
        probe_logp=_numbers(rows, "probes", "logp", m),
        probe_margin=_numbers(rows, "probes", "margin", m),
        probe_words=_words(rows, probes),
        swapped=_numbers(rows, "probes", "swapped", m).astype(bool),
        hygiene={"probes": probe_hygiene, "paths": path_hygiene, "greedy_twice": sum(_greedy_twice(r) for r in rows)},
        refused=dict(Counter(r["refused"] for r in kept if r["refused"])),
        options=sizes.pop() if len(sizes) == 1 and 0 not in sizes else None,
    )


def _keys(
    rows: Sequence[Mapping[str, Any]], part: str, width: int, normaliser: str, strict: bool
) -> tuple[np.ndarray, dict[str, Any]]:
    """(n, width) keys of the answers, and what became of the texts they stand in."""
    cells = np.full((len(rows), width), None, dtype=object)
    failures: Counter[str] = Counter()
    for i, row in enumerate(rows):
        for j, answer in enumerate(row[part]):
            cells[i, j], failure = answer_key(answer, row, normaliser, strict)
            failures.update([failure] if failure else [])
    answers = [a for row in rows for a in row[part]]
    return cells, {
        "texts": len(answers),
        "cut": sum(a["cut"] for a in answers),
        "unannounced": sum(a["how"] == "last line" for a in answers),
        "failures": dict(failures),
    }


def _words(rows: Sequence[Mapping[str, Any]], keys: np.ndarray) -> np.ndarray:
    """(n, m) the words of each direct answer that has a key, else None."""
    cells = np.full(keys.shape, None, dtype=object)
    for i, row in enumerate(rows):
        for j, answer in enumerate(row["probes"]):
            cells[i, j] = None if keys[i, j] is None else answer["raw"]
    return cells


def _column(values: Any) -> np.ndarray:
    return np.array(list(values), dtype=np.float64)


def _numbers(rows: Sequence[Mapping[str, Any]], part: str, name: str, width: int) -> np.ndarray:
    """(n, width) one number of each answer or path; NaN = not measured."""
    cells = [[a.get(name) for a in row[part]] for row in rows]
    return np.array(cells, dtype=np.float64).reshape(len(rows), width)


def _scoring(rows: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    """(n,) what scoring an item cost; NaN where it was not scored, or before this was measured."""
    return _column(r.get("scoring", {}).get(name, np.nan) for r in rows)


def _greedy_twice(row: Mapping[str, Any]) -> bool:
    """Whether an item has two greedy direct answers to one prompt: the second vote is free."""
    greedy = [a["swapped"] for a in row["probes"] if a["temperature"] == 0]
    return len(greedy) > len(set(greedy))
