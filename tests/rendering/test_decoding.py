"""Ids back to turns: what the template wrote is told from what people said, and the same ids come out again."""

import numpy as np
import pytest

from core.rendering.decoding import Decoder
from core.rendering.render import render_chat
from core.types import Message, Tokens

TEMPLATES = {
    "chatml": "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "own system": "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\nBe kind.<|im_end|>\n' }}{% endif %}"
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "instructions": "{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}"
    "{% elif m.role == 'system' %}{{ '[SYS] ' + m.content + '\n' }}{% else %}{{ ' ' + m.content + '<|im_end|>' }}"
    "{% endif %}{% endfor %}",
}
TALKS = [
    [("user", "Who?\nYou."), ("assistant", "Me: [not] you.")],
    [("system", "Be brief."), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")],
    [("user", "  spaced  "), ("assistant", "")],
]


def tokenised(messages, tokenizer):
    rendered = render_chat(messages, tokenizer)
    trained = np.zeros(len(rendered.ids), dtype=bool)
    for turn in rendered.turns:
        trained[turn.start : turn.stop] = True
    return Tokens(tuple(rendered.ids.tolist()), tuple(trained.tolist()))


@pytest.fixture
def tokenizer_with(tiny_project):
    from core.rendering.tokenizers import open_tokenizer

    def do(template):
        tokenizer = open_tokenizer(str(tiny_project.final))
        tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
        tokenizer.chat_template = template
        return tokenizer

    return do


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
@pytest.mark.parametrize("talk", TALKS, ids=["one turn", "two turns", "blanks"])
def test_turns_come_back(template, talk, tokenizer_with):
    tokenizer = tokenizer_with(template)
    messages = tuple(Message(role, text) for role, text in talk)
    assert Decoder(tokenizer).messages(tokenised(messages, tokenizer)) == messages


def test_a_cut_row_keeps_its_turns_and_other_ids_are_read_as_runs(tokenizer_with):
    tokenizer = tokenizer_with(TEMPLATES["chatml"])
    messages = (Message("user", "a question"), Message("assistant", "an answer"))
    whole = tokenised(messages, tokenizer)
    cut = Tokens(whole.ids[:-2], whole.trained[:-2])
    assert Decoder(tokenizer).messages(cut) == messages
    ids = tokenizer("no template here: its answer", add_special_tokens=False)["input_ids"]
    n = len(tokenizer("no template here:", add_special_tokens=False)["input_ids"])
    other = Tokens(tuple(ids), tuple(i >= n for i in range(len(ids))))
    assert Decoder(tokenizer).messages(other) == (
        Message("user", "no template here:"),
        Message("assistant", "its answer"),
    )
