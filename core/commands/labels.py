"""``lacuna labels``: what people say of a run's samples, as a file that goes out and comes in."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from core.commands._base import add_rows, existing_path, rows, write


class Labels:
    name = "labels"
    label = "write people's labels of a run, take a file of them in, or undo that"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parts = parser.add_subparsers(dest="part", required=True, metavar="part")
        out = parts.add_parser("write", help="write the labels there are")
        add_rows(out)
        queue = parts.add_parser("queue", help="write the rows whose review would teach most, to be filled in")
        queue.add_argument("--round", type=int, help="30 rows each (default: the first that is not finished)")
        take = parts.add_parser("take", help="take in a JSONL or CSV file with human_status, human_cause, tags, note")
        take.add_argument("file", type=existing_path)
        take.add_argument("--author", default="", help="author of rows that name none")
        take.add_argument(
            "--replace", action="store_true", help="let the file replace other reviews (undo brings them back)"
        )
        take.add_argument("--check", action="store_true", help="say what the file would change, and change nothing")
        undo = parts.add_parser("undo", help="put back what the newest file changed")
        for part in (queue, take, undo):
            part.add_argument(
                "--run", dest="run_id", required=True, type=int, help="number of the run: see lacuna runs"
            )
        for part in (out, queue):
            part.add_argument("--out", type=Path, help="JSONL (default: stdout)")

    def run(self, args: argparse.Namespace) -> int:
        from core.services import labels, review

        if args.part == "write":
            count = write(args.out, labels.lines(args.run_id, rows(args)))
            print(f"{count:,} samples with labels", file=sys.stderr)
        elif args.part == "queue":
            count = write(args.out, review.lines(args.run_id, args.round))
            print(f"{count:,} rows to review", file=sys.stderr)
        elif args.part == "undo":
            undone = labels.undo(args.run_id)
            print(f"{undone.restored:,} samples put back", file=sys.stderr)
            for sid in undone.left[: labels.NAMED]:
                print(f"left alone, reviewed since: {sid}", file=sys.stderr)
        else:
            _take(args)
        return 0


def _take(args: argparse.Namespace) -> None:
    from core.services import labels

    found = labels.check(args.run_id, args.file, args.author)
    print(labels.sentence(found), file=sys.stderr)
    for mismatch in found.mismatches:
        print(f"row {mismatch.row}: {' '.join(mismatch.why.split())}", file=sys.stderr)
    if found.n_mismatches > len(found.mismatches):
        print(f"and {found.n_mismatches - len(found.mismatches):,} more rows", file=sys.stderr)
    for label in () if args.replace else found.standing[: labels.NAMED]:
        print(f"row {label.row}: another review of {label.sid} stands; --replace takes this one", file=sys.stderr)
    if not args.check:
        taken = labels.take(args.run_id, found, args.replace)
        print(f"{taken.n if taken else 0:,} samples changed", file=sys.stderr)


KIND = Labels()
