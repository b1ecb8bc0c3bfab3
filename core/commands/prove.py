"""``lacuna prove``: a recipe tried out on a copy of the checkpoint, against control arms."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from core.commands._base import Progress, add_pairs, rows, to_json, write
from core.commands._recipe import add_recipe, recipe_settings


class Prove:
    name = "prove"
    label = "try a recipe out on a copy of the checkpoint, against control arms"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        add_recipe(parser)
        add_pairs(parser, "--budget", "NAME=VALUE", "steps, batch, samples, … (repeatable)")
        parser.add_argument(
            "--retrain", action="store_true", help="train again from the base, in place of going on from the checkpoint"
        )
        parser.add_argument("--out", type=Path, help="the finding as JSON (default: stdout)")

    def run(self, args: argparse.Namespace) -> int:
        from core.services import mitigation, proofs
        from core.worker.here import run_here

        settings, files = recipe_settings(args)
        request = mitigation.request(args.run_id, rows(args), args.recipe, settings, {}, files)
        cost = proofs.parsed_budget(dict(args.budget), args.retrain)
        proof_id, job_id = proofs.start(request, cost, args.retrain)
        run_here(job_id, Progress())
        proof = proofs.get_proof(proof_id)
        for sentence in proofs.in_words(proof):
            print(sentence, file=sys.stderr)
        text = to_json({"proof": proof_id, "request": proof.request, **(proof.result or {})})
        write(args.out, [text.encode() + b"\n"])
        return 0


KIND = Prove()
