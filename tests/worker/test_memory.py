"""A job that wants more memory than a worker may take, and one that kills its worker again and again."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from core.errors import UserError
from core.services import jobs, liveness, memory
from core.services.environment import exhausted
from core.settings import read_settings
from db import jobs as table
from db.session import database

ROOT = Path(__file__).parents[2]

GREEDY = """
from core.services import memory
from core.worker import handlers, loop

def trial(work, payload):
    work.progress("filling", 3, 7, "buckets")
    return {"bytes": len(bytearray(payload["bytes"]))}

handlers.HANDLERS["trial"] = trial
memory.limit()
loop.work("short", once=True)
"""


def test_a_job_reaches_the_limit_before_the_machine_does(monkeypatch):
    monkeypatch.setenv("LACUNA_WORKER_MEMORY_GB", "2")
    greedy, modest = (jobs.enqueue("trial", {"bytes": n}) for n in (3 << 30, 1 << 20))
    subprocess.run([sys.executable, "-c", GREEDY], cwd=ROOT, check=True, capture_output=True)
    failed = jobs.get_job(greedy)
    said = " ".join(failed.error.values())
    assert failed.state == "failed"
    assert "LACUNA_WORKER_MEMORY_GB" in said and "2.1 GB" in said and "“filling” (3 of 7 buckets)" in said
    assert jobs.get_job(modest).state == "done"  # the worker lives on


@pytest.mark.parametrize(("text", "bytes_"), [("", None), ("0", 0), ("1.5", 3 << 29)])
def test_the_setting(text, bytes_):
    assert read_settings({"LACUNA_WORKER_MEMORY_GB": text}).worker_memory == bytes_


def test_without_a_setting_most_of_the_machine_may_be_taken():
    whole = int(memory.ceiling() / memory.SHARE)
    assert memory.available() <= whole


def said_otherwise(reason):
    """An error for people, raised where a library met ``reason`` and said something else of it."""
    try:
        try:
            raise reason
        except type(reason) as error:
            raise TypeError("no tensor") from error
    except TypeError as error:
        told = UserError("The weights cannot be loaded.")
        told.__cause__ = error
        return told


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (MemoryError(), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("unable to mmap 93144 bytes from file <model.safetensors>: Cannot allocate memory (12)"), True),
        (RuntimeError("can't start new thread"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (said_otherwise(MemoryError()), True),
        (said_otherwise(ValueError("a header is too short")), False),
    ],
)
def test_what_counts_as_memory_refused(error, is_memory):
    assert exhausted(error) == is_memory


def test_a_job_that_kills_three_workers_is_set_aside_with_what_is_known():
    job = jobs.enqueue("trial", {})
    for pid in (101, 102, 103):
        owner = jobs.worker_name("short", pid) + "ab"
        with database().writing() as conn:
            assert table.claim(conn, "short", owner, 60.0).id == job
            where = {"stage": "scoring", "done": 30, "total": 68, "unit": "samples", "lease_seconds": 60.0}
            table.progress(conn, job, owner, stored=False, **where)
        with liveness.alive("short", owner):
            assert liveness.peak_memory(owner) > 10 << 20
            jobs.abandon("short", pid, 9)
    with database().writing() as conn:
        assert table.claim(conn, "short", "short-104-ab", 60.0) is None
    failed = jobs.get_job(job)
    said = " ".join(failed.error.values())
    assert failed.state == "failed"
    assert "3 times at “scoring” (30 of 68 samples)" in said
    assert "signal 9" in said and "GB of memory" in said
