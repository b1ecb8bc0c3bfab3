"""Writes ``docs/examples.md``: for every signal, cause and fault a worked example whose truth is known.

    python -m bench.examples [--faults bench/results/faults.json] [--out docs/examples.md]

Rows are those of the demo, the real fine-tune that ships with Lacuna; ``bench.demo`` recorded it and kept what is true
of it. Of each cause the row is shown that was judged rightly with median confidence, and beside it a row that was
learned. Examples of faults are those that ``bench.faults`` kept. Nothing is written by hand.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit

from bench._worlds import own_data
from core.causes import logit
from core.lab.rows import CAUSES
from core.plugins import kinds
from core.types import Filter

LEARNED = "learned"
TRUTH = Path("bench/results/demo_truth.jsonl")


def cell(text: object, most: int = 120) -> str:
    line = " ".join(str(text).split()).replace("|", "\\|").replace("`", "'").replace("<", "\\<")
    return line if len(line) <= most else line[: most - 1] + "…"


def number(x: float) -> str:
    return "–" if x is None or not math.isfinite(x) else f"{x:.3g}"


def views() -> tuple[Any, dict[str, Any]]:
    """The demo's run, and cause (or ``learned``) to the view of the row that stands for it."""
    from core.services import bundles, demo, samples

    run = bundles.open_bundle(demo.shipped()[0])
    truth = [json.loads(t) for t in TRUTH.read_text(encoding="utf-8").splitlines()]
    rows = {r["sid"]: r for r in samples.page(run.id, Filter(), None, 10_000).rows}
    found: dict[str, Any] = {}
    for cause in CAUSES:
        right = [t["id"] for t in truth if t["scored"] and t["planted"] == [cause] and not t["learned"]]
        right = sorted((s for s in right if rows[s]["cause"] == cause), key=lambda s: rows[s]["confidence"])
        if right:
            found[cause] = samples.sample(run.id, right[len(right) // 2], Filter())
    plain = next(t["id"] for t in truth if not t["planted"] and rows[t["id"]]["status"] == LEARNED)
    return run, {LEARNED: samples.sample(run.id, plain, Filter())} | found


def of_signals(shown: Mapping[str, Any], columns: Sequence[Any]) -> list[str]:
    """One table per signal and derivation: its columns by the rows shown."""
    out = []
    by_name = {c.name: c for c in columns}
    own = {c.name: c for folder in ("signals", "derived") for k in kinds(folder).values() for c in k.columns}
    for folder in ("signals", "derived"):
        for name, signal in kinds(folder).items():
            mine = [
                c for c in signal.columns if any(_measured(v, n) for v in shown.values() for n in _places(c.name, own))
            ]
            if not mine:
                continue
            out += [f"\n### {getattr(signal, 'label', name)} (`{name}`)\n"]
            out += ["| column | " + " | ".join(shown) + " |", "|---|" + "---|" * len(shown)]
            for column in mine:
                for place in _places(column.name, own):
                    if any(_measured(v, place) for v in shown.values()):
                        said = by_name.get(place, column).label
                        values = " | ".join(number(_value(v, place)) for v in shown.values())
                        out.append(f"| `{place}` {cell(said, 60)} | {values} |")
    return out


def _places(name: str, columns: Mapping[str, Any]) -> tuple[str, ...]:
    """The names under which a signal's column stands in the run; one that another column has too is that one's."""
    return (name,) if f"base_{name}" in columns else (name, f"base_{name}")


def _value(view: Any, name: str) -> float:
    value = view.values.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, str) else math.nan


def _measured(view: Any, name: str) -> bool:
    return math.isfinite(_value(view, name))


def of_causes(shown: Mapping[str, Any], weights: Mapping[str, Any]) -> list[str]:
    """For each cause the row, what it was asked and says, and the sum behind its strength and confidence."""
    out = []
    for cause, view in shown.items():
        if cause == LEARNED:
            continue
        turn = view.turns[-1]
        out += [f"\n### {kinds('causes')[cause].label} (`{cause}`)\n"]
        out += [f"- asked: {cell(view.sample.prompt, 300)}", f"- target: {cell(turn.target, 300)}"]
        out += [f"- the checkpoint says: {cell(turn.output, 300)}"]
        mine = weights["causes"][cause]
        terms, total = [f"{mine['bias']:+.2f}"], mine["bias"]
        for side, sign in (("for", 1), ("against", -1)):
            for piece, weight in mine[side].items():
                loud = _value(view, f"evidence_{piece}")
                if math.isfinite(loud) and weight * loud >= 0.05:
                    terms.append(f"{'+' if sign > 0 else '−'} {weight:.2f} × {loud:.2f} ({piece})")
                if math.isfinite(loud):
                    total += sign * weight * loud
        strengths = [f.strength for f in view.verdict.findings if not math.isnan(f.strength)]
        first, second = (float(logit(np.array(s))) for s in strengths[:2])
        d = weights["decision"]
        z = d["bias"] + d["top"] * first + d["margin"] * (first - second)
        out += [f"- strength: sigmoid({' '.join(terms)}) = sigmoid({total:.2f}) = {expit(total):.3f} "
                "(terms below 0.05 left out of the line, not of the sum)",
                f"- confidence: strongest {strengths[0]:.3f}, second {strengths[1]:.3f}: sigmoid({d['bias']:.2f} + "
                f"{d['top']:.2f} × {first:.2f} + {d['margin']:.2f} × {first - second:.2f}) = "
                f"{expit(z):.3f}"]  # fmt: skip
        judged = next(f for f in view.verdict.findings if f.cause == cause)
        out += [f"- {r.favours}: {cell(r.text, 300)}" for r in judged.reasons]
    return out


def of_faults(path: Path) -> list[str]:
    if not path.exists():
        return [f"\n`{path}` does not exist: run `python -m bench.faults --out {path}` first."]
    out = ["\n| fault | an instance | what the diagnosis says |", "|---|---|---|"]
    for code, found in json.loads(path.read_text(encoding="utf-8"))["faults"].items():
        example = found["example"]
        if example is None:
            out.append(f"| `{code}` | none was recognised | – |")
            continue
        turns = "; ".join(f"{m['role']}: {m['content']}" for m in example.get("row", []))
        where = cell(turns, 160) or "the whole run"
        out.append(f"| `{code}` | {where} | {cell(example['said'], 240)} {cell(example.get('measured', ''), 160)} |")
    return out


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="bench.examples", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--faults", type=Path, default=Path("bench/results/faults.json"))
    parser.add_argument("--out", type=Path, default=Path("docs/examples.md"))
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as data, own_data(Path(data)):
        run, shown = views()
    from core.causes import parameters

    lines = [
        "# Worked examples",
        "",
        "Written by `python -m bench.examples` from the demo: SmolLM2-135M-Instruct, fine-tuned on real facts, "
        "notes, reviews and small tasks (see [lab.md](lab.md)). Many of its rows are wrong on purpose. The formulas "
        "are those of [method.md](method.md) and [faults.md](faults.md). Of each cause the row is shown "
        "that was judged rightly with median confidence; of the learned ones the first.",
        "",
        "## Causes",
        *of_causes(shown, parameters()["sets"]["base+trajectory"]),
        "",
        "## Signals",
        "",
        "The same rows; `base_` is the signal under the model before fine-tuning; – is not measured.",
        *of_signals(shown, run.columns),
        "",
        "## Faults",
        *of_faults(options.faults),
        "",
    ]
    options.out.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
