"""The processes of ``make run``: the web process and one worker a lane, started together, kept alive, ended together.

Any of them may die: killed by the system for its memory, by a person, by a fault of a library. The others go on, and
the dead one is started again, at once the first time and later and later where it keeps dying.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from core.errors import UserError
from core.services import demo, jobs, room, storage
from core.services.environment import hindrance, is_full
from core.settings import settings
from core.worker.loop import LANES
from db.session import database

ROOT = Path(__file__).resolve().parents[2]
# A worker finishes its chunk on SIGTERM; one that takes longer is killed, and the next start takes the chunk over.
PATIENCE = 20.0
# A process that lived this long is no longer starting: its next death counts as a first one.
SETTLED = 60.0
# Seconds before a start after one death, two deaths and so on; the last one holds for all that follow. Together they
# leave a machine that is out of memory a minute to recover, and cost a person who waits half a minute at most.
DELAYS = (0.0, 1.0, 5.0, 15.0, 30.0)
POLL = 0.2

log = logging.getLogger("lacuna.supervisor")


@dataclass(slots=True)
class Child:
    """One process that is kept alive.

    Attributes:
        lane: of a worker, None for the web process.
        deaths: in a row, each soon after a start. due: monotonic time of the next start, None while it runs.
    """

    name: str
    command: list[str]
    lane: str | None = None
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    deaths: int = 0
    due: float | None = 0.0

    def start(self, environment: dict[str, str]) -> None:
        # A session of its own: Ctrl-C in the terminal reaches the supervisor only, which ends the others in order.
        self.process = subprocess.Popen(self.command, env=environment, cwd=ROOT, start_new_session=True)
        self.started, self.due = time.monotonic(), None

    def look(self) -> int | None:
        """The exit status where it has died since the last look; the next start is then due after a while."""
        if self.process is None or self.due is not None or (status := self.process.poll()) is None:
            return None
        now = time.monotonic()
        self.deaths = 1 if now - self.started >= SETTLED else self.deaths + 1
        self.due = now + DELAYS[min(self.deaths, len(DELAYS)) - 1]
        return status


def _check_port(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UserError(
                f"Port {port} on {host} is taken.",
                f"{error.strerror}.",
                "Stop what uses it, or give another with --port.",
            ) from error


def serve(host: str = "127.0.0.1", port: int = 8501) -> int:
    """Runs until Ctrl-C or SIGTERM; returns the exit status, 1 where the web process cannot be kept alive."""
    _check_port(host, port)
    _open()
    environment = os.environ | {"LACUNA_SUPERVISED": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(p for p in (str(ROOT), environment.get("PYTHONPATH", "")) if p)
    web = [sys.executable, "-m", "streamlit", "run", str(ROOT / "ui" / "server.py"), "--server.port", str(port)]
    children = [Child("web", [*web, "--server.address", host])]
    children += [Child(f"worker ({lane})", [sys.executable, "-m", "core.worker", lane], lane) for lane in LANES]
    signals: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda n, _: signals.append(n))
    print(f"Lacuna: http://{host}:{port}  (data in {settings().data_dir}; Ctrl-C ends it)", file=sys.stderr, flush=True)
    failed = False
    while not signals and not failed:
        for child in children:
            _keep(child, environment)
        # A web process that never gets past its start is a broken installation, which no restart mends.
        failed = children[0].deaths > len(DELAYS)
        time.sleep(POLL)
    _end([child.process for child in children if child.process is not None])
    return 1 if failed else 0


def _open() -> None:
    """Opens the database, tidies, and opens the demo on a first start.

    A full disk or a locked database keeps none of the processes from starting: the page says so and lets people delete.
    """
    try:
        try:
            database()  # migrations once, before the processes ask for them
        except UserError as error:
            if not (is_full(error) and room.spend()):
                raise
            database()
        for sentence in _swept():
            print(f"Tidied: {sentence}", file=sys.stderr, flush=True)
        demo.open_if_wanted()
        room.keep()
    except (OSError, DBAPIError, UserError) as error:
        if (reason := hindrance(error)) is None:
            raise
        print(f"Starting although {reason}.", file=sys.stderr, flush=True)


def _swept() -> list[str]:
    """Tidying may wait: whatever it stumbles over keeps nobody from starting, and is logged."""
    try:
        return storage.sweep()
    except (OSError, DBAPIError, UserError) as error:
        if hindrance(error) is not None:
            raise  # a full disk or a locked database, which the caller names
        log.exception("tidying failed; the start goes on")
    except Exception:
        log.exception("tidying failed; the start goes on")
    return []


def _keep(child: Child, environment: dict[str, str]) -> None:
    """Looks after one process: says that it died, frees the job that it held, starts it again when that is due."""
    status = child.look()
    if status is not None and child.process is not None:
        reason = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
        wait = max(0.0, (child.due or 0.0) - time.monotonic())
        print(f"The {child.name} process {reason}; it starts again in {wait:.0f} s.", file=sys.stderr, flush=True)
        if child.lane is not None:
            _free_job(child.lane, child.process.pid, -status if status < 0 else None)
    if child.due is not None and time.monotonic() >= child.due:
        child.start(environment)


def _free_job(lane: str, pid: int, signal: int | None) -> None:
    """The job of a worker that is known to be dead need not wait for the end of its lease."""
    try:
        jobs.abandon(lane, pid, signal)
    except (DBAPIError, UserError) as error:  # a full or locked database: the lease runs out by itself
        log.warning("the job of worker %s in lane %s waits for its lease: %s", pid, lane, error)


def _end(running: list[subprocess.Popen[bytes]]) -> None:
    for process in running:
        if process.poll() is None:
            process.terminate()
    until = time.monotonic() + PATIENCE
    for process in running:
        try:
            process.wait(max(0.1, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
