"""Workers of a Ray cluster that each hold a checkpoint, and the pool that hands them pieces of work."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

import core
from core.backends._base import Interrupted, ScoreRow, stop_asked
from core.errors import UserError
from core.settings import quiet_libraries, settings
from core.types import Checkpoint, DtypeName

# Processors of one worker without an accelerator: the products of a small model gain little from more threads.
CPUS_EACH = 4
# A worker that dies takes its piece with it: once may be chance (a lost node), this often it is the piece.
TRIES = 3
# Bytes of shared memory for rows and scores under way on this machine; a chunk of eight workers is about 30 MB.
STORE = 256 << 20
# Seconds for workers to start; importing torch takes a busy machine half a minute.
START = 180.0
# Seconds for a connection to the cluster's address.
REACH = 10.0
# How often a waiting caller looks whether it was asked to stop, in seconds.
LOOK = 0.2


@dataclass(frozen=True, slots=True)
class Opening:
    """A checkpoint and how a worker holds it. A worker that was started anew opens it again by this."""

    checkpoint: Checkpoint
    dtype: DtypeName
    device: str
    merged: bool


@dataclass(frozen=True, slots=True)
class Facts:
    """What an open checkpoint is, as ``core.backends._base.Backend`` has it; ``version`` is Lacuna's on the worker."""

    context_length: int | None
    stop_ids: tuple[int, ...]
    vocab_size: int | None
    parameters: int
    device: str
    dtype: str
    version: str


class Worker:
    """Runs in a process of the cluster: the packaged backend, one checkpoint at a time.

    Args:
        threads: for torch in this process; 0 leaves them as they are.
    """

    def __init__(self, threads: int) -> None:
        quiet_libraries()
        import torch

        if threads:
            torch.set_num_threads(threads)
        self._opening: Opening | None = None
        self._backend: Any = None

    def run(self, number: int, opening: Opening, method: str, *arguments: Any) -> tuple[int, Any]:
        """The piece's number and what the method of the open checkpoint gives."""
        backend = self._opened(opening)
        if method == "facts":
            return number, Facts(
                backend.context_length, tuple(backend.stop_ids), backend.vocab_size, backend.parameters, backend.device,
                backend.dtype, core.__version__,
            )  # fmt: skip
        return number, getattr(backend, method)(*map(_writable, arguments))

    def process(self) -> int:
        return os.getpid()

    def close(self) -> None:
        if self._backend is not None:
            self._backend.close()
        self._opening = self._backend = None

    def _opened(self, opening: Opening) -> Any:
        if self._opening != opening:
            from core.backends.hf import KIND

            self.close()
            self._backend = KIND.open(opening.checkpoint, opening.dtype, opening.device, merged=opening.merged)
            self._opening = opening
        return self._backend


def _writable(values: Any) -> Any:
    """Rows or prompts as torch wants them; what comes through the cluster's memory cannot be written to."""
    if isinstance(values, ScoreRow):
        return ScoreRow(np.array(values.ids), np.array(values.positions))
    if isinstance(values, np.ndarray):
        return np.array(values)
    return [_writable(value) for value in values] if isinstance(values, list) else values


class Pool:
    """The workers. Ray starts a dead one anew and gives it its piece again.

    Attributes:
        workers: actor handles.
    """

    def __init__(self, workers: list[Any]) -> None:
        self.workers = workers

    def open(self, opening: Opening) -> list[Facts]:
        """What the checkpoint is, from every worker; all of them hold it afterwards."""
        import ray

        with _errors():
            return [facts for _, facts in ray.get([w.run.remote(0, opening, "facts") for w in self.workers])]

    def close(self) -> None:
        """Lets the workers give the checkpoint's memory back."""
        import ray

        with _errors():
            ray.get([worker.close.remote() for worker in self.workers])

    def run(self, opening: Opening, method: str, pieces: Sequence[tuple[Any, ...]]) -> list[Any]:
        """What the method gives of each piece's arguments, in order; the next free worker takes the next piece.

        Raises:
            UserError: as raised on a worker; or workers died at the same piece again and again.
            Interrupted: the job was asked to stop; pieces under way end by themselves.
        """
        from ray.util import ActorPool

        stop, pool = stop_asked(), ActorPool(self.workers)
        for numbered in enumerate(pieces):
            pool.submit(lambda worker, piece: worker.run.remote(piece[0], opening, method, *piece[1]), numbered)
        answers: dict[int, Any] = {}
        while pool.has_next():
            try:
                with _errors():
                    number, answers_of = pool.get_next_unordered(timeout=LOOK)
            except TimeoutError:
                if stop():
                    raise Interrupted from None
                continue
            answers[number] = answers_of
        return [answers[i] for i in range(len(pieces))]


@contextmanager
def _errors() -> Iterator[None]:
    """What a worker raised, as if it had been raised here."""
    from ray import exceptions

    try:
        yield
    except exceptions.RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise error.cause from None
        raise
    except exceptions.GetTimeoutError:
        raise TimeoutError from None
    except exceptions.RayError as error:
        raise UserError(
            f"Workers of the cluster died {TRIES + 1} times at the same rows.",
            f"Ray says: {_first_line(error)}",
            "They may run out of memory: use fewer workers (LACUNA_RAY=1) or bfloat16. What was measured is kept.",
        ) from error


_pools: dict[bool, Pool] = {}
_starting = threading.Lock()


def pool(accelerators: bool) -> Pool:
    """The process's workers, started when first asked for and kept until it ends.

    Args:
        accelerators: whether workers may use them.

    Raises:
        UserError: Ray is not installed, LACUNA_RAY is no place, or the cluster cannot be reached.
    """
    with _starting:
        if accelerators not in _pools:
            _pools[accelerators] = _started(accelerators)
        return _pools[accelerators]


def close_pools() -> None:
    """Ends the workers and leaves the cluster; one on this machine ends, too."""
    import ray

    with _starting:
        _pools.clear()
        ray.shutdown()


def _started(accelerators: bool) -> Pool:
    # Nothing is sent to anyone, and no page is opened.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray
    from ray import exceptions

    where = settings().ray
    here = not where or where.isdecimal()
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not ray.is_initialized():
        with _handlers_kept():
            _connect(ray, where, here, processors)
    gpus = int(ray.cluster_resources().get("GPU", 0)) if accelerators else 0
    cpus = int(ray.cluster_resources().get("CPU", 1))
    n = max(1, int(where)) if where.isdecimal() else gpus or max(1, cpus // CPUS_EACH)
    each = max(1, (processors if here else cpus) // n) if not gpus else 0
    shares = {"num_gpus": min(1.0, gpus / n)} if gpus else {}
    actor = ray.remote(Worker).options(
        num_cpus=1 if gpus or here else min(each, CPUS_EACH),
        max_restarts=-1,
        max_task_retries=TRIES,
        **shares,
    )
    started = Pool([actor.remote(each if here else min(each, CPUS_EACH)) for _ in range(n)])
    try:
        ray.get([worker.process.remote() for worker in started.workers], timeout=START)
    except exceptions.RayError as error:
        for worker in started.workers:
            ray.kill(worker)
        free = ray.available_resources()
        raise UserError(
            f"The cluster did not start {n} workers within {START:g} seconds.",
            f"It has {free.get('CPU', 0):g} processors and {free.get('GPU', 0):g} accelerators free. "
            f"Ray says: {_first_line(error)}",
            "Wait until it is free, or give LACUNA_RAY another cluster or a number of workers on this machine.",
        ) from error
    return started


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def _connect(ray: Any, where: str, here: bool, processors: int) -> None:
    quiet = {"log_to_driver": False, "configure_logging": False}
    try:
        if here:
            n = int(where) if where else 0
            ray.init(
                num_cpus=max(n, processors), include_dashboard=False, object_store_memory=STORE,
                _node_ip_address="127.0.0.1", **quiet,
            )  # fmt: skip
        else:
            host, _, port = where.rpartition(":")
            if where != "auto":
                # Ray itself tries for minutes.
                socket.create_connection((host, int(port)), timeout=REACH).close()
            ray.init(address=where, **quiet)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        raise UserError(
            f"LACUNA_RAY={where!r} leads to no Ray cluster.",
            f"Ray says: {_first_line(error)}",
            "It is auto or the address of a running cluster (host:6379), or a number of workers on this machine.",
        ) from error


@contextmanager
def _handlers_kept() -> Iterator[None]:
    """Puts back what this process does at signals, which Ray replaces: a worker finishes its chunk at SIGTERM."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Ray leaves them alone there
        return
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
