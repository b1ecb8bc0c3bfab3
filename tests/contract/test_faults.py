"""What every fault must do, found by the folder scan."""

import numpy as np
import pytest

from core.faults import explain, judge_run, ordered_faults, states
from core.plugins import kinds
from core.types import Check, RunFacts, SignalTable, TrainerState

FAULTS = list(kinds("faults").values())
CODES = {
    "not_supervised", "target_truncated", "never_trained", "template_mismatch", "stop_not_learned", "bos",
    "adapter_not_applied", "precision_or_merge", "undertrained_run", "diverged", "role_error", "empty_target",
    "strict_scorer", "many_valid_answers", "packing", "wrong_checkpoint", "multi_turn_mask", "think_block",
    "tokenizer_mismatch",
}  # fmt: skip
FLAGS = (
    "greedy_exact", "first_miss_trained", "dropped", "refused", "truncated", "roles_known", "roles_alternate",
    "content_right", "ran_on", "same_form", "limit_hit", "last_right", "earlier_untrained", "t0_greedy_exact",
    "base_greedy_exact", "side_wins",
)  # fmt: skip
SHARES = ("answer_filled", "same_meaning", "after_right", "earlier_right", "both_valid", "position", "prec_hits")
LOSSES = (
    "nll", "base_nll", "t0_nll", "nll_trained", "last_nll", "earlier_nll", "alt_current", "base_alt_current",
    "alt_rest",    "alt_bos_added", "alt_think_added", "alt_think_removed", "alt_line", "base_alt_line", "alt_packed",
    "alt_tokenizer_base", "prec_nll", "prec_other_nll",
)  # fmt: skip
COUNTS = (
    "n_tokens", "n_target", "n_trained", "n_unsupervised", "cut_target", "turns", "answer_turns", "miss_at", "n_after"
)  # fmt: skip


def random_table(seed, n=60):
    """Numbers of every signal a fault may read, with holes."""
    rng = np.random.default_rng(seed)
    columns = {name: rng.integers(0, 2, n).astype(float) for name in FLAGS}
    columns |= {name: rng.random(n) for name in SHARES}
    columns |= {name: rng.exponential(1.0, n) for name in LOSSES}
    columns |= {name: rng.integers(0, 40, n).astype(float) for name in COUNTS}
    columns["stop_logp"] = -rng.exponential(1.0, n)
    for values in columns.values():
        values[rng.random(n) < 0.15] = np.nan
    return SignalTable(tuple(f"{i:04x}{seed}" for i in range(n)), columns)


def known_facts():
    checks = {c: Check(c, "pass", "fine") for c in ("tokenizer", "vocabulary", "weights_finite", "base_equals_final")}
    log = TrainerState("final", 40, 40, 2.0, 8, tuple((i, 3.0 / (i + 1)) for i in range(12)))
    return RunFacts(None, checks, (log,), {"packing": "none"})


def only(table, rows):
    return SignalTable(tuple(table.keys[i] for i in rows), {n: v[rows] for n, v in table.columns.items()})


@pytest.fixture(params=FAULTS, ids=lambda f: f.name)
def fault(request):
    return request.param


def test_all_codes_are_there_and_have_their_place():
    assert set(kinds("faults")) >= CODES
    assert len({f.place for f in FAULTS}) == len(FAULTS)


def test_a_fault_says_what_it_is_and_what_it_needs(fault):
    assert fault.label and fault.help and fault.needs
    assert fault.scope in ("sample", "run")


@pytest.mark.parametrize("facts", [RunFacts(), known_facts()], ids=["no facts", "facts"])
@pytest.mark.parametrize("seed", range(4))
def test_it_says_one_nought_or_unknown_and_leaves_its_inputs(fault, seed, facts):
    table = random_table(seed)
    before = {n: v.copy() for n, v in table.columns.items()}
    for values in table.columns.values():
        values.flags.writeable = False
    said = fault.explains(table, facts)
    assert said.shape == (60,) and said.dtype == np.float64
    assert np.isin(said[~np.isnan(said)], (0.0, 1.0)).all()
    for name, values in before.items():
        np.testing.assert_array_equal(table.columns[name], values)


@pytest.mark.parametrize("seed", range(4))
def test_the_order_of_the_rows_plays_no_part(fault, seed):
    table = random_table(seed)
    rows = np.random.default_rng(seed).permutation(60)
    said = fault.explains(table, known_facts())
    np.testing.assert_array_equal(fault.explains(only(table, rows), known_facts()), said[rows])


def test_missing_evidence_neither_passes_nor_fails(fault):
    names = (*FLAGS, *SHARES, *LOSSES, *COUNTS, "stop_logp")
    keys = tuple(f"{i:04x}" for i in range(40))
    for columns in ({}, {n: np.full(40, np.nan) for n in names}):
        table = SignalTable(keys, columns)
        assert np.isnan(fault.explains(table, RunFacts())).all()
        found = fault.judge(table, RunFacts(), np.ones(40, dtype=bool))
        assert found.state == "unknown"
        assert found.text and found.needs


def test_a_fault_says_what_to_do(fault):
    assert fault.advice[0].isupper() and fault.advice.endswith(".")


def test_no_row_is_no_error(fault):
    table = SignalTable((), {})
    assert fault.explains(table, RunFacts()).shape == (0,)
    assert fault.judge(table, RunFacts(), np.zeros(0, dtype=bool)).state == "unknown"


@pytest.mark.parametrize("seed", range(3))
def test_there_is_one_sentence_for_any_row(fault, seed):
    table = random_table(seed)
    for i in range(10):
        row = {n: float(v[i]) for n, v in table.columns.items()}
        assert fault.sentence(row).endswith((".", "?"))
    assert fault.sentence({})


def test_the_run_is_said_in_words_with_numbers(fault):
    for seed in range(4):
        found = fault.judge(random_table(seed), known_facts(), np.ones(60, dtype=bool))
        assert found.state in ("pass", "fail", "unknown") and found.text
        assert found.state == "unknown" or found.measured


@pytest.mark.parametrize("seed", range(4))
def test_only_missed_rows_are_explained_and_by_the_first_fault(seed):
    table, facts = random_table(seed), known_facts()
    missed = np.random.default_rng(seed).random(60) < 0.5
    found = states(table, facts)
    codes = explain(table, facts, missed, found)
    for i, code in enumerate(codes):
        if code is not None:
            assert missed[i] or kinds("faults")[code].unjudged
            assert found[code][i] == 1
            order = [f.name for f in ordered_faults()]
            earlier = [c for c in order[: order.index(code)] if found[c][i] == 1]
            assert all(kinds("faults")[c].symptom or not missed[i] for c in earlier)
    status = np.where(missed, "unlearned", "learned").astype(object)
    told = {f.code: f for f in judge_run(table, facts, status)}
    assert set(told) == set(kinds("faults"))
    assert sum(f.n for f in told.values()) == sum(c is not None for c in codes)
