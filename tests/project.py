"""A small fine-tune of known make: a base, checkpoints of two stages, a final model, an adapter, their dataset."""

import json
from dataclasses import dataclass
from pathlib import Path

from core.lab import tiny
from tests import land

SOURCES = ("core/lab", "tests/project.py", "tests/land.py")
LORA = {
    "r": 8,
    "lora_alpha": 16,
    "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
}


@dataclass(frozen=True)
class TinyProject:
    """Where the parts of the fine-tune lie; shared by all tests, so nothing in it may be changed.

    Attributes:
        folder: holds everything below.
        checkpoints: in step order, without ``final``.
        adapter: a LoRA adapter of ``base``, trained on the rows of stage one.
        rows: the records of ``dataset``; ``groups``: id to planted group (see ``tests/land.py``). Rows of the group
            ``withheld`` were never trained.
    """

    folder: Path
    dataset: Path
    base: Path
    checkpoints: list[Path]
    final: Path
    adapter: Path
    rows: list[dict]
    groups: dict[str, str]

    @classmethod
    def at(cls, parent: Path) -> "TinyProject":
        """The project that ``make_project`` made in ``parent``."""
        folder = parent / "project"
        dataset = folder / "dataset.jsonl"
        rows = [json.loads(line) for line in dataset.read_text(encoding="utf-8").splitlines()]
        groups = json.loads((folder / "planted.json").read_text(encoding="utf-8"))
        saved = tiny.saved_checkpoints(folder)
        return cls(folder, dataset, folder / "base", saved, folder / "final", folder / "adapter", rows, groups)


def make_project(parent: Path) -> None:
    folder = parent / "project"
    folder.mkdir()
    land.build(folder)
    model, tokenizer = tiny.load(folder / "base")  # the adapter names its base by this absolute path
    records = [json.loads(line) for line in (folder / "dataset.jsonl").read_text(encoding="utf-8").splitlines()]
    rows = [tiny.chat_row(tokenizer, r["messages"]) for r in records if r["stage"] == "1"]
    tiny.train(model, tokenizer, rows, folder, lr=1e-2, batch=8, epochs=12, final="adapter", lora=LORA)


def make_families(folder: Path, project: TinyProject) -> None:
    """One checkpoint of each family, trained on the rows of the project."""
    _, tokenizer = tiny.load(project.base)
    rows = [tiny.chat_row(tokenizer, r["messages"]) for r in project.rows]
    for family in tiny.FAMILIES:
        model = tiny.tiny_model(tiny.tiny_config(family, len(tokenizer), 64, kv_heads=2), tokenizer)
        tiny.train(model, tokenizer, rows, folder, lr=5e-3, batch=16, epochs=12, final=family)
