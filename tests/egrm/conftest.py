"""A model with random weights: it says nothing sensible, which is what most of this has to survive."""

import pytest

from core.lab import tiny
from core.plugins import kind
from core.types import Checkpoint

WORDS = ["What is two and three?", "Answer: 5", "Think step by step.", "Reply with the answer alone."]


@pytest.fixture(scope="session")
def random_model(tmp_path_factory):
    """(backend, tokenizer) of a fresh tiny model."""
    folder = tmp_path_factory.mktemp("random") / "model"
    tokenizer = tiny.build_tokenizer(WORDS, 400)
    model = tiny.tiny_model(tiny.tiny_config("llama", len(tokenizer), 32, init=0.3, context=512), tokenizer)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    backend = kind("backends", "hf").open(
        Checkpoint(str(folder), None, None, "x", "0" * 64), "float32", "cpu", tokenizer
    )
    yield backend, tokenizer
    backend.close()
