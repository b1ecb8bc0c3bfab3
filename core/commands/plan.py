"""``lacuna plan``: what a diagnosis would measure, and how long it would take."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING

from core.commands._base import Progress, to_json
from core.commands._sources import add_sources, specified

if TYPE_CHECKING:
    from core.services.planning import Plan


class PlanCommand:
    name = "plan"
    label = "say what a diagnosis would measure, and how long it would take"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        add_sources(parser)
        parser.add_argument("--json", action="store_true", help="the plan as JSON")

    def run(self, args: argparse.Namespace) -> int:
        from core.services import datasets, planning
        from core.services.jobs import Terminal

        progress = Progress()
        before = {dataset.id for dataset in datasets.list_datasets()}
        spec, _ = specified(args, progress)
        try:
            plan = planning.plan_of(spec, Terminal(progress))
        finally:
            if spec.dataset_id not in before:  # read for the plan alone
                datasets.delete_dataset(spec.dataset_id)
        print(to_json(asdict(plan)) if args.json else "\n".join(_lines(plan)))
        return 0 if plan.usable else 2


def _lines(plan: Plan) -> list[str]:
    counts = plan.counts
    lines = [f"{counts['samples']:,} samples, {len(plan.steps)} measurements:"]
    for i, step in enumerate(plan.steps, 1):
        some = f"up to {step.samples:,} samples, after {', '.join(step.after).lower()}" if step.after else ""
        stored = f"; {step.stored:,} are stored already" if step.stored else ""
        lines.append(f"{i:>3}. {step.label}: {step.checkpoint} ({some or f'{step.samples:,} samples'}{stored})")
    if plan.known:
        lines.append(plan.known)
    lines += [f"not measured: {gap.text}" for gap in plan.gaps]
    for name in ("refused", "dropped", "truncated", "not_supervised"):
        if counts[name]:
            lines.append(f"{name.replace('_', ' ')}: {counts[name]:,} of {counts['looked_at']:,} rows looked at")
    for check in plan.checks:
        if check["state"] in ("fail", "warn") or check["code"] == "dtype":
            words = " ".join(part for part in (check["text"], check["measured"], check["todo"]) if part)
            lines.append(f"{check['state']}: {words}")
    if plan.estimate is not None:
        lines.append(f"{plan.estimate['text']} Timed on this machine, for what is not known yet.")
    return lines


KIND = PlanCommand()
