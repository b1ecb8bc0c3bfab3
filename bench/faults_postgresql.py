"""Faults over PostgreSQL: kill -9 of a worker, and a server that goes down at once and comes back, in every stage.

    .venv/bin/python -m bench.faults_postgresql [--kills 27] [--stops 18] [--pages 3] [--work FOLDER]
        [--out bench/results/faults_postgresql.json]

The pipeline, the points and what is compared afterwards are those of ``bench/faults_machine.py``. The server is a
temporary cluster of Debian's package; between points its database is copied from the one kept before the job.

    kill    as there, with a second worker at every other point
    stop    ``pg_ctl stop -m immediate``, which is what a crash leaves, and a start after 0.3 to 3 s
    page    the same under ``serve``: what a page says while the server is gone, and whether it comes back by itself

Points that were run are kept in ``--out``; a second call of the same version goes on behind them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench import faults_machine as faults  # noqa: E402


class Cluster:
    """A PostgreSQL server on a socket in ``folder``; it refuses to run as root."""

    def __init__(self, folder: Path) -> None:
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
        if not found:
            raise SystemExit("PostgreSQL is not installed: apt-get install postgresql")
        self.bin, self.folder = found[-1].parent, folder
        self.as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        if self.as_user:
            shutil.chown(folder, "postgres")
        self._call("initdb", "-U", "lacuna", "-A", "trust", "-E", "UTF8", "--no-locale")
        self.start()

    def _call(self, program: str, *arguments: str) -> None:
        command = [*self.as_user, str(self.bin / program), "-D", str(self.folder / "data"), *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/")

    def start(self) -> None:
        options = f"-k {self.folder} -c listen_addresses= -c fsync=off -c max_connections=100"
        self._call("pg_ctl", "-w", "-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self) -> None:
        self._call("pg_ctl", "-m", "immediate", "stop")

    def url(self, name: str) -> str:
        return f"postgresql+psycopg://lacuna@/{name}?host={self.folder}"

    def command(self, *statements: str) -> None:
        import psycopg

        with psycopg.connect(f"host={self.folder} user=lacuna dbname=postgres", autocommit=True) as conn:
            for statement in statements:
                conn.execute(statement)


class Machine(faults.Machine):
    """As over SQLite, with the database in the cluster."""

    def __init__(self, work: Path, cluster: Cluster) -> None:
        super().__init__(work)
        self.cluster = cluster

    def _copy(self, source: str, target: str) -> None:
        drop = f"DROP DATABASE IF EXISTS {target} WITH (FORCE)"
        self.cluster.command(drop, f"CREATE DATABASE {target} TEMPLATE {source}")

    def restore(self, stage: str) -> None:
        super().restore(stage)
        self._copy(f"kept_{stage}", "lacuna")

    def keep(self, stage: str) -> None:
        super().keep(stage)
        self._copy("lacuna", f"kept_{stage}")

    def latest(self) -> tuple[str, str, str]:
        import psycopg

        while True:
            try:
                with psycopg.connect(f"host={self.cluster.folder} user=lacuna dbname=lacuna") as conn:
                    row = conn.execute(faults.LATEST).fetchone()
                    assert row is not None
                    return str(row[0]), str(row[1] or ""), str(row[2] or "")
            except psycopg.OperationalError:
                time.sleep(0.05)

    def damage(self) -> str | None:
        return None  # a server that is damaged does not start


def stopped(machine: Machine, lane: str, took: float, rng: random.Random) -> dict[str, Any]:
    """The server goes down while a worker runs, and comes back; what was done."""
    share, seconds = rng.random(), rng.uniform(0.3, 3.0)
    pid = machine.worker(lane, busy=0.2)
    faults.awaited(machine, "running", "done")
    time.sleep(share * took)
    state, stage, _ = machine.latest()
    machine.cluster.stop()
    time.sleep(seconds)
    machine.cluster.start()
    end = machine.end(pid)
    return {"moment": round(share * took, 3), "state": state, "stage": stage, "seconds": round(seconds, 2), "exit": end}


def page_points(n: int, cluster: Cluster, work: Path) -> list[dict[str, Any]]:
    """What pages say while the server is gone, and after it."""
    from bench import load
    from bench._visitors import Record, Session

    cluster.command("CREATE DATABASE served")
    os.environ |= {"LACUNA_DATABASE_URL": cluster.url("served"), "LACUNA_DATA_DIR": str(work / "served")}
    (work / "served").mkdir(exist_ok=True)
    points = []
    with load.serving(work / "served") as (port, _):
        for i in range(n):
            page = ("jobs", "overview", "storage")[i % 3]

            async def look(name: str = page) -> list[str]:
                from websockets.asyncio.client import connect

                session = Session(port, Record(), random.Random(0), 1)
                where = f"127.0.0.1:{port}"
                async with connect(
                    f"ws://{where}/_stcore/stream", origin=f"http://{where}", subprotocols=["streamlit"], max_size=None
                ) as session.socket:
                    await asyncio.wait_for(session.visit(name, {}), 60.0)
                return [e for e in session.record.errors if "elements were drawn" not in e]

            before = asyncio.run(look())
            cluster.stop()
            during = asyncio.run(look())
            cluster.start()
            after = asyncio.run(look())
            says = [e for e in during if "database" in e]
            wrong = [f"before: {e}" for e in before] + [f"after: {e}" for e in after]
            if not says:
                wrong.append(f"nothing says that the database is gone: {during}")
            points.append({"fault": "page", "job": page, "state": "running", "says": during[:1], "wrong": wrong})
    return points


def main() -> None:
    parser = argparse.ArgumentParser()
    for name, n in (("kills", 27), ("stops", 18), ("pages", 3)):
        parser.add_argument(f"--{name}", type=int, default=n)
    parser.add_argument("--work", type=Path, default=Path("/tmp/lacuna-faults-postgresql"))
    parser.add_argument("--out", type=Path, default=ROOT / "bench/results/faults_postgresql.json")
    args = parser.parse_args()
    work = args.work.resolve()
    (work / "data").mkdir(parents=True, exist_ok=True)
    cluster = Cluster(work / "cluster")
    try:
        cluster.command("CREATE DATABASE lacuna")
        os.environ |= {"LACUNA_DATA_DIR": str(work / "data"), "LACUNA_DEMO": "0", "LACUNA_DEVICE": "cpu"}
        os.environ["LACUNA_DATABASE_URL"] = cluster.url("lacuna")
        run(args, work, Machine(work, cluster))
    finally:
        cluster.stop()


def run(args: argparse.Namespace, work: Path, machine: Machine) -> None:
    faults.preload()
    from bench._machine import machine as this_machine

    out: dict[str, Any] = json.loads(args.out.read_text()) if args.out.exists() else {}
    if out.get("source") != (source := faults._source()):
        out = {"points": [], "source": source}
    project, began = work / "project", time.process_time() + sum(os.times()[2:4])
    if not (project / "model.zip").exists():
        project.mkdir(exist_ok=True)
        pid = os.fork()
        if not pid:
            faults.make_project(project)
            os._exit(0)
        machine.end(pid, 600.0)
    for child in machine.data.iterdir():
        shutil.rmtree(child) if child.is_dir() else child.unlink()
    faults.undisturbed(machine, project, out)  # the cluster is new at every call
    had = Counter(p["fault"] for p in out["points"])
    for fault, n in (("kill", args.kills), ("stop", args.stops)):
        for i in range(had[fault], n):
            rng, stage = random.Random(f"postgresql {fault} {i}"), list(out["expected"])[i % len(out["expected"])]
            machine.restore(stage)
            lane, took = out["lanes"][stage], out["took"][stage]
            if fault == "kill":
                done = faults.disturb(machine, fault, lane, took, rng, pair=i % 2 == 1)
            else:
                done = stopped(machine, lane, took, rng)
            wrong = faults.checked(machine, stage, out["expected"])
            out["points"].append({"fault": fault, "job": stage, **done, "wrong": wrong})
            if wrong:
                print(f"{fault} {i} in {stage}: {wrong} {done}", flush=True)
            faults._write(args.out, out, began, this_machine())
    machine.close()
    if had["page"] < args.pages:
        out["points"] += page_points(args.pages - had["page"], machine.cluster, work)
    faults._write(args.out, out, began, this_machine())
    print(json.dumps(out["summary"], indent=1))


if __name__ == "__main__":
    main()
