"""TRL's training templates: for known chat templates the variant with ``{% generation %}`` markers.

TRL compares a tokenizer's template letter by letter with those it ships (``get_training_chat_template``) and renders
with the variant when ``assistant_only_loss`` is on. Both lie in the installed package, as ``chat_templates/NAME.jinja``
and ``NAME_training.jinja``; they are read from there, so that they are those of the version installed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from core.errors import UserError

_SUFFIX = "_training.jinja"
# Models that see pictures or write by diffusion: TRL prepares their rows in ways that are not rebuilt here.
_LEFT_OUT = {"diffusion_gemma", "idefics3", "llava_next", "muse_glimmer", "qwen2_5_vl", "qwen3_vl", "smolvlm"}


def has_generation_markers(template: str) -> bool:
    return re.search(r"\{%-?\s*generation\s*-?%\}", template) is not None


def training_template(template: str) -> str | None:
    """The variant that TRL renders with in place of ``template``; None where TRL has none.

    Raises:
        UserError: TRL or one of its templates is missing.
    """
    return _variants(_folder()).get(template)


def _folder() -> Path:
    spec = find_spec("trl")  # finds the package without importing it, which takes seconds
    if spec is None or spec.origin is None:
        raise UserError(
            "TRL is not installed.",
            "Its training templates are read from its files.",
            "Run make install, which brings the packages in requirements.txt.",
        )
    return Path(spec.origin).parent / "chat_templates"


@cache
def _variants(folder: Path) -> Mapping[str, str]:
    """Text of a template to text of its training variant."""
    names = {path.name.removesuffix(_SUFFIX) for path in folder.glob(f"*{_SUFFIX}")} - _LEFT_OUT

    def text(name: str) -> str:
        return (folder / name).read_text(encoding="utf-8")

    try:
        variants = {text(f"{name}.jinja"): text(f"{name}{_SUFFIX}") for name in names}
    except OSError as error:
        raise _incomplete(f"{error.filename} cannot be read: {error.strerror}.") from error
    if not variants:
        raise _incomplete(f"There is no training template in {folder}.")
    return variants


def _incomplete(why: str) -> UserError:
    return UserError(
        "The installed TRL lacks its training templates.",
        why,
        "Install the version in requirements.txt again: pip install --force-reinstall --no-deps trl==VERSION.",
    )
