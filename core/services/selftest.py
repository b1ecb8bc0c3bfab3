"""What this version's own test on worlds with known causes gave."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from core.causes import PARAMETERS, parameters
from core.causes._evidence import pieces

MEASURED = Path(PARAMETERS).with_name("selftest.json")


def selftest() -> dict[str, Any] | None:
    """The result of ``bench/attribution.py`` that ships with this version; None where it was not measured.

    Its keys are those of that bench: ``groups`` (kinds of world) with confusion, calibration, scores of Lacuna and
    of the methods beside it; ``ablation``; ``machine``; ``versions``.
    """
    if not MEASURED.is_file():
        return None
    result: dict[str, Any] = json.loads(MEASURED.read_text(encoding="utf-8"))
    return result


def evidence_labels() -> dict[str, str]:
    """What each piece of evidence says, by the name it has in the self-test."""
    return {name: piece.label for name, piece in pieces().items()}


def calibrated_on() -> dict[str, Any]:
    """The command and worlds that the shipped parameters come from."""
    return {"made_by": parameters()["made_by"], "worlds": parameters()["worlds"]}
