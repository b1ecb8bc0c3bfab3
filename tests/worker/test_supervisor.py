"""``make run`` as a process tree: what it starts, that Ctrl-C ends all of it, and that nothing under way is lost."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil
import pytest

from core.services import demo, jobs, runs
from core.settings import settings

ROOT = Path(__file__).resolve().parents[2]


def until(true, seconds=200):
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)
    return found


def answers(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


@pytest.fixture
def port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def serve(port, tmp_path):
    """Starts the app over the test's own data folder; whatever is left of it is killed afterwards."""
    started = []

    def start(**environment):
        env = os.environ | {"PYTHONPATH": str(ROOT)} | environment
        with (tmp_path / "log").open("wb") as log:
            command = [sys.executable, "-m", "core", "serve", "--port", str(port)]
            process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log)
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
            process.kill()
            process.wait()


@pytest.mark.slow
def test_page_and_demo_are_there_together_and_ctrl_c_ends_everything(serve, port, tmp_path):
    process = serve()
    until(lambda: answers(port))
    assert demo.state() == ("ready", runs.list_runs()[0].id)
    until(lambda: len(jobs.workers()) == 3)
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) >= 4
    # Nobody waits for a page because a job computes.
    steps = {("core.worker" in p.cmdline(), p.nice() - psutil.Process(process.pid).nice()) for p in family}
    assert steps == {(True, 10), (False, 0)}
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 0, (tmp_path / "log").read_text()
    gone, alive = psutil.wait_procs(family, timeout=60)
    assert (len(gone), alive) == (len(family), [])
    assert (jobs.list_jobs(), jobs.workers()) == ([], [])
    assert "Traceback" not in (tmp_path / "log").read_text()
    assert not answers(port)


def test_a_port_that_is_taken_is_one_clear_line(serve, port, tmp_path):
    with socket.create_server(("127.0.0.1", port)):
        assert serve().wait(120) == 2
    said = (tmp_path / "log").read_text()
    assert f"Port {port} on 127.0.0.1 is taken" in said and "--port" in said
    assert not settings().data_dir.exists()


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_nobody_the_page(serve, port, tmp_path):
    process = serve(LACUNA_DEMO="0")
    until(lambda: answers(port))
    until(lambda: {w["lane"] for w in jobs.workers()} == {"long", "short", "aside"})
    (short,) = (w["name"] for w in jobs.workers() if w["lane"] == "short")
    os.kill(int(short.split("-")[1]), signal.SIGKILL)
    until(lambda: any(w["lane"] == "short" and w["name"] != short for w in jobs.workers()))
    assert answers(port)
    assert process.poll() is None
    text = (tmp_path / "log").read_text()
    assert "worker (short) process was ended by signal 9" in text
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) == 0
