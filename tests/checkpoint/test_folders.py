"""Checkpoint folders: what is found and read agrees with transformers and safetensors; what is refused says why."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
import warnings
from pathlib import Path

import pytest

from core.checkpoint.facts import tensors
from core.checkpoint.folders import as_checkpoint, browse, find, fingerprint, read_folder
from core.checkpoint.weights import all_zero, compare, not_finite, read_header
from core.errors import UserError

TEXTS = ["The quick brown fox jumps over 1234 lazy dogs.", "Answer: 17 + 25 = 42"] * 5


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Tiny real checkpoints, one folder each: three families, one of them sharded, and an adapter."""
    from peft import LoraConfig, get_peft_model

    from core.lab.tiny import build_tokenizer, tiny_config, tiny_model

    root = tmp_path_factory.mktemp("saved")
    tokenizer = build_tokenizer(TEXTS, 320)
    for family in ("llama", "qwen2", "olmo2"):
        config = tiny_config(family, len(tokenizer), hidden=32, heads=2, tied=family != "olmo2")
        model = tiny_model(config, tokenizer)
        size = "20KB" if family == "olmo2" else "1GB"
        model.save_pretrained(root / family, max_shard_size=size)
        tokenizer.save_pretrained(root / family)
    base = tiny_model(tiny_config("llama", len(tokenizer), hidden=32, heads=2), tokenizer)
    with warnings.catch_warnings():
        # PEFT 0.21 asks for a property that transformers 5.23 calls deprecated.
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
        adapter = get_peft_model(base, LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"))
    adapter.peft_config["default"].base_model_name_or_path = str(root / "llama")
    adapter.save_pretrained(root / "adapter")
    edit(root / "adapter" / "adapter_config.json", base_model_name_or_path="some/llama")
    return root


@pytest.fixture
def folder(saved, tmp_path):
    """A copy of the LLaMA-shaped checkpoint, to be spoiled."""
    return Path(shutil.copytree(saved / "llama", tmp_path / "model"))


def edit(file: Path, **changes) -> None:
    value = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(value | changes))


def refused(function, *words: str) -> UserError:
    with pytest.raises(UserError) as caught:
        function()
    for word in words:
        assert word in str(caught.value), str(caught.value)
    assert caught.value.what and caught.value.todo
    return caught.value


# ---------------------------------------------------------------------------------------------------- reading


@pytest.mark.parametrize("family", ["llama", "qwen2", "olmo2"])
def test_facts_agree_with_transformers(saved, family):
    from transformers import AutoModelForCausalLM

    facts = read_folder(saved / family)
    model = AutoModelForCausalLM.from_pretrained(saved / family, local_files_only=True)
    assert facts.kind == "full" and facts.adapter is None
    assert facts.model_type == model.config.model_type == family
    assert facts.architecture == type(model).__name__
    # parameters() yields a tied tensor once, as it is stored.
    assert facts.n_parameters == sum(p.numel() for p in model.parameters())
    assert facts.dtypes == {"F32": facts.n_parameters}
    assert facts.n_bytes == sum(f.stat().st_size for f in (saved / family).glob("*.safetensors"))
    assert facts.vocab_size == model.config.vocab_size
    assert facts.context_length == 256
    assert facts.eos_ids == tuple(model.generation_config.eos_token_id)
    assert "tokenizer.json" in facts.tokenizer_files and facts.chat_template == "chat_template.jinja"
    assert (len(facts.shards) > 1) == (family == "olmo2")
    assert facts.step is None and facts.trainer is None and facts.notes == ()


def test_headers_agree_with_safetensors(saved):
    from safetensors import safe_open

    for family in ("llama", "olmo2"):
        mine = tensors(saved / family)
        theirs = {}
        for file in (saved / family).glob("*.safetensors"):
            with safe_open(file, "pt") as opened:
                theirs |= {k: tuple(opened.get_slice(k).get_shape()) for k in opened.keys()}  # noqa: SIM118
        assert {name: tensor.shape for name, tensor in mine.items()} == theirs


def test_an_adapter(saved):
    facts = read_folder(saved / "adapter")
    assert facts.kind == "adapter" and facts.vocab_size is None
    assert (facts.adapter.peft_type, facts.adapter.r, facts.adapter.base_name_or_path) == ("LORA", 4, "some/llama")
    assert facts.adapter.target_modules == ("q_proj", "v_proj")
    assert facts.adapter.n_keys == 2 * 2 * 2


def test_what_an_adapter_says_otherwise_than_plain_lora(saved, tmp_path):
    odd = shutil.copytree(saved / "adapter", tmp_path / "odd")
    pattern = r".*\.(q|v)_proj"
    edit(odd / "adapter_config.json", peft_type="LOHA", target_modules=pattern, lora_alpha=float("nan"),
         lora_dropout=float("inf"))  # fmt: skip
    found = read_folder(odd).adapter
    assert (found.target_modules, found.alpha, found.dropout) == (pattern, None, 0.0)
    assert found.special == ("peft_type LOHA",) and not read_folder(saved / "adapter").adapter.special


def test_steps_and_the_trainer_state(folder):
    state = {
        "global_step": 30,
        "epoch": 1.5,
        "log_history": [
            {"step": 10, "loss": 2.5},
            {"step": 20, "loss": float("nan")},
            {"step": 20, "eval_loss": 1.0},
            {"step": 30, "loss": 1},
            "junk",
            {"step": None, "loss": 1.0},
            {"step": 40, "loss": True},
        ],
    }
    edit(folder / "trainer_state.json", **state)
    (folder / "training_args.bin").write_bytes(b"\x80\x02")
    facts = read_folder(folder)
    assert facts.step == 30 and facts.has_training_args
    assert (facts.trainer.global_step, facts.trainer.epoch, facts.trainer.last_loss) == (30, 1.5, 1.0)
    assert [step for step, _ in facts.trainer.losses] == [10, 20, 30]
    assert facts.trainer.losses[1][1] != facts.trainer.losses[1][1]
    assert facts.notes == ()
    moved = folder.rename(folder.with_name("checkpoint-25"))
    assert read_folder(moved).step == 25
    (moved / "trainer_state.json").write_text("{half")
    facts = read_folder(moved)
    assert facts.trainer is None and "trainer_state.json is ignored" in facts.notes[0]


def test_a_folder_named_by_where_one_stands(folder, monkeypatch):
    monkeypatch.chdir(folder.rename(folder.with_name("checkpoint-25")))
    assert read_folder(Path(".")).step == 25
    Path("config.json").unlink()
    refused(lambda: read_folder(Path(".")), "checkpoint-25 has no config.json")


def test_a_chat_template_in_each_place(folder):
    (folder / "chat_template.jinja").unlink()
    assert read_folder(folder).chat_template == ""
    edit(folder / "tokenizer_config.json", chat_template="{{ messages }}")
    assert read_folder(folder).chat_template == "tokenizer_config.json"
    edit(folder / "chat_template.json", chat_template="{{ messages }}")
    assert read_folder(folder).chat_template == "chat_template.json"


def test_stop_ids_come_from_the_first_file_that_names_them(folder):
    edit(folder / "config.json", eos_token_id=[7, 8])
    edit(folder / "generation_config.json", eos_token_id=5)
    assert read_folder(folder).eos_ids == (5,)
    edit(folder / "generation_config.json", eos_token_id=None)
    assert read_folder(folder).eos_ids == (7, 8)
    (folder / "generation_config.json").unlink()
    edit(folder / "config.json", eos_token_id=None)
    assert read_folder(folder).eos_ids == ()


def test_what_is_ignored_is_said(folder):
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x02")
    (folder / "optimizer.pt").write_bytes(b"\x80\x02")
    (folder / "modeling_evil.py").write_text("raise SystemExit")
    shutil.copy(folder / "model.safetensors", folder / "consolidated.safetensors")
    notes = read_folder(folder).notes
    assert len(notes) == 3
    assert "pytorch_model.bin" in notes[0] and "optimizer" not in notes[0]
    assert "consolidated.safetensors" in notes[1] and "modeling_evil.py" in notes[2]


# ---------------------------------------------------------------------------------------------------- refusals


def test_no_config(folder, tmp_path):
    (folder / "config.json").unlink()
    refused(lambda: read_folder(folder), "no config.json", "model.safetensors")
    refused(lambda: read_folder(tmp_path), "no config.json", "Choose model inside it")
    refused(lambda: read_folder(tmp_path / "gone"), "no checkpoint folder")
    refused(lambda: read_folder(folder / "model.safetensors"), "no checkpoint folder")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "consolidated.00.pth", "pytorch_model-1-of-2.bin"])
def test_pickled_weights_only(folder, name):
    (folder / "model.safetensors").rename(folder / name)
    refused(lambda: read_folder(folder), "pickled weights only", name, "save_pretrained(safe_serialization=True)")


def test_no_weights_at_all(folder):
    (folder / "model.safetensors").unlink()
    (folder / "optimizer.pt").write_bytes(b"\x80")
    refused(lambda: read_folder(folder), "no model.safetensors", "tokenizer.json")


def test_a_full_model_with_a_left_over_adapter_configuration(folder):
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "/elsewhere"}')
    refused(lambda: read_folder(folder), "no adapter_model.safetensors", "makes it an adapter")


@pytest.mark.parametrize(
    ("file", "changes", "key"),
    [
        ("config.json", {"auto_map": {"AutoModel": "evil.Model"}}, "auto_map"),
        ("config.json", {"sub": {"deep": [{"auto_map": {"AutoConfig": "evil.C"}}]}}, "auto_map"),
        ("tokenizer_config.json", {"auto_map": ["evil.Tokenizer", None]}, "auto_map"),
        ("config.json", {"transformers_weights": "../other/model.safetensors"}, "transformers_weights"),
        ("config.json", {"attn_implementation": "someone/evil-kernel"}, "attn_implementation"),
        ("config.json", {"text_config": {"_attn_implementation": {"": "a/b"}}}, "_attn_implementation"),
        ("tokenizer_config.json", {"fast_tokenizer_files": ["../x/tokenizer.1.0.json"]}, "fast_tokenizer_files"),
    ],
)
def test_code_and_files_from_elsewhere(folder, file, changes, key):
    edit(folder / file, **changes)
    refused(lambda: read_folder(folder), file, repr(key))


def test_code_in_an_adapter(saved, tmp_path):
    for key, value in (
        ("auto_mapping", {"parent_library": "evil", "base_model_class": "M"}),
        ("megatron_config", {1: 2}),
    ):
        folder = Path(shutil.copytree(saved / "adapter", tmp_path / key))
        edit(folder / "adapter_config.json", **{key: value})
        refused(lambda folder=folder: read_folder(folder), "adapter_config.json")
    folder = Path(shutil.copytree(saved / "adapter", tmp_path / "usual"))
    library = "transformers.models.llama.modeling_llama"
    edit(folder / "adapter_config.json", auto_mapping={"parent_library": library, "base_model_class": "LlamaModel"})
    assert read_folder(folder).kind == "adapter"


def test_harmless_configurations_pass(folder):
    edit(folder / "config.json", auto_map={}, attn_implementation="sdpa", megatron_config=None)
    assert read_folder(folder).kind == "full"


def test_missing_shards_are_named(saved, tmp_path):
    folder = Path(shutil.copytree(saved / "olmo2", tmp_path / "m"))
    shards = sorted(p.name for p in folder.glob("*.safetensors"))
    (folder / shards[0]).unlink()
    (folder / shards[2]).unlink()
    error = refused(lambda: read_folder(folder), f"2 of {len(shards)}", shards[0], shards[2])
    assert shards[1] not in str(error)


def test_shards_that_do_not_fit_their_index(saved, tmp_path):
    folder = Path(shutil.copytree(saved / "olmo2", tmp_path / "m"))
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    (folder / "model.safetensors.index.json").unlink()
    refused(lambda: read_folder(folder), "no model.safetensors.index.json")
    for change, words in [
        ({"weight_map": {}}, "no weight_map"),
        ({"weight_map": {"a": 1}}, "no weight_map"),
        ({"weight_map": {"a": "../../x.safetensors"}}, "same folder"),
        ({"weight_map": {"a": "x.bin"}}, "same folder"),
        ({"weight_map": index["weight_map"] | {"extra": next(iter(index["weight_map"].values()))}}, "extra"),
    ]:
        (folder / "model.safetensors.index.json").write_text(json.dumps(change))
        refused(lambda: read_folder(folder), words)


def safetensors_file(path: Path, header: object, data: bytes = b"") -> Path:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + data)
    return path


def entry(start: int, stop: int, shape: list, dtype: str = "F32") -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


@pytest.mark.parametrize(
    ("header", "data", "words"),
    [
        ({"a": entry(0, 8, [2])}, bytes(7), "ends at byte|end at byte"),
        ({"a": entry(0, 8, [2])}, bytes(9), "end at byte"),
        ({"a": entry(0, 8, [3])}, bytes(8), "has 8 bytes for F32 [3]"),
        ({"a": entry(0, 8, [2]), "b": entry(4, 12, [2])}, bytes(12), "gap or overlap"),
        ({"a": entry(4, 12, [2])}, bytes(12), "gap or overlap"),
        ({"a": entry(0, 8, [2], "PICKLE")}, bytes(8), "malformed"),
        ({"a": entry(0, 8, [-2])}, bytes(8), "malformed"),
        ({"a": entry(0, 8, [True, 2])}, bytes(8), "malformed"),
        ({"a": [1]}, b"", "malformed"),
        ([1, 2], b"", "not a JSON object"),
        (b"{half a header", b"", "not JSON"),
        (b"[" * 100_000, b"", "not JSON"),
        (b"\xff\xfe{}", b"", "not JSON"),
    ],
)
def test_damaged_safetensors(tmp_path, header, data, words):
    file = safetensors_file(tmp_path / "model.safetensors", header, data)
    error = refused(lambda: read_header(file), "not a whole safetensors file")
    assert any(word in str(error) for word in words.split("|"))


def test_safetensors_cut_anywhere(folder):
    whole = (folder / "model.safetensors").read_bytes()
    for length in (0, 7, 8, 100, len(whole) // 2, len(whole) - 1):
        (folder / "model.safetensors").write_bytes(whole[:length])
        refused(lambda: read_folder(folder), "model.safetensors is not a whole safetensors file")
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 1 << 60) + b"{}")
    refused(lambda: read_folder(folder), "promise a header of 1,152,921,504,606,846,976 bytes")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{half", "not JSON"),
        ("[1]", "not a JSON object"),
        ("[" * 100_000, "nested too deeply"),
        ("\ufeff{}", "not JSON"),
        ('{"a": "' + "x" * (5 << 20) + '"}', "are not read"),
    ],
)
def test_a_config_that_is_not_one(folder, text, words):
    (folder / "config.json").write_text(text)
    refused(lambda: read_folder(folder), "config.json", words)


def test_a_config_that_no_machine_could_build(folder):
    edit(folder / "config.json", num_hidden_layers=10**9)
    refused(lambda: read_folder(folder), "1,000,000,000 for 'num_hidden_layers'", "20 tensors")
    edit(folder / "config.json", num_hidden_layers=2, text_config={"num_local_experts": 5000})
    refused(lambda: read_folder(folder), "num_local_experts")


def test_links(folder, tmp_path):
    target = (folder / "model.safetensors").rename(tmp_path / "outside.safetensors")
    (folder / "model.safetensors").symlink_to(target)
    refused(lambda: read_folder(folder), "'model.safetensors' in model is a link")
    (folder / "model.safetensors").unlink()
    shutil.move(target, folder / "model.safetensors")
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "x.jinja").symlink_to("/etc/hostname")
    refused(lambda: read_folder(folder), "x.jinja")
    shutil.rmtree(folder / "additional_chat_templates")
    (folder / "runs").symlink_to(tmp_path)  # nothing is read through a link to a folder
    assert read_folder(folder).kind == "full"


def test_the_cache_of_hugging_face_may_link_to_its_blobs(saved, tmp_path):
    snapshot, blobs = tmp_path / "models--a--b" / "snapshots" / "c0ffee", tmp_path / "models--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for file in (saved / "llama").iterdir():
        shutil.copy(file, blobs / hashlib.sha256(file.name.encode()).hexdigest())
        (snapshot / file.name).symlink_to(f"../../blobs/{hashlib.sha256(file.name.encode()).hexdigest()}")
    assert read_folder(snapshot).n_parameters == read_folder(saved / "llama").n_parameters
    elsewhere = Path(shutil.copytree(snapshot, snapshot.parents[1] / "other" / "c0ffee", symlinks=True))
    refused(lambda: read_folder(elsewhere), "is a link")
    (snapshot / "extra.json").symlink_to("/etc/hostname")
    refused(lambda: read_folder(snapshot), "extra.json")


# ----------------------------------------------------------------------------------------------- finding, naming


def test_find(saved, tmp_path):
    assert find(saved / "llama").kind == "full" and find(saved / "llama").final == saved / "llama"
    assert find(saved / "adapter").kind == "adapter"
    nothing = find(saved)
    assert (nothing.kind, nothing.final, nothing.checkpoints) == ("nothing", None, ())
    refused(lambda: find(saved / "gone"), "no checkpoint folder")

    run = tmp_path / "run"
    for step in (1000, 20, 300):
        shutil.copytree(saved / "adapter", run / f"checkpoint-{step}")
    (run / "checkpoint-5").mkdir()
    (run / "checkpoint-best").mkdir()
    (run / "checkpoint-7").symlink_to(saved / "adapter")
    found = find(run)
    assert found.kind == "trajectory"
    assert [p.name for p in found.checkpoints] == ["checkpoint-20", "checkpoint-300", "checkpoint-1000"]
    assert found.final.name == "checkpoint-1000"
    assert [note.split()[0] for note in found.notes] == ["checkpoint-5", "checkpoint-7"]
    shutil.copytree(saved / "llama", run, dirs_exist_ok=True)
    assert find(run).kind == "trajectory" and find(run).final == run and len(find(run).checkpoints) == 3


def test_as_checkpoint(saved, tmp_path):
    model = as_checkpoint(saved / "llama", base=saved / "qwen2")
    assert (model.base, model.label, model.step, model.tokenizer) == (None, "llama", None, "auto")
    assert model.path == str((saved / "llama").resolve())
    refused(lambda: as_checkpoint(saved / "adapter"), "LORA adapter", "'some/llama'")
    refused(lambda: as_checkpoint(saved / "adapter", saved / "adapter"), "is an adapter itself")
    adapter = as_checkpoint(saved / "adapter", saved / "llama", "mine")
    assert adapter.base == str((saved / "llama").resolve()) and adapter.label == "mine"
    assert adapter.fingerprint == fingerprint(saved / "adapter", saved / "llama")
    other = as_checkpoint(saved / "adapter", saved / "qwen2")
    assert other.fingerprint != adapter.fingerprint


def test_the_fingerprint_is_of_the_bytes_that_count(saved, tmp_path):
    before = fingerprint(saved / "olmo2")
    folder = Path(shutil.copytree(saved / "olmo2", tmp_path / "checkpoint-9"))
    assert fingerprint(folder) == before
    os.utime(folder / "config.json", (1, 1))
    (folder / "trainer_state.json").write_text("{}")
    (folder / "README.md").write_text("hello")
    assert fingerprint(folder) == before
    seen = {before}
    shard = sorted(folder.glob("*.safetensors"))[1]
    for file in (shard, folder / "tokenizer.json", folder / "generation_config.json", folder / "chat_template.jinja"):
        raw = bytearray(file.read_bytes())
        raw[-2] ^= 1
        file.write_bytes(raw)
        seen.add(fingerprint(folder))
    (folder / "special_tokens_map.json").write_text("{}")
    seen.add(fingerprint(folder))
    assert len(seen) == 6


# ---------------------------------------------------------------------------------------------------- browsing


def test_browse_stays_inside_the_roots(saved, tmp_path):
    root, outside = tmp_path / "root", tmp_path / "root-secret"
    outside.mkdir()
    shutil.copytree(saved / "llama", root / "models" / "a")
    (root / "models" / "b").symlink_to(root / "models" / "a")
    (root / "models" / "c").symlink_to(outside)
    (root / "models" / ".hidden").mkdir()
    (root / "models" / "loop").symlink_to(root / "models" / "loop")
    roots = [root, tmp_path / "gone"]

    top = browse(roots)
    assert [e.path for e in top.entries] == [root] and top.left_out == (str(tmp_path / "gone"),) and top.path is None
    assert browse(roots, root).parent is None
    listing = browse(roots, str(root / "models"))
    assert listing.parent == root and listing.kind == "nothing"
    assert [(e.name, e.kind, e.path) for e in listing.entries] == [
        ("a", "full", root / "models" / "a"),
        ("b", "full", root / "models" / "a"),
    ]
    assert listing.left_out == ("c",)
    for path in ("/", "/etc", outside, root / "..", root / "models" / "c", f"{root}/models/../../root-secret", "a\0b"):
        refused(lambda path=path: browse(roots, path), "LACUNA_CHECKPOINT_ROOTS", str(root))
    refused(lambda: browse(roots, root / "nope"), "There is no folder")
    refused(lambda: browse([], root), "LACUNA_CHECKPOINT_ROOTS")


# ------------------------------------------------------------------------------------------------------ weights


def store(path: Path, **tensors_) -> Path:
    from safetensors.torch import save_file

    save_file(tensors_, path)
    return path


def test_compare_and_scan_agree_with_a_plain_loop(tmp_path, monkeypatch):
    import torch

    monkeypatch.setattr("core.checkpoint.weights.CHUNK_ELEMENTS", 7)
    one = {n: torch.randn(5, 5) for n in "abcd"} | {"r": torch.zeros(2), "i": torch.arange(3), "x": torch.ones(1)}
    two = {n: t.clone() for n, t in one.items() if n != "x"} | {"r": torch.zeros(3), "y": torch.ones(1)}
    two["b"][4, 4] += 0.5
    two["c"] -= 0.25
    one["d"][0, 0] = two["d"][0, 0] = float("nan")
    first = read_header(store(tmp_path / "1.safetensors", **one))
    second = read_header(store(tmp_path / "2.safetensors", **two))
    found = compare(first, second)
    changed = [n for n in "abc" if not torch.equal(one[n], two[n])]
    assert found.n_changed == len(changed) + 1 and found.n_common == 5
    assert found.max_abs == pytest.approx(max((one[n] - two[n]).abs().max().item() for n in "abc"))
    assert (found.reshaped, found.only_first, found.only_second, found.skipped) == (("r",), ("x",), ("y",), ("i",))
    assert not_finite(first) == {"d": 1}
    assert all_zero(second["r"]) and not all_zero(second["b"])


def test_a_model_saved_in_a_coarser_type_is_unchanged(tmp_path):
    import torch

    values = torch.randn(100)
    fine = read_header(store(tmp_path / "1.safetensors", w=values))
    coarse = read_header(store(tmp_path / "2.safetensors", w=values.bfloat16()))
    assert compare(fine, coarse).n_changed == compare(coarse, fine).n_changed == 0
    moved = read_header(store(tmp_path / "3.safetensors", w=(values + 1).bfloat16()))
    assert compare(fine, moved).n_changed == 1


@pytest.mark.parametrize(
    "changes",
    [{"r": 10**8}, {"rank_pattern": {"q_proj": 10**8}}, {"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 10**9},
     {"r": -(10**8)}, {"r": 1e300}],
)  # fmt: skip
def test_an_adapter_that_no_machine_could_build(saved, tmp_path, changes):
    shutil.copytree(saved / "adapter", tmp_path / "adapter")
    read_folder(tmp_path / "adapter")
    edit(tmp_path / "adapter" / "adapter_config.json", **changes)
    refused(lambda: read_folder(tmp_path / "adapter"), "adapter_config.json names", list(changes)[-1])
