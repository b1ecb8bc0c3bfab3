"""What each trainer is told of rows that are laid out in less common ways."""

import json

import pytest

from core.errors import UserError
from core.exports._folder import write
from core.plugins import kind, with_defaults
from core.presets._trl_templates import has_generation_markers
from core.types import Reading
from tests.contract.test_exports import bundle_of, read
from tests.presets.families import MARKED_TEMPLATE, OLMO2_TEMPLATE
from tests.recipes.pools import Rows, sample

READING = Reading("jsonl", "messages", {"messages": "messages"})


def configurations(format, mapping, value, trainer, **changes):
    reading = Reading("jsonl", format, mapping)
    given = Rows([sample(value, 0, reading)], [0], reading)
    return kind("exports", trainer).files(bundle_of(given, **changes))


def values(*arguments, **changes):
    return read(configurations(*arguments, **changes))


TURNS = {"chat": [{"role": "human", "content": "?"}, {"role": "bot", "content": "!"}]}


def test_keys_and_role_names_are_those_that_the_rows_write():
    rows = ("sharegpt", {"conversations": "chat"}, TURNS)
    axolotl = values(*rows, "axolotl")["axolotl.yaml"]["datasets"][0]
    assert axolotl["message_property_mappings"] == {"role": "role", "content": "content"}
    info = values(*rows, "llama_factory")["dataset_info.json"]["lacuna_mitigation"]
    assert info["columns"] == {"messages": "chat"}
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "human", "assistant_tag": "bot"}
    assert info["tags"].items() >= tags.items()
    assert "convert them to messages first" in configurations(*rows, "trl")["trl.yaml"]


def test_the_usual_names_of_sharegpt_need_no_tags():
    value = {"conversations": [{"from": "human", "value": "?"}, {"from": "gpt", "value": "!"}], "system": "s"}
    rows = ("sharegpt", {"conversations": "conversations", "system": "system"}, value)
    info = values(*rows, "llama_factory")["dataset_info.json"]["lacuna_mitigation"]
    assert info["columns"] == {"messages": "conversations", "system": "system"} and "tags" not in info


def test_turns_as_openai_writes_them_are_tagged():
    value = {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]}
    info = values("messages", {"messages": "messages"}, value, "llama_factory")["dataset_info.json"]
    assert info["lacuna_mitigation"]["tags"] == {
        "role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant",
        "observation_tag": "tool", "system_tag": "system",
    }  # fmt: skip


@pytest.mark.parametrize("template", [MARKED_TEMPLATE, ""])
def test_trl_finds_answers_by_the_markers_of_the_template(template):
    value = {"chat": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]}
    rows = ("messages", {"messages": "chat"}, value)
    text = configurations(*rows, "trl", template=template)["trl.yaml"]
    assert read({"": text})[""]["assistant_only_loss"] is bool(template)
    assert ("no generation markers" in text) is not bool(template)
    assert "looks for a column 'messages': rename 'chat' first" in text
    assert "assistant_only_loss" not in values(*rows, "trl", template=template, loss_on_prompt=True)["trl.yaml"]


def test_trl_gets_a_template_with_markers_where_the_run_s_has_none():
    value = {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]}
    rows = ("messages", {"messages": "messages"}, value)
    files = configurations(*rows, "trl", template=OLMO2_TEMPLATE)
    written = read({"": files["trl.yaml"]})[""]
    assert written["assistant_only_loss"] is True and written["chat_template_path"] == "chat_template.jinja"
    assert has_generation_markers(files["chat_template.jinja"])
    assert "prompts are trained too" not in files["trl.yaml"]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"loss_on_prompt": True}, None),
        ({"template": "{{ messages[0].content }}"}, "no place for them was found"),
        ({"template": ""}, "no chat template of the run is on this machine"),
        # A base with another template has other tokens too: TRL takes them from a folder, not from a file.
        ({"templated": "/models/tuned"}, "the base has another template or none"),
    ],
)
def test_trl_takes_the_run_s_template_as_it_is_elsewhere(changes, why):
    value = {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]}
    rows = ("messages", {"messages": "messages"}, value)
    files = configurations(*rows, "trl", **{"template": OLMO2_TEMPLATE} | changes)
    written = read({"": files["trl.yaml"]})[""]
    assert set(files) == {"trl.yaml"} and written.get("chat_template_path") == changes.get("templated")
    assert ("prompts are trained too" in files["trl.yaml"]) is (why is not None)
    assert why is None or why in files["trl.yaml"]


CALL = {"type": "function", "function": {"name": "tide", "arguments": {}}}


@pytest.mark.parametrize(
    ("answer", "plain"),
    [
        ({"content": '! "tool_calls": []'}, True),
        ({"content": "!", "tool_calls": [CALL]}, False),
        ({"content": "!", "reasoning_content": "?"}, False),
        ({"content": "<think>?</think>!"}, False),
        ({"content": "?</think>!"}, False),
        ({"content": [{"type": "text", "text": "!"}]}, False),
    ],
)
def test_no_markers_are_put_where_rows_hold_more_than_text(answer, plain, tmp_path):
    """A template renders calls, reasoning and parts by statements that have no markers: they would carry no loss."""
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", **answer}]
    given, recipe = Rows([sample({"messages": turns}, 0, READING)], [0], READING), kind("recipes", "base_conflict")
    made = recipe.plan(given, with_defaults(recipe, {"contrast_ratio": 0.0}))
    bundle = bundle_of(given, template=OLMO2_TEMPLATE)
    written = write(tmp_path, recipe, made, {}, bundle, lambda *_: None)
    assert ("chat_template.jinja" in written.files) is plain
    text = (tmp_path / "trl.yaml").read_text()
    assert read({"": text})[""]["assistant_only_loss"] is plain and ("prompts are trained too" in text) is not plain


def test_prompt_and_completion_as_lists_of_turns_are_for_trl_alone():
    value = {"q": [{"role": "user", "content": "?"}], "completion": [{"role": "assistant", "content": "!"}]}
    rows = ("prompt_completion", {"prompt": "q", "completion": "completion"}, value)
    text = configurations(*rows, "trl")["trl.yaml"]
    assert "rename 'q' first" in text and read({"": text})[""]["completion_only_loss"] is True
    for trainer in ("axolotl", "llama_factory"):
        with pytest.raises(UserError, match="Prompt and completion"):
            configurations(*rows, trainer)


def test_pairs_are_joined_as_they_are_and_instructions_go_through_the_trainers_prompt():
    plain = ("prompt_completion", {"prompt": "prompt", "completion": "completion"}, {"prompt": "a", "completion": "b"})
    pairs = values(*plain, "axolotl")["axolotl.yaml"]["datasets"][0]["type"]
    assert pairs == {"field_instruction": "prompt", "field_output": "completion", "format": "{instruction}",
                     "no_input_format": "{instruction}"}  # fmt: skip
    mapping = {"instruction": "i", "input": "x", "output": "o", "history": "h"}
    alpaca = ("alpaca", mapping, {"i": "a", "x": "", "o": "b", "h": []})
    pairs = values(*alpaca, "axolotl")["axolotl.yaml"]["datasets"][0]["type"]
    assert pairs == {"field_instruction": "i", "field_input": "x", "field_output": "o"}
    info = values(*alpaca, "llama_factory")["dataset_info.json"]["lacuna_mitigation"]
    assert info["columns"] == {"prompt": "i", "query": "x", "response": "o", "history": "h"}


def test_whole_texts_are_pretraining():
    rows = ("text", {"text": "body"}, {"body": "Once."})
    assert values(*rows, "trl")["trl.yaml"]["dataset_text_field"] == "body"
    assert values(*rows, "llama_factory")["llama_factory.yaml"]["stage"] == "pt"
    assert json.dumps(values(*rows, "axolotl")["axolotl.yaml"]["datasets"]).count('"completion"') == 1
