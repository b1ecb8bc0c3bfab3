"""``lacuna serve``: the app and its workers."""

from __future__ import annotations

import argparse


class Serve:
    name = "serve"
    label = "start the app and its workers"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=8501)

    def run(self, args: argparse.Namespace) -> int:
        from core.worker.supervisor import serve

        return serve(args.host, args.port)


KIND = Serve()
