"""How fast and how flat a large JSONL file is scanned and imported, beside ``datasets.load_dataset("json")``.

``python -m bench.intake --rows 1000000`` writes rows of about 1 kB once, then runs each side in a process of its own,
in turn, and writes rates per second of computing and of the clock, with the peak of memory. The peer parses and stores
a copy as Arrow, in C++. A scan looks at every column of every row; an import parses, checks, hashes and stores every
row, twice over for ids. Two more sides show what Python allows at best: ``decode`` is ``json.loads`` of each line and
nothing else, ``store`` that and one insert of the line into SQLite.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

from bench._machine import machine, peak_memory, versions

OUT = Path(__file__).parent / "results" / "intake.json"
SIDES = ("peer", "decode", "scan", "store", "import")


def write_rows(path: Path, many: int) -> None:
    """Conversations of about 160 words, with ids of their own."""
    chance = random.Random(0)
    words = [f"w{i}" for i in range(3000)] + ["naïve", "Ærlig", "日本"]
    with path.open("w", encoding="utf-8") as file:
        for i in range(many):
            ask, say = (" ".join(chance.choices(words, k=k)) for k in (60, 100))
            turns = [{"role": "user", "content": ask}, {"role": "assistant", "content": say}]
            file.write(json.dumps({"id": f"row-{i}", "messages": turns}, ensure_ascii=False) + "\n")


def run(side: str, path: Path) -> int:
    """One side over the file; the rows it saw."""
    if side == "peer":
        from datasets import load_dataset

        return len(load_dataset("json", data_files=str(path), split="train", cache_dir=tempfile.mkdtemp()))
    if side in ("decode", "store"):
        return floor(path, side == "store")
    from core.intake.datasets import scan

    if side == "scan":
        seen = [0]
        scan([path], watch=lambda rows: seen.append(rows))
        return seen[-1]
    from core.services import datasets
    from core.services.jobs import Terminal

    return datasets.import_files([path], [path.name], "bench", scan([path]).reading, Terminal(lambda *_: None)).n_rows


def floor(path: Path, store: bool) -> int:
    """Decodes each line, and where ``store`` writes it to a table without an index, 2,000 lines a transaction."""
    rows = 0
    with path.open("rb") as file, sqlite3.connect(tempfile.mkdtemp() + "/floor.db") as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE lines (line BLOB)")
        while block := list(islice(file, 2000)):
            for line in block:
                json.loads(line)
            rows += len(block)
            if store:
                with connection:
                    connection.executemany("INSERT INTO lines VALUES (?)", [(line,) for line in block])
    return rows


def measured(side: str, path: Path) -> dict[str, Any]:
    """Rates and memory of one side, from a process of its own."""
    began = time.perf_counter()
    rows = run(side, path)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {"rows_seen": rows, "clock_s": round(time.perf_counter() - began, 2),
            "computing_s": round(usage.ru_utime + usage.ru_stime, 2), "peak_mib": peak_memory() >> 20}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        print(json.dumps(measured(args.side, args.file)))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        result: dict[str, Any] = {"rows": args.rows, "sides": {}}
        for many in (args.rows // 4, args.rows):
            write_rows(path, many)
            result["bytes"] = path.stat().st_size
            for side in SIDES:
                environment = os.environ | {"LACUNA_DATA_DIR": f"{folder}/{side}-{many}", "HF_HOME": f"{folder}/hub"}
                command = [sys.executable, "-m", "bench.intake", "--side", side, "--file", str(path)]
                out = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
                found = json.loads(out.splitlines()[-1])
                result["sides"].setdefault(side, {})[str(many)] = found
                print(side, many, found, flush=True)
    # From a quarter of the rows to all of them: what loading libraries costs falls out.
    quarter = args.rows // 4
    for unit in ("computing_s", "clock_s"):
        rates = {
            side: (args.rows - quarter) / (values[str(args.rows)][unit] - values[str(quarter)][unit])
            for side, values in result["sides"].items()
        }
        result[f"more_rows_per_{unit}"] = {side: round(rate) for side, rate in rates.items()}
        result[f"share_of_peer_by_{unit}"] = {side: round(rates[side] / rates["peer"], 3) for side in SIDES[1:]}
    # Flat: four times the rows cost no more memory than the database's and the library's own caches.
    result["more_memory_mib"] = {
        side: values[str(args.rows)]["peak_mib"] - values[str(args.rows // 4)]["peak_mib"]
        for side, values in result["sides"].items()
    }
    result |= {"machine": machine(), "versions": versions(["datasets", "pyarrow", "SQLAlchemy"])}
    OUT.write_text(json.dumps(result, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
