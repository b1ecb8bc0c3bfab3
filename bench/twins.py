"""Presets against the trainers' own code, id by id and label by label.

    make twins ROWS=DIR          builds the environment and compares
    python -m bench.twins DIR [--trainer NAME] [--most N] [--fixtures]

Rows are those of the JSON and JSONL files in DIR and made-up ones: several turns, tools, reasoning, odd orders, long
answers. The packages cannot be installed beside Lacuna's, so ``--build ENV`` makes an environment that sees Lacuna's
packages and, on its path, the unpacked wheels of the trainers. ``--fixtures`` writes what the trainers made of some
made-up rows to ``tests/presets/fixtures``, where ``make test`` compares without them.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import sysconfig
import time
import venv
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
TRAINERS = ("llama_factory", "axolotl", "unsloth", "ms_swift")
# Small packages that the trainers' data code imports and Lacuna has not.
EXTRAS = ("addict", "colorama")
# Imported by LLaMA-Factory, and used for sound and for reading command lines only.
STUBS = {"torchaudio": "", "omegaconf": "OmegaConf = None\n"}


def build(environment: Path) -> None:
    """An environment with Lacuna's packages and the trainers' wheels on its path."""
    if (environment / "ready").exists():
        return
    venv.create(environment, with_pip=False, symlinks=True)
    wheels = environment / "wheels"
    packages = [*EXTRAS, *(package for name in TRAINERS for package in _twin(name).PACKAGES)]
    subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", wheels, *packages], check=True)
    lines = [sysconfig.get_paths()["purelib"], str(ROOT)]
    for wheel in sorted(wheels.glob("*.whl")):
        target = environment / "unpacked" / wheel.name.split("-")[0]
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(target)
        lines.append(str(target))
    for stub, text in STUBS.items():
        (environment / "stubs" / stub).mkdir(parents=True, exist_ok=True)
        (environment / "stubs" / stub / "__init__.py").write_text(text, encoding="utf-8")
    lines.append(str(environment / "stubs"))
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    path = environment / "lib" / version / "site-packages" / "twins.pth"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    (environment / "ready").touch()


def _twin(name: str) -> Any:
    return importlib.import_module(f"bench._twin_{name}")


def run(folder: Path | None, trainers: list[str], most: int, every: int, fixtures: bool) -> dict[str, Any]:
    from bench._twins import Tally, compare, fixture, rows_in, write_fixture
    from core.formats._cells import RowError
    from tests.presets import twin_rows

    rows = []
    given = [(r, False) for r in rows_in(folder, most)] if folder else []
    for row, made in [*((r, True) for r in twin_rows.made_up()), *given]:
        try:
            rows.append((row, twin_rows.sample_of(row, len(rows)), made))
        except RowError:
            continue
    tokenizers = cache(twin_rows.tokenizer)
    result: dict[str, Any] = {"made_up": sum(made for *_, made in rows), "given": sum(not made for *_, made in rows)}
    for name in trainers:
        twin, tally, kept, began = _twin(name), Tally(), [], time.monotonic()
        for number, made_when_called in enumerate(twin.cases(rows, tokenizers, fixtures)):
            if number % every:
                continue
            case = made_when_called()
            compare(name, case, tokenizers(case.tokenizer), tally)
            if fixtures:
                kept.append(case)
        result[name] = {"packages": list(twin.PACKAGES), **tally.summary(), "seconds": round(time.monotonic() - began)}
        print(name, json.dumps(tally.summary()), flush=True)
        for difference in tally.disagreements:
            print("  ", json.dumps(difference, ensure_ascii=False)[:1500], flush=True)
        if fixtures:
            path = ROOT / "tests" / "presets" / "fixtures" / f"{name}.json"
            write_fixture(path, fixture(name, twin.PACKAGES[0], kept))
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="?", type=Path, help="folder with JSON and JSONL files of rows")
    parser.add_argument("--build", type=Path, help="make this environment and compare in it")
    parser.add_argument("--trainer", action="append", choices=TRAINERS)
    parser.add_argument("--most", type=int, default=80, help="rows of each file")
    parser.add_argument("--every", type=int, default=1, help="compare each n-th case only")
    parser.add_argument("--fixtures", action="store_true", help="only the cases of the fixtures, and write them")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.build:
        build(args.build)
        rest = [a for a in sys.argv[1:] if a not in ("--build", str(args.build))]
        raise SystemExit(subprocess.run([args.build / "bin" / "python", "-m", "bench.twins", *rest]).returncode)
    result = run(args.rows, args.trainer or list(TRAINERS), args.most, args.every, args.fixtures)
    if args.out:
        args.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
