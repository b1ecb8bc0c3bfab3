"""What both routes and a router between them gave on a real model, measured with this version."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import core.egrm

MEASURED = Path(core.egrm.__file__).with_name("measured.json")


def measured() -> dict[str, Any] | None:
    """The result of ``bench/routes.py`` that ships with this version; None where it was not measured.

    Its keys are those of that bench: ``case``, ``figures`` (``policies``, ``egrm_against``, ``claim``, ``signals``,
    ``tasks``), ``machine``, ``versions``.
    """
    if not MEASURED.is_file():
        return None
    result: dict[str, Any] = json.loads(MEASURED.read_text(encoding="utf-8"))
    return result
