"""A worker process that dies by kill -9 at a chosen call.

``python -m tests.jobs.dies LANE MODULE NAME CALL``: the worker kills itself as the function NAME of MODULE begins for
the CALL-th time. It ends with status 0 where that never happens.
"""

import importlib
import os
import signal
import sys

from core.worker import loop


def main(lane, module_name, path, call):
    owner = importlib.import_module(module_name)
    *outer, name = path.split(".")
    for part in outer:
        owner = getattr(owner, part)
    real, left = getattr(owner, name), [int(call)]

    def deadly(*arguments, **named):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **named)

    setattr(owner, name, deadly)
    loop.work(lane, once=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
