"""Texts as vectors: one file is one kind of encoder."""

from __future__ import annotations

from core.encoders._base import EncoderKind
from core.plugins import kinds

DEFAULT = "sentence_transformer"


def named(setting: str) -> tuple[EncoderKind, str]:
    """The kind that ``LACUNA_ENCODER`` names, and the location it opens.

    Args:
        setting: ``<kind>:<location>``, a kind's name alone, or a location of the default kind; empty for its own.
    """
    name, _, location = setting.partition(":")
    members = kinds("encoders")
    return (members[name], location) if name in members else (members[DEFAULT], setting)
