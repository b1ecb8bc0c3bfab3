"""Faults that last: long locks, a folder that cannot be written, damaged files, too little memory, half a migration.

    .venv/bin/python -m bench.faults_files [--only PART] [--work FOLDER] [--out bench/results/faults_files.json]

Data folders are those that ``bench/faults_machine.py`` keeps before each of its jobs, under ``FOLDER/kept``; without
them they are made. Parts, each stored when it ends; a second call of the same version goes on behind them:

    lock       the database's write lock is held for 30, 100 and 300 s while a worker imports
    migration  kill -9 while the database is migrated from each older revision, at three moments
    upload     kill -9 of the web process while a file is on its way
    readonly   the data folder is mounted read-only under ``serve``, then writable again (needs ``unshare -Urm``)
    damage     database file overwritten, artefacts cut short and changed, under ``serve``; then put back
    memory     a worker may take 1 to 20 MB more than it has, in every stage; then as much as it needs

A point is right when the page or the command says what is wrong in words of that state, and everything goes on once it
is over.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench import faults_machine as faults  # noqa: E402
from bench import load  # noqa: E402
from bench._visitors import Record, Session, Stalls  # noqa: E402

Point = dict[str, Any]


def copied(work: Path, stage: str, name: str) -> Path:
    """A data folder of its own, as it was before the stage's job."""
    target = work / name
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(work / "kept" / stage, target)
    os.environ["LACUNA_DATA_DIR"] = str(target)
    with closing(sqlite3.connect(target / "lacuna.db")) as conn, conn:  # uploads are named by where they lie
        for name, path in conn.execute("SELECT id, path FROM uploads").fetchall():
            moved = str(target / "uploads" / Path(path).name)
            conn.execute("UPDATE uploads SET path = ? WHERE id = ?", (moved, name))
    return target


def command(data: Path, *words: str) -> tuple[int, str]:
    """Exit status of a command of Lacuna over the folder, and the end of what it says."""
    env = os.environ | {"LACUNA_DATA_DIR": str(data), "LACUNA_DEMO": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "core", *words], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stderr.strip()[-300:]


def page(port: int, name: str, query: dict[str, str] | None = None) -> list[str]:
    """The errors that a page shows."""
    from websockets.asyncio.client import connect

    async def look() -> list[str]:
        session = Session(port, Record(), random.Random(0), 1)
        where = f"127.0.0.1:{port}"
        async with connect(
            f"ws://{where}/_stcore/stream", origin=f"http://{where}", subprotocols=["streamlit"], max_size=None
        ) as session.socket:
            await asyncio.wait_for(session.visit(name, query or {}), 90.0)
        # Without Markdown's escapes; a page that only says what is wrong draws little.
        return [e.replace("\\", "") for e in session.record.errors if "elements were drawn" not in e]

    return asyncio.run(look())


def point(fault: str, where: str, says: str, clear: bool, goes_on: bool) -> Point:
    wrong = ([] if clear else ["what is said is not clear"]) + ([] if goes_on else ["it does not go on afterwards"])
    return {"fault": fault, "job": where, "says": says, "wrong": wrong}


# ------------------------------------------------------------------------------------------------------------ parts


def lock(work: Path) -> list[Point]:
    workers = []
    for seconds in (30, 100, 300):
        data = copied(work, "import", f"lock{seconds}")
        command(data, "runs")  # a folder of an older version is brought up to date before it is locked
        script = "from core.worker import loop; loop.work('short', once=True)"
        env = os.environ | {"LACUNA_DATA_DIR": str(data)}
        holder = sqlite3.connect(data / "lacuna.db", isolation_level=None, timeout=10)
        holder.execute("BEGIN IMMEDIATE")
        process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, env=env, stderr=subprocess.PIPE)
        workers.append((seconds, data, holder, process))
    began, points = time.monotonic(), []
    for seconds, data, holder, process in workers:
        time.sleep(max(0.0, began + seconds - time.monotonic()))
        shown = command(data, "runs")  # reads past the lock
        holder.close()
        said = process.communicate(timeout=300)[1].decode()
        line = next((x for x in said.splitlines() if "locked" in x), "")
        with closing(sqlite3.connect(data / "lacuna.db")) as conn:
            state = conn.execute("SELECT state FROM jobs ORDER BY id DESC LIMIT 1").fetchone()[0]
            counts = conn.execute("SELECT count(*), (SELECT count(*) FROM samples) FROM datasets").fetchone()
        # Up to a minute a writer simply waits for its turn, and has nothing to say.
        clear = shown[0] == 0 and (seconds < 60 or bool(line))
        points.append(
            point(
                "lock",
                f"{seconds} s",
                f"command: {shown}, worker: {line[-160:]}",
                clear,
                state == "done" and counts == (1, 24),
            )
        )
    return points


def migration(work: Path) -> list[Point]:
    from alembic import command as alembic
    from alembic.config import Config

    from db.session import open_database

    config, rng, points = Config(), random.Random("migration"), []
    config.set_main_option("script_location", str(ROOT / "db/migrations"))
    versions = sorted(p.name[:4] for p in (ROOT / "db/migrations/versions").glob("0*.py"))

    def facts(file: Path) -> tuple[Any, ...]:
        with closing(sqlite3.connect(file)) as conn:
            shape = sorted(str(r[0]) for r in conn.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL"))
            rows = [conn.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in ("samples", "runs", "jobs")]
            revision = conn.execute("SELECT version_num FROM alembic_version").fetchone()[0]
            return shape, rows, revision, conn.execute("PRAGMA integrity_check").fetchone()[0]

    def forked(url: str) -> int:
        if pid := os.fork():
            return pid
        try:
            open_database(url).close()
        finally:
            os._exit(0)

    for revision in versions[:-1]:
        data = copied(work, "judge", "migration")
        file, old = data / "lacuna.db", data / "old.db"
        url = f"sqlite:///{file}"
        database = open_database(url)
        with database.writing() as conn:
            config.attributes["connection"] = conn
            alembic.downgrade(config, revision)
        with database.engine.connect() as conn:
            conn.exec_driver_sql("PRAGMA query_only = 0")
        database.close()
        shutil.copy(file, old)
        began = time.monotonic()
        os.waitpid(forked(url), 0)
        took, expected = time.monotonic() - began, facts(file)
        for _ in range(3):
            for left in data.glob("lacuna.db*"):
                left.unlink()
            shutil.copy(old, file)
            moment = rng.random() * took
            pid = forked(url)
            time.sleep(moment)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            with closing(sqlite3.connect(file)) as conn:
                between = conn.execute("SELECT version_num FROM alembic_version").fetchone()[0]
            open_database(url).close()
            said = f"killed after {moment:.3f} of {took:.3f} s, at {between}"
            points.append(point("migration", f"from {revision}", said, between in versions, facts(file) == expected))
    return points


def upload(work: Path) -> list[Point]:
    import psutil

    data, points, rng = copied(work, "import", "upload"), [], random.Random("upload")

    async def send(port: int, part: float) -> tuple[Any, str]:
        whole = b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n' * 5000
        stalls = Stalls(port)
        body = json.dumps({"name": "rows.jsonl", "size": len(whole)}).encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(stalls.head("POST", "/api/uploads", len(body)) + body)
        name = json.loads((await reader.readuntil(b"}")).rpartition(b"\r\n")[2])["id"]
        writer.write(stalls.head("PUT", f"/api/uploads/{name}", len(whole)) + whole[: int(part * len(whole))])
        await writer.drain()
        await asyncio.sleep(0.3)
        return writer, (await reader.readline()).decode() if part == 1.0 else name

    with load.serving(data) as (port, serve):
        for _ in range(5):
            _writer, name = asyncio.run(send(port, rng.uniform(0.05, 0.95)))
            web = next(p for p in psutil.Process(serve).children() if "streamlit" in " ".join(p.cmdline()))
            web.kill()
            faults._answers(port, 60.0)
            errors = page(port, "storage")
            with closing(sqlite3.connect(data / "lacuna.db")) as conn:
                state = conn.execute("SELECT state FROM uploads WHERE id = ?", (name,)).fetchone()
            status = asyncio.run(send(port, 1.0))[1].strip()
            said = f"left as {state[0] if state else None}; sent again: {status}"
            points.append(point("upload", "web killed", said, not errors, "200" in status))
    return points


def readonly(work: Path) -> list[Point]:
    data = copied(work, "import", "readonly")
    mounted = f'mount --bind "{data}" "{data}" && exec "$@"'
    again = [sys.executable, "-m", "bench.faults_files", "--inside", str(data)]
    env = os.environ | {"LACUNA_DEMO": "0"}
    words = ["unshare", "-Urm", "sh", "-c", mounted, "sh", *again]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, env=env, check=False)
    if done.returncode:
        return [point("readonly", "", f"not run: {done.stderr[-300:]}", False, False)]
    points: list[Point] = json.loads(done.stdout.splitlines()[-1])
    return points


def inside(data: Path) -> list[Point]:
    """Within the namespace in which the folder can be mounted read-only."""

    def mount(how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,bind,{how}", str(data)], check=True)

    points, os.environ["LACUNA_DATA_DIR"] = [], str(data)
    mount("ro")
    status, said = command(data, "runs")
    points.append(point("readonly", "command", said, status in (0, 2) and "Traceback" not in said, True))
    mount("rw")
    mount("ro")  # before the start: a disk on which files are open for writing cannot be taken away from them here
    with load.serving(data) as (port, _):
        during = page(port, "jobs")
        mount("rw")
        until = time.monotonic() + 90
        while (state := latest(data)) != "done" and time.monotonic() < until:
            time.sleep(0.2)
        after = page(port, "jobs")
    says = any("read-only" in e for e in during)
    points.append(point("readonly", "page", str(during[:1]), says, after == []))
    points.append(point("readonly", "job", state, True, state == "done"))
    return points


def latest(data: Path) -> str:
    with closing(sqlite3.connect(data / "lacuna.db", timeout=10)) as conn:
        return str(conn.execute("SELECT state FROM jobs ORDER BY id DESC LIMIT 1").fetchone()[0])


def damage(work: Path) -> list[Point]:
    data, points = copied(work, "judge", "damage"), []
    file = data / "lacuna.db"
    run, samples = {"run": "1"}, "samples"
    with load.serving(data) as (port, _):
        sound = page(port, "overview", run)
        with closing(sqlite3.connect(file)) as conn:
            conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            (sample,) = conn.execute("SELECT sid FROM verdicts_1 LIMIT 1").fetchone()
        whole = file.read_bytes()
        with file.open("r+b") as out:  # the same file, as a failing disk leaves it
            out.seek(4096)
            out.write(b"\xff" * (len(whole) - 4096))
        says = page(port, "overview", run)
    for left in data.glob("lacuna.db*"):
        left.unlink()
    file.write_bytes(whole)
    with load.serving(data) as (port, _):
        after = page(port, "overview", run)
        clear = any("damaged" in e for e in says)
        points.append(point("damage", "database", str(says[:1]), clear, after == sound == []))
    files = {p: p.read_bytes() for p in (data / "artefacts").rglob("*.gz")}
    spoilt: dict[str, Callable[[bytes], bytes]] = {
        "artefact cut short": lambda content: content[: len(content) // 2],
        "artefact changed": lambda content: content[:-9] + bytes([content[-9] ^ 1]) + content[-8:],
    }
    for name, spoil in spoilt.items():
        with load.serving(data) as (port, _):  # what a process has read it keeps for a while
            for path, content in files.items():
                path.write_bytes(spoil(content))
            says = page(port, samples, run | {"sample": str(sample)})
            for path, content in files.items():
                path.write_bytes(content)
            after = page(port, samples, run | {"sample": str(sample)})
            clear = any("damaged" in e for e in says)
            points.append(point("damage", name, str(says[:1]), clear, after == []))
    return points


def memory(work: Path) -> list[Point]:
    """A worker that is held a little above what it has; the job must name the limit, and end well without one."""
    from core.services import jobs
    from core.worker import loop

    faults.preload()
    machine, out, points = faults.Machine(work), dict[str, Any](), []
    faults.undisturbed(machine, work / "project", out)
    rng, real = random.Random("memory"), loop.run_job
    for stage in out["expected"]:
        machine.restore(stage)
        more = rng.randrange(1, 20) << 20

        def held(*arguments: Any, more: int = more) -> None:
            lines = Path("/proc/self/status").read_text().splitlines()
            has = next(int(x.split()[1]) * 1024 for x in lines if x.startswith("VmData"))
            resource.setrlimit(resource.RLIMIT_DATA, (has + more, resource.RLIM_INFINITY))
            real(*arguments)

        loop.run_job = held
        status = machine.end(machine.worker(out["lanes"][stage]))
        loop.run_job = real
        job = max(jobs.list_jobs(limit=10), key=lambda j: j.id)
        said = " ".join(str((job.error or {}).get(part, "")) for part in ("what", "why"))
        clear = status == 0 and (job.state == "done" or "more memory" in said)
        if job.state == "failed":
            jobs.resume_job(job.id)
            machine.end(machine.worker(out["lanes"][stage]))
        wrong = faults.checked(machine, stage, out["expected"])
        made = point("memory", stage, f"{job.state}: {said} (+{more >> 20} MB)", clear, not wrong)
        points.append(made | {"wrong": made["wrong"] + wrong})
    machine.close()
    return points


PARTS: dict[str, Callable[[Path], list[Point]]] = {
    "migration": migration, "damage": damage, "upload": upload, "readonly": readonly, "lock": lock, "memory": memory,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", choices=tuple(PARTS))
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, default=ROOT / ".lacuna" / "faults_machine")
    parser.add_argument("--out", type=Path, default=ROOT / "bench/results/faults_files.json")
    args = parser.parse_args()
    os.environ |= {"LACUNA_DEMO": "0", "LACUNA_DEVICE": "cpu", "LACUNA_DATA_DIR": str(args.work / "data")}
    if args.inside:
        print(json.dumps(inside(args.inside)))
        return
    from bench._machine import machine

    source = faults._source()
    out: dict[str, Any] = json.loads(args.out.read_text()) if args.out.exists() else {}
    if out.get("source") != source:
        out = {"points": [], "source": source}
    for name, run in PARTS.items():
        if args.only in (None, name) and not any(p["fault"] == name for p in out["points"]):
            out["points"] += run(args.work)
            faults._write(args.out, out, time.process_time() + sum(os.times()[2:4]), machine())
            print(json.dumps([p for p in out["points"] if p["fault"] == name], indent=1), flush=True)


if __name__ == "__main__":
    main()
