"""Verdicts beside the reading of a person who has not seen them.

    python -m bench.hand_reading sheet --data DIR --run N --sheet FILE --key FILE [--each 10]
    python -m bench.hand_reading compare KEY LABELS [KEY LABELS …] [--out bench/results/hand_reading.json]

``sheet`` draws at most ``--each`` samples of every cause that run N names, and of many valid answers, the fault that is
no cause; in mixed order. It writes what there is to read of each: prompt, target, the checkpoint's answer and three
draws, what the base said, the loss under every checkpoint, the rows most like it. No verdict, no strength, no evidence.
The key holds the verdicts. LABELS is JSONL of the reader: ``id`` and ``causes``, a list of those that fit, the
likeliest first, empty where none can be told.
"""

from __future__ import annotations

import argparse
import json
import os
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.lab.rows import CAUSES
from core.statistics import share
from core.types import PIPELINE

DRAWS, LIKE, SEED = 3, 3, 7
NAMES = (*CAUSES, "many_valid_answers")


def sheet(data: Path, run_id: int, each: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What the reader sees, and the verdicts, in the same order."""
    os.environ["LACUNA_DATA_DIR"] = str(data)
    from core.filters import from_query
    from core.services import contradictions, knowledge, samples
    from core.services.runs import get_run

    run = get_run(run_id)
    drawn: list[tuple[str, dict[str, Any]]] = []
    for cause in NAMES:
        value = cause if cause in CAUSES else PIPELINE.of(cause)
        rows = samples.page(run_id, from_query(f"cause={value}", run.columns), limit=1000).rows
        some = random.Random(SEED).sample(list(rows), min(each, len(rows)))
        drawn += [(row["sid"], {"cause": cause, "confidence": row["confidence"]}) for row in some]
    random.Random(SEED).shuffle(drawn)
    shown = []
    for sid, _ in drawn:
        view = samples.sample(run_id, sid, from_query("", run.columns))
        turn, asked = view.turns[-1], knowledge.sample(run_id, sid)
        shown.append({
            "id": sid, "place": f"row {view.sample.row + 1} of {run.n_samples} in training order",
            "prompt": [m.content for m in view.sample.messages[:-1]], "target": turn.target, "answer": turn.output,
            "draws": list(turn.samples[:DRAWS]), "base says": list(asked.answers[:DRAWS]) if asked else "not asked",
            "loss under": {c.label: None if c.nll is None else round(c.nll, 2) for c in view.checkpoints},
            "reproduced by": [c.label for c in view.checkpoints if c.greedy_exact],
            "rows most like it": [
                {"prompt": n.prompt, "target": n.answer, "cosine": round(n.similarity, 2)}
                for n in contradictions.neighbours(run_id, view.sample.content_hash, LIKE)
            ],
        })  # fmt: skip
    return shown, [{"id": sid, **verdict} for sid, verdict in drawn]


def compare(pairs: Sequence[tuple[Path, Path]]) -> dict[str, Any]:
    """Agreement in each run and in all, with 95 % Wilson intervals; and what was read where it was named otherwise."""
    out: dict[str, Any] = {}
    both: list[tuple[dict[str, Any], list[str]]] = []
    for key, labels in pairs:
        read = {line["id"]: line["causes"] for line in _lines(labels)}
        own = [(verdict, read[verdict["id"]]) for verdict in _lines(key)]
        out[key.stem] = _agreement(own)
        both += own
    return {**out, "all": _agreement(both)}


def _agreement(read: Sequence[tuple[dict[str, Any], list[str]]]) -> dict[str, Any]:
    told = [(verdict, causes) for verdict, causes in read if causes]
    by_cause = {
        cause: {
            "read": len(own := [c for v, c in told if v["cause"] == cause]),
            "agreed": sum(cause in c for c in own), "first": sum(c[0] == cause for c in own),
            "read as": dict(Counter(c[0] for c in own).most_common()),
        }
        for cause in NAMES
    }  # fmt: skip
    sure = [(v, c) for v, c in told if (v["confidence"] or 0) > 0.8]
    return {
        "named": len(read), "could be told": len(told),
        "agreed": _share([v["cause"] in c for v, c in told]),
        "agreed on the first": _share([v["cause"] == c[0] for v, c in told]),
        "agreed above 0.8": _share([v["cause"] in c for v, c in sure]), "by_cause": by_cause,
    }  # fmt: skip


def _share(told: Sequence[bool]) -> dict[str, Any]:
    part = share(sum(told), len(told))
    return {"k": sum(told), "n": len(told), "interval": [round(part.low, 3), round(part.high, 3)]}


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="bench.hand_reading", description=(__doc__ or "").splitlines()[0])
    actions = parser.add_subparsers(dest="do", required=True)
    drawing = actions.add_parser("sheet")
    drawing.add_argument("--data", type=Path, required=True)
    drawing.add_argument("--run", type=int, required=True)
    drawing.add_argument("--sheet", type=Path, required=True)
    drawing.add_argument("--key", type=Path, required=True)
    drawing.add_argument("--each", type=int, default=10)
    comparing = actions.add_parser("compare")
    comparing.add_argument("files", nargs="+", type=Path)
    comparing.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    if options.do == "sheet":
        for path, lines in zip(
            (options.sheet, options.key), sheet(options.data, options.run, options.each), strict=True
        ):
            path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
        return
    text = json.dumps(compare(list(zip(options.files[::2], options.files[1::2], strict=True))), indent=1)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
