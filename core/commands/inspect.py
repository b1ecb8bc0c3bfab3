"""``lacuna inspect``: what a dataset, a checkpoint folder or an archive is, and what is wrong with it."""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from core.commands._base import existing_path, to_json
from core.errors import UserError, as_sentence


class Inspect:
    name = "inspect"
    label = "say what a dataset, checkpoint folder or archive is, and what is wrong"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("path", type=existing_path)

    def run(self, args: argparse.Namespace) -> int:
        path: Path = args.path
        look = _folder if path.is_dir() else _archive if _is_archive(path) else _dataset
        print(to_json(look(path)))
        return 0


def _dataset(path: Path) -> dict[str, Any]:
    """Every row is read: a broken one may be the last."""
    from core.intake.surveys import survey

    found, tally = survey(path)
    if not tally.n_samples:
        first = tally.problems[0]
        where = f"Line {first.line}: " if first.line else ""
        raise UserError(
            f"None of the {tally.n_rejected:,} rows of {path.name} can be used as {found.reading.format}.",
            where + first.text,
            "Correct the file.",
        )
    counts = {
        "n_rows": tally.n_samples + tally.n_rejected,
        "n_samples": tally.n_samples,
        "n_rejected": tally.n_rejected,
        "n_duplicates": tally.n_duplicates,
    }
    facts = {
        k: v for k, v in replace(found, problems=tuple(tally.problems)).as_dict().items() if not k.startswith("n_")
    }
    # Remarks on the file come first; what is said of rows stands with their number.
    notes = dict.fromkeys(found.notes, 0) | tally.notes
    sentences = [f"{note} ({n:,} rows)" if n else note for note, n in notes.items()]
    return {"kind": "dataset", **counts, **facts, "notes": sentences}


def _folder(path: Path) -> dict[str, Any]:
    from core.checkpoint.folders import read_folder
    from core.services.checkpoints import checkpoint_paths, facts_as_dict

    paths = checkpoint_paths(path)
    entries: list[dict[str, Any]] = [{"path": str(p), **facts_as_dict(read_folder(p))} for p in paths]
    entries[-1]["checks"] = _checks(paths[-1])
    return {"kind": "checkpoint" if len(paths) == 1 else "trajectory", "checkpoints": entries}


def _checks(path: Path) -> list[dict[str, Any]]:
    """The sanity card's checks that need no rows; raises UserError for one that fails.

    An adapter is looked at on the base it names where that is a folder here, else by itself.
    """
    from core.checkpoint.card import adapter_alone, card
    from core.checkpoint.folders import as_checkpoint, read_folder

    adapter = read_folder(path).adapter
    base = Path(adapter.base_name_or_path).expanduser() if adapter and adapter.base_name_or_path else None
    if adapter and (base is None or not base.is_dir()):
        checks = adapter_alone(path, adapter)
    else:
        checks = card(as_checkpoint(path, base), None, ())[0].checks
    for check in checks:
        if check.state == "fail":
            raise UserError(check.text, as_sentence(check.measured), check.todo)
    return [asdict(check) for check in checks]


def _is_archive(path: Path) -> bool:
    """Whether the file is an archive by its content."""
    import tarfile
    import zipfile

    return zipfile.is_zipfile(path) or tarfile.is_tarfile(path)


def _archive(path: Path) -> dict[str, Any]:
    import tempfile

    from core.checkpoint.archives import extract
    from core.settings import settings

    settings().data_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=settings().data_dir) as folder:
        inner = extract(path, Path(folder) / "unpacked", settings().max_unpacked_bytes)
        facts = _folder(inner)
        for entry in facts["checkpoints"]:
            entry["path"] = str(Path(entry["path"]).relative_to(inner))
        return {**facts, "archive": path.name}


KIND = Inspect()
