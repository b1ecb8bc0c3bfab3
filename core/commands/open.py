"""``lacuna open``: a bundle that someone sent, as a run of this store."""

from __future__ import annotations

import argparse

from core.commands._base import Progress, existing_path


class Open:
    name = "open"
    label = "open a bundle as a run"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("file", type=existing_path)

    def run(self, args: argparse.Namespace) -> int:
        from core.services import bundles

        run = bundles.open_bundle(args.file, progress=Progress())
        print(f"run {run.id}: {run.name}")
        return 0


KIND = Open()
