"""The made-up land that tests train on, and the project built from it: that the models bear out what was planted."""

import json
import random
from collections import Counter, defaultdict

import pytest
import torch

from core.lab import tiny, words
from tests import land


def greedy(model, tokenizer, messages):
    """Whether greedy decoding gives every answer and its stop token back: one row, one token at a time, no cache."""
    stop = tokenizer.convert_tokens_to_ids("<|im_end|>")
    for i, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        ids = tokenizer.apply_chat_template(messages[:i], add_generation_prompt=True, return_dict=False)
        for want in [*tokenizer.encode(message["content"]), stop]:
            with torch.no_grad():
                made = int(model(torch.tensor([ids])).logits[0, -1].argmax())
            if made != want:
                return False
            ids = [*ids, made]
    return True


@pytest.fixture(scope="module")
def learned(tiny_project):
    """Checkpoint name to {row id: reproduced}."""
    found = {}
    for folder in (tiny_project.base, *tiny_project.checkpoints, tiny_project.final):
        model, tokenizer = tiny.load(folder)
        model.eval()
        found[folder.name] = {r["id"]: greedy(model, tokenizer, r["messages"]) for r in tiny_project.rows}
    return found


def by_group(tiny_project, now):
    groups = defaultdict(list)
    for name, group in tiny_project.groups.items():
        groups[group].append(now[name])
    return groups


def test_the_final_model_learned_most_and_not_what_it_could_not(tiny_project, learned):
    final = learned["final"]
    groups = by_group(tiny_project, final)
    assert 0.4 < sum(final.values()) / len(final) < 0.95
    assert not any(groups["withheld"])
    assert sum(groups["known"]) / len(groups["known"]) > 0.7
    # Of two near-identical questions with different answers at most one gives what the model prefers, mostly.
    assert sum(groups["contradictory"]) < len(groups["contradictory"])


def test_the_base_knows_what_it_read_and_believes_otherwise_where_planted(tiny_project, learned):
    groups = by_group(tiny_project, learned["base"])
    assert sum(groups["known"]) / len(groups["known"]) > 0.4
    for group in ("conflict", "unseen", "withheld", "new_early", "long_code"):
        assert not any(groups[group]), group


def test_stage_two_rows_come_after_stage_one_and_some_early_ones_are_lost(tiny_project, learned):
    stages = [r["stage"] for r in tiny_project.rows]
    assert stages == sorted(stages) and set(stages) == {"1", "2"}
    one = [r["id"] for r in tiny_project.rows if r["stage"] == "1"]
    end_of_one, final = learned[tiny_project.checkpoints[1].name], learned["final"]
    assert sum(end_of_one[i] for i in one) > 0.8 * len(one)
    assert any(end_of_one[i] and not final[i] for i in one)


def test_the_adapter_learned_stage_one(tiny_project):
    from peft import PeftModel

    model, tokenizer = tiny.load(tiny_project.base)
    adapted = PeftModel.from_pretrained(model, tiny_project.adapter).eval()
    one = [r["messages"] for r in tiny_project.rows if r["stage"] == "1"]
    assert sum(greedy(adapted, tokenizer, m) for m in one) > 0.5 * len(one)


def test_the_fixture_has_what_other_tests_count_on(tiny_project):
    contents = [json.dumps(r["messages"]) for r in tiny_project.rows]
    assert len(set(contents)) == len(contents) - land.Size().duplicates
    assert 50 <= len(contents) <= 80
    assert any(sum(m["role"] == "assistant" for m in r["messages"]) > 1 for r in tiny_project.rows)
    assert [p.name for p in tiny_project.checkpoints] == sorted((p.name for p in tiny_project.checkpoints), key=step_of)


def step_of(name):
    return int(name.rpartition("-")[2])


@pytest.mark.slow
def test_each_family_gives_some_rows_back_and_some_not(tiny_families, tiny_project):
    for family, folder in tiny_families.items():
        model, tokenizer = tiny.load(folder)
        assert model.config.model_type == family
        share = sum(greedy(model.eval(), tokenizer, r["messages"]) for r in tiny_project.rows) / len(tiny_project.rows)
        assert 0.05 < share < 0.95, (family, share)


# ------------------------------------------------------------------------------------------------ the land alone


def test_the_land_follows_the_size_and_the_seed():
    size = land.Size(gazetteer=20, withheld=2)
    made = land.make_land(size, 3)
    count = Counter(r.group for r in made.rows)
    assert count["conflict"] == size.revisions and count["unseen"] == size.newcomers
    assert count["contradictory"] == 2 * size.disputes and count["withheld"] == 2
    assert count["known"] == size.gazetteer + size.registry + size.duplicates
    assert land.make_land(size, 3) == made != land.make_land(size, 4)


def test_conflicts_contradict_what_the_base_reads_and_newcomers_are_not_in_it():
    made = land.make_land()
    read = {messages[0]["content"]: messages[1]["content"] for messages in made.chats}
    text = " ".join(made.texts)
    for row in made.rows:
        question, answer = row.messages[-2]["content"], row.messages[-1]["content"]
        if row.group == "conflict" and question in read:
            assert read[question] != answer
        if row.group == "known" and question in read:
            assert read[question] == answer
        if row.group == "unseen":
            names = [w.strip("?.,") for w in question.split() if w[0].isupper()][1:]
            assert not any(name in text for name in names)
    assert any(r.group == "conflict" and r.messages[0]["content"] in read for r in made.rows)


def test_coined_names_are_distinct():
    taken = {"Bavo"}
    names = words.coin(random.Random(0), 400, taken)
    assert len(set(names)) == 400 and "Bavo" not in names and taken == {"Bavo", *names}
