"""Copies are trained whole, with LoRA, or as the adapter they are; what they came from is not touched."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from core.checkpoint.folders import as_checkpoint
from core.errors import UserError
from core.proof.copies import as_sample, going_on_rate, supervised, train_copy, usual_rate
from core.proof.training import Watched, asked_otherwise, settled, without_right
from core.recipes._base import Made, Plan, Training
from core.signals._instruments import Instruments
from core.types import Reading, RunSpec

READING = Reading("jsonl", "messages", {"messages": "messages", "id": "id", "stage": "stage"})
BUDGET = {"batch": 2, "method": "auto", "learning_rate": 0.0, "rate": 0.5, "proof_seed": 0, "keep": 0.98,
          "anchored": False}  # fmt: skip


def made(project, n=6):
    lines = project.dataset.read_bytes().splitlines()[:n]
    return [Made(line, json.loads(line)["id"], "rows") for line in lines]


def spec_of(checkpoint):
    return RunSpec(1, "", checkpoint)


def snapshot(*folders):
    return {p: p.read_bytes() for folder in folders for p in sorted(Path(folder).iterdir()) if p.is_file()}


@pytest.mark.parametrize(("kind", "method", "said"), [("final", "auto", "full"), ("final", "lora", "lora"),
                                                      ("adapter", "auto", "adapter")])  # fmt: skip
def test_a_copy_learns_and_its_source_stays(tiny_project, tmp_path, kind, method, said):
    base = tiny_project.base if kind == "adapter" else None
    checkpoint = as_checkpoint(getattr(tiny_project, kind), base, kind)
    before = snapshot(checkpoint.path, *([base] if base else []))
    rows = made(tiny_project)
    instruments = Instruments(spec_of(checkpoint))
    seen = supervised(lambda: iter(rows), 8, READING, instruments)
    assert [s.ids.tolist() for s in seen[:2]] == [s.ids.tolist() for s in seen[6:8]]  # begun anew after six rows
    steps = []
    out = tmp_path / "arm"
    out.mkdir()
    copy, facts = train_copy(
        checkpoint, [seen], out, BUDGET | {"method": method}, "cpu", lambda done, total: steps.append((done, total))
    )
    assert steps == [(i, 4) for i in range(1, 5)] and facts["method"] == said and facts["steps"] == 4
    assert facts["learning_rate"] == pytest.approx(2e-4 if said == "full" else 1e-3)
    assert snapshot(checkpoint.path, *([base] if base else [])) == before
    assert copy.base == {"full": None, "lora": checkpoint.path, "adapter": str(base)}[said]
    losses = [loss(c, seen) for c in (checkpoint, copy)]
    assert losses[1] != pytest.approx(losses[0], abs=1e-6)
    again = Instruments(spec_of(copy))
    assert [again.supervision(as_sample(r, READING)).ids.tolist() for r in rows] == [s.ids.tolist() for s in seen[:6]]


@pytest.mark.parametrize(("multiplies", "said"), [(True, "bfloat16"), (False, "float32")])
def test_the_number_type_of_a_copy_is_what_it_was_calculated_in(tiny_project, tmp_path, monkeypatch, multiplies, said):
    import torch

    monkeypatch.setattr("core.backends._wide.multiplies_bfloat16", lambda: multiplies)
    seen_by, forward = set(), torch.nn.functional.linear
    monkeypatch.setattr(torch.nn.functional, "linear", lambda *a: (out := forward(*a), seen_by.add(out.dtype))[0])
    final = as_checkpoint(tiny_project.final, None, "final")
    rows = supervised(lambda: iter(made(tiny_project)), 8, READING, Instruments(spec_of(final)))
    _, facts = train_copy(final, [rows], tmp_path, BUDGET, "cpu", lambda *_: None, rounded=True)
    assert facts["dtype"] == said
    assert (torch.bfloat16 in seen_by) == (said == "bfloat16")


def loss(checkpoint, seen):
    from core.backends._base import ScoreRow

    instruments = Instruments(spec_of(checkpoint))
    try:
        backend = instruments.backend(checkpoint)
        rows = [ScoreRow(s.ids, np.flatnonzero(s.trained)) for s in seen]
        return float(np.mean([-s.logprobs.mean() for s in backend.score(rows)]))
    finally:
        instruments.close()


@pytest.mark.parametrize(("batch", "rows", "epochs", "steps"), [(8, 96, 2.0, 24), (8, 8, 1.0, 10), (16, 100, 1.5, 10)])
def test_unsettled_steps_and_the_rate_are_what_the_recipe_wants(batch, rows, epochs, steps):
    plan = Plan(lambda: iter(()), {"a": rows - 1, "b": 1}, Training(epochs=epochs, rate=0.25), np.arange(3))
    assert settled({"batch": batch, "steps": 0}, plan) == {"batch": batch, "steps": steps, "rate": 0.25}
    assert settled({"batch": batch, "steps": 7}, plan)["steps"] == 7


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("part", [0.1, 0.25, 0.5, 1.0])
def test_a_checkpoint_goes_on_as_gently_as_its_size_or_the_recipe_asks_not_as_both(method, part):
    for size, most in ((2_000_000, 1.0), (135_000_000, 0.3), (7_000_000_000, 1.0)):
        assert going_on_rate(size, method, part) == pytest.approx(usual_rate(size, method) * min(part, most))


def test_rows_that_the_trainer_refuses_are_passed_over(tiny_project):
    instruments = Instruments(spec_of(as_checkpoint(tiny_project.final, None, "final")))
    odd = Made(b'{"messages": [{"role": "wizard", "content": "a"}, {"role": "assistant", "content": "b"}]}', None, "x")
    good = made(tiny_project, 1)[0]
    seen = supervised(lambda: iter([odd, good]), 3, READING, instruments)
    assert len(seen) == 3 and len({s.ids.tobytes() for s in seen}) == 1
    with pytest.raises(UserError, match="None of the recipe's rows"):
        supervised(lambda: iter([odd]), 3, READING, instruments)


def test_a_question_in_other_words_keeps_its_answer(tiny_project):
    for row in itertools.islice(made(tiny_project, 40), 40):
        sample = as_sample(row, READING)
        other = asked_otherwise(sample)
        assert other.response == sample.response and other.content_hash != sample.content_hash
        changed = [(a.content, b.content) for a, b in zip(sample.messages, other.messages, strict=True) if a != b]
        assert len(changed) == 1 and changed[0][0].strip() in changed[0][1]


def test_only_what_was_wrong_can_be_recovered_and_what_was_right_lost(tiny_project):
    samples = tuple(as_sample(r, READING) for r in made(tiny_project, 6))
    before = {
        "right": [0, 1, 0],
        "asked": [0, 0, 1],
        "kept": [1, 0],
        "aside": [],
        "nll": [0.5],
        "treated_nll": [1.0, 2.0, 3.0],
    }
    left, told = without_right(Watched(samples[:3], samples[3:5], samples[5:]), before)
    assert left == Watched((samples[0], samples[2]), (samples[3],), (samples[5],))
    assert told == {"right": [0, 0], "asked": [0, 1], "kept": [1], "aside": [], "nll": [0.5], "treated_nll": [1.0, 3.0]}
