"""Opening a checkpoint's tokenizer, both ways, and what happens where there is none."""

import json

import pytest

from core.errors import UserError
from core.rendering.tokenizers import chat_template, common_prefix, compare_tokenizers, open_tokenizer, template_in
from tests.presets import families as fam


@pytest.fixture
def folder(tmp_path):
    fam.tokenizer("marked").save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2"}))
    return tmp_path


def test_file_variant_is_the_folders_own_tokenizer(folder):
    own = fam.tokenizer("marked")
    opened = open_tokenizer(str(folder), "file")
    text = "<|im_start|>user\n42 apples, 1,234 é<|im_end|>"
    assert opened(text)["input_ids"] == own(text)["input_ids"]
    assert opened.chat_template == fam.MARKED_TEMPLATE
    assert (opened.eos_token, opened.pad_token) == ("<|im_end|>", "<|endoftext|>")


def test_auto_variant_of_a_qwen2_folder_splits_digits_its_own_way(folder):
    texts = ["no digits", "42 apples", "The river counts 1,234 times"]
    found = compare_tokenizers(str(folder), texts)
    auto, file = open_tokenizer(str(folder)), open_tokenizer(str(folder), "file")
    differing = [t for t in texts if auto(t)["input_ids"] != file(t)["input_ids"]]
    assert found.n_texts == 3 and found.n_differ == len(differing) == 2
    first = found.first_difference
    assert first.text == "42 apples" and first.auto != first.file
    assert auto.decode(first.auto[:2]) == "42" == file.decode(first.file[:1])


def test_same_tokenizer_both_ways(tmp_path):
    fam.tokenizer("olmo2").save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "olmo2"}))
    found = compare_tokenizers(str(tmp_path), ["42 apples", "é 東京\n"])
    assert (found.n_texts, found.n_differ, found.first_difference) == (2, 0, None)


@pytest.mark.parametrize("variant", ["auto", "file"])
def test_missing_tokenizer_names_what_is_there(tmp_path, variant):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2"}))
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(UserError) as caught:
        open_tokenizer(str(tmp_path), variant)
    assert "config.json, model.safetensors" in caught.value.why
    assert "tokenizer.json" in caught.value.todo


def test_folder_that_does_not_exist(tmp_path):
    with pytest.raises(UserError, match="no tokenizer"):
        open_tokenizer(str(tmp_path / "nowhere"))


@pytest.mark.parametrize("variant", ["auto", "file"])
def test_broken_tokenizer_file(folder, variant):
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(UserError, match="cannot be opened"):
        open_tokenizer(str(folder), variant)


@pytest.mark.parametrize("variant", ["auto", "file"])
def test_code_in_the_folder_is_never_run(folder, variant):
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config |= {"tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "config.json").write_text(json.dumps({"model_type": "evil", "auto_map": {"AutoConfig": "evil.Evil"}}))
    (folder / "evil.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\nclass Evil: pass\n")
    try:
        opened = open_tokenizer(str(folder), variant)
    except UserError as error:
        assert "never run" in error.todo
    else:
        assert opened("a")["input_ids"] == fam.tokenizer("marked")("a")["input_ids"]
    assert not (folder / "ran").exists()


def test_named_templates():
    tokenizer = fam.tokenizer("marked")
    assert chat_template(tokenizer) == fam.MARKED_TEMPLATE
    tokenizer.chat_template = {"default": "a", "tool_use": "b"}
    assert (chat_template(tokenizer), chat_template(tokenizer, has_tools=True)) == ("a", "b")
    tokenizer.chat_template = {"default": "a"}
    assert chat_template(tokenizer, has_tools=True) == "a"
    tokenizer.chat_template = {"rag": "a"}
    with pytest.raises(UserError, match="rag"):
        chat_template(tokenizer)
    tokenizer.chat_template = None
    assert chat_template(tokenizer) is None


def test_common_prefix():
    assert common_prefix([1, 2, 3], [1, 2, 4]) == 2
    assert common_prefix([1, 2], [1, 2, 4]) == 2 == common_prefix([1, 2, 4], [1, 2])
    assert common_prefix([], [1]) == 0


NAMED = [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ({}, ""),
        ({"tokenizer_config.json": '{"chat_template": "c"}'}, "c"),
        ({"tokenizer_config.json": json.dumps({"chat_template": NAMED})}, "d"),
        ({"tokenizer_config.json": json.dumps({"chat_template": NAMED[:1]})}, ""),
        ({"tokenizer_config.json": '{"chat_template": "c"}', "chat_template.jinja": "j"}, "j"),
        ({"tokenizer_config.json": '{"chat_template": null}'}, ""),
        ({"tokenizer_config.json": "[1]"}, ""),
        ({"tokenizer_config.json": "{"}, ""),
    ],
)
def test_a_template_is_read_without_opening_the_tokenizer(tmp_path, files, text):
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    assert template_in(str(tmp_path)) == text


def test_the_template_in_the_files_is_the_one_that_is_opened(folder):
    assert template_in(str(folder)) == chat_template(open_tokenizer(str(folder)))
