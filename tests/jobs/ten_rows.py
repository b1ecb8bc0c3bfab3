"""A worker whose chunks are ten rows, that writes down every row it measures and signals itself on the way.

``python -m tests.jobs.ten_rows LOG SIGNAL N``: the signal comes after N chunks were measured, before the last of them
is stored.
"""

import json
import os
import signal
import sys

from core.signals import likelihood


def tens(samples, *_):
    for at in range(0, len(samples), 10):
        yield list(samples[at : at + 10])


def noted(log, number=0, at=-1):
    """``Likelihood._chunk`` that notes its samples in the file ``log``, one line a chunk."""
    original, seen = likelihood.Likelihood._chunk, []

    def chunk(self, measure, samples, *rest):
        seen.append(1)
        found = original(self, measure, samples, *rest)
        with open(log, "a") as file:
            file.write(json.dumps([s.content_hash for s in samples]) + "\n")
        if len(seen) == at:
            os.kill(os.getpid(), number)
        return found

    return chunk


if __name__ == "__main__":
    from core.worker import loop as worker

    log, number, at = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    likelihood.chunked, likelihood.Likelihood._chunk = tens, noted(log, number, at)
    if number == signal.SIGTERM:
        sys.exit(worker.main("long"))
    worker.work("long", once=True)
