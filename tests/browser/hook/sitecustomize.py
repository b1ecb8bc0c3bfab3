"""Read by Python at start where this folder is on its path: on SIGUSR1 a process writes down what it has imported."""

import os
import signal
import sys


def _write(*_):
    path = os.path.join(os.environ["TEST_MODULES"], f"modules-{os.getpid()}")
    with open(f"{path}.part", "w") as file:
        file.write("\n".join(sorted(sys.modules)))
    os.replace(f"{path}.part", path)


if "TEST_MODULES" in os.environ:
    signal.signal(signal.SIGUSR1, _write)
