"""Checkpoints shared by the tests of this folder; each is made once."""

import numpy as np
import pytest

from core.backends.hf import KIND
from tests.backends import small_models as sm


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """(family, kind) to a checkpoint and the model in memory that was saved there."""
    root, made = tmp_path_factory.mktemp("random"), {}

    def make(family, kind):
        if (family, kind) not in made:
            model, base = sm.random_model(family), root / f"{family}-full"
            if kind == "full":
                model.save_pretrained(base)
                made[family, kind] = sm.checkpoint(base), model
            else:
                make(family, "full")
                adapted = sm.random_adapter(model)
                adapted.save_pretrained(root / f"{family}-adapter")
                made[family, kind] = sm.checkpoint(root / f"{family}-adapter", base), adapted
        return made[family, kind]

    return make


@pytest.fixture(scope="session")
def backend(folders):
    """(family, kind) to an open backend."""
    opened = {}

    def make(family, kind="full"):
        if (family, kind) not in opened:
            opened[family, kind] = KIND.open(folders(family, kind)[0], dtype="float32", device="cpu")
        return opened[family, kind]

    return make


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """(family, kind) to an open backend that learned about a third of 300 pairs, and the pairs.

    The base learns the first 120; an adapter on it learns 120 others.
    """
    root, made = tmp_path_factory.mktemp("trained"), {}
    pairs = sm.sequences(np.random.default_rng(5), 300)

    def make(family, kind):
        if (family, kind) not in made:
            base = root / f"{family}-full"
            if kind == "full":
                model = sm.fit(sm.random_model(family, scale=0.1, hidden_size=48), pairs[:120], steps=110, lr=6e-3)
                model.save_pretrained(base)
                place = sm.checkpoint(base)
            else:
                make(family, "full")
                from transformers import AutoModelForCausalLM

                adapted = sm.random_adapter(AutoModelForCausalLM.from_pretrained(base))
                sm.fit(adapted, pairs[120:240], steps=110, lr=1e-2).save_pretrained(root / f"{family}-adapter")
                place = sm.checkpoint(root / f"{family}-adapter", base)
            made[family, kind] = KIND.open(place, dtype="float32", device="cpu")
        return made[family, kind], pairs

    return make
