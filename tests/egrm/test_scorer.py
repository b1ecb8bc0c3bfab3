"""The scorer's inputs, its loss against a twin, training that learns, and the file it is kept in."""

import itertools
import math
import random
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from core.egrm.features import NAMES, Path, equations, features, value
from core.egrm.scorer import Scorer
from core.egrm.scorer_inputs import Labelled, ScorerSettings, batch_inputs, data_hash, reads
from core.egrm.scorer_metrics import metrics, pairwise
from core.egrm.scorer_training import loss, train
from core.errors import UserError

QUICK = ScorerSettings(embeddings=False, epochs=40)


def test_arithmetic_is_exact_and_only_arithmetic():
    assert value("1/3 + 1/3 + 1/3") == 1
    assert value("$1,200 * 50%") == 600
    assert value("2 x 3.5") == 7 and value("(2+3)×4") == 20 and value("-3 + 5") == 2 and value("012 + 3") == 15
    for text in ("2**9999999", "__import__('os')", "a + 1", "1/0", "", "3 +", "9" * 200, "1 if 2 else 3"):
        assert value(text) is None


def test_equations_of_a_path():
    found = equations("She has 16 - 3 = <<16-3=13>>13 eggs, 13 * 2 = $<<13*2=27>>27.")
    assert [(e.result, e.holds) for e in found] == [(13, True), (27, False)]
    assert found[0].used == (Fraction(16), Fraction(3))
    plain = equations("First 48 / 2 = 24 clips. Then 48 + 24 = 72.\nAnswer: 72")
    assert [(e.result, e.holds) for e in plain] == [(24, True), (72, True)]
    assert equations("10 / 3 = 3.33 and 10 / 3 = 3.4")[0].holds
    assert not equations("10 / 3 = 3.33 and 10 / 3 = 3.4")[1].holds
    assert equations("x = 5, and nothing more") == []


def test_features_know_agreement_and_arithmetic_and_not_the_order():
    paths = [
        Path("2 + 3 = 5\nAnswer: 5", "5", "5"),
        Path("3 + 2 = 5\nAnswer: 5", "5", "5"),
        Path("2 * 3 = 7\nAnswer: 7", "7", "7"),
        Path("I do not know", None, None, False),
    ]
    x = features("What is 2 and 3?", paths)
    column = dict(zip(NAMES, x.T, strict=True))
    assert column["votes"].tolist() == [0.5, 0.5, 0.25, 0]
    assert column["lead"].tolist() == [0.25, 0.25, -0.25, -0.5]
    assert column["all_hold"].tolist() == [1, 1, 0, 0]
    assert column["ends_in_answer"].tolist() == [1, 1, 1, 0]
    assert column["answered"].tolist() == [1, 1, 1, 0] and column["complete"].tolist() == [1, 1, 1, 0]
    assert column["steps_shared_min"][0] == 1 and column["steps_shared_min"][2] == 0
    assert np.isfinite(x).all()
    order = [2, 0, 3, 1]
    turned = features("What is 2 and 3?", [paths[i] for i in order])
    stable = [i for i, n in enumerate(NAMES) if n != "length_rank"]
    assert np.allclose(turned[:, stable], x[order][:, stable])


def twin_loss(scores, labels, alpha, delta, margin):
    """One number after another; a score of None is no path."""
    huber, hinge = [], []
    for row, own in zip(scores, labels, strict=True):
        for s, y in zip(row, own, strict=True):
            if s is not None:
                e = abs(s - y)
                huber.append(e * e / 2 if e <= delta else delta * (e - delta / 2))
        for (a, y), (b, z) in itertools.permutations(zip(row, own, strict=True), 2):
            if a is not None and b is not None and y > z:
                hinge.append(max(0.0, margin - (a - b)))
    return (1 - alpha) * np.mean(huber) + alpha * (np.mean(hinge) if hinge else 0.0)


@pytest.mark.parametrize(("alpha", "delta"), [(0.3, 0.2), (0.0, 0.2), (1.0, 0.2), (0.3, 1.0)])
def test_the_loss_is_the_one_that_is_written(alpha, delta):
    rng = random.Random(3)
    scores = [[rng.random() for _ in range(4)] for _ in range(6)]
    labels = [[float(rng.random() < 0.5) for _ in range(4)] for _ in range(6)]
    labels[0], labels[1] = [1.0] * 4, [0.2, 0.7, 0.7, 1.0]
    missing = [list(row) for row in scores]
    missing[2][3] = None
    mask = torch.tensor([[s is not None for s in row] for row in missing])
    found = loss(torch.tensor(scores), torch.tensor(labels), mask, alpha, delta, 0.1)
    assert float(found) == pytest.approx(twin_loss(missing, labels, alpha, delta, 0.1), abs=1e-6)


def test_huber_with_delta_one_is_plain_squared_error():
    scores, labels = torch.rand(5, 3), torch.randint(0, 2, (5, 3)).float()
    found = loss(scores, labels, torch.ones(5, 3, dtype=torch.bool), 0.0, 1.0, 0.1)
    assert float(found) == pytest.approx(float(((scores - labels) ** 2).mean() / 2), abs=1e-6)


def sums(n, seed=0):
    """Paths that add two numbers; the wrong ones have an equation that does not hold."""
    rng = random.Random(seed)
    out = []
    for _ in range(n):
        a, b = rng.randint(1, 50), rng.randint(1, 50)
        paths, labels = [], []
        for _ in range(4):
            right = rng.random() < 0.5
            said = a + b + (0 if right else rng.randint(1, 9))
            paths.append(Path(f"{a} + {b} = {said}\nAnswer: {said}", str(said), str(said)))
            labels.append(float(right))
        out.append(Labelled(f"What is {a} and {b}?", tuple(paths), tuple(labels)))
    return out


def test_training_learns_what_can_be_told_and_says_what_it_is_worth(tmp_path):
    data, fresh = sums(120), sums(60, seed=9)
    seen = []
    scorer = train(data, QUICK, progress=lambda done, total: seen.append((done, total)))
    scores = scorer.score([(d.question, d.paths) for d in fresh], None)
    won, pairs = pairwise(fresh, scores)
    assert pairs > 50 and won / pairs > 0.97
    found = metrics(fresh, scores)
    assert found["best_of_k"]["value"] >= found["vote"]["value"]
    assert found["best_of_k"]["value"] == pytest.approx(found["oracle"]["value"], abs=0.05)
    assert abs(found["pairwise_shorter"]["value"] - 0.5) < 0.2
    assert sum(map(sum, found["histogram"])) == 240
    assert scorer.facts["data_hash"] == data_hash(data) != data_hash(fresh)
    assert scorer.facts["held_out_questions"] == 18 and seen[0] == (0, 40)
    (tmp_path / "s.safetensors").write_bytes(scorer.to_bytes())
    again = Scorer.load(tmp_path / "s.safetensors")
    assert again.settings == scorer.settings and again.facts == scorer.facts
    for a, b in zip(again.score([(d.question, d.paths) for d in fresh], None), scores, strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("hidden", [0, 8])
def test_a_head_with_and_without_a_hidden_layer_scores_as_it_is_written(hidden, tmp_path):
    data = sums(40)
    scorer = train(data, replace(QUICK, hidden=hidden))
    (tmp_path / "s").write_bytes(scorer.to_bytes())
    w = load_file(tmp_path / "s")
    assert ("w1" in w) == bool(hidden)
    asked = [(d.question, d.paths) for d in data[:5]]
    for x, found in zip(batch_inputs(asked, QUICK), scorer.score(asked), strict=True):
        for row, score in zip(x, found, strict=True):
            h = [(v - m) / s for v, m, s in zip(row, w["mean"].tolist(), w["std"].tolist(), strict=True)]
            if hidden:
                columns = zip(w["w1"].T.tolist(), w["b1"].tolist(), strict=True)
                h = [max(0.0, sum(a * b for a, b in zip(h, column, strict=True)) + c) for column, c in columns]
            logit = sum(a * b for a, b in zip(h, w["w2"][:, 0].tolist(), strict=True)) + float(w["b2"])
            assert score == pytest.approx(1 / (1 + math.exp(-logit)), abs=1e-5)


@pytest.mark.parametrize("hidden", [0, 8])
def test_what_never_varied_in_training_moves_no_score(hidden):
    scorer = train(sums(60), replace(QUICK, hidden=hidden))  # every path there ends by itself, as imported ones do
    asked = [(d.question, d.paths) for d in sums(20, seed=5)]
    cut = [(q, [replace(p, complete=False) for p in paths]) for q, paths in asked]
    for whole, other in zip(scorer.score(asked), scorer.score(cut), strict=True):
        np.testing.assert_array_equal(whole, other)


def test_the_same_seed_trains_the_same_scorer():
    data = sums(60)
    one, two = train(data, QUICK), train(data, QUICK)
    for a, b in zip(*(s.score([(d.question, d.paths) for d in data], None) for s in (one, two)), strict=True):
        assert np.array_equal(a, b)
    assert one.facts == two.facts


def test_early_stopping_is_on_questions_that_are_not_trained_on():
    data = [
        Labelled(d.question, d.paths, tuple(float(random.Random(i * 7 + j).random() < 0.5) for j in range(4)))
        for i, d in enumerate(sums(80))
    ]
    scorer = train(data, ScorerSettings(embeddings=False, epochs=100, patience=5))
    assert scorer.facts["epochs"] < 60  # nothing can be learned from coin flips, so it must not go on


def encode(texts):
    """Vectors that depend on the text alone."""
    return np.stack([np.random.default_rng(sum(t.encode()) % 2**32).normal(size=8) for t in texts])


def test_embeddings_are_inputs_when_they_are_wanted():
    data = sums(40)
    asked = [(d.question, d.paths) for d in data]
    plain, both = batch_inputs(asked, ScorerSettings(embeddings=False)), batch_inputs(asked, ScorerSettings(), encode)
    assert both[0].shape[1] == plain[0].shape[1] + 3 * 8
    assert np.array_equal(both[5][:, : plain[5].shape[1]], plain[5])
    scorer = train(data, ScorerSettings(epochs=3), encode, "some encoder")
    assert scorer.encoder == "some encoder"
    assert len(scorer.score([(data[0].question, data[0].paths)], encode)[0]) == 4
    with pytest.raises(UserError, match="no sentence encoder"):
        scorer.score([(data[0].question, data[0].paths)], None)
    with pytest.raises(UserError, match="no sentence encoder"):
        train(data, ScorerSettings())


def test_what_the_encoder_reads_counts_each_text_of_a_question_once():
    def lengths(texts):
        assert len(set(texts)) == len(texts)
        return np.array([len(t.split()) + 2 for t in texts])

    one = [
        Path("a b c d e f g", "g", "g"),
        Path("x", None, None),
        Path("a b c d e f g", "g", "g"),
        Path("q r", "g", "g"),
    ]
    (n, own), (m, other) = reads([("q r", one), ("x", [Path("x y", "y", "y")])], lengths, 6)
    assert n == 4 and own.tolist() == [6 + 3, 3 + 2, 0, 0]  # a text cut at the window; an empty answer; nothing new
    assert m == 3 and other.tolist() == [4 + 3]


def with_states(data, width=6, seed=0):
    """The same paths with vectors: one coordinate knows whether the path is right, the rest is noise."""
    rng = np.random.default_rng(seed)
    out = []
    for d in data:
        states = rng.normal(size=(len(d.paths), width)).astype(np.float32)
        states[:, 2] += 3 * np.array(d.labels)
        paths = tuple(replace(p, state=s) for p, s in zip(d.paths, states, strict=True))
        out.append(Labelled(d.question, paths, d.labels))
    return out


def test_hidden_states_are_an_input_where_they_were_measured(tmp_path):
    alone = ScorerSettings(agreement=False, arithmetic=False, form=False, embeddings=False, states=True, epochs=40)
    data, fresh = with_states(sums(120)), with_states(sums(60, seed=9), seed=9)
    scorer = train(data, alone)
    asked = [(d.question, d.paths) for d in fresh]
    won, pairs = pairwise(fresh, scorer.score(asked))
    assert won / pairs > 0.9
    (tmp_path / "s").write_bytes(scorer.to_bytes())
    for a, b in zip(Scorer.load(tmp_path / "s").score(asked), scorer.score(asked), strict=True):
        assert np.array_equal(a, b)
    both = batch_inputs(asked, replace(QUICK, states=True))
    plain = batch_inputs(asked, QUICK)
    for d, x, own in zip(fresh, both, plain, strict=True):
        assert np.array_equal(x[:, : own.shape[1]], own)
        assert np.array_equal(x[:, own.shape[1] :], np.stack([p.state for p in d.paths]))
    assert data_hash(data) != data_hash(sums(120)) == data_hash(sums(120))


def test_hidden_states_that_are_not_there_are_not_made_up():
    wanted = replace(QUICK, states=True)
    imported = sums(40)
    with pytest.raises(UserError, match="160 of 160 paths they were not measured") as error:
        train(imported, wanted)
    assert "imported paths have none" in error.value.why
    some = with_states(sums(40))
    mixed = [*some[:39], imported[39]]
    with pytest.raises(UserError, match="4 of 160 paths") as error:
        train(mixed, wanted)
    assert "Run the routes with hidden states kept" in error.value.todo
    with pytest.raises(UserError, match="different widths: 6, 8"):
        train([*some[:39], *with_states(sums(1), width=8)], wanted)
    scorer = train(some, replace(wanted, epochs=2))
    with pytest.raises(UserError, match="come from another model"):
        scorer.score([(d.question, d.paths) for d in with_states(sums(2), width=8)])


def test_relative_inputs_are_differences_to_the_questions_own_paths():
    data = sums(12)
    asked = [(d.question, d.paths) for d in data]
    plain = batch_inputs(asked, ScorerSettings(embeddings=False, relative=False))
    both = batch_inputs(asked, ScorerSettings(embeddings=False))
    for own, x in zip(plain, both, strict=True):
        assert own.shape[1] == len(NAMES) and x.shape[1] == 2 * len(NAMES)
        assert np.array_equal(x[:, : len(NAMES)], own)
        for j in range(len(NAMES)):
            mean = sum(own[:, j]) / len(own)
            assert x[:, len(NAMES) + j] == pytest.approx([v - mean for v in own[:, j]])


def test_too_little_or_nothing_to_learn_from_is_said():
    with pytest.raises(UserError, match="too few"):
        train(sums(10), QUICK)
    one_sided = [Labelled(d.question, d.paths, (1.0,) * 4) for d in sums(40)]
    with pytest.raises(UserError, match="0 of them with both right and wrong"):
        train(one_sided, QUICK)
    with pytest.raises(UserError, match="no input"):
        ScorerSettings(agreement=False, arithmetic=False, form=False, embeddings=False)
    with pytest.raises(UserError, match="out of range"):
        ScorerSettings(alpha=2)


def test_a_file_that_is_no_scorer_is_refused(tmp_path):
    from safetensors.torch import save_file

    (tmp_path / "a").write_bytes(b"nothing")
    save_file({"x": torch.zeros(1)}, tmp_path / "b")
    with pytest.raises(UserError, match="cannot be read"):
        Scorer.load(tmp_path / "a")
    with pytest.raises(UserError, match="not a scorer"):
        Scorer.load(tmp_path / "b")
