"""The custom preset, and what rendering does with rows and templates that are not as they should be."""

import json

import numpy as np
import pytest

from core.errors import UserError
from core.plugins import kind
from core.rendering.render import generation_prompt_differs, pieces, prompt_ids
from core.rendering.templates import template_hash
from core.types import Message
from tests.presets import families as fam

PRESET = kind("presets", "custom")
FOUR = fam.chat(("user", "One?"), ("assistant", "two"), ("user", "Three?"), ("assistant", "four"))


def supervise(sample, family="marked", context=None, template=None, **settings):
    tokenizer = fam.tokenizer(family) if isinstance(family, str) else family
    if template is not None:
        tokenizer.chat_template = template
    found = PRESET.supervise(sample, tokenizer, settings, context)
    return found, [tokenizer.decode(found.ids[t.start : t.stop]) for t in found.turns], tokenizer


def test_answers_carry_the_loss():
    found, turns, tokenizer = supervise(FOUR)
    assert turns == ["two<|im_end|>", "four<|im_end|>"]
    assert (found.trained == found.target).all()
    assert tokenizer.decode(found.ids[found.trained]) == "".join(turns)
    assert found.template_hash == template_hash(fam.MARKED_TEMPLATE)
    assert found.notes == ()


def test_loss_on_the_prompt():
    found, *_ = supervise(FOUR, train_on_prompt=True)
    assert found.trained.all() and not found.target.all()


@pytest.mark.parametrize("on_prompt", [False, True])
def test_turns_the_row_marks_as_not_trained(on_prompt):
    first = Message("assistant", "two", train=False)
    sample = fam.chat(("user", "One?"), first, ("user", "Three?"), ("assistant", "four"))
    found, turns, _ = supervise(sample, train_on_prompt=on_prompt)
    one, two = found.turns
    assert len(turns) == 2 and found.target[one.start : one.stop].all()
    assert not found.trained[one.start : one.stop].any() and found.trained[two.start : two.stop].all()
    assert "not trained" in found.notes[0]
    found, *_ = supervise(sample, respect_turn_flags=False)
    assert (found.trained == found.target).all()


def test_longest_row():
    whole, *_ = supervise(FOUR)
    found, turns, _ = supervise(FOUR, max_length=len(whole.ids) - 3)
    assert found.truncated and turns[0] == "two<|im_end|>"
    assert found.cut_target == 2 and found.turns[-1].stop == len(found.ids) and not found.turns[-1].has_stop_token


def test_row_longer_than_the_context():
    found, *_ = supervise(FOUR, context=10)
    assert len(found.ids) == 10 and found.truncated
    assert any("context of 10 tokens" in n for n in found.notes)


# ------------------------------------------------------------------------------------------- pairs and plain text


def test_pairs_through_the_template_or_joined():
    pair = fam.pair("The sky is", " blue.")
    _, turns, tokenizer = supervise(pair)
    assert turns == [" blue.<|im_end|>"]
    found, turns, tokenizer = supervise(pair, template_for_pairs="no")
    assert tokenizer.decode(found.ids) == "The sky is blue.<|im_end|>" and turns == [" blue.<|im_end|>"]
    found, turns, tokenizer = supervise(pair, "without_template")
    assert tokenizer.decode(found.ids) == "The sky is blue.<|endoftext|>" and turns == [" blue.<|endoftext|>"]
    found, turns, tokenizer = supervise(pair, "without_template", template_for_pairs="yes")
    assert tokenizer.decode(found.ids).startswith("### User:\nThe sky is\n### Assistant:\n blue.<|endoftext|>")


def test_a_pair_that_ends_with_the_end_token_gets_no_second_one():
    found, turns, _ = supervise(fam.pair("a", " b<|endoftext|>"), "without_template")
    assert turns == [" b<|endoftext|>"] and found.turns[0].has_stop_token


def test_text_is_all_target_but_the_tokenizers_first_token():
    found, turns, tokenizer = supervise(fam.text("The river."), "llama3")
    assert tokenizer.decode(found.ids) == "<|begin_of_text|>The river.<|eot_id|>"
    assert found.target.tolist() == [False] + [True] * (len(found.ids) - 1)
    assert turns == ["The river.<|eot_id|>"]
    assert any("Boundary unknown" in n for n in found.notes)


def test_no_end_of_sequence_token():
    tokenizer = fam.tokenizer("without_template")
    tokenizer.eos_token = None
    found, turns, _ = supervise(fam.text("The river."), tokenizer)
    assert turns == ["The river."] and not found.turns[0].has_stop_token
    assert any("no end-of-sequence token" in n for n in found.notes)
    found, turns, _ = supervise(FOUR, tokenizer)
    assert turns == ["two", "four"] and not found.turns[0].has_stop_token


def test_prompt_and_completion_messages():
    turns = [(m.role, m.content) for m in FOUR.messages]
    found, turns, _ = supervise(fam.message_pair(turns[:3], turns[3]))
    assert turns == ["four<|im_end|>"] and (found.trained == found.target).all() and not found.notes
    flags = (False, False, False, True)
    flagged = fam.chat(*(Message(m.role, m.content, train=f) for m, f in zip(FOUR.messages, flags, strict=True)))
    assert supervise(flagged)[1] == ["two<|im_end|>", "four<|im_end|>"], "flags of messages are no prompt"


# --------------------------------------------------------------------------------------------- awkward templates


def test_the_first_token_of_the_tokenizer_stands_before_the_plain_template():
    found, turns, tokenizer = supervise(FOUR, "llama3", template=None)
    tokenizer.chat_template = None
    found, turns, _ = supervise(FOUR, tokenizer)
    assert tokenizer.decode(found.ids).startswith("<|begin_of_text|>### User:\nOne?\n### Assistant:\ntwo<|eot_id|>\n")
    assert turns == ["two<|eot_id|>", "four<|eot_id|>"]
    assert any("no chat template" in n for n in found.notes)


def test_no_stop_token_and_no_generation_prompt():
    found, turns, _ = supervise(FOUR, "bare")
    assert turns == ["two", "four"] and not any(t.has_stop_token for t in found.turns)
    assert any("no stop token" in n for n in found.notes)
    assert any(r"the row has '### assistant\n' where the prompt alone has nothing" in n for n in found.notes)


def test_blanks_at_the_end_of_an_answer_without_stop_token():
    """Trimmed offsets give the blank's token no width; it belongs to the answer all the same."""
    _, turns, _ = supervise(
        fam.chat(("user", "One?"), ("assistant", "two  "), ("user", "3"), ("assistant", "4")), "bare"
    )
    assert turns == ["two  ", "4"]


def test_reasoning_of_earlier_turns_dropped():
    sample = fam.chat(
        ("user", "One?"),
        ("assistant", "<think>\nhm\n</think>\n\ntwo"),
        ("user", "Three?"),
        ("assistant", "<think>\noh\n</think>\n\nfour"),
    )
    found, turns, _ = supervise(sample, "qwen3")
    assert turns == ["two<|im_end|>", "<think>\noh\n</think>\n\nfour<|im_end|>"]
    assert any("changes the answer" in n for n in found.notes)


def test_prompt_that_goes_on_otherwise_than_the_row():
    source = fam.MARKED_TEMPLATE.replace("assistant\n' }}{% endif %}", "assistant\n<think>\n' }}{% endif %}")
    assert source != fam.MARKED_TEMPLATE
    found, turns, _ = supervise(FOUR, template=source)
    assert turns == ["two<|im_end|>", "four<|im_end|>"]
    assert found.notes == (
        "Generation prompt differs from the training prefix: the row has nothing where the prompt alone has "
        r"'<think>\n'.",
    )


def test_two_tokens_at_the_end_of_a_row():
    """Phi-3 closes the last turn with <|end|> and the end-of-sequence token; only the first is the stop token."""
    source = fam.MARKED_TEMPLATE + "{% if not add_generation_prompt %}{{ '<|endoftext|>' }}{% endif %}"
    _, turns, _ = supervise(FOUR, template=source)
    assert turns == ["two<|im_end|>", "four<|im_end|>"]


def test_template_that_rewrites_the_answer():
    start = "{% generation %}{{ message['content'] "
    source = fam.MARKED_TEMPLATE.replace(start, start + "| upper ")
    found, turns, _ = supervise(FOUR, template=source)
    assert turns == ["TWO<|im_end|>", "FOUR<|im_end|>"]
    assert any("rewrites the answer" in n for n in found.notes)


def test_answer_between_texts_that_are_no_tokens():
    start = "{% generation %}{{ message['content'] + '<|im_end|>' }}"
    source = fam.MARKED_TEMPLATE.replace(start, "{% generation %}{{ '<aside/>' + message['content'] + '<turn/>' }}")
    sample = fam.chat(("user", "d?"), ("assistant", "d"), ("user", "s?"), ("assistant", "s"))
    found, turns, _ = supervise(sample, template=source)
    assert turns == ["<aside/>d", "<aside/>s"] and not any(t.has_stop_token for t in found.turns)
    assert any("'<aside/>' before the answer" in n for n in found.notes)


def test_answer_that_the_template_leaves_out():
    source = "{% for m in messages if m.role == 'user' %}{{ m.content + '<|im_end|>' }}{% endfor %}"
    found, turns, _ = supervise(FOUR, template=source)
    assert not any("two" in t or "four" in t for t in turns)
    assert found.notes


@pytest.mark.parametrize("family", ["qwen2_5", "qwen3", "marked", "llama3_2"])
def test_tool_calls_belong_to_the_answer(family):
    call = json.dumps([{"type": "function", "function": {"name": "tide", "arguments": {"port": "é\n\n"}}}])
    sample = fam.chat(
        Message("user", "Tide?"),
        Message("assistant", "", tool_calls=call),
        Message("tool", "high", name="tide"),
        Message("assistant", "High."),
        tools=json.dumps([{"type": "function", "function": {"name": "tide", "description": "t", "parameters": {}}}]),
    )
    if family == "marked":  # a template that knows no calls: the turn is its stop token alone
        _, turns, _ = supervise(sample, family)
        assert turns == ["<|im_end|>", "High.<|im_end|>"]
        return
    found, turns, _ = supervise(sample, family)
    stop = "<|eot_id|>" if family == "llama3_2" else "<|im_end|>"
    assert len(turns) == 2 and all(t.has_stop_token for t in found.turns)
    assert '"tide"' in turns[0] and turns[0].endswith(stop) and turns[0].count(stop) == 1
    assert turns[1].endswith("High." + stop)
    if family == "llama3_2":
        assert any("current date: rendered as of 2024-07-26" in n for n in found.notes)
        other, *_ = supervise(sample, family, day="2025-01-31")
        assert fam.tokenizer(family).decode(other.ids).count("31 Jan 2025") == 1


def test_role_that_the_template_refuses():
    sample = fam.chat(("user", "a"), ("assistant", "b"), ("critic", "c"), ("assistant", "d"))
    with pytest.raises(UserError) as caught:
        supervise(sample, "llama2")
    assert "refuses message 3 of 4, role 'critic': Conversation roles must alternate" in caught.value.what
    assert "user, assistant, critic, assistant" in caught.value.why


@pytest.mark.parametrize(
    ("source", "words"),
    [("{% if", "does not compile"), ("{{ ''.__class__.__mro__ }}", "stopped"), ("{{ 'x' * 10 ** 7 }}", "stopped")],
)
def test_hostile_template(source, words):
    with pytest.raises(UserError, match=words):
        supervise(FOUR, template=source)


def test_decomposed_letters():
    _, turns, _ = supervise(fam.chat(("user", "?"), ("assistant", "cafe\u0301 e\u0301")))
    assert turns == ["café é<|im_end|>"], "as the tokenizer's normaliser has it"


@pytest.mark.parametrize("shape", ["chat", "pair"])
def test_characters_without_a_token(shape):
    """Left-out characters shift the offsets that the tokenizers library reports; the answer is found all the same."""
    prompt, answer = "## a/b " + "## c §" * 5, "The river / crosses # so §"
    sample = fam.pair(prompt, answer) if shape == "pair" else fam.chat(("user", prompt), ("assistant", answer))
    found, _, tokenizer = supervise(sample, "forgetful")
    reported = tokenizer(prompt + answer, return_offsets_mapping=True)["offset_mapping"]
    assert reported[-1][1] < len(prompt + answer), "the shift is there"
    [turn] = found.turns
    left = answer.translate({ord(c): None for c in "§/#"}) + "</s>"
    assert "".join(pieces(tokenizer, found.ids)[turn.start : turn.stop]).strip() == left.strip()
    assert turn.has_stop_token
    assert "The tokenizer has no token for '#' '/' '§' and leaves them out." in found.notes
    assert not any("uncertain" in n for n in found.notes)


def test_stop_token_that_is_no_token():
    source = fam.BARE_TEMPLATE.replace("message['content']", "message['content'] + eos_token")
    tokenizer = fam.tokenizer("bare")
    tokenizer.split_special_tokens = True
    tokenizer.backend_tokenizer.encode_special_tokens = True
    found, turns, _ = supervise(FOUR, tokenizer, template=source)
    assert turns == ["two<|endoftext|>", "four<|endoftext|>"]
    assert not any(t.has_stop_token for t in found.turns)
    assert any("one token of the stop token's text" in n for n in found.notes)


# ------------------------------------------------------------------------------------------ prompts and displaying


def test_prompt_ids_are_the_training_prefix():
    found, _, tokenizer = supervise(FOUR)
    ids = prompt_ids(FOUR.messages[:3], tokenizer)
    start = found.turns[1].start
    assert ids == found.ids[:start].tolist()
    assert generation_prompt_differs(tokenizer, ids, found.ids, start) is None
    note = generation_prompt_differs(tokenizer, ids[:-1], found.ids, start)
    assert (
        note
        == r"Generation prompt differs from the training prefix: the row has '\n' where the prompt alone has nothing."
    )


@pytest.mark.parametrize("family", ["marked", "llama3", "llama2"])
def test_pieces_join_to_the_decoded_text(family):
    tokenizer = fam.tokenizer(family)
    rng = np.random.default_rng(0)
    texts = ["The 東京 river 🦉🦉 é", "<|im_start|>a</s> b", " \n ", "\ufffd", ""]
    cases = [tokenizer(t)["input_ids"] for t in texts]
    cases += [rng.integers(0, len(tokenizer), size=n).tolist() for n in (1, 2, 3, 50, 50, 50)]
    cases += [rng.integers(100, 260, size=30).tolist() for _ in range(20)]
    for ids in cases:
        found = pieces(tokenizer, np.array(ids, dtype=np.int64))
        assert len(found) == len(ids)
        assert "".join(found) == tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)


def test_pieces_show_a_split_character_once():
    tokenizer = fam.tokenizer("marked")
    ids = tokenizer("a🦉b")["input_ids"]
    found = pieces(tokenizer, ids)
    assert [p for p in found if p] == ["a", "🦉", "b"] and len(ids) > 3
    assert pieces(tokenizer, tokenizer("a<|im_end|>")["input_ids"]) == ["a", "<|im_end|>"]
