"""The trl preset against TRL itself: SFTTrainer's own preparation and collator, id by id and label by label."""

import json
import re
import subprocess
import sys
import warnings
from datetime import datetime
from functools import cache
from importlib.machinery import ModuleSpec
from pathlib import Path

import datasets
import numpy as np
import pytest
import transformers
from transformers import LlamaConfig, LlamaForCausalLM
from trl import SFTConfig, SFTTrainer
from trl.chat_template_utils import get_training_chat_template

from core.errors import UserError
from core.plugins import kind
from core.presets import _trl_templates
from core.presets._trl_templates import training_template
from core.rendering.markers import with_generation_markers
from tests.presets import families as fam

PRESET = kind("presets", "trl")
ROOT = Path(__file__).resolve().parents[2]
TOOLS = json.dumps([{"type": "function", "function": {"name": "tide", "description": "t", "parameters": {}}}])

CHATS = [
    fam.chat(("user", "What is it?"), ("assistant", "The river counts 42 apples.")),
    fam.chat(
        ("system", "Be brief."), ("user", "東京?"), ("assistant", " A violin \n"), ("user", "2"), ("assistant", "é")
    ),
    fam.chat(("user", "x " * 60), ("assistant", "late")),
]
PLAIN_CHATS = [
    fam.chat(("user", "What is it?"), ("assistant", "So it is."), ("user", "And?"), ("assistant", " No.\n")),
    fam.chat(("user", "y " * 60), ("assistant", "late")),
]
PAIRS = [
    fam.pair("The sky is", " blue."),
    fam.pair("The riv", "er crosses."),  # one token across the seam
    fam.pair("Line:\n", "\n\ntwo"),
    fam.pair("a" * 90, "b"),
    fam.pair("", "ab"),
]
TEXTS = [fam.text("The river crosses the café."), fam.text("  z\n" * 40), fam.text("ends")]


MESSAGE_PAIRS = [
    fam.message_pair([("user", "What is it?")], ("assistant", "It is so.")),
    fam.message_pair([("user", "One?"), ("assistant", "Two."), ("user", "Three?")], ("assistant", "Four.")),
    fam.message_pair([("user", "1?")], ("assistant", "2."), ("user", "3?"), ("assistant", "4.")),
    fam.message_pair([("user", "z " * 60)], ("assistant", "late")),
]


def row_of(sample):
    row = json.loads(sample.raw)
    if sample.tools:
        row["tools"] = sample.tools
    return row


@cache
def model(vocabulary):
    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
    )
    return LlamaForCausalLM(config)


def trained_by_trl(samples, tokenizer, folder, **settings):
    """Ten lines of TRL: per sample the (ids, labels) of its batch, None where TRL leaves the row out."""
    rows = datasets.Dataset.from_list([{**row_of(s), "row": i} for i, s in enumerate(samples)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TRL's and its libraries' own deprecations
        config = SFTConfig(output_dir=str(folder), use_cpu=True, bf16=False, report_to="none", **settings)
        trainer = SFTTrainer(model(len(tokenizer)), config, train_dataset=rows, processing_class=tokenizer)
    if config.packing:
        assert len(samples) == 1
        parts = [trainer.data_collator([r]) for r in trainer.train_dataset]
        return [tuple(np.concatenate([p[k][0].numpy() for p in parts]) for k in ("input_ids", "labels"))]
    out = [None] * len(samples)
    for row in trainer.train_dataset:
        batch = trainer.data_collator([{k: row[k] for k in ("input_ids", "labels")}])
        out[row["row"]] = batch["input_ids"][0].numpy(), batch["labels"][0].numpy()
    return out


@pytest.fixture(autouse=True)
def quiet():
    datasets.disable_progress_bars()
    transformers.logging.set_verbosity_error()


def compare(samples, family, folder, ours=None, **theirs):
    expected = trained_by_trl(samples, fam.tokenizer(family), folder, **theirs)
    tokenizer = fam.tokenizer(family)
    for sample, wanted in zip(samples, expected, strict=True):
        found = PRESET.supervise(sample, tokenizer, theirs if ours is None else ours)
        if wanted is None:
            assert found.dropped, "TRL leaves the row out"
            continue
        ids, labels = wanted
        assert found.dropped is None
        assert found.ids.tolist() == ids.tolist()
        assert found.trained.tolist() == (labels != -100).tolist()
        assert (labels[found.trained] == found.ids[found.trained]).all()
    return expected


ROWS = {"chat": CHATS, "pair": PAIRS, "message_pair": MESSAGE_PAIRS, "text": TEXTS}


@pytest.mark.parametrize("shape", ROWS)
@pytest.mark.parametrize("family", ["qwen2_5", "qwen3", "llama3", "olmo2", "marked"])
def test_defaults(family, shape, tmp_path):
    compare(ROWS[shape], family, tmp_path)


@pytest.mark.parametrize("shape", ["chat", "pair", "message_pair", "text"])
def test_defaults_of_a_sentencepiece_like_tokenizer(shape, tmp_path):
    rows = PLAIN_CHATS if shape == "chat" else ROWS[shape]
    compare(rows, "llama2", tmp_path)


@pytest.mark.parametrize("family", ["qwen2_5", "qwen3", "llama3", "marked"])
@pytest.mark.parametrize("shape", ["chat", "message_pair"])
def test_assistant_only_loss(family, shape, tmp_path):
    found = compare(ROWS[shape], family, tmp_path, assistant_only_loss=True)
    assert all(0 < (labels == -100).sum() < len(labels) for _, labels in found)


@pytest.mark.parametrize("chosen", [False, True])
@pytest.mark.parametrize("shape", ROWS)
def test_completion_only_loss(shape, chosen, tmp_path):
    ours = {"completion_only_loss": str(chosen).lower()}
    compare(ROWS[shape], "llama3", tmp_path, ours, completion_only_loss=chosen)


@pytest.mark.parametrize("longest", [1, 8, 30, 64])
@pytest.mark.parametrize("mode", ["keep_start", "keep_end"])
@pytest.mark.parametrize("shape", ROWS)
def test_truncation_and_dropped_rows(shape, mode, longest, tmp_path):
    compare(ROWS[shape], "marked", tmp_path, max_length=longest, truncation_mode=mode)


def test_rows_dropped_under_assistant_only_loss(tmp_path):
    found = compare(CHATS, "marked", tmp_path, assistant_only_loss=True, max_length=30)
    assert found[2] is None and found[0] is not None


def test_no_limit(tmp_path):
    compare(CHATS, "qwen3", tmp_path, {"max_length": 0}, max_length=None)


@pytest.mark.parametrize("strategy", ["bfd", "bfd_split"])
@pytest.mark.parametrize("longest", [7, 16, 1024])
def test_packing(strategy, longest, tmp_path):
    for sample in (CHATS[1], PAIRS[1], TEXTS[1]):
        ours = {"packing": strategy, "max_length": longest}
        theirs = {"packing": True, "packing_strategy": strategy, "max_length": longest}
        compare([sample], "llama3", tmp_path, ours, **theirs)


def test_eos_token(tmp_path):
    for shape in ("chat", "pair", "text"):
        compare(ROWS[shape], "olmo2", tmp_path, eos_token="<|pad|>")


def test_tools_and_tool_calls(tmp_path):
    call = json.dumps([{"type": "function", "function": {"name": "tide", "arguments": {"port": "é"}}}])
    turns = [
        fam.Message("user", "Tide?"),
        fam.Message("assistant", "", tool_calls=call),
        fam.Message("tool", "high", name="tide"),
        fam.Message("assistant", "High."),
    ]
    for family in ("qwen2_5", "qwen3", "marked"):
        sample = fam.chat(*turns, tools=TOOLS if family != "marked" else None)
        compare([sample], family, tmp_path, assistant_only_loss=True)


def test_template_settings_of_the_row(tmp_path):
    turns = [("user", "What is it?"), ("assistant", "So.")]
    kwargs = {"chat_template_kwargs": {"enable_thinking": False}}
    messages = [{"role": r, "content": c} for r, c in turns]
    compare([fam.chat(*turns, raw={"messages": messages, **kwargs})], "qwen3", tmp_path)
    compare([fam.message_pair(turns[:1], *turns[1:], **kwargs)], "qwen3", tmp_path)


def test_message_pairs_as_the_format_reads_them():
    reader = kind("formats", "prompt_completion")
    row = json.loads(MESSAGE_PAIRS[1].raw)
    parsed = reader.parse(row, {"prompt": "prompt", "completion": "completion"})
    assert parsed.messages == MESSAGE_PAIRS[1].messages and parsed.shape == "chat"


def test_masks_at_characters_that_no_token_covers(tmp_path):
    """Trimmed offsets: a range that ends with a blank runs to the end of the row, in TRL as here."""
    source = fam.MARKED_TEMPLATE.replace(
        "'<|im_end|>' }}{% endgeneration %}{{ '\n' }}", "'<|im_end|> ' }}{% endgeneration %}"
    )
    assert source != fam.MARKED_TEMPLATE
    wanted = []
    rows = [fam.chat(("user", "1?"), ("assistant", "2."), ("user", "3?"), ("assistant", "4."))]
    for family in ("marked", "olmo2"):
        trained = fam.tokenizer(family)
        trained.chat_template = source
        expected = trained_by_trl(rows, trained, tmp_path, assistant_only_loss=True)[0]
        found = PRESET.supervise(rows[0], trained, {"assistant_only_loss": True})
        assert found.trained.tolist() == (expected[1] != -100).tolist()
        wanted.append(found.trained[found.turns[0].stop + 1 :].mean())
    assert wanted[0] < wanted[1] == 1
    # A range that begins with a blank is not found at all, and TRL stops.
    rows = [fam.chat(("user", "1?"), ("assistant", " 2."))]
    with pytest.raises(RuntimeError, match="no assistant tokens"):
        trained_by_trl(rows, trained, tmp_path, assistant_only_loss=True)
    with pytest.raises(UserError, match="stops at this row"):
        PRESET.supervise(rows[0], trained, {"assistant_only_loss": True})


@pytest.mark.parametrize("family", ["olmo2", "llama2"])
def test_trl_trains_answers_and_their_ends_by_the_markers_of_an_export(family, tmp_path):
    trained = fam.tokenizer(family)
    trained.chat_template = with_generation_markers(trained.chat_template)
    rows = [fam.chat(("user", "What is it?"), ("assistant", "So it is."), ("user", "And?"), ("assistant", "No."))]
    for row, (ids, labels) in zip(rows, trained_by_trl(rows, trained, tmp_path, assistant_only_loss=True), strict=True):
        answers = [m.content for m in row.messages if m.role == "assistant"]
        runs = np.split(ids, np.flatnonzero(np.diff(labels != -100)) + 1)
        assert [trained.decode(run, skip_special_tokens=True).strip() for run in runs[1::2]] == answers
        assert all(trained.eos_token_id in run for run in runs[1::2])


def test_seam_inside_a_token():
    found = PRESET.supervise(PAIRS[1], fam.tokenizer("llama3"), {})
    [turn] = found.turns
    assert fam.tokenizer("llama3").decode(found.ids[turn.start : turn.stop]) == " river crosses.<|eot_id|>"
    assert any("Generation prompt differs" in n for n in found.notes)


OTHERS = {"idefics3", "llava_next", "muse_glimmer", "qwen2_5_vl", "qwen3_vl", "smolvlm", "diffusion_gemma"}
VARIANTS = sorted({f.name.removesuffix("_training.jinja") for f in fam.TRL_TEMPLATES.glob("*_training.jinja")} - OTHERS)


def own_template(name):
    return (fam.TRL_TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", VARIANTS)
def test_training_templates_are_trls(name):
    tokenizer = fam.tokenizer("marked")
    tokenizer.chat_template = own_template(name)
    assert training_template(own_template(name)) == get_training_chat_template(tokenizer)


def test_a_template_that_trl_does_not_know():
    assert training_template(fam.OLMO2_TEMPLATE) is None and training_template("") is None
    assert {training_template(own_template(name)) for name in OTHERS} == {None}, "not models of text alone"


@pytest.mark.parametrize("name", VARIANTS)
def test_masks_of_training_templates(name):
    tokenizer = fam.tokenizer("qwen2_5")
    tokenizer.chat_template = own_template(name)
    controls = sorted(set(re.findall(r"<[|｜][^|｜<>]+[|｜]>|<\w+_of_turn>", get_training_chat_template(tokenizer))))
    tokenizer.add_tokens(controls, special_tokens=True)
    sample = fam.chat(("user", "One?"), ("assistant", "two"), ("user", "Three?"), ("assistant", "four"))
    wanted = tokenizer.apply_chat_template(
        [m.as_dict() for m in sample.messages],
        chat_template=get_training_chat_template(tokenizer),
        return_assistant_tokens_mask=True,
    )
    settings = {"assistant_only_loss": True, "max_length": 0, "day": datetime.now().date().isoformat()}
    found = PRESET.supervise(sample, tokenizer, settings)
    assert found.ids.tolist() == wanted["input_ids"]
    assert found.trained.tolist() == [bool(m) for m in wanted["assistant_masks"]]
    texts = [tokenizer.decode(found.ids[t.start : t.stop]) for t in found.turns]
    assert len(texts) == 2 and "two" in texts[0] and "four" in texts[1] and "Three" not in texts[0]
    assert all(t.has_stop_token for t in found.turns)


def test_a_run_keeps_the_text_and_renders_with_it_after_an_upgrade(monkeypatch):
    tokenizer = fam.tokenizer("qwen3")
    before = PRESET.supervise(CHATS[0], tokenizer, {"assistant_only_loss": True})
    pinned = PRESET.pinned({"assistant_only_loss": True}, tokenizer.chat_template)
    kept = json.loads(json.dumps(pinned))
    monkeypatch.setattr(_trl_templates, "_variants", lambda folder: {tokenizer.chat_template: fam.MARKED_TEMPLATE})
    after = PRESET.supervise(CHATS[0], tokenizer, kept)
    assert after.template_hash == before.template_hash and after.ids.tolist() == before.ids.tolist()
    assert PRESET.supervise(CHATS[0], tokenizer, {"assistant_only_loss": True}).template_hash != before.template_hash
    assert PRESET.pinned(kept, tokenizer.chat_template) == kept, "a text that is there is not replaced"


@pytest.mark.parametrize(("family", "settings"), [("qwen3", {}), ("marked", {"assistant_only_loss": True})])
def test_nothing_is_kept_where_nothing_is_read(family, settings):
    assert PRESET.pinned(settings, fam.tokenizer(family).chat_template)["training_template"] == ""


def test_templates_are_read_without_importing_trl():
    code = (
        "import sys; from core.presets._trl_templates import training_template; "
        "print(training_template('x'), 'trl' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == "None False\n", done.stderr


def test_a_missing_or_broken_trl_is_one_clear_error(monkeypatch, tmp_path):
    asked = CHATS[0], fam.tokenizer("qwen3"), {"assistant_only_loss": True}
    monkeypatch.setattr(_trl_templates, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="TRL is not installed"):
        PRESET.supervise(*asked)
    monkeypatch.setattr(_trl_templates, "find_spec", lambda name: ModuleSpec(name, None, origin=f"{tmp_path}/x.py"))
    with pytest.raises(UserError, match="no training template in"):
        PRESET.supervise(*asked)
    (tmp_path / "chat_templates").mkdir()
    (tmp_path / "chat_templates" / "qwen3_training.jinja").write_text("x")
    with pytest.raises(UserError, match=r"qwen3\.jinja cannot be read"):
        PRESET.supervise(*asked)


# ------------------------------------------------------------------------------------ where TRL stops, we say why


def test_template_without_markers(tmp_path):
    with pytest.raises(ValueError, match="not training-compatible"):
        trained_by_trl(CHATS, fam.tokenizer("olmo2"), tmp_path, assistant_only_loss=True)
    with pytest.raises(UserError, match="refuses this chat template"):
        PRESET.supervise(CHATS[0], fam.tokenizer("olmo2"), {"assistant_only_loss": True})


def test_row_without_assistant_turn_under_assistant_only_loss(tmp_path):
    rows = [fam.chat(("user", "alone"))]
    with pytest.raises(RuntimeError, match="no assistant tokens"):
        trained_by_trl(rows, fam.tokenizer("marked"), tmp_path, assistant_only_loss=True)
    with pytest.raises(UserError, match="stops at this row"):
        PRESET.supervise(rows[0], fam.tokenizer("marked"), {"assistant_only_loss": True})


@pytest.mark.parametrize("rows", [PAIRS, TEXTS])
def test_assistant_only_loss_on_text(rows, tmp_path):
    with pytest.raises(ValueError, match="not conversational"):
        trained_by_trl(rows, fam.tokenizer("marked"), tmp_path, assistant_only_loss=True)
    with pytest.raises(UserError, match="assistant_only_loss"):
        PRESET.supervise(rows[0], fam.tokenizer("marked"), {"assistant_only_loss": True})


def test_unknown_eos_token(tmp_path):
    with pytest.raises(ValueError, match="not found in the vocabulary"):
        trained_by_trl(TEXTS, fam.tokenizer("marked"), tmp_path, eos_token="<|nope|>")
    with pytest.raises(UserError, match=r"<\|nope\|>"):
        PRESET.supervise(TEXTS[0], fam.tokenizer("marked"), {"eos_token": "<|nope|>"})


def test_packing_without_length(tmp_path):
    with pytest.raises(ValueError, match="can't be `None`"):
        trained_by_trl(TEXTS[:1], fam.tokenizer("marked"), tmp_path, packing=True, max_length=None)
    with pytest.raises(UserError, match="needs a max_length"):
        PRESET.supervise(TEXTS[0], fam.tokenizer("marked"), {"packing": "bfd", "max_length": 0})
