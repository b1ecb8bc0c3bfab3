"""A mitigation as a folder: the rows, a manifest that says what was done to them, and configurations for trainers."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from core import __version__
from core.errors import UserError
from core.exports._base import DATA, Bundle
from core.plugins import kinds
from core.recipes._base import Made, Plan, Recipe
from core.recipes._rewrite import differences

MANIFEST = "manifest.json"
# What templates render by other statements than the text of a turn.
_MORE_THAN_TEXT = re.compile(
    rb'"(?:tool_calls|function_call|reasoning_content|reasoning|thinking)"\s*:\s*(?!null|""|\[\s*\])'
    rb'|(?:<|\\u003[cC])/?think|"content"\s*:\s*(?:\[|null)'
)
# Told how many rows are written of how many; what it raises ends the export without a trace.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Written:
    """An export that is complete. ``manifest`` is the file's content without the list of changes."""

    folder: Path
    files: tuple[str, ...]
    manifest: Mapping[str, Any]


def write(
    out: Path, recipe: Recipe, plan: Plan, about: Mapping[str, Any], bundle: Bundle, progress: Progress
) -> Written:
    """Writes rows, manifest and configurations into ``out``, all or nothing, a row in memory at a time.

    Args:
        out: a folder that is made; files of earlier exports in it are replaced, other files are left alone.
        about: run, filter and settings for the manifest.
    """
    out.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=out, prefix=".part-"))
    try:
        facts, plain = _rows(part, plan, progress)
        configurations, trainers, remarks = _configurations(replace(bundle, plain=plain))
        for name, text in configurations.items():
            (part / name).write_text(text, encoding="utf-8")
        manifest = {
            "lacuna": __version__,
            **about,
            "recipe": {"name": recipe.name, "label": recipe.label, "causes": list(recipe.causes)},
            "expected_effect": recipe.expects,
            "risks": list(recipe.risks),
            "notes": [*plan.notes, *plan.training.notes, *remarks],
            "training": {
                "epochs": plan.training.epochs, "sequential": plan.training.sequential, "batch": plan.training.batch,
                "max_length": bundle.max_length,
            },
            "configurations": trainers,
            **facts,
        }  # fmt: skip
        _manifest(part, manifest)
        names = (DATA, *configurations, MANIFEST)  # the manifest last: its presence says that all is there
        (out / MANIFEST).unlink(missing_ok=True)
        for name in names:
            os.replace(part / name, out / name)
        return Written(out, names, manifest)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _configurations(bundle: Bundle) -> tuple[dict[str, str], dict[str, dict[str, str]], list[str]]:
    """File name to text, trainer to its label and version, and why trainers were left out."""
    files: dict[str, str] = {}
    trainers: dict[str, dict[str, str]] = {}
    remarks: list[str] = []
    for export in kinds("exports").values():
        try:
            files |= export.files(bundle)
        except UserError as error:
            remarks.append(str(error))
        else:
            trainers[export.name] = {"trainer": export.label, "version": export.version}
    return files, trainers, remarks


def _rows(part: Path, plan: Plan, progress: Progress) -> tuple[dict[str, Any], bool]:
    """Writes the rows and, beside them, one line a changed row.

    Returns:
        The counts and hashes, and whether all rows are plain text in turns.
    """
    digest, parts, n_changed, n, plain = hashlib.sha256(), Counter[str](), 0, 0, True
    with (part / DATA).open("wb") as rows, (part / "changes").open("wb") as changes:
        for n, row in enumerate(plan.rows(), 1):
            line = row.raw + b"\n"
            rows.write(line)
            digest.update(line)
            parts[row.part] += 1
            plain = plain and _MORE_THAN_TEXT.search(line) is None
            if row.change:
                n_changed += 1
                _note(changes, n, row)
            if n % 1000 == 0:
                progress(n, plan.total)
    progress(n, plan.total)
    counts = {"rows": n, "sha256": digest.hexdigest(), "parts": dict(parts), "changed": n_changed}
    return {"file": {"name": DATA, **counts}, "raw_rows_are_byte_identical": n - n_changed}, plain


def _note(changes: BinaryIO, line: int, row: Made) -> None:
    change = {"line": line, "sample": row.source, "part": row.part, "change": row.change,
              "diff": differences(row.before, row.raw)}  # fmt: skip
    changes.write(json.dumps(change, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")


def _manifest(part: Path, manifest: Mapping[str, Any]) -> None:
    """The manifest with the changes at its end, streamed: there may be as many as rows."""
    head = json.dumps(manifest, ensure_ascii=False, indent=2)
    with (part / MANIFEST).open("wb") as file, (part / "changes").open("rb") as changes:
        file.write(head[: head.rindex("\n")].encode("utf-8", "surrogatepass") + b',\n  "changes": [')
        for i, line in enumerate(changes):
            file.write((b",\n    " if i else b"\n    ") + line.rstrip(b"\n"))
        file.write(b"\n  ]\n}\n")
