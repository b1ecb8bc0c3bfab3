"""The one verdict value that pages, exports and the command line read."""

import math

import pytest

from core.causes import explain_cause, ordered_causes, parameters
from core.judge.verdict import chances, verdict_of
from core.types import EVIDENCE, PIPELINE, STRENGTH, Checkpoint, Reason, Run, RunSpec, Status, Thresholds

WEIGHTS = parameters()["sets"]["base"]
SIGNALS = {"turns": 1.0, "greedy_exact": 0.0, "score": 0.0, "first_miss": 2.0, "turns_asked": 1.0, "right_80": 0.0,
           "draws": 10.0, "hits_80": 0.0}  # fmt: skip


def run(**summary):
    spec = RunSpec(1, "data", Checkpoint("final", None, None, "final", "f"))
    return Run(1, "run", spec, Thresholds(), (), "judged", 0.0, 1, summary)


def row(cause, confidence=None, **columns):
    return {"status": "unlearned", "cause": cause, "confidence": confidence, "sid": "a"} | columns


def test_a_cause_comes_with_its_rivals_and_what_speaks_for_it():
    strengths = {STRENGTH.of("base_conflict"): 0.9, STRENGTH.of("missing_knowledge"): 0.2}
    shown = {EVIDENCE.of("belief_ahead"): 1.0, "base_belief_margin": 2.5}
    proof = (Reason("It came back."),)
    verdict = verdict_of(run(causes=WEIGHTS), row("base_conflict", 0.8, **strengths), SIGNALS | shown, proof)
    assert verdict.status is Status.UNLEARNED and verdict.confidence == 0.8
    assert [f.cause for f in verdict.findings[:2]] == ["base_conflict", "missing_knowledge"]
    assert {f.cause for f in verdict.findings} == {c.name for c in ordered_causes()}
    rest = verdict.findings[2:]
    assert all(math.isnan(f.strength) for f in rest)
    assert {f.reasons[0].text[:12] for f in rest if f.cause not in WEIGHTS["causes"]} == {"Not judged: "}
    why = explain_cause("base_conflict", SIGNALS | shown, WEIGHTS)
    assert why and verdict.evidence == (*verdict.reasons, *why, *proof)
    alone = verdict_of(run(causes=WEIGHTS), row("base_conflict", 0.8, **strengths), SIGNALS | shown, others=False)
    assert alone.findings == verdict.findings[:1]
    assert verdict.strength("base_conflict") == 0.9 and math.isnan(verdict.strength("left_side_forgetting"))


def test_what_one_sentence_holds_is_not_said_by_another():
    heard = {EVIDENCE.of(piece): 1.0 for piece in ("new_information", "from_elsewhere", "base_ignorant")}
    numbers = {"missed_given": 0.0, "missed_new": 1.0, "base_known_sampled": 0.001, "base_known_greedy": 0.0}
    why = [r.text for r in explain_cause("missing_knowledge", heard | numbers, WEIGHTS) if r.favours == "for"]
    whole = ("What the output misses is not in the prompt. The base gives the target in 0 of 10 few-shot prompts, and "
             "would give it in under 1% of draws.")  # fmt: skip
    assert why == [whole]
    alone = explain_cause("missing_knowledge", heard | numbers | {EVIDENCE.of("new_information"): 0.0}, WEIGHTS)
    assert "Nothing that the output misses is in the prompt." in {r.text for r in alone}


def test_two_pieces_with_one_sentence_say_it_once():
    heard = {EVIDENCE.of("base_ignorant"): 0.5, EVIDENCE.of("base_knew"): 0.5}
    numbers = {"base_known_sampled": 0.5, "base_known_greedy": 0.5}
    weights = {"causes": {"under_optimised": {"bias": 0, "for": {"base_ignorant": 1.0, "base_knew": 1.0},
                                              "against": {}}}}  # fmt: skip
    assert len(explain_cause("under_optimised", heard | numbers, weights)) == 1


def test_a_fault_of_the_whole_run_speaks_with_the_runs_numbers():
    faults = [
        {"code": "diverged", "scope": "run", "state": "fail", "text": "It blew up.", "measured": "loss 9"},
        {"code": "bos", "scope": "run", "state": "fail", "text": "Other.", "measured": ""},
    ]
    verdict = verdict_of(run(faults=faults), row(PIPELINE.of("diverged")), SIGNALS)
    assert [r.text for r in verdict.reasons[-1:]] == ["It blew up. loss 9"]
    assert "Other." not in {r.text for r in verdict.evidence}


def test_what_is_learned_has_no_findings():
    verdict = verdict_of(run(), row(None) | {"status": "learned"}, SIGNALS | {"greedy_exact": 1.0})
    assert verdict.findings == () and verdict.evidence == verdict.reasons != ()


def test_chances_by_the_formula():
    p = 0.3
    values = chances({"logp_10": math.log(p)})
    assert list(values) == ["0.3", "0.5", "0.7", "1.0"]
    assert values["1.0"] == pytest.approx({"p": p, "once_in_5": 1 - (1 - p) ** 5, "never_in_5": (1 - p) ** 5})
    assert set(values["0.3"].values()) == {None}
