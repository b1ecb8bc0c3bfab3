"""What a run is to measure: the forms that ask for it, and the checked specification."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from core.backends._base import BackendKind, check_installed, fits, is_installed
from core.encoders import named
from core.errors import UserError
from core.plugins import kind, kinds, with_defaults
from core.presets._base import Preset
from core.scorers import suggest
from core.scorers._base import Scorer
from core.services import checkpoints, datasets
from core.settings import settings
from core.signals._instruments import tokenizer_folder
from core.types import DEFAULT_BACKEND, DEFAULT_PRESET, Checkpoint, DtypeName, RunSpec
from db import samples as sample_table
from db.session import database

# What the driver of a graphics card puts there.
ACCELERATOR = Path("/dev/nvidia0")
# Packages that could change a number.
VERSIONS = ("torch", "transformers", "tokenizers", "peft", "numpy", "sentence-transformers", "scikit-learn")


def presets() -> list[Preset]:
    """Trainer presets; ``custom``, the default, first."""
    return sorted(kinds("presets").values(), key=lambda preset: (preset.name != DEFAULT_PRESET, preset.name))


def scorers() -> list[Scorer]:
    return list(kinds("scorers").values())


def backends(checkpoint: Checkpoint | None = None) -> list[BackendKind]:
    """Ways to run a checkpoint, or this one; the default first."""
    ways = sorted(kinds("backends").values(), key=lambda backend: (backend.name != DEFAULT_BACKEND, backend.name))
    return [way for way in ways if is_installed(way) and (checkpoint is None or fits(way, checkpoint))]


def _backend(name: str | None, checkpoints: Sequence[Checkpoint]) -> str:
    """The backend of this name; where none is named, the first that runs the final checkpoint, which stands first.

    Raises:
        UserError: it does not run one of them, or a package that it needs is not installed.
    """
    chosen = kind("backends", name) if name else backends(checkpoints[0])[0]
    check_installed(chosen)
    for checkpoint in checkpoints:
        if not fits(chosen, checkpoint):
            where = "a folder" if checkpoint.server is None else f"a model on {checkpoint.server.url}"
            ways = ", ".join(way.name for way in backends(checkpoint))
            raise UserError(
                f"The backend {chosen.name!r} does not run {checkpoint.label}, which is {where}.",
                f"These do: {ways}.",
                "Choose one of them. All checkpoints of a run are folders, or all are on servers.",
            )
    return str(chosen.name)


def suggest_scorer(dataset_id: int) -> tuple[str, str]:
    """The scorer that fits the dataset's targets, and why."""
    n = datasets.get_dataset(dataset_id).n_samples
    ordinals = sorted({int(i) for i in np.linspace(0, max(n - 1, 0), num=min(n, 500))})
    with database().reading() as conn:
        return suggest([s.response for s in sample_table.iter_samples(conn, dataset_id, ordinals)])


def make_spec(
    dataset_id: int,
    final: Checkpoint,
    base: Checkpoint | None = None,
    trajectory: Sequence[Checkpoint] = (),
    *,
    preset: str = DEFAULT_PRESET,
    preset_settings: Mapping[str, Any] | None = None,
    scorer: str | None = None,
    scorer_settings: Mapping[str, Any] | None = None,
    max_draws: int = 20,
    max_new_tokens: int | None = None,
    seed: int = 0,
    paper_mode: bool = False,
    dtype: DtypeName | None = None,
    encoder: str | None = None,
    backend: str | None = None,
) -> RunSpec:
    """A complete, checked specification; names and settings that do not exist raise UserError."""
    if base is not None and base.has_weights and not final.has_weights:
        raise UserError(
            "A base model says nothing without the fine-tuned checkpoint.",
            "What the base knew is asked with rows that the checkpoint has learned.",
            "Give the checkpoint too, or leave the base out.",
        )
    dataset = datasets.get_dataset(dataset_id)
    scorer = scorer or suggest_scorer(dataset_id)[0]
    encoder = settings().encoder if encoder is None else encoder
    versions = {name: importlib.metadata.version(name) for name in VERSIONS}
    encoder_kind, location = named(encoder)
    versions["encoder_weights"] = encoder_kind.fingerprint(location)
    return RunSpec(
        dataset_id=dataset_id,
        dataset_fingerprint=dataset.fingerprint,
        final=final,
        base=base,
        trajectory=tuple(sorted(trajectory, key=lambda c: (c.step is None, c.step or 0))),
        preset=preset,
        preset_settings=_preset_settings(preset, preset_settings or {}, final),
        scorer=scorer,
        scorer_settings=with_defaults(kind("scorers", scorer), scorer_settings or {}),
        max_draws=max_draws,
        max_new_tokens=max_new_tokens or 512,
        seed=seed,
        paper_mode=paper_mode,
        dtype=dtype or usual_dtype(),
        encoder=encoder,
        versions=versions,
        backend=_backend(backend, [final, *([base] if base else []), *trajectory]),
    )


def usual_dtype() -> DtypeName:
    """bfloat16 on an accelerator, float32 on a processor; torch is not loaded for that."""
    device = settings().device
    return "bfloat16" if device.startswith("cuda") or (device == "auto" and ACCELERATOR.exists()) else "float32"


def _preset_settings(preset: str, settings: Mapping[str, Any], final: Checkpoint) -> dict[str, Any]:
    """All settings of the preset by name, with what it reads from an installed package kept for good."""
    from core.presets._base import Pinning
    from core.rendering.tokenizers import template_in

    trainer = kind("presets", preset)
    if isinstance(trainer, Pinning) and final.path:
        return trainer.pinned(settings, template_in(tokenizer_folder(final)))
    return with_defaults(trainer, settings)


def checkpoints_of(final_id: int, base_id: int | None, trajectory_ids: Sequence[int]) -> tuple[Any, ...]:
    final = checkpoints.get_checkpoint(final_id).checkpoint
    base = None if base_id is None else checkpoints.get_checkpoint(base_id).checkpoint
    # The final checkpoint closes the trajectory by itself; naming it there again must not measure it twice.
    others = [checkpoints.get_checkpoint(i).checkpoint for i in trajectory_ids if i != final_id]
    return final, base, tuple(c for c in others if c.fingerprint != final.fingerprint)
