"""Strength, decision and fit against independent twins."""

import math

import numpy as np

from core.causes import UNDETERMINED, decide, strength
from core.causes._evidence import below_learned, squash
from core.causes._fit import fit, logistic


def test_strength_is_a_sum_through_a_sigmoid():
    weights = {"bias": -1.0, "for": {"a": 2.0, "b": 0.5}, "against": {"c": 3.0}}
    evidence = {"a": np.array([1.0, 0.2, np.nan]), "b": np.array([0.0, np.nan, np.nan]), "c": np.array([0.1, 0.9, 0.5])}
    found = strength(weights, evidence)
    assert found[0] == 1 / (1 + math.exp(-(-1 + 2 - 0.3)))
    assert math.isclose(found[1], 1 / (1 + math.exp(-(-1 + 0.4 - 2.7))))
    assert math.isnan(found[2])  # nothing that speaks for it was measured


def test_decide_names_the_strongest_and_abstains_when_unsure():
    strengths = {"x": np.array([0.9, 0.5, np.nan, 0.2]), "y": np.array([0.1, 0.49, np.nan, np.nan])}
    cause, confidence = decide(strengths, {"bias": 0.0, "top": 1.0, "margin": 0.5, "undetermined_below": 0.6})
    first, second = math.log(9), math.log(1 / 9)
    assert math.isclose(confidence[0], 1 / (1 + math.exp(-(first + 0.5 * (first - second)))))
    assert cause.tolist()[:3] == ["x", UNDETERMINED, None]
    assert math.isnan(confidence[2])


def test_below_learned_is_measured_on_the_learned_samples():
    values = np.array([-1.0, -1.1, -0.9, -1.0, -1.2, -9.0, -1.05])
    learned = np.array([True] * 5 + [False] * 2)
    found = below_learned(values, learned)
    middle, low = np.quantile(values[:5], [0.5, 0.1])
    scale = 3 * max(middle - low, 0.1)
    np.testing.assert_allclose(found, np.clip((middle - values) / scale, 0, 1))
    assert found[5] == 1.0
    assert np.isnan(below_learned(values, np.zeros(7, bool))).all()


def test_squash_rises_from_0_towards_1():
    assert squash(np.array([-3.0, 0.0]), 1.0).tolist() == [0.0, 0.0]
    assert math.isclose(float(squash(np.array([2.0]), 2.0)[0]), 1 - math.exp(-1))


def test_logistic_agrees_with_plain_gradient_descent_and_keeps_slopes_positive():
    rng = np.random.default_rng(0)
    x = rng.random((400, 3))
    y = (rng.random(400) < 1 / (1 + np.exp(-(3 * x[:, 0] - 2 * x[:, 1] - 0.5)))).astype(float)
    w = np.full(400, 1 / 400)
    bias, slopes = logistic(x, y, w, 1e-3)
    b, s = 0.0, np.zeros(3)
    for _ in range(20_000):  # projected gradient descent, ten lines of another kind
        p = 1 / (1 + np.exp(-(b + x @ s)))
        b -= 0.5 * (w * (p - y)).sum()
        s = np.maximum(0.0, s - 0.5 * (x.T @ (w * (p - y)) + 2e-3 * s))
    np.testing.assert_allclose([bias, *slopes], [b, *s], atol=2e-3)
    assert slopes[1] == 0.0 and slopes[0] > 1


def test_fit_finds_what_was_planted():
    rng = np.random.default_rng(3)
    n = 300
    truth = [frozenset({("missing_knowledge", "data_inconsistency", "left_side_forgetting")[i % 3]}) for i in range(n)]
    from core.causes._evidence import PIECES

    evidence = {p.name: rng.random(n) * 0.3 for p in PIECES}
    loud = {
        "missing_knowledge": "base_ignorant",
        "data_inconsistency": "contradicted",
        "left_side_forgetting": "forgotten",
    }
    for i, t in enumerate(truth):
        evidence[loud[next(iter(t))]][i] += 0.7
    found = fit(evidence, truth, np.full(n, 1 / n), list(loud), 1e-3)
    cause, confidence = decide({k: strength(v, evidence) for k, v in found["causes"].items()}, found["decision"])
    right = np.array([c in t for c, t in zip(cause, truth, strict=True)])
    assert right.mean() > 0.97
    assert abs(confidence.mean() - right.mean()) < 0.05


def test_confidence_is_that_of_samples_the_weights_have_not_seen():
    """Causes drawn at random: weights fitted on few samples find patterns that are none."""
    from core.causes._evidence import PIECES

    rng = np.random.default_rng(5)
    names, n = ["missing_knowledge", "base_conflict", "left_side_forgetting"], 30
    truth = [frozenset({names[k]}) for k in rng.integers(0, 3, n)]
    evidence = {p.name: rng.random(n) for p in PIECES}
    even = np.full(n, 1 / n)

    def sure(**options):
        found = fit(evidence, truth, even, names, 1e-5, **options)
        return decide({k: strength(v, evidence) for k, v in found["causes"].items()}, found["decision"])[1].mean()

    assert sure() > 0.5
    assert sure(groups=np.arange(n) % 6) < 0.45
