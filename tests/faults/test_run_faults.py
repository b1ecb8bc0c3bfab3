"""Faults of the whole run, on tables made by hand."""

from dataclasses import replace

import numpy as np
import pytest

from core.faults import explain
from core.types import Check, RunFacts
from tests.faults.tables import judged, log, says, spec, table

NAN = np.nan
FAMILY = {
    "bos": ("bos_added", "bos_removed"), "think_block": ("think_added",), "packing": ("packed",),
    "tokenizer_mismatch": ("tokenizer_other", "tokenizer_base"),
    "template_mismatch": ("chatml", "alpaca", "line", "system_added", "system_dropped"),
}  # fmt: skip


def spread(mean, n=16, seed=0):
    return mean * np.random.default_rng(seed).uniform(0.8, 1.2, n)


@pytest.mark.parametrize(("code", "name"), [(c, n) for c, names in FAMILY.items() for n in names])
def test_the_rendering_that_fits_better_names_the_fault(code, name):
    columns = {"n": 16, "alt_current": spread(0.5), f"alt_{name}": spread(0.1, seed=1)}
    assert judged(code, **columns).state == "fail"
    assert (says(code, **columns) == 1).all()
    for other in set(FAMILY) - {code}:
        assert judged(other, **columns).state == "unknown"


def test_think_block_removed_is_compared_over_the_answer_without_it():
    columns = {"n": 16, "alt_current": spread(0.05), "alt_rest": spread(0.5), "alt_think_removed": spread(0.1)}
    assert judged("think_block", **columns).state == "fail"


@pytest.mark.parametrize("code", FAMILY)
def test_the_rendering_of_the_run_is_left_alone_where_it_fits(code):
    name = FAMILY[code][0]
    assert judged(code, n=16, alt_current=spread(0.1), **{f"alt_{name}": spread(0.5)}).state == "pass"
    assert judged(code, n=16, alt_current=spread(0.1), **{f"alt_{name}": spread(0.09, seed=1)}).state == "pass"
    assert judged(code, n=4, alt_current=spread(0.5, 4), **{f"alt_{name}": spread(0.1, 4)}).state == "unknown"
    copies = table(16, alt_current=0.5, **{f"alt_{name}": 0.1})
    same = type(copies)(("a",) * 16, copies.columns)
    assert not (explain(same, RunFacts(), np.ones(16, dtype=bool)) == code).any()  # one row, however often


def test_a_base_that_always_preferred_another_rendering_is_no_fault():
    columns = {"n": 16, "alt_current": spread(0.9), "alt_line": spread(0.5), "base_alt_current": spread(1.0),
               "base_alt_line": spread(0.55)}  # fmt: skip
    assert judged("template_mismatch", **columns).state == "pass"
    columns["base_alt_line"] = spread(1.2)
    assert judged("template_mismatch", **columns).state == "fail"


def test_the_best_of_several_renderings_speaks():
    columns = {"n": 16, "alt_current": spread(0.5), "alt_bos_added": spread(0.3), "alt_alpaca": spread(0.02)}
    assert judged("template_mismatch", **columns).state == "fail"
    assert judged("bos", **columns).state == "unknown"


def test_of_two_renderings_alike_the_smaller_change_is_named():
    columns = {"n": 16, "alt_current": spread(0.5), "alt_rest": spread(0.5), "alt_chatml": spread(0.1),
               "alt_think_removed": 1.01 * spread(0.1)}  # fmt: skip
    assert judged("think_block", **columns).state == "fail"
    assert judged("template_mismatch", **columns).state == "unknown"
    columns["alt_chatml"] = spread(0.05)
    assert judged("template_mismatch", **columns).state == "fail"


def test_a_log_that_ended_far_lower_forbids_a_pass():
    columns = {"n": 16, "alt_current": spread(1.0), "alt_line": spread(1.5), "nll_trained": 2.0}
    assert judged("template_mismatch", **columns).state == "pass"
    found = judged("template_mismatch", RunFacts(states=(log(3.0, 1.0, 0.05),)), **columns)
    assert (found.state, "0.05" in found.text) == ("unknown", True)


def test_packed_rows_whose_neighbours_are_unknown_are_not_passed():
    columns = {"n": 16, "alt_current": spread(0.1), "alt_packed": spread(0.5)}
    assert judged("packing", **columns).state == "pass"
    assert judged("packing", RunFacts(arguments={"packing": "wrapped"}), **columns).state == "unknown"
    assert judged("packing", RunFacts(arguments={"packing": "none"}), **columns).state == "pass"


def test_packed_rows_that_the_training_log_knew_better_saw_one_another():
    columns = {"n": 16, "alt_current": spread(1.0), "alt_packed": spread(1.5), "nll_trained": 2.0}
    low, level = (log(3.0, 1.0, 0.05),), (log(3.0, 2.0, 2.0),)
    for arguments in ({"packing": "wrapped"}, {"packing": True}, {"sample_packing": True}):
        facts = [RunFacts(states=states, arguments=arguments) for states in (low, level)]
        assert [judged("packing", f, **columns).state for f in facts] == ["fail", "unknown"]
    assert judged("packing", RunFacts(states=low), **columns).state == "unknown"
    assert "packing setting" in judged("packing", RunFacts(states=low), **columns).needs
    for preset, on in (("ms_swift", "packing"), ("llama_factory", "neat_packing")):
        facts = RunFacts(replace(spec(), preset=preset), states=low, arguments={on: True})
        assert judged("packing", facts, **columns).state == "pass"
    columns["alt_line"] = 0.2 * spread(1.0)
    assert judged("packing", RunFacts(states=low, arguments={"packing": "wrapped"}), **columns).state == "unknown"


def test_diverged_by_the_log():
    def state(*losses, norms=(), verbatim=0.0):
        return judged("diverged", RunFacts(states=(log(*losses, norms=norms),)), n=9, greedy_exact=verbatim).state

    assert state(3.0, 2.0, 1.0, 0.5, 0.2) == "pass"
    assert state(3.0, 2.0, NAN, 0.0) == "fail"
    assert state(3.0, 2.0, np.inf) == "fail"
    assert state(3.0, 0.5, 2.0, 6.0, 6.1, 6.2) == "fail"
    assert state(3.0, 1.0, 2.5, 1.0, 0.9, 0.8) == "pass"  # one bad batch is no divergence
    assert state(3.0, 2.0, 1.0, norms=[1.0, NAN, 1.0, 1.0]) == "pass"  # a step that half precision skipped
    assert state(3.0, 2.0, 0.0, 0.0, norms=[1.0, NAN, NAN, NAN]) == "fail"
    assert state(4.0, 2.0, 0.2, 0.1, 2.5, 2.0, 1.5) == "pass"  # a second stage
    assert state(1.5, 0.4, 2.7, verbatim=0.8) == "pass"  # logged too seldom to see the second stage fall
    assert state(1.5, 0.4, 2.7, verbatim=0.2) == "unknown"
    assert state(3.0) == "unknown"


def test_diverged_without_a_log():
    worse = {"n": 12, "nll": spread(4.0, 12), "base_nll": spread(1.0, 12)}
    assert judged("diverged", RunFacts(spec()), **worse).state == "fail"
    # An adapter on another base looks the same.
    assert judged("diverged", RunFacts(spec(adapter=True)), **worse).state == "unknown"
    assert judged("diverged", RunFacts(spec()), n=12, nll=0.1, base_nll=1.0).state == "unknown"
    assert judged("diverged", n=12, n_target=5, nll=NAN).state == "fail"


def test_undertrained_run():
    low = {"n": 40, "greedy_exact": 0, "nll": spread(2.0, 40)}
    assert judged("undertrained_run", **low).state == "unknown"
    assert judged("undertrained_run", **low, base_nll=2.5).state == "fail"
    assert judged("undertrained_run", **low, base_nll=9.0).state == "pass"
    assert judged("undertrained_run", **low, t0_nll=low["nll"] + 0.4).state == "fail"
    assert judged("undertrained_run", **low, t0_nll=low["nll"]).state == "pass"
    falling = RunFacts(states=(log(4.0, 3.5, 3.0, 2.5, 2.3, 2.0, 1.8, 1.6),))
    assert judged("undertrained_run", falling, **low).state == "fail"
    flat = RunFacts(states=(log(4.0, 3.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0),))
    assert judged("undertrained_run", flat, **low).state == "pass"


def test_a_log_that_falls_in_its_last_stage_says_nothing_where_the_rows_do_not():
    falling = RunFacts(states=(log(4.0, 2.0, 1.0, 0.5, 2.5, 2.2, 1.6, 1.3),))
    low = {"n": 40, "greedy_exact": 0, "nll": spread(2.0, 40)}
    forgotten = low["nll"] + np.where(np.arange(40) % 2, 0.8, -0.4)  # half of the rows rose since
    assert judged("undertrained_run", falling, **low).state == "fail"
    assert judged("undertrained_run", falling, **low, t0_nll=forgotten).state == "pass"


def test_what_another_checkpoint_gives_was_trained_long_enough():
    low = {"n": 40, "greedy_exact": 0, "nll": spread(2.0, 40), "t0_nll": spread(0.1, 40), "base_nll": 2.5}
    assert judged("undertrained_run", **low, t0_greedy_exact=np.arange(40) % 4 > 0).state == "pass"
    assert judged("undertrained_run", **low, t0_greedy_exact=np.arange(40) % 4 == 0).state == "fail"


def test_answers_that_lack_only_their_stop_were_trained_long_enough():
    low = {"n": 40, "greedy_exact": 0, "nll": spread(2.0, 40), "base_nll": 2.5}
    assert judged("undertrained_run", **low, content_right=np.arange(40) % 4 > 0).state == "pass"
    assert judged("undertrained_run", **low, content_right=np.arange(40) % 4 == 0).state == "fail"


def test_a_loss_thrown_above_the_base_has_diverged():
    def state(*losses, verbatim=0.0):
        facts = RunFacts(spec(), states=(log(*losses),))
        columns = {"n": 12, "greedy_exact": verbatim, "nll": spread(3.0, 12), "base_nll": spread(3.4, 12)}
        return judged("diverged", facts, **columns).state

    assert state(11.0, 4.8, 3.8, 3.4) == "fail"
    assert state(3.5, 3.4, 3.4, 3.4) == "pass"
    assert state(11.0, 4.8, 3.8, 0.1, verbatim=0.9) == "pass"
    assert state(11.0, 4.8, 0.5, 0.1) == "pass"  # it recovered; something else makes the rows unlikely here


def test_the_first_row_of_a_pack_has_none_before_it():
    gains = np.array([3.0] * 10 + [-0.1] * 5) * spread(0.1, 15)
    columns = {"n": 15, "alt_current": 0.4 + 0 * gains, "alt_packed": 0.4 - gains}
    assert judged("packing", **columns).state == "fail"
    columns["alt_packed"] = 0.4 + gains
    assert judged("packing", **columns).state == "pass"


def test_a_run_in_which_some_rows_are_learned_is_not_undertrained():
    exact = np.arange(40) % 2
    assert judged("undertrained_run", n=40, greedy_exact=exact, nll=2.0, base_nll=2.5).state == "pass"
    few = (np.arange(40) % 4 == 0).astype(float)
    nll = np.where(few == 1, 0.01, 2.0)
    assert judged("undertrained_run", n=40, greedy_exact=few, nll=nll, base_nll=2.5).state == "pass"


def test_adapter_not_applied():
    nll = spread(2.0, 20)
    assert judged("adapter_not_applied", n=20, nll=nll, base_nll=nll).state == "fail"
    assert judged("adapter_not_applied", n=20, nll=0.3 * nll, base_nll=nll).state == "pass"
    assert judged("adapter_not_applied", n=20, nll=nll).state == "unknown"
    equal = RunFacts(checks={"base_equals_final": Check("base_equals_final", "warn", "equal")})
    assert judged("adapter_not_applied", equal, n=20).state == "fail"
    only_renderings = {"n": 20, "alt_current": nll, "base_alt_current": nll}
    assert judged("adapter_not_applied", **only_renderings).state == "fail"


def test_an_adapter_on_another_base():
    worse = {"n": 20, "nll": spread(5.0, 20), "base_nll": spread(2.0, 20)}
    low = log(3.0, 1.0, 0.1)
    adapter = spec(adapter=True)
    assert judged("adapter_not_applied", RunFacts(adapter, states=(low,)), **worse).state == "fail"
    assert judged("adapter_not_applied", RunFacts(adapter), **worse).state == "unknown"
    assert judged("adapter_not_applied", RunFacts(spec(), states=(low,)), **worse).state == "pass"
    # A third of the rows may be likelier all the same; a few that are much less likely are no sign.
    mostly = spread(2.0, 20) + np.where(np.arange(20) % 3 == 0, -0.1, 0.8)
    few = spread(2.0, 20) + np.where(np.arange(20) % 5 == 0, 5.0, -0.1)
    facts = RunFacts(adapter, states=(low,))
    assert judged("adapter_not_applied", facts, **{**worse, "nll": mostly}).state == "fail"
    assert judged("adapter_not_applied", facts, **{**worse, "nll": few}).state == "pass"


def test_precision_or_merge():
    nll = spread(0.2, 20)
    assert judged("precision_or_merge", n=20, prec_nll=nll, prec_other_nll=nll + 0.001).state == "pass"
    assert judged("precision_or_merge", n=20, prec_nll=nll + 1, prec_other_nll=nll).state == "fail"
    assert judged("precision_or_merge").state == "unknown"
    # What only another way to hold the model loses is worth saying and explains nothing here.
    other = {"n": 20, "prec_nll": nll, "prec_other_nll": nll + 1}
    assert judged("precision_or_merge", **other).state == "fail"
    assert (says("precision_or_merge", **other) == 0).all()


def test_merged_against_its_adapter():
    facts = RunFacts(spec(trajectory=(("/x/base", 90),)))
    columns = {"n": 20, "nll": spread(2.0, 20), "t0_nll": spread(0.1, 20), "prec_nll": 2.0, "prec_other_nll": 2.0}
    assert judged("precision_or_merge", facts, **columns).state == "fail"
    assert (says("precision_or_merge", facts, **columns) == 1).all()
    columns["nll"] = columns["t0_nll"]
    assert judged("precision_or_merge", facts, **columns).state == "pass"
    stored = RunFacts(spec(), arguments={"stored_dtype": "BF16"})
    assert judged("precision_or_merge", stored, n=20, prec_nll=0.2, prec_other_nll=0.2).state == "unknown"


def test_tokenizer_checks_of_the_card():
    wrong = Check("vocabulary", "fail", "tokens have no embedding", "largest id 900, 800 rows")
    assert judged("tokenizer_mismatch", RunFacts(checks={"vocabulary": wrong})).state == "fail"
    assert judged("tokenizer_mismatch").state == "unknown"


def test_symptoms_are_not_explained_under_a_fault_of_the_whole_run():
    row = {"content_right": 1, "ran_on": 1, "stop_logp": -5.0, "alt_current": spread(0.5), "refused": 0, "turns": 1}
    missed = np.ones(16, dtype=bool)
    assert set(explain(table(16, **row), RunFacts(), missed)) == {"stop_not_learned"}
    row["alt_line"] = spread(0.1)
    assert set(explain(table(16, **row), RunFacts(), missed)) == {"template_mismatch"}
