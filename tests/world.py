"""Small worlds to diagnose: rows, a tiny checkpoint that was trained on half of them, and finished runs.

Nothing here is made twice: ``tests/conftest.py`` keeps every folder (see ``tests/kept.py``).
"""

import json
import os
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from core.__main__ import main
from core.lab import tiny
from core.settings import settings
from db.session import _opened, database
from tests.kept import ROOT

SOURCES = ("core", "db", "tests/world.py")
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

    @classmethod
    def at(cls, folder):
        """The world that ``make_world`` made in ``folder``."""
        learned = frozenset(f"r{i}" for i in range(30))
        return cls(folder / "rows.jsonl", folder / "model.zip", folder / "out" / "final", learned)


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
    """What a process over the data folder is told."""
    own = {"LACUNA_DATA_DIR": str(data), "LACUNA_DEMO": "0", "LACUNA_CHECKPOINT_ROOTS": str(roots)}
    return own | {"PYTHONPATH": str(ROOT)}


@contextmanager
def at_data(data, roots):
    """This process over another data folder for a while; its database is closed at the end."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [n for n in os.environ if n.startswith("LACUNA_")]:
            patch.delenv(name)
        for name, value in environment(data, roots).items():
            patch.setenv(name, value)
        settings.cache_clear()
        _close()
        yield
        _close()
    settings.cache_clear()


def _close():
    """No database stays open; a connection that is only forgotten would be remarked on."""
    if _opened.cache_info().currsize:
        database().close()
        _opened.cache_clear()


def run_command(data, roots, *arguments):
    """A command of Lacuna over the data folder; it must end well."""
    with at_data(data, roots):
        assert main([str(a) for a in arguments]) == 0


def make_world(folder):
    """The files of a ``World``; the checkpoint is trained on the first thirty rows, never on the others."""
    rows = make_rows()
    # Spaces, key order and escapes differ from what json.dumps would write: the export must not set rows anew.
    spaces = [(", ", ": "), (",", " :"), (",", ":")]
    lines = [json.dumps(r, ensure_ascii=i % 2 == 0, separators=spaces[i % 3]) + "\n" for i, r in enumerate(rows)]
    (folder / "rows.jsonl").write_text("".join(lines), encoding="utf-8")
    texts = [m["content"][:300] for r in rows for m in r["messages"]]
    tokenizer = tiny.build_tokenizer(texts, 500)
    model = tiny.tiny_model(tiny.tiny_config("llama", len(tokenizer), hidden=64, layers=2), tokenizer)
    learned = [tiny.chat_row(tokenizer, r["messages"]) for r in rows[:30]]
    tiny.train(model, tokenizer, learned, folder / "out", lr=5e-3, batch=30, steps=150, schedule="cosine")
    shutil.make_archive(str(folder / "model"), "zip", folder / "out", "final")


def diagnose_world(data, world):
    """A data folder with one finished run, number 1, of the world."""
    run_command(
        data, world.folder.parent, "diagnose", "--dataset", world.dataset, "--checkpoint", world.folder,
        "--out", data / "verdicts.jsonl", "--max-draws", 10, "--max-new-tokens", 16,
    )  # fmt: skip


def diagnose_along(data, project):
    """A data folder with one finished run, number 1, of a fine-tune with its base and the checkpoints on its way."""
    run_command(
        data, project.folder, "diagnose", "--dataset", project.dataset, "--checkpoint", project.final,
        "--base", project.base, "--trajectory", project.folder, "--max-draws", 10, "--max-new-tokens", 24,
    )  # fmt: skip


def diagnose_hostile(data, project):
    """A second run in a data folder, by the checkpoints of ``diagnose_along``: over rows that attack every page."""
    rows = data / "hostile.jsonl"
    lines = [json.dumps(r, ensure_ascii=i % 2 == 0) + "\n" for i, r in enumerate(make_hostile_rows())]
    rows.write_text("".join(lines), encoding="utf-8")
    run_command(
        data, project.folder, "diagnose", "--dataset", rows, "--name", HOSTILE, "--checkpoint", project.final,
        "--base", project.base, "--trajectory", project.folder, "--trainer-setting", "max_length=256",
        "--max-draws", 10, "--max-new-tokens", 8, "--out", data / "hostile-verdicts.jsonl",
    )  # fmt: skip
    run_command(
        data, project.folder, "routes", "run", "--run", 2, "--filter", "status=unlearned", "--m", 2, "--k", 1,
        "--direct-tokens", 8, "--path-tokens", 8,
    )  # fmt: skip
