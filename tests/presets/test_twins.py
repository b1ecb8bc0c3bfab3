"""Presets against what the trainers' own code made of the same rows; ``bench/twins.py`` wrote the fixtures with it."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from core.errors import UserError
from core.plugins import kind
from tests.presets import twin_rows

FIXTURES = sorted((Path(__file__).parent / "fixtures").glob("*.json"))
_tokenizer = cache(twin_rows.tokenizer)


def mask_of(runs):
    """A mask from the lengths of its runs, the first of them without loss."""
    return np.concatenate([np.full(n, i % 2 == 1) for i, n in enumerate(runs)] or [np.zeros(0, dtype=bool)])


@pytest.mark.parametrize("path", FIXTURES, ids=lambda p: p.stem)
def test_ids_masks_and_dropped_rows_are_the_trainers(path):
    recorded = json.loads(path.read_text(encoding="utf-8"))
    preset = kind("presets", recorded["trainer"])
    samples = [twin_rows.sample_of(row, i) for i, row in enumerate(recorded["rows"])]
    outcomes = set()
    for row, chosen, ids, *mask in recorded["cases"]:
        tokenizer, settings = recorded["settings"][chosen]
        about = (recorded["rows"][row], tokenizer, settings)
        outcomes.add(ids if ids in ("stops", "dropped") else "trained")
        try:
            ours = preset.supervise(samples[row], _tokenizer(tokenizer), settings, None)
        except UserError:
            assert ids == "stops", about
            continue
        assert ids != "stops", about
        assert (ours.dropped is not None) == (ids == "dropped"), about
        if ids == "dropped":
            continue
        assert ours.ids.tolist() == [int(i) for i in ids.split()], about
        trained = mask_of([int(n) for n in mask[0].split()])
        assert np.array_equal(ours.trained, trained), about
    assert "trained" in outcomes


def test_fixtures_stay_small():
    assert FIXTURES and sum(path.stat().st_size for path in FIXTURES) < 1_000_000
