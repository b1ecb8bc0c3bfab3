"""What every cause and every piece of evidence must do, found by the folder scan."""

import dataclasses
import tomllib
from pathlib import Path

import numpy as np
import pytest

from core.causes import UNDETERMINED, attribute, explain_cause, ordered_causes, parameters, parameters_of, strength
from core.causes._evidence import measure_evidence, pieces, reason
from core.lab.rows import CAUSES
from core.plugins import kinds
from core.services import causes
from core.types import EVIDENCE, Checkpoint, RunSpec, SignalTable
from core.values.columns import contrast

KINDS = list(kinds("causes").values())
PIECES = list(pieces().values())
ROOT = Path(__file__).parents[2]
SPEC = RunSpec(1, "d", Checkpoint("/x", None, None, "final", "f"))
COLUMNS = sorted({c for p in PIECES for c in p.shows} | {
    "base_nll", "base_belief_is_target", "learned_at", "base_familiarity", "target_rank", "pattern_learned",
    "base_belief_agrees",
})  # fmt: skip


def table(n=60, seed=0, missing=0.2):
    rng = np.random.default_rng(seed)
    columns = {}
    for name in COLUMNS:
        values = rng.random(n) * (20 if name == "pattern_count" else 1)
        if name in ("forgotten", "side_wins", "output_is_belief", "base_belief_is_target", "output_type_right"):
            values = np.round(values)
        columns[name] = np.where(rng.random(n) < missing, np.nan, values)
    return SignalTable(tuple(f"k{i}" for i in range(n)), columns)


def rows(found, order):
    return {k: v[order] for k, v in found.items()}


@pytest.mark.parametrize("cause", KINDS, ids=lambda c: c.name)
def test_a_cause_names_evidence_that_exists_and_says_what_it_needs(cause):
    assert cause.speaks_for and set(cause.speaks_for) | set(cause.speaks_against) <= set(pieces())
    assert not set(cause.speaks_for) & set(cause.speaks_against)
    assert cause.label and cause.help and cause.needs and cause.blind and cause.advice


@pytest.mark.parametrize("cause", KINDS, ids=lambda c: c.name)
def test_a_cause_is_fitted_or_brings_its_weights(cause):
    fitted = {name for weights in parameters()["sets"].values() for name in weights["causes"]}
    assert cause.name in fitted or cause.weights is not None
    if cause.weights is not None:
        assert set(cause.weights.speaks_for) <= set(cause.speaks_for)
        assert set(cause.weights.speaks_against) <= set(cause.speaks_against)
        assert min((*cause.weights.speaks_for.values(), *cause.weights.speaks_against.values())) >= 0


@pytest.mark.parametrize("value", causes.values())
def test_every_cause_and_fault_can_be_seen_and_told_apart(value):
    theme = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())["theme"]
    look = causes.look(value)
    assert len(look.mark) == 1 and look.label and value not in look.label
    assert look.pattern in ("", "/", "\\", "x", "-", "|", "+", ".")
    for ground in (theme["light"]["backgroundColor"], theme["dark"]["backgroundColor"]):
        assert contrast(look.colour, ground) >= 3
    assert contrast(look.colour, look.ink) >= 4.5
    if not value.startswith("pipeline:"):
        others = [causes.look(v) for v in causes.values() if v != value and not v.startswith("pipeline:")]
        for part in ("colour", "mark", "label"):
            assert getattr(look, part) not in [getattr(other, part) for other in others]


def test_the_five_of_the_study_come_first_in_its_order():
    assert [c.name for c in ordered_causes()][:5] == list(CAUSES)


@pytest.mark.parametrize("name", sorted(parameters()["sets"]))
def test_parameters_fit_the_causes(name):
    weights = parameters()["sets"][name]
    assert {"bias", "top", "margin", "undetermined_below"} <= set(weights["decision"])
    for cause, mine in weights["causes"].items():
        kind = kinds("causes")[cause]
        assert set(mine["for"]) <= set(kind.speaks_for) and set(mine["against"]) <= set(kind.speaks_against)
        assert all(w >= 0 for side in ("for", "against") for w in mine[side].values())
        assert not {"base", "trajectory"} & set(kind.requires) - set(name.split("+"))


@pytest.mark.parametrize("piece", PIECES, ids=lambda p: p.name)
def test_evidence_lies_between_0_and_1_and_is_nan_where_nothing_was_measured(piece):
    learned = np.arange(60) % 2 == 0
    found = measure_evidence(table(), learned)[piece.name]
    assert np.isfinite(found).any()
    assert ((found >= 0) & (found <= 1) | np.isnan(found)).all()
    nothing = SignalTable(table().keys, {})
    assert np.isnan(measure_evidence(nothing, learned)[piece.name]).all()
    assert reason(piece, {}, "for") is None
    row = {name: float(values[0]) for name, values in table(missing=0.0).columns.items()}
    sentence = reason(piece, row, "for")
    assert sentence is not None and sentence.text and "nan" not in sentence.text


@pytest.mark.parametrize("cause", KINDS, ids=lambda c: c.name)
def test_evidence_does_not_say_again_what_its_cause_says(cause):
    """They stand beside each other at the head of a row."""

    def phrases(text):
        words = text.lower().strip(".").replace(",", "").split()
        return {tuple(words[i : i + 4]) for i in range(len(words) - 3)}

    row = dict.fromkeys(COLUMNS, 0.5)
    own = {piece.name: piece for piece in (*PIECES, *cause.evidence)}
    said = {name: reason(own[name], row, "for").text for name in cause.speaks_for}
    assert {name: text for name, text in said.items() if phrases(text) & phrases(cause.help)} == {}


def test_the_order_of_samples_changes_nothing_and_inputs_are_left_alone():
    t = table()
    before = {k: v.copy() for k, v in t.columns.items()}
    learned, asked = np.arange(60) % 3 == 0, np.arange(60) % 3 != 0
    found = attribute(SPEC, t, learned, asked)
    order = np.random.default_rng(1).permutation(60)
    turned = attribute(
        SPEC, SignalTable(tuple(t.keys[i] for i in order), rows(t.columns, order)), learned[order], asked[order]
    )
    assert turned.cause.tolist() == found.cause[order].tolist()
    np.testing.assert_allclose(turned.confidence, found.confidence[order])
    for name, values in found.strengths.items():
        np.testing.assert_allclose(turned.strengths[name], values[order])
        assert ((values >= 0) & (values <= 1) | np.isnan(values)).all()
        assert np.isnan(values[~asked]).all()
    assert all(np.array_equal(before[k], t.columns[k], equal_nan=True) for k in before)
    assert (found.cause[~asked] == None).all()  # noqa: E711


@pytest.mark.parametrize("cause", KINDS, ids=lambda c: c.name)
def test_more_evidence_never_turns_a_strength_against_its_direction(cause):
    rng = np.random.default_rng(2)
    evidence = {p.name: rng.random(40) for p in PIECES}
    for weights in parameters()["sets"].values():
        if cause.name not in weights["causes"]:
            continue
        before = strength(weights["causes"][cause.name], evidence)
        for names, sign in ((cause.speaks_for, 1), (cause.speaks_against, -1)):
            for name in names:
                more = evidence | {name: np.minimum(evidence[name] + 0.3, 1.0)}
                assert (sign * (strength(weights["causes"][cause.name], more) - before) >= -1e-12).all()


@pytest.mark.parametrize("cause", KINDS, ids=lambda c: c.name)
def test_a_cause_is_not_judged_where_what_it_requires_is_missing(cause):
    t = table()
    for requirement in cause.requires:
        gone = {"base": "base_", "trajectory": "forgotten"}.get(requirement, requirement)
        left = {k: v for k, v in t.columns.items() if not k.startswith(gone)}
        found = attribute(SPEC, SignalTable(t.keys, left), np.zeros(60, bool), np.ones(60, bool))
        assert np.isnan(found.strengths[cause.name]).all()
        assert cause.name not in found.cause.tolist()


@pytest.mark.parametrize("kept", ["base_ forgotten", "base_", "forgotten", ""])
def test_no_cause_is_named_for_which_nothing_speaks(kept):
    """What another cause would explain, had it been measured, is not the fault of those that were."""
    absent = {"base_", "forgotten"} - set(kept.split())
    columns = {k: v for k, v in table(missing=0.0).columns.items() if not k.startswith(tuple(absent))}
    quiet = {"contradiction": 0.02, "side_wins": 0.0, "missed_given": 0.0, "target_rank": 0.1, "output_type_right": 1.0}
    quiet |= {"forgotten": 0.0, "nll_rise": 0.0, "position": 1.0, "learned_at": 1.0} if "forgotten" in kept else {}
    t = SignalTable(table().keys, columns | {name: np.full(60, value) for name, value in quiet.items()})
    found = attribute(SPEC, t, np.arange(60) < 20, np.arange(60) >= 20)
    weights = parameters_of(SPEC, t)["causes"]
    for i, name in enumerate(found.cause):
        if name in weights:
            row = {col: float(v[i]) for col, v in t.columns.items()}
            row |= {EVIDENCE.of(piece): v[i] for piece, v in found.evidence.items()}
            reasons = explain_cause(name, row, {"causes": weights})
            assert any(reason.favours == "for" for reason in reasons), (name, reasons)
    assert (np.isfinite(found.confidence) | (found.cause == None) | (found.cause == UNDETERMINED)).all()  # noqa: E711


def test_a_table_without_any_signal_names_no_cause():
    empty = SignalTable(table().keys, {})
    found = attribute(SPEC, empty, np.zeros(60, bool), np.ones(60, bool))
    assert found.cause.tolist() == [None] * 60 and np.isnan(found.confidence).all()
    assert parameters_of(SPEC, empty) == parameters()["sets"]["none"]


def test_a_run_without_base_leaves_no_trace_of_it_in_the_weights():
    for name, weights in parameters()["sets"].items():
        used = {p for c in weights["causes"].values() for side in ("for", "against") for p in c[side]}
        if "base" not in name:
            assert not used & {"base_ignorant", "base_knew", "base_belief", "belief_ahead", "belief_kept", "unfamiliar"}
        if "trajectory" not in name:
            assert not used & {"forgotten", "rise", "never_learned", "still_falling"}
    assert dataclasses.is_dataclass(KINDS[0])
