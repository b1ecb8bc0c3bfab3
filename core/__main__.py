"""The command line: the same services as the pages. Stdout carries the results, stderr the progress."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from core import __version__
from core.errors import Stopped, UserError
from core.plugins import kinds
from core.settings import quiet_libraries


def main(words: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status: 0 done, 2 unusable input, 3 a limit is passed, 130 stopped."""
    words = sys.argv[1:] if words is None else words
    try:
        args = _parser(words).parse_args(words)
        quiet_libraries()
        return int(args.command.run(args))
    except UserError as error:
        print(f"lacuna: {' '.join(str(error).split())}", file=sys.stderr)  # one line, whatever a library said
        return 130 if isinstance(error, Stopped) else 2
    except KeyboardInterrupt:
        print("lacuna: stopped; what was measured is kept.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of stdout has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        from core.services.environment import hindrance  # imports what most commands do not need

        if (reason := hindrance(error)) is None:
            raise
        print(f"lacuna: {reason}. Put that right, then run the command again.", file=sys.stderr)
        return 2


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    """All commands, and the arguments of those that ``words`` name: others' defaults can take long to import."""
    parser = argparse.ArgumentParser(prog="lacuna", description="What a fine-tune did not learn, and why.")
    parser.add_argument("--version", action="version", version=f"lacuna {__version__}")
    subparsers = parser.add_subparsers(required=True, metavar="command")
    for command in kinds("commands").values():
        subparser = subparsers.add_parser(command.name, help=command.label)
        subparser.set_defaults(command=command)
        if command.name in words:
            command.arguments(subparser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
