"""A tiny model and rows it was trained on, as a proof holds them."""

import pytest

from core.backends._loading import load, pick_device
from core.checkpoint.folders import as_checkpoint
from core.proof.copies import supervised
from core.signals._instruments import Instruments
from tests.proof.test_training import READING, made, spec_of


@pytest.fixture
def final(tiny_project):
    return as_checkpoint(tiny_project.final, None, "final")


@pytest.fixture
def model(final):
    return load(final, "float32", pick_device("cpu"))[0].requires_grad_(True)


@pytest.fixture
def rows(tiny_project, final):
    instruments = Instruments(spec_of(final))
    seen = supervised(lambda: iter(made(tiny_project, 40)), 40, READING, instruments)
    instruments.close()
    return seen
