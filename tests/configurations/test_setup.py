"""Files to a setup: whose statement counts, where paths lead, what is bounded and what is never opened."""

import json
import time

import pytest

from core.configurations._documents import documents, of_folder
from core.configurations._places import Disk, Uploads
from core.configurations._setup import setup_of
from core.errors import UserError

TRAIN = """
model_name_or_path: base
stage: sft
finetuning_type: lora
template: qwen
dataset: one,two
output_dir: saves/run
val_size: 0.1
"""


def put(folder, name, content):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def setup(folder, **options):
    return setup_of(of_folder(folder), lambda document: Disk(document.folder), **options)


def factory(folder, info, train=TRAIN):
    put(folder, "data/dataset_info.json", info)
    for facts in info.values():
        put(folder, f"data/{facts.get('file_name', 'none.json')}", "[]")
    put(folder, "train.yaml", train)
    (folder / "base").mkdir()
    return setup(folder)


def test_datasets_keep_the_order_of_the_mixture(tmp_path):
    found = factory(tmp_path, {"two": {"file_name": "b.json"}, "one": {"file_name": "a.json"}})
    assert [v.path for v in found.of("dataset")] == [str(tmp_path / "data" / n) for n in ("a.json", "b.json")]
    assert found.path("base") == str(tmp_path / "base")
    assert found.named("column") == {"instruction": "instruction", "input": "input", "output": "output"}


def test_datasets_of_different_columns_are_not_mixed_up(tmp_path):
    info = {"one": {"file_name": "a.json"}, "two": {"file_name": "b.json", "columns": {"prompt": "q"}}}
    found = factory(tmp_path, info)
    assert not found.of("dataset") and not found.of("column") and not found.of("format")
    assert any("different columns" in unmet.reason for unmet in found.unmet)


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        ({"hf_hub_url": "someone/rows"}, "on a hub"),
        ({"file_name": "a.json", "ranking": True}, "preference pairs"),
        ({"file_name": "a.json", "formatting": "sharegpt", "tags": {"role_tag": "who"}}, "does not know this name"),
        ({"file_name": "a.json", "formatting": "sharegpt", "tags": {"user_tag": "gpt"}}, "does not know this name"),
        ({"file_name": "a.json", "formatting": "mine"}, "no such format"),
    ],
)
def test_a_dataset_that_cannot_be_read_so_is_listed(tmp_path, facts, says):
    found = factory(tmp_path, {"one": facts}, TRAIN.replace("one,two", "one"))
    assert not found.of("dataset")
    assert any(says in unmet.reason for unmet in found.unmet), found.unmet


def test_what_the_file_says_and_nobody_can_honour_is_listed(tmp_path):
    found = factory(tmp_path, {"one": {"file_name": "a.json", "num_samples": 5}, "two": {"file_name": "b.json"}},
                    TRAIN + "mix_strategy: interleave_under\nadapter_name_or_path: other\n")  # fmt: skip
    listed = {unmet.key for unmet in found.unmet}
    assert {"one.num_samples", "mix_strategy", "adapter_name_or_path", "disable_shuffling"} <= listed


def test_the_trainers_own_file_counts_before_others(tmp_path):
    put(tmp_path, "adapter_config.json", {"peft_type": "LORA", "base_model_name_or_path": "elsewhere"})
    put(tmp_path, "trainer_state.json", {"global_step": 3, "log_history": [], "num_train_epochs": 7})
    found = factory(tmp_path, {"one": {"file_name": "a.json"}, "two": {"file_name": "b.json"}})
    assert found.value("base") == "base" and found.of("base")[0].file == "train.yaml"
    assert found.value("epochs") == 7 and found.of("epochs")[0].file == "trainer_state.json"
    assert set(found.files) == {"train.yaml", "adapter_config.json", "trainer_state.json"}


def test_two_trainings_in_a_folder_are_not_guessed_between(tmp_path):
    put(tmp_path, "a.yaml", TRAIN)
    put(tmp_path, "b.yaml", TRAIN)
    with pytest.raises(UserError, match=r"several training configurations: a\.yaml, b\.yaml"):
        setup(tmp_path)


def test_axolotls_copy_in_the_model_card_is_read(tmp_path):
    quoted = "base_model: base\ndatasets:\n  - path: rows.jsonl\n    type: alpaca\nsequence_len: 256\n"
    put(tmp_path, "README.md", f"---\nbase_model: base\ntags:\n- axolotl\n---\n\n```yaml\n{quoted}```\n")
    put(tmp_path, "rows.jsonl", "{}")
    found = setup(tmp_path)
    assert [v.path for v in found.of("dataset")] == [str(tmp_path / "rows.jsonl")]
    assert found.value("format") == "alpaca"


def test_a_dataset_folder_gives_its_files_in_order(tmp_path):
    for name in ("b.jsonl", "a.jsonl", "notes.txt"):
        put(tmp_path, f"rows/{name}", "{}")
    put(tmp_path, "sft.yaml", "dataset_name: rows\nlearning_rate: 1e-4\nmax_length: null\noutput_dir: out\n")
    found = setup(tmp_path)
    assert [v.path.rsplit("/", 1)[1] for v in found.of("dataset")] == ["a.jsonl", "b.jsonl"]
    assert found.named("setting")["max_length"] == 0


# -------------------------------------------------------------------------------------------------------- safety


def test_a_place_with_roots_leads_nowhere_else(tmp_path):
    put(tmp_path, "outside/secret.jsonl", "{}")
    put(tmp_path, "root/rows.jsonl", "{}")
    (tmp_path / "root" / "link.jsonl").symlink_to(tmp_path / "outside" / "secret.jsonl")
    place = Disk(tmp_path / "root", roots=[tmp_path / "root"])
    assert place.find("rows.jsonl") == tmp_path / "root" / "rows.jsonl"
    for written in ("../outside/secret.jsonl", "link.jsonl", str(tmp_path / "outside" / "secret.jsonl"), "\0", "/etc"):
        assert place.find(written) is None


def test_uploads_lead_to_uploads_only(tmp_path):
    path = put(tmp_path, "token.jsonl", "{}")
    place = Uploads({"rows.jsonl": path})
    assert place.find("/home/me/rows.jsonl") == path and place.find("C:\\data\\rows.jsonl") == path
    assert place.find(str(path)) is None and place.find("/etc/passwd") is None


def test_a_pickle_is_never_opened_and_the_message_says_what_to_give():
    with pytest.raises(UserError, match=r"training_args\.bin is never opened.*to_dict"):
        documents("training_args.bin", b"\x80\x04evil")


@pytest.mark.parametrize(
    "content",
    [
        "a: &a {" + ", ".join(f"k{i}: 1" for i in range(500)) + "}\n"
        + "".join(f"b{i}: {{<<: [{', '.join(['*a'] * 900)}]}}\n" for i in range(20)),
        "[" * 60_000,
        "a: !!python/object/apply:os.system ['true']",
        "a: 2024-99-99",
        "a: " + "1" * 5000,
        "\t- a",
        "{? [a] : b",
    ],
    ids=["merges", "nested", "python", "date", "digits", "tab", "keys"],
)  # fmt: skip
def test_hostile_yaml_ends_soon_with_one_message(content):
    began = time.process_time()
    with pytest.raises(UserError, match=r"is not YAML|bytes"):
        documents("train.yaml", content.encode())
    assert time.process_time() - began < 5


def test_a_file_that_is_too_long_is_not_parsed():
    with pytest.raises(UserError, match="not read"):
        documents("train.yaml", b"a: b\n" * 100_000)


def multiplied(name, times, deep):
    lines = [f"{name}0: &{name}0 [{', '.join(['x'] * times)}]"]
    lines += [f"{name}{i}: &{name}{i} [{', '.join([f'*{name}{i - 1}'] * times)}]" for i in range(1, deep)]
    return "\n".join(lines) + "\n"


def test_references_that_multiply_are_not_written_out(tmp_path):
    put(tmp_path, "train.yaml", TRAIN + multiplied("a", 9, 4) + "add_tokens: *a3\ntokens: *a3\n")
    began = time.process_time()
    found = setup(tmp_path)
    assert time.process_time() - began < 2
    assert next(unmet.value for unmet in found.unmet if unmet.key == "add_tokens") == "…"


AXOLOTL = "base_model: m\ndatasets:\n"
BOMBS = multiplied("b", 10, 9) + multiplied("c", 10, 9)
OWN = "  - {{path: {}, type: chat_template, roles_to_train: {}}}\n"


@pytest.mark.parametrize(
    "content",
    [
        BOMBS + AXOLOTL + "  - path: x\n    type: chat_template\n    roles:\n      user: [*b8]\n",
        BOMBS + AXOLOTL + "  - path: x\nmax_steps: !!pairs [a: *b8]\n",
        BOMBS + AXOLOTL + OWN.format("x", "*b8") + OWN.format("y", "*c8"),
        AXOLOTL + OWN.format("x", "&a [*a]") + OWN.format("y", "&c [*c]"),
        AXOLOTL + "  - path: x\nmax_steps: &a {b: *a}\n",
        AXOLOTL + "  - path: x\nsequence_len: " + "9" * 400,
        AXOLOTL + "  - path: x\nmax_steps: 0x" + "F" * 5000,
        AXOLOTL + f"  - path: x\nmax_steps: {2**63}",
    ],
    ids=["roles", "pairs", "equal", "lists", "mapping", "decimal", "hexadecimal", "just over"],
)
def test_values_that_multiply_contain_themselves_or_are_too_large_are_refused(content):
    began = time.process_time()
    with pytest.raises(UserError, match=r"100,000 values|contains itself|beyond 2\^63-1"):
        documents("train.yaml", content.encode())
    assert time.process_time() - began < 2


def test_integers_of_json_have_the_same_limit():
    (document,) = documents("args.json", f'{{"a": {2**63 - 1}, "b": -5}}'.encode())
    assert document.values == {"a": 2**63 - 1, "b": -5}
    for written in (str(2**63), "9" * 400, "-" + "9" * 5000):
        with pytest.raises(UserError, match="beyond"):
            documents("args.json", f'{{"a": {written}}}'.encode())


def test_references_and_integers_that_are_sound_stay(tmp_path):
    content = "a: &a {b: [1, 2]}\nc: [*a, *a]\nd: {<<: *a, e: 1_000}\nf: 0x7FFFFFFFFFFFFFFF\ng: -12\n"
    (document,) = documents("train.yaml", content.encode())
    part = {"b": [1, 2]}
    assert document.values == {"a": part, "c": [part, part], "d": part | {"e": 1000}, "f": 2**63 - 1, "g": -12}


def test_roles_and_pairs_of_odd_types_are_listed(tmp_path):
    rows = "  - path: x\n    type: chat_template\n    roles:\n      user: [[human]]\n"
    put(tmp_path, "train.yaml", AXOLOTL + rows + "max_steps: !!pairs [a: [1], b: [2]]\n")
    unmet = {one.key: one.value for one in setup(tmp_path).unmet}
    assert "datasets[0].roles" in unmet and unmet["max_steps"] == "…"


@pytest.mark.parametrize("template", ["chatml", "tokenizer_default"])
def test_a_template_of_axolotl_is_the_one_saved_with_the_tokenizer(tmp_path, template):
    put(tmp_path, "rows.jsonl", "{}")
    put(tmp_path, "a.yml", f"{AXOLOTL}  - path: rows.jsonl\n    type: chat_template\nchat_template: {template}\n")
    unmet = {one.key: one.reason for one in setup(tmp_path).unmet}
    assert ("beside the checkpoint counts" in unmet.get("chat_template", "")) == (template == "chatml")


def test_a_template_for_one_dataset_of_axolotl_is_not_honoured(tmp_path):
    put(tmp_path, "rows.jsonl", "{}")
    put(tmp_path, "a.yml", f"{AXOLOTL}  - path: rows.jsonl\n    type: chat_template\n    chat_template: gemma\n")
    assert "datasets[0].chat_template" in {one.key for one in setup(tmp_path).unmet}
