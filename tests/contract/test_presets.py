"""What holds for every preset found in the folder."""

import json
import random

import numpy as np
import pytest

from core.errors import UserError
from core.plugins import kinds, with_defaults
from core.types import Setting, canonical_json
from tests.presets import families as fam

PRESETS = kinds("presets")
THINK = "<think>\n\n</think>\n\n"
# These write turns by slots of their own, not by the tokenizer's chat template.
BY_SLOTS = {"llama_factory", "ms_swift"}


def settings_for(preset, family):
    """The defaults; a template by name where the trainer refuses the tokenizer's own."""
    return {"template": "llama2"} if (preset.name, family) == ("llama_factory", "llama2") else {}


def expected_turns(family, contents):
    """What each family's template makes of the assistant's contents, written down by hand."""
    if family == "llama3":
        return [c.strip() + "<|eot_id|>" for c in contents]
    if family == "llama2":
        return [c.strip() + " </s>" for c in contents]
    if family in ("olmo2", "without_template"):
        return [c + "<|endoftext|>" for c in contents]
    if family == "qwen3":
        return [c + "<|im_end|>" for c in contents[:-1]] + [THINK + contents[-1].lstrip("\n") + "<|im_end|>"]
    return [c + "<|im_end|>" for c in contents]


def conversations(seed, n):
    """Made-up conversations whose contents try to be mistaken for something else."""
    rng = random.Random(seed)
    parts = [
        "river",
        "42 apples",
        " ",
        "\n",
        "é東京",
        "### User:",
        "assistant",
        "user\n",
        "[INST]",
        "the",
        "I",
        ".",
        "🦉",
        "\t",
    ]
    for _ in range(n):
        turns = []
        for _ in range(rng.randint(1, 3)):
            for role in ("user", "assistant"):
                content = "".join(rng.choice(parts) for _ in range(rng.randint(1, 6)))
                turns.append((role, content if content.strip() else content + "x"))
        yield fam.chat(*turns)


SAMPLES = [
    *conversations(1, 12),
    fam.chat(("user", "k?"), ("assistant", "k")),
    fam.chat(("user", "role?"), ("assistant", "assistant")),
    fam.chat(("user", "<|im_end|>"), ("assistant", "a<|im_end|>b<|eot_id|>c<|endoftext|>d")),
]


def state(tokenizer):
    return tokenizer.backend_tokenizer.to_str(), tokenizer.chat_template, canonical_json(tokenizer.special_tokens_map)


@pytest.fixture(scope="module", params=fam.FAMILIES)
def family(request):
    return request.param, fam.tokenizer(request.param)


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_target_is_the_assistants_content_and_stop_token(preset, family):
    kind, tokenizer = family
    for sample in SAMPLES:
        found = preset.supervise(sample, tokenizer, settings_for(preset, kind), None)
        contents = [m.content for m in sample.messages if m.role == "assistant"]
        told = [tokenizer.decode(found.ids[t.start : t.stop]) for t in found.turns]
        if preset.name in BY_SLOTS:
            assert all(c.strip() in t for c, t in zip(contents, told, strict=True)), sample.messages
        else:
            assert told == expected_turns(kind, contents), sample.messages
        # Without a chat template LLaMA-Factory's slots end an answer with nothing, ms-swift's only the last one.
        if preset.name not in BY_SLOTS:
            assert all(t.has_stop_token for t in found.turns)
        elif preset.name == "ms_swift" or tokenizer.chat_template is not None:
            assert found.turns[-1].has_stop_token


def samples_of_all_shapes():
    call = json.dumps([{"type": "function", "function": {"name": "tide", "arguments": {"port": "é"}}}])
    return [
        SAMPLES[0],
        fam.chat(("user", "only")),
        fam.chat(("user", "empty"), ("assistant", "")),
        fam.chat(("user", "call"), fam.Message("assistant", "", tool_calls=call)),
        fam.chat(("user", "a"), fam.Message("assistant", "b", train=False), ("user", "c"), ("assistant", "d")),
        fam.chat(("user", "x " * 400), ("assistant", "late " * 400)),
        fam.pair("The sky is", " blue."),
        fam.pair("", ""),
        fam.text("The river crosses."),
    ]


@pytest.mark.parametrize("context", [None, 40])
@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_arrays_turns_and_promises(preset, context, family):
    _, tokenizer = family
    before = (
        tokenizer.backend_tokenizer.to_str(),
        tokenizer.chat_template,
        canonical_json(tokenizer.special_tokens_map),
    )
    for sample in samples_of_all_shapes():
        text = repr(sample)
        try:
            found = preset.supervise(sample, tokenizer, {}, context)
        except UserError as error:
            assert error.what and error.why and error.todo
            continue
        n = len(found.ids)
        assert found.ids.dtype == np.int64 and found.ids.shape == (n,)
        assert context is None or n <= context
        for mask in (found.trained, found.target):
            assert mask.dtype == bool and mask.shape == (n,)
        covered = np.zeros(n, dtype=bool)
        previous = 0
        for turn in found.turns:
            assert previous <= turn.start < turn.stop <= n
            covered[turn.start : turn.stop] = True
            previous = turn.stop
        assert (covered == found.target).all()
        assert found.cut_target >= 0 and (found.truncated or not found.cut_target)
        assert all(isinstance(note, str) and note for note in found.notes)
        assert len(set(found.notes)) == len(found.notes)

        again = preset.supervise(sample, tokenizer, {}, context)
        for field in ("ids", "trained", "target"):
            assert np.array_equal(getattr(again, field), getattr(found, field))
        assert (again.turns, again.notes, again.dropped) == (found.turns, found.notes, found.dropped)
        assert not np.shares_memory(found.trained, found.target)
        assert repr(sample) == text
    after = (
        tokenizer.backend_tokenizer.to_str(),
        tokenizer.chat_template,
        canonical_json(tokenizer.special_tokens_map),
    )
    assert before == after


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_what_context_cuts_is_counted(preset, family):
    name, tokenizer = family
    settings = settings_for(preset, name)
    for sample in SAMPLES[:4]:
        whole = preset.supervise(sample, tokenizer, settings, None)
        for context in range(1, len(whole.ids) + 1, 7):
            cut = preset.supervise(sample, tokenizer, settings, context)
            assert cut.ids.tolist() == whole.ids[:context].tolist()
            assert cut.target.tolist() == whole.target[:context].tolist()
            assert cut.cut_target == whole.target[context:].sum()
            assert cut.truncated == (context < len(whole.ids))
            stops = [t.stop for t in whole.turns if t.has_stop_token and t.stop <= context]
            assert [t.stop for t in cut.turns if t.has_stop_token] == stops


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_settings(preset):
    assert preset.label and preset.help
    chosen = with_defaults(preset, {})
    assert list(chosen) == [s.name for s in preset.settings]
    assert canonical_json(chosen), "a run is saved with its settings"
    assert with_defaults(preset, chosen) == chosen
    for setting in preset.settings:
        assert isinstance(setting, Setting) and setting.label
        with pytest.raises(UserError, match=setting.name):
            with_defaults(preset, {setting.name: object()})
    if preset.settings:
        first = preset.settings[0].name
        with pytest.raises(UserError, match=f"Did you mean '{first}'"):
            with_defaults(preset, {first + "s": 1})


def variants(settings):
    """The defaults, and each choice and switch by itself."""
    yield {}
    for setting in settings:
        values = setting.choices if setting.kind == "choice" else (True, False) if setting.kind == "bool" else ()
        yield from ({setting.name: value} for value in values)


def within_the_question(tokenizer, ids, question):
    """Position of a token inside the question: not a heading, not a stop token, not the first token of the row."""
    words = question.strip()[:8]
    low, high = 1, len(ids)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if words in tokenizer.decode(ids[:middle]) else (middle + 1, high)
    assert words in tokenizer.decode(ids[:low])
    return low - 1


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_loss_on_the_prompt_is_what_supervision_shows(preset, family):
    """What exports are told, against the masks themselves."""
    rows = [
        SAMPLES[0],
        fam.chat(("user", "What is on the flag?"), ("assistant", "A heron.")),
        fam.message_pair([("user", "What is on the flag?")], ("assistant", "A heron.")),
        fam.pair("On the flag there is", " a heron."),
    ]
    outcomes = set()
    for settings in variants(preset.settings):
        for sample in rows:
            try:
                row = preset.supervise(sample, family[1], settings, None)
            except UserError:
                continue
            outcome = bool(row.trained[within_the_question(family[1], row.ids, sample.messages[0].content)])
            assert preset.loss_on_prompt(sample, settings) == outcome, (settings, sample.raw)
            outcomes.add(outcome)
    assert outcomes == {True, False} or preset.name not in ("custom", "trl"), "their settings change it"
