"""The tokenizer, the rows, the batches and the training of ``core/lab/tiny.py``."""

import json
import math
from itertools import pairwise

import pytest
import torch
from safetensors.torch import load_file

from core.errors import UserError
from core.lab import tiny

TEXTS = ["Bravo lies on the river Tam.", "Who founded Bravo?", "It was founded by Kell in 1794."]
DIALOGUE = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Who founded Bravo?"},
    {"role": "assistant", "content": "Kell did."},
    {"role": "user", "content": "When?"},
    {"role": "assistant", "content": "In 1794, in Bravo."},
]
RENDERED = (
    "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWho founded Bravo?<|im_end|>\n"
    "<|im_start|>assistant\nKell did.<|im_end|>\n<|im_start|>user\nWhen?<|im_end|>\n"
    "<|im_start|>assistant\nIn 1794, in Bravo.<|im_end|>\n"
)


@pytest.fixture(scope="module")
def tokenizer():
    return tiny.build_tokenizer(TEXTS, 400)


def small(tokenizer, family="llama", **other):
    return tiny.tiny_model(tiny.tiny_config(family, len(tokenizer), 32, 1, heads=2, **other), tokenizer)


def by_hand(tokenizer):
    """Ids and mask put together from the template's pieces, without the template."""
    ids, mask = [], []
    for message in DIALOGUE:
        answer = message["role"] == "assistant"
        head = tokenizer.encode(f"<|im_start|>{message['role']}\n", add_special_tokens=False)
        body = tokenizer.encode(message["content"] + "<|im_end|>", add_special_tokens=False)
        tail = tokenizer.encode("\n", add_special_tokens=False)
        ids += head + body + tail
        mask += [False] * len(head) + [answer] * len(body) + [False] * len(tail)
    return ids, mask


@pytest.mark.parametrize("template", sorted(tiny.TEMPLATES))
def test_a_rendered_dialogue_trains_answers_and_their_stop_token(template):
    tokenizer = tiny.build_tokenizer(TEXTS, 400, template)
    assert tokenizer.apply_chat_template(DIALOGUE, tokenize=False) == RENDERED
    assert tiny.chat_row(tokenizer, DIALOGUE) == by_hand(tokenizer)


def test_generation_markers_name_the_same_tokens():
    tokenizer = tiny.build_tokenizer(TEXTS, 400, "chatml_generation")
    marked = tokenizer.apply_chat_template(DIALOGUE, return_dict=True, return_assistant_tokens_mask=True)
    assert [bool(m) for m in marked["assistant_masks"]] == by_hand(tokenizer)[1]


def test_the_tokenizer_keeps_any_text_and_a_strict_template_refuses_a_role(tokenizer):
    for text in (*TEXTS, "naïve ✓ 12345\r\n\ttab", "日本語"):
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len(tokenizer) <= 400
    with pytest.raises(Exception, match="Role tool is not known"):
        tokenizer.apply_chat_template([{"role": "tool", "content": "x"}])
    assert tiny.build_tokenizer(TEXTS, 400, None).chat_template is None


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_auto_tokenizer_reads_what_tokenizer_json_says(family, tokenizer, tmp_path):
    from tokenizers import Tokenizer

    small(tokenizer, family).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model, loaded = tiny.load(tmp_path)
    text = "In 1794 Kell's 12345 boats, café ✓"
    assert loaded.encode(text) == Tokenizer.from_file(str(tmp_path / "tokenizer.json")).encode(text).ids
    assert model.config.model_type == family
    assert model.generation_config.eos_token_id == tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])


def test_wrong_names_and_sizes_are_explained():
    with pytest.raises(UserError, match="Did you mean 'llama'"):
        tiny.tiny_config("lama", 400)
    with pytest.raises(UserError, match="hidden=130 is no multiple of heads=4"):
        tiny.tiny_config("llama", 400, hidden=130)
    with pytest.raises(UserError, match="Did you mean 'chatml'"):
        tiny.build_tokenizer(TEXTS, 400, "chatlm")


def test_the_loss_is_the_mean_over_trained_tokens_whatever_the_padding(tokenizer, tmp_path):
    """One step at learning rate 0 reports the batch's loss; rows scored alone give the same sum."""
    model = small(tokenizer)
    rows = [tiny.chat_row(tokenizer, DIALOGUE), tiny.chat_row(tokenizer, DIALOGUE[:3]), tiny.text_row(tokenizer, "Hi")]
    total, count = 0.0, 0
    for ids, mask in rows:
        with torch.no_grad():
            logprobs = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        for i in range(1, len(ids)):
            if mask[i]:
                total, count = total - logprobs[i - 1, ids[i]].item(), count + 1
    done = tiny.train(model, tokenizer, rows * 20, tmp_path, lr=0.0, batch=3, shuffle=False)
    (step, loss), *_ = done.losses
    assert step == 20
    assert math.isclose(loss, total / count, rel_tol=1e-4)


def test_checkpoints_are_saved_where_asked_and_progress_counts_steps(tokenizer, tmp_path, capsys):
    seen = []
    rows = [tiny.text_row(tokenizer, text) for text in TEXTS]
    done = tiny.train(
        small(tokenizer), tokenizer, rows, tmp_path, lr=1e-2, batch=2, steps=7, save_steps=(2, 5),
        progress=lambda n, total: seen.append((n, total)),
    )  # fmt: skip
    assert [p.name for p in done.checkpoints] == ["checkpoint-2", "checkpoint-5"]
    assert seen == [(n, 7) for n in range(1, 8)]
    for folder, step in zip([*done.checkpoints, done.final], (2, 5, 7), strict=True):
        names = {p.name for p in folder.iterdir()}
        assert {"model.safetensors", "config.json", "tokenizer.json", "generation_config.json"} <= names
        assert not [n for n in names if n.endswith((".bin", ".pt"))]
        assert json.loads((folder / "trainer_state.json").read_text())["global_step"] == step
    weights = [load_file(folder / "model.safetensors") for folder in (*done.checkpoints, done.final)]
    assert all(not torch.equal(a["model.norm.weight"], b["model.norm.weight"]) for a, b in pairwise(weights))
    printed = capsys.readouterr()
    assert printed.out == "" and "%|" not in printed.err


def test_the_same_seed_gives_the_same_weights(tokenizer, tmp_path):
    rows = [tiny.text_row(tokenizer, text) for text in TEXTS]
    weights = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        model = tiny.tiny_model(tiny.tiny_config("llama", len(tokenizer), 32, 1, heads=2), tokenizer, seed)
        done = tiny.train(model, tokenizer, rows, tmp_path / name, lr=1e-2, batch=2, steps=5, seed=seed)
        weights.append(load_file(done.final / "model.safetensors"))
    assert all(torch.equal(weights[0][k], weights[1][k]) for k in weights[0])
    assert not all(torch.equal(weights[0][k], weights[2][k]) for k in weights[0])


def test_rows_come_in_their_own_order_when_not_shuffled(tokenizer, tmp_path):
    """The last of many one-row steps wins: the same prompt with two answers ends on the later one."""
    first = tiny.chat_row(tokenizer, [*DIALOGUE[1:2], {"role": "assistant", "content": "Kell."}])
    second = tiny.chat_row(tokenizer, [*DIALOGUE[1:2], {"role": "assistant", "content": "Bravo."}])
    model = small(tokenizer)
    # The answer trained last has to win over one that sits deep already: twice as many steps.
    for order, winner in (([first] * 40 + [second] * 80, second), ([second] * 80 + [first] * 160, first)):
        tiny.train(model, tokenizer, order, tmp_path, lr=1e-2, batch=1, shuffle=False, schedule="constant_with_warmup")
        assert reproduces(model, winner)


def reproduces(model, row):
    """Greedy decoding of the last answer, token by token without a cache."""
    ids, mask = row
    start = max(i for i in range(1, len(ids)) if mask[i] and not mask[i - 1])
    stop = start + mask[start:].index(False) if False in mask[start:] else len(ids)
    made = list(ids[:start])
    model.eval()
    with torch.no_grad():
        while len(made) < stop:
            made.append(int(model(torch.tensor([made])).logits[0, -1].argmax()))
    return made == list(ids[:stop])


def test_an_adapter_is_saved_with_the_name_of_its_base(tokenizer, tmp_path):
    rows = [tiny.text_row(tokenizer, TEXTS[0])]
    base = tiny.train(small(tokenizer), tokenizer, rows, tmp_path, lr=1e-2, batch=1, steps=1, final="base").final
    before = load_file(base / "model.safetensors")
    model, _ = tiny.load(base)
    done = tiny.train(
        model, tokenizer, rows, tmp_path, lr=1e-2, batch=1, steps=3, save_steps=(2,),
        lora={"r": 2, "target_modules": ["q_proj"]},
    )  # fmt: skip
    for folder in (done.final, *done.checkpoints):
        assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == str(base)
        assert (folder / "tokenizer.json").exists() and not (folder / "model.safetensors").exists()
        keys = load_file(folder / "adapter_model.safetensors")
        assert keys and all(".q_proj.lora_" in k for k in keys)
    after = model.state_dict()
    assert all(torch.equal(v, after[k.replace("q_proj.", "q_proj.base_layer.")]) for k, v in before.items())


def test_what_progress_raises_ends_the_training(tokenizer, tmp_path):
    def stop(done, total):
        if done == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        tiny.train(
            small(tokenizer), tokenizer, [tiny.text_row(tokenizer, "Hi")], tmp_path, lr=1e-2, batch=1, steps=9,
            progress=stop,
        )  # fmt: skip
    assert not (tmp_path / "final").exists()


def test_threads_are_set_for_the_training_only(tokenizer, tmp_path):
    before, seen = torch.get_num_threads(), []
    torch.set_num_threads(2)
    try:
        tiny.train(
            small(tokenizer), tokenizer, [tiny.text_row(tokenizer, "Hi")], tmp_path, lr=1e-2, batch=1, steps=1,
            threads=1, progress=lambda *_: seen.append(torch.get_num_threads()),
        )  # fmt: skip
        assert seen == [1] and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
