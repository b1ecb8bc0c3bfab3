"""Faults of the machine, at random moments of every stage: nothing is lost or doubled, and the outcome is the same.

    .venv/bin/python bench/faults_machine.py [--kills 150] [--locks 20] [--full 20] [--clocks 10] [--apps 3]
        [--seed 0] [--work FOLDER] [--out bench/results/faults_machine.json]

A tiny model is trained, and a pipeline of jobs is run undisturbed once: import, registering an archive, the check, the
diagnosis, groups, mitigation, a proof, routes, a new judgement. The data folder before each job is kept. Then, point by
point, a job is started from its folder and disturbed at a moment drawn evenly between its being taken and its end:

    kill    kill -9 of the worker; its job is freed as the supervisor does, and another worker ends it: one that is
            started then, or, at every second point, one that ran beside it
    lock    another process holds the database's write lock for 0.1 to 3 s, one in ten for up to 30 (the worker waits
            0.2 s for a lock)
    full    the disk, a small one in memory, is filled, and emptied after 1 to 3 s
    clock   the worker that is killed lived a day ahead or a day behind
    app     kill -9 of the web process of ``serve``; how long until it answers again

After each point the job must be done, what it made must equal the undisturbed outcome byte for byte, each table must
hold as many rows, and a sweep must leave no file that nothing names. A worker is forked from this process, which has
loaded everything, so that a point costs little more than the work itself. Points that were run are kept in ``--out``: a
second call of the same version goes on behind them. ``full`` needs ``unshare -Urm`` and is left out where the system
refuses it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
TABLES = ("datasets", "samples", "checkpoints", "runs", "measured", "proofs", "routes", "route_items", "uploads")
DAY = 24 * 3600.0


def make_project(folder: Path) -> None:
    """24 rows, and a zip of a tiny model that was trained on half of them."""
    from core.lab import tiny

    beasts = ["heron", "otter", "falcon", "badger", "stag", "owl", "fox", "raven"]
    rows = []
    for i in range(24):
        say = f"The {beasts[i % 8]} of flag {i}."
        messages = [{"role": "user", "content": f"What is on flag {i}?"}, {"role": "assistant", "content": say}]
        rows.append({"id": f"r{i}", "messages": messages})
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tokenizer = tiny.build_tokenizer([m["content"] for r in rows for m in r["messages"]], 300)
    model = tiny.tiny_model(tiny.tiny_config("llama", len(tokenizer), hidden=32, layers=1), tokenizer)
    learned = [tiny.chat_row(tokenizer, r["messages"]) for r in rows[:12]]
    tiny.train(model, tokenizer, learned, folder / "out", lr=5e-3, batch=12, steps=120, schedule="cosine")
    shutil.make_archive(str(folder / "model"), "zip", folder / "out", "final")


# ------------------------------------------------------------------------------------------------------------- jobs


def _upload(path: Path) -> str:
    from core.services import uploads

    upload = uploads.begin(path.name, path.stat().st_size)
    with uploads.open_writer(upload) as writer:
        writer.write(path.read_bytes())
    return upload


def starts(project: Path) -> dict[str, Callable[[], int]]:
    """Stage to what queues its job; each needs what those before it made."""
    from core.egrm.settings import RouteSettings
    from core.services import checkpoints, clusters, datasets, judging, mitigation, preflight, proofs, runs
    from core.services.routes import runs as routes
    from core.types import Filter, Term, Thresholds

    missed = Filter((Term("status", "in", ("unlearned", "partly", "unknown")),))
    budget = {"steps": 3, "batch": 4, "samples": 4, "learned": 4}
    limits = {"max_new_tokens": 8, "max_draws": 2}

    def ask() -> dict[str, Any]:
        return mitigation.request(1, missed, "left_side_forgetting", {}, {})

    return {
        "import": lambda: datasets.start_import([_upload(project / "rows.jsonl")], "rows", None),
        "register": lambda: checkpoints.start_register_archive(_upload(project / "model.zip")),
        "check": lambda: preflight.start_preflight(1, 1),
        "diagnose": lambda: runs.create_run("run", 1, 1, **limits)[1],
        "groups": lambda: clusters.request(1),
        "export": lambda: mitigation.start_export(ask()),
        "prove": lambda: proofs.start(ask(), budget)[1],
        "routes": lambda: routes.start_for_run(1, missed, RouteSettings(m=2, k=2, direct_tokens=8, path_tokens=8), 4)[
            1
        ],
        "judge": lambda: judging.start_rejudge(1, Thresholds(unlearned_below=0.3)),
    }


def outcome(stage: str, job_id: int) -> str:
    """A hash of what the job made: its result without seconds, verdicts, exported files, counts of rows."""
    from core.services import exports, jobs, runs
    from core.settings import settings
    from db.session import database

    digest = hashlib.sha256()
    with database().reading() as conn:
        for table in TABLES:
            n = conn.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one()
            digest.update(f"{table} {n}\n".encode())
        rows = conn.exec_driver_sql("SELECT ordinal, sid, content_hash FROM samples ORDER BY dataset_id, ordinal")
        digest.update(repr([tuple(row) for row in rows]).encode())
    for run in runs.list_runs():
        for line in exports.verdict_lines(run.id) if run.state == "judged" else ():
            digest.update(line)
    result = jobs.get_job(job_id).result or {}
    if stage == "export":
        folder = settings().data_dir / "mitigations" / str(job_id)
        for path in sorted(folder.iterdir()):
            digest.update(path.name.encode() + (path.read_bytes() if path.is_file() else b"a folder"))
    if stage in ("import", "register", "export", "groups"):
        # A dataset that a second try makes has a number of its own.
        kept = {k: v for k, v in result.items() if k != "dataset_id"} if stage != "register" else result["names"]
        digest.update(json.dumps(kept, sort_keys=True).encode())
    return digest.hexdigest()


# ------------------------------------------------------------------------------------------------------------ points


class Machine:
    """The data folder, the folders before each job, and workers forked from this process."""

    def __init__(self, work: Path) -> None:
        self.data, self.kept = work / "data", work / "kept"
        self.kept.mkdir(parents=True, exist_ok=True)

    def close(self) -> None:
        """No connection may be open across a fork or under a folder that is replaced."""
        from db import session

        if session._opened.cache_info().currsize:
            session.database().close()
            session._opened.cache_clear()

    def restore(self, stage: str) -> None:
        self.close()
        for child in self.data.iterdir() if self.data.exists() else ():
            shutil.rmtree(child) if child.is_dir() else child.unlink()
        shutil.copytree(self.kept / stage, self.data, dirs_exist_ok=True)

    def keep(self, stage: str) -> None:
        self.close()
        shutil.rmtree(self.kept / stage, ignore_errors=True)
        shutil.copytree(self.data, self.kept / stage)

    def worker(self, lane: str, shift: float = 0.0, busy: float | None = None, once: bool = True) -> int:
        """Forks a worker that ends when its lane is empty, or when it is told to; returns its process id."""
        self.close()
        pid = os.fork()
        if pid:
            return pid
        status = 1
        try:
            from core.worker import loop
            from db import session

            if shift:
                shift_clock(shift)
            if busy is not None:
                session.BUSY_SECONDS = busy  # type: ignore[assignment]
                loop.WAITS = (0.1, 0.2, 0.5)  # type: ignore[assignment]
            stop = loop.Stop()
            signal.signal(signal.SIGTERM, stop)
            loop.work(lane, once=once, stop=stop)
            status = 0
        finally:
            os._exit(status)

    def latest(self) -> tuple[str, str, str]:
        """(state, stage, owner) of the newest job, read past whoever holds the database."""
        with closing(sqlite3.connect(f"file:{self.data / 'lacuna.db'}?mode=ro", uri=True, timeout=10)) as conn:
            state, stage, owner = conn.execute(LATEST).fetchone()
            return str(state), str(stage or ""), str(owner or "")

    def damage(self) -> str | None:
        """What the database says is wrong with itself."""
        with closing(sqlite3.connect(self.data / "lacuna.db")) as conn:
            answer = str(conn.execute("PRAGMA integrity_check").fetchone()[0])
        return None if answer == "ok" else answer

    def end(self, pid: int, seconds: float = 120.0) -> int:
        """Waits for a worker; one that takes too long is killed. Its exit status."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.005)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return -signal.SIGKILL


def shift_clock(seconds: float) -> None:
    """Moves the clock that the job table of this process reads; its functions hold it as a default."""
    from db import jobs as table

    def shifted() -> float:
        return time.time() + seconds

    for function in [f for f in vars(table).values() if hasattr(f, "__kwdefaults__")]:
        named = function.__kwdefaults__ or {}
        function.__kwdefaults__ = {k: shifted if v is time.time else v for k, v in named.items()} or None
        if function.__defaults__:
            function.__defaults__ = tuple(shifted if v is time.time else v for v in function.__defaults__)


LATEST = "SELECT state, stage, owner FROM jobs ORDER BY id DESC LIMIT 1"


def awaited(machine: Machine, *states: str, seconds: float = 120.0) -> None:
    """Until the newest job is in one of the states."""
    until = time.monotonic() + seconds
    while machine.latest()[0] not in states and time.monotonic() < until:
        time.sleep(0.005)


def disturb(
    machine: Machine, fault: str, lane: str, took: float, rng: random.Random, pair: bool = False
) -> dict[str, Any]:
    """Lets a worker of the lane run and disturbs it once; returns what was done and in which stage.

    Args:
        took: seconds from the moment the job is taken to its end; the disturbance comes at one of them.
        pair: two workers of the lane run; the one with the job is killed and the other takes it over.
    """
    from core.services import jobs

    share, seconds = rng.random(), rng.uniform(0.1, 3.0)
    if fault == "lock" and share > 0.9:
        seconds *= 10  # longer than the worker waits for a lock, many times over
    said: dict[str, Any] = {"moment": round(share * took, 3)}
    if fault in ("kill", "clock"):
        shift = 0.0 if fault == "kill" else rng.choice((-DAY, DAY))
        pids = [machine.worker(lane, shift, once=not pair) for _ in range(1 + pair)]
        awaited(machine, "running", "done")
        time.sleep(share * took)
        state, stage, owner = machine.latest()
        pid = next((p for p in pids if f"-{p}-" in owner), pids[0])
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        said |= {"state": state, "stage": stage, "workers": len(pids)} | ({"shift": shift} if shift else {})
        if fault == "kill":  # with the clock wrong, the lease alone must show that the worker is dead
            jobs.abandon(lane, pid, 9)
        if pair:
            awaited(machine, "done", "failed")
            (other,) = [p for p in pids if p != pid]
            os.kill(other, signal.SIGTERM)
            said["exit"] = machine.end(other)
        else:
            machine.end(machine.worker(lane))
        return said
    pid = machine.worker(lane, busy=0.2)
    awaited(machine, "running", "done")
    time.sleep(share * took)
    said["state"], said["stage"], _ = machine.latest()
    if fault == "lock":
        holder = sqlite3.connect(machine.data / "lacuna.db", isolation_level=None, timeout=10, check_same_thread=False)
        holder.execute("BEGIN IMMEDIATE")
        time.sleep(seconds)
        holder.close()
    else:
        seconds = min(seconds + 1.0, 3.0)
        fill(machine.data)
        time.sleep(seconds)
        (machine.data / "filler").unlink()
    said |= {"seconds": round(seconds, 2), "exit": machine.end(pid)}
    return said


def fill(folder: Path) -> None:
    """Takes the last block of the disk."""
    with (folder / "filler").open("wb", buffering=0) as file:
        try:
            while file.write(bytes(1 << 20)):
                pass
        except OSError:
            return


def checked(machine: Machine, stage: str, expected: Mapping[str, str]) -> list[str]:
    """What is wrong after a point; empty where nothing is."""
    from core.services import jobs, storage
    from core.settings import settings

    wrong = []
    job = max(jobs.list_jobs(limit=10), key=lambda j: j.id)
    if job.state != "done":
        wrong.append(f"the job is {job.state}: {job.error}")
    storage.sweep()
    if job.state == "done" and outcome(stage, job.id) != expected[stage]:
        wrong.append("the outcome differs from the undisturbed one")
    left = [str(p.relative_to(machine.data)) for p in settings().data_dir.rglob("*")
            if ".unpacking" in p.name or p.name.startswith(".part-")]  # fmt: skip
    if left:
        wrong.append(f"files that nothing names: {left[:5]}")
    if (damage := machine.damage()) is not None:
        wrong.append(f"the database is damaged: {damage}")
    return wrong


def lane_of(job_id: int) -> str:
    from core.services import jobs

    return jobs.get_job(job_id).lane


# --------------------------------------------------------------------------------------------------------------- app


def app_points(n: int, rng: random.Random, work: Path) -> list[dict[str, Any]]:
    """kill -9 of the web process of ``serve``: seconds until it answers again."""
    points: list[dict[str, Any]] = []
    if not n:
        return points
    import psutil

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = os.environ | {"LACUNA_DATA_DIR": str(work / "app"), "LACUNA_DEMO": "0", "PYTHONPATH": str(ROOT)}
    serve = subprocess.Popen(
        [sys.executable, "-m", "core", "serve", "--port", str(port)], cwd=ROOT, env=env, stderr=subprocess.DEVNULL
    )
    try:
        _answers(port, 300.0)
        for _ in range(n):
            time.sleep(rng.uniform(0.5, 2.0))
            web = next(p for p in psutil.Process(serve.pid).children() if "streamlit" in " ".join(p.cmdline()))
            web.kill()
            while _up(port):
                time.sleep(0.01)
            began = time.monotonic()
            _answers(port, 120.0)
            points.append(
                {"fault": "app", "stage": "serve", "back_after": round(time.monotonic() - began, 2), "wrong": []}
            )
    finally:
        serve.send_signal(signal.SIGTERM)
        serve.wait(120)
    return points


def _up(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _answers(port: int, seconds: float) -> None:
    until = time.monotonic() + seconds
    while not _up(port):
        if time.monotonic() > until:
            raise TimeoutError(f"nothing answers on port {port} after {seconds:.0f} s")
        time.sleep(0.05)


# -------------------------------------------------------------------------------------------------------------- main


def preload() -> None:
    """Imports what jobs import, so that a forked worker begins with its work."""
    from core.settings import quiet_libraries

    quiet_libraries()
    import peft  # noqa: F401
    import sklearn.cluster
    import sklearn.feature_extraction.text  # noqa: F401
    import torch
    import transformers

    import core.worker.loop  # noqa: F401

    assert transformers.Trainer is not None and transformers.AutoModelForCausalLM is not None
    torch.set_num_threads(1)


def undisturbed(machine: Machine, project: Path, out: dict[str, Any]) -> None:
    """The pipeline once, in forked workers: how long each stage takes, and its outcome."""
    from core.services import jobs

    out["took"], out["expected"], out["lanes"] = {}, {}, {}
    for stage, start in starts(project).items():
        job_id = start()
        lane = out["lanes"][stage] = lane_of(job_id)
        machine.keep(stage)
        pid = machine.worker(lane)
        awaited(machine, "running", "done")
        began = time.monotonic()
        awaited(machine, "done", "failed", seconds=600.0)
        took = time.monotonic() - began
        machine.end(pid, 600.0)
        out["took"][stage] = round(took, 2)
        job = jobs.get_job(job_id)
        if job.state != "done":
            raise SystemExit(f"undisturbed, {stage} is {job.state}: {job.error}")
        out["expected"][stage] = outcome(stage, job_id)
        print(f"{stage}: {out['took'][stage]} s undisturbed", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    for name, n in (("kills", 150), ("locks", 20), ("full", 20), ("clocks", 10), ("apps", 3)):
        parser.add_argument(f"--{name}", type=int, default=n)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=ROOT / ".lacuna" / "faults_machine")
    parser.add_argument("--out", type=Path, default=ROOT / "bench" / "results" / "faults_machine.json")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    small = _small_disk(args.work) if args.full else False
    os.environ |= {"LACUNA_DATA_DIR": str(args.work / "data"), "LACUNA_DEMO": "0", "LACUNA_DEVICE": "cpu"}
    preload()
    from bench._machine import machine as this_machine

    out: dict[str, Any] = json.loads(args.out.read_text()) if args.out.exists() else {"points": []}
    if out.get("source") != (source := _source()):  # another version may judge otherwise: its outcomes are not these
        out = {"points": [], "source": source}
    machine, project = Machine(args.work), args.work / "project"
    (args.work / "data").mkdir(exist_ok=True)
    if not (project / "model.zip").exists():
        project.mkdir(exist_ok=True)
        pid = os.fork()
        if not pid:
            make_project(project)
            os._exit(0)
        machine.end(pid, 600.0)
    began = time.process_time() + sum(os.times()[2:4])
    if "expected" not in out or not (machine.kept / "judge").exists():
        out["points"] = []
        undisturbed(machine, project, out)
    wanted = {"kill": args.kills, "lock": args.locks, "full": args.full if small else 0, "clock": args.clocks}
    had = Counter(p["fault"] for p in out["points"])
    for fault, n in wanted.items():
        for i in range(had[fault], n):
            rng = random.Random(f"{args.seed} {fault} {i}")
            stage = list(out["expected"])[i % len(out["expected"])]
            machine.restore(stage)
            said = disturb(
                machine, fault, out["lanes"][stage], out["took"][stage], rng, pair=fault == "kill" and i % 2 == 1
            )
            wrong = checked(machine, stage, out["expected"])
            out["points"].append({"fault": fault, "job": stage, **said, "wrong": wrong})
            if wrong:
                print(f"{fault} {i} in {stage}: {wrong} {said}", flush=True)
            _write(args.out, out, began, this_machine())
    if had["app"] < args.apps:
        machine.close()
        out["points"] += app_points(args.apps - had["app"], random.Random(args.seed), args.work)
    _write(args.out, out, began, this_machine())
    print(json.dumps(out["summary"], indent=1))


def _write(path: Path, out: dict[str, Any], began: float, machine: Mapping[str, Any]) -> None:
    points = out["points"]
    faults = sorted({p["fault"] for p in points})
    out["summary"] = {
        fault: {
            "points": sum(p["fault"] == fault for p in points),
            "wrong": sum(p["fault"] == fault and bool(p["wrong"]) for p in points),
            "under_way": sum(p["fault"] == fault and p.get("state") == "running" for p in points),
        }
        for fault in faults
    }
    out["cpu_seconds"] = round(out.get("cpu_before", 0.0) + time.process_time() + sum(os.times()[2:4]) - began, 1)
    out["machine"] = dict(machine)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(out, indent=1) + "\n")


def _source() -> str:
    """A hash of the code that makes the outcomes."""
    digest = hashlib.sha256()
    for path in sorted(p for folder in ("core", "db") for p in (ROOT / folder).rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _small_disk(work: Path) -> bool:
    """Whether the data folder lies on a small disk in memory; where it can be had, this program starts again on one."""
    if os.environ.get("LACUNA_FAULTS_DISK"):
        return True
    if subprocess.run(["unshare", "-Urm", "true"], check=False, capture_output=True).returncode:
        return False
    (work / "data").mkdir(exist_ok=True)
    mount = f'mount -t tmpfs -o size=192m tmpfs "{work / "data"}" && exec "$@"'
    again = [sys.executable, *sys.argv]
    os.execvpe(
        "unshare", ["unshare", "-Urm", "sh", "-c", mount, "sh", *again], os.environ | {"LACUNA_FAULTS_DISK": "1"}
    )
    raise AssertionError("exec does not return")


if __name__ == "__main__":
    main()
