"""The processes of ``make run``: the web process and one worker a lane, started and ended together."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from core.errors import UserError
from core.services import demo
from core.settings import settings
from db.session import database

ROOT = Path(__file__).resolve().parents[2]
# A worker finishes its chunk on SIGTERM; one that takes longer is killed, and the next start takes the chunk over.
PATIENCE = 20.0


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
    """Runs until Ctrl-C, SIGTERM, or until one of the processes ends by itself; returns the exit status."""
    _check_port(host, port)
    database()  # migrations once, before three processes ask for them
    demo.start_if_wanted()
    signals: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: signals.append(number))
    processes = _start(host, port)
    print(f"Lacuna: http://{host}:{port}  (data in {settings().data_dir}; Ctrl-C ends it)", file=sys.stderr, flush=True)
    ended: str | None = None
    while not signals and ended is None:
        time.sleep(0.2)
        ended = next((name for name, process in processes.items() if process.poll() is not None), None)
    if ended is not None:
        print(f"The {ended} process ended by itself with status {processes[ended].returncode}.", file=sys.stderr)
    _end(processes)
    return 0 if ended is None else 1


def _start(host: str, port: int) -> dict[str, subprocess.Popen[bytes]]:
    env = os.environ | {"LACUNA_SUPERVISED": "1"}
    env["PYTHONPATH"] = os.pathsep.join(p for p in (str(ROOT), env.get("PYTHONPATH", "")) if p)
    web = ("streamlit", "run", str(ROOT / "ui" / "server.py"), "--server.port", str(port), "--server.address", host)
    modules = {"web": web, "worker (long)": ("core.worker", "long"), "worker (short)": ("core.worker", "short")}
    # A session of their own: Ctrl-C in the terminal reaches this process only, which ends the others in order.
    return {
        name: subprocess.Popen([sys.executable, "-m", *module], env=env, cwd=ROOT, start_new_session=True)
        for name, module in modules.items()
    }


def _end(processes: dict[str, subprocess.Popen[bytes]]) -> None:
    for process in processes.values():
        if process.poll() is None:
            process.terminate()
    until = time.monotonic() + PATIENCE
    for process in processes.values():
        try:
            process.wait(max(0.1, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
