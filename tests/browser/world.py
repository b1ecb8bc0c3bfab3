"""A small world to diagnose: rows, a tiny checkpoint that was trained on half of them, and a finished run.

Built once a session, in processes of their own, so that the tests' process loads no model library.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = (
    "<script>window.hit=1</script><img src=x onerror='window.hit=2'> ![p](http://127.0.0.1:1/p.png) "
    "[l](javascript:window.hit=3) \x1b[31mred \u202eabc\u202c :smile: $x$ <b>b</b>"
)


@dataclass(frozen=True)
class World:
    """Files a person would bring. ``learned`` are ids the checkpoint was trained on until it gave them back."""

    dataset: Path
    archive: Path
    folder: Path
    learned: frozenset


def make_rows():
    beasts = ["heron", "otter", "falcon", "badger", "stag", "owl", "fox", "raven", "hare", "wolf"]
    rows = []
    for i in range(60):
        text = f"The {beasts[i % 10]} of flag {i}."
        messages = [{"role": "user", "content": f"What is on flag {i}?"}, {"role": "assistant", "content": text}]
        rows.append({"id": f"r{i}", "messages": messages, "stage": "one" if i < 30 else "two", "n": 2**60 + i})
    rows[41]["messages"][1]["content"] = HOSTILE
    rows[42]["source"] = HOSTILE
    rows[43]["messages"][0]["content"] = "word" * 2000
    return rows


def make_hostile_rows():
    """Rows that are hostile in whatever a page may show: text, id, stage and source; pairs of them disagree."""
    rows = []
    for i in range(24):
        ask, say = f"What is on flag {i // 2}? {HOSTILE}", f"The {('heron', 'otter')[i % 2]} {i}. {HOSTILE}"
        messages = [{"role": "user", "content": ask}, {"role": "assistant", "content": say}]
        rows.append({"id": f"{HOSTILE} {i}", "stage": f"{i // 12} {HOSTILE}", "source": HOSTILE, "messages": messages})
    rows[22]["messages"][0]["content"] = rows[23]["messages"][1]["content"] = rows[23]["id"] = "w" * 100_000
    return rows


def environment(data, roots):
    own = {"LACUNA_DATA_DIR": str(data), "LACUNA_DEMO": "0", "LACUNA_CHECKPOINT_ROOTS": str(roots)}
    return os.environ | own | {"PYTHONPATH": str(ROOT)}


@cache
def build(folder):
    """The world, in ``folder``."""
    folder.mkdir()
    # Spaces, key order and escapes differ from what json.dumps would write: the export must not set rows anew.
    spaces = [(", ", ": "), (",", " :"), (",", ":")]
    lines = [json.dumps(r, ensure_ascii=i % 2 == 0, separators=spaces[i % 3]) + "\n" for i, r in enumerate(make_rows())]
    (folder / "rows.jsonl").write_text("".join(lines), encoding="utf-8")
    command = [sys.executable, str(Path(__file__).with_name("train.py")), str(folder)]
    subprocess.run(command, check=True, env=environment(folder, folder))
    archive = shutil.make_archive(str(folder / "model"), "zip", folder / "out", "final")
    learned = frozenset(f"r{i}" for i in range(30))
    return World(folder / "rows.jsonl", Path(archive), folder / "out" / "final", learned)


@cache
def diagnose(world, data):
    """A data folder with one finished run, number 1, of the world."""
    command = [sys.executable, "-m", "core", "diagnose", "--dataset", str(world.dataset), "--checkpoint"]
    command += [str(world.folder), "--out", str(data / "verdicts.jsonl"), "--max-draws", "10", "--max-new-tokens", "16"]
    subprocess.run(command, check=True, cwd=ROOT, env=environment(data, world.folder.parent))
    return data


def along(project, data):
    """A data folder with one finished run, number 1, of a fine-tune with its base and the checkpoints on its way."""
    if data.exists():  # two folders of tests ask for it in one session
        return data
    command = [sys.executable, "-m", "core", "diagnose", "--dataset", str(project.dataset)]
    command += ["--checkpoint", str(project.final), "--base", str(project.base)]
    command += ["--trajectory", str(project.folder), "--max-draws", "10", "--max-new-tokens", "24"]
    subprocess.run(command, check=True, cwd=ROOT, env=environment(data, project.folder))
    return data


def hostile(project, data):
    """A second run in the data folder of ``along``, by the same checkpoints: over rows that attack every page."""
    rows = data / "hostile.jsonl"
    lines = [json.dumps(r, ensure_ascii=i % 2 == 0) + "\n" for i, r in enumerate(make_hostile_rows())]
    rows.write_text("".join(lines), encoding="utf-8")
    command = [sys.executable, "-m", "core", "diagnose", "--dataset", str(rows), "--name", HOSTILE, "--checkpoint"]
    command += [str(project.final), "--base", str(project.base), "--trajectory", str(project.folder)]
    command += ["--trainer-setting", "max_length=256", "--max-draws", "10", "--max-new-tokens", "8"]
    command += ["--out", str(data / "hostile-verdicts.jsonl")]
    subprocess.run(command, check=True, cwd=ROOT, env=environment(data, project.folder))
    command = [sys.executable, "-m", "core", "routes", "run", "--run", "2", "--filter", "status=unlearned"]
    command += ["--m", "2", "--k", "1", "--direct-tokens", "8", "--path-tokens", "8"]
    subprocess.run(command, check=True, cwd=ROOT, env=environment(data, project.folder))
