"""Scores of verdicts against a world's truth, beside a twin that counts with loops."""

import json
import math
import random

import pytest

from core.__main__ import main
from core.lab.rows import CAUSES
from core.lab.score import joined, score, table

NAMES = [*CAUSES, "undetermined", None, "pipeline:bos"]


def made(seed, n=300):
    """Truth and verdicts drawn at random."""
    rng = random.Random(seed)
    truth, verdicts = [], []
    for i in range(n):
        planted = rng.sample(CAUSES, rng.choice((0, 1, 1, 1, 2)))
        made_for = planted[0] if planted and rng.random() < 0.9 else None
        truth.append(
            {"id": f"r{i}", "planted": planted, "learned": rng.random() < 0.4, "scored": rng.random() < 0.8,
             "made_for": made_for}
        )  # fmt: skip
        named = rng.choice(planted) if planted and rng.random() < 0.6 else rng.choice(NAMES)
        if rng.random() < 0.95:
            verdicts.append({"id": f"r{i}", "cause": named, "confidence": rng.choice((None, rng.random(), 0.0, 1.0))})
    rng.shuffle(verdicts)
    return truth, verdicts


def twin(truth, verdicts):
    """The same numbers, one question at a time."""
    said = {v["id"]: v for v in verdicts}
    judged = [t for t in truth if t["scored"] and not t["learned"] and len(t["planted"]) > 0]

    def name(t):
        return said.get(t["id"], {}).get("cause") or "undetermined"

    def counts_for(t):
        return name(t) if name(t) in t["planted"] else t["planted"][0]

    found = {}
    for c in CAUSES:
        tp = sum(1 for t in judged if name(t) == c and counts_for(t) == c)
        fp = sum(1 for t in judged if name(t) == c and counts_for(t) != c)
        fn = sum(1 for t in judged if name(t) != c and counts_for(t) == c)
        found[c] = (
            tp / (tp + fp) if tp + fp else None,
            tp / (tp + fn) if tp + fn else None,
            2 * tp / (2 * tp + fp + fn) if tp + fp + fn else None,
        )
    f1 = [f for c, (_, r, f) in found.items() if r is not None]
    given = [t for t in judged if name(t) != "undetermined"]
    learned = [t for t in truth if t["learned"]]
    controls = [t for t in truth if not t["learned"] and not t["planted"] and t["made_for"] is None]
    sure = [(said[t["id"]]["confidence"], name(t) in t["planted"]) for t in given]
    sure = [(c, ok) for c, ok in sure if c is not None]
    error = 0.0
    for b in range(10):
        inside = [(c, ok) for c, ok in sure if b / 10 <= c < (b + 1) / 10 or (b == 9 and c == 1)]
        if inside:
            error += abs(sum(c for c, _ in inside) - sum(ok for _, ok in inside)) / len(sure)
    return found, {
        "macro_f1": sum(f1) / len(f1) if f1 else None,
        "coverage": len(given) / len(judged) if judged else None,
        "accuracy": sum(name(t) in t["planted"] for t in given) / len(given) if given else None,
        "learned_given_a_cause": sum(name(t) != "undetermined" for t in learned) / len(learned) if learned else None,
        "controls_called_inconsistent": (
            sum(name(t) == "data_inconsistency" for t in controls) / len(controls) if controls else None
        ),
        "calibration_error": error if sure else None,
    }


def same(a, b):
    return a is b is None or math.isclose(a, b, abs_tol=1e-4)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("n", [5, 60, 400])
def test_scores_are_those_of_a_count_by_hand(seed, n):
    truth, verdicts = made(seed, n)
    result = score(joined(truth, verdicts))
    causes, whole = twin(truth, verdicts)
    for c in CAUSES:
        precision, recall, f1 = causes[c]
        one = result["causes"][c]
        assert same(one["precision"]["value"], precision)
        assert same(one["recall"]["value"], recall)
        assert same(one["f1"], f1)
    for name, value in whole.items():
        given = result[name]
        assert same(given["value"] if isinstance(given, dict) else given, value), name


def test_pooled_worlds_are_counted_together():
    (truth, verdicts), (other, others) = made(1), made(2)
    other = [{**t, "id": "b" + t["id"]} for t in other]
    others = [{**v, "id": "b" + v["id"]} for v in others]
    pooled = score(joined(truth, verdicts) + joined(other, others))
    assert pooled == score(joined(truth + other, verdicts + others))
    assert pooled["judged"] == score(joined(truth, verdicts))["judged"] + score(joined(other, others))["judged"]


def row(planted, cause, **more):
    return {"id": "a", "planted": planted, "learned": False, "scored": True, "cause": cause, "confidence": None, **more}


def test_either_of_two_true_causes_is_right():
    both = ["base_conflict", "data_inconsistency"]
    for cause in both:
        result = score([row(both, cause)])
        assert result["accuracy"]["value"] == 1 and result["macro_f1"] == 1
        assert result["confusion"][cause] == {cause: 1}
    wrong = score([row(both, "under_optimised")])
    assert wrong["confusion"]["base_conflict"] == {"under_optimised": 1} and wrong["macro_f1"] == 0


def test_what_is_not_verified_or_learned_is_not_judged():
    rows = [row(["base_conflict"], "base_conflict", scored=False), row(["base_conflict"], None, learned=True)]
    result = score([*rows, row([], "data_inconsistency", scored=False, made_for=None)])
    assert result["judged"] == 0 and result["macro_f1"] is None and result["coverage"]["value"] is None
    assert result["learned_given_a_cause"] == {"n": 1, "value": 0.0, "interval": [0.0, 0.7935]}
    assert result["controls_called_inconsistent"]["value"] == 1
    # Rows of a fault have neither cause nor a place among the controls.
    assert (
        score([row([], "data_inconsistency", scored=False, made_for="base_conflict")])["controls_called_inconsistent"][
            "n"
        ]
        == 0
    )


def test_the_command_prints_json_and_a_table(tmp_path, capsys):
    truth, verdicts = made(3)
    (tmp_path / "truth.jsonl").write_text("".join(json.dumps(t) + "\n" for t in truth))
    (tmp_path / "verdicts.jsonl").write_text("".join(json.dumps(v) + "\n" for v in verdicts))
    assert main(["lab", "score", str(tmp_path), str(tmp_path / "verdicts.jsonl")]) == 0
    printed = capsys.readouterr()
    result = json.loads(printed.out)
    assert result == json.loads(json.dumps(score(joined(truth, verdicts))))
    assert printed.err.strip() == table(result).strip()
    for cause in CAUSES:
        assert cause in printed.err
    assert "pipeline:bos"[:12] in printed.err
    assert main(["lab", "score", str(tmp_path), str(tmp_path / "none.jsonl")]) == 2
    assert "does not exist" in capsys.readouterr().err
