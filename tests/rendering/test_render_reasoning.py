"""Reasoning reaches the template as a field; where the template leaves it out, the row says so."""

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from core.rendering.render import render_chat
from core.types import Message

THINKS = (
    "{% for m in messages %}<{{ m.role }}>{% if m.thinking %}[{{ m.thinking }}]{% endif %}{{ m.content }}</s>"
    "{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)
ROW = (Message("user", "teh"), Message("assistant", "the", reasoning="swap"))


@pytest.fixture(scope="module")
def tokenizer():
    """One token a character; whatever the text, decoding gives it back."""
    letters = sorted(set("abcdefghijklmnopqrstuvwxyz<>/[]_.\n "))
    backend = Tokenizer(models.WordLevel({c: i for i, c in enumerate([*letters, "?"])}, unk_token="?"))
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    made = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="?")
    made.add_special_tokens({"eos_token": "</s>"})
    return made


def test_a_template_that_knows_reasoning_writes_it_and_it_belongs_to_the_turn(tokenizer):
    rendered = render_chat(ROW, tokenizer, template=THINKS)
    assert rendered.text == "<user>teh</s><assistant>[swap]the</s>"
    (turn,) = rendered.turns
    assert tokenizer.decode(rendered.ids[turn.start : turn.stop]).replace(" ", "") == "[swap]the</s>"
    assert not any("omits" in note for note in rendered.notes)


def test_a_template_that_does_not_know_it_is_said_to_leave_it_out(tokenizer):
    rendered = render_chat(ROW, tokenizer, template=THINKS.replace("m.thinking", "m.nothing"))
    assert "swap" not in rendered.text
    assert "The template omits the reasoning of a turn: it was not trained." in rendered.notes
