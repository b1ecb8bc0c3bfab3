"""Records of what signals keep, and the files of earlier versions that they still read."""

import json

import numpy as np
import pytest

from core.plugins import kinds
from core.signals import _artefacts
from core.signals._records import (
    BaseAnswers,
    Choices,
    Dispute,
    NearRow,
    NearRows,
    PromptAnswer,
    RowOutputs,
    RowTokens,
    Side,
    TurnOutputs,
    TurnTokens,
    mask,
    unmask,
)

RECORDS = [
    RowTokens(notes=["n"], pieces=["a", "b"], ids=[1, 2], trained="01", target="01", positions=[1],
                      logprobs=[-0.5], hits="1", margin=[0.1], turns=(TurnTokens(1, 2, False, True, [-0.5]),)),
    RowTokens(refused={"what": "no", "why": "", "todo": ""}),
    RowOutputs((TurnOutputs(0, "t", "o", True, 0.5, False, [0.0, 1.0], ["o"]),)),
    BaseAnswers("plain", 10, "learned rows", {"plain": [0.1, 0.2]}, "Q:", "t", (PromptAnswer(True, 0.9),), []),
    Choices("texts", [["a", "b"]], [1], [[0.25, 0.75]]),
    NearRows((NearRow("h", 0.9, 0.8, False, ["l"], ["r"], ["s"], True), NearRow("v", 1.0, 1.0, True)), 1),
    Dispute(1, "k", 0.9, 0, (Side(2.0, ["h"]), Side(1.0, ["i"])), [["a", "b"]], "name", 0.9,
                         0.8, 0.1),
]  # fmt: skip


@pytest.mark.parametrize("record", RECORDS, ids=lambda r: type(r).__name__)
def test_what_is_stored_reads_back(record):
    assert type(record).from_dict(json.loads(json.dumps(record.as_dict()))) == record


def test_every_artefact_has_a_record_and_a_signal_that_keeps_it():
    artefacts = [value for value in vars(_artefacts).values() if isinstance(value, _artefacts.Artefact)]
    assert {artefact.record for artefact in artefacts} == {type(record) for record in RECORDS}
    assert {signal.artefact for signal in kinds("signals").values()} - {None} == set(artefacts)


def test_files_of_other_versions_are_read():
    """Nulls and missing fields, as files of before these records have them, and a field of a later version."""
    stored = {
        "way": "chat", "prompts": 10, "examples": "learned rows", "tried": {}, "prompt": "", "target": "t",
        "greedy": [{"answer": None, "right": False, "p": 0.0}], "answers": [], "belief": None, "later": 1,
    }  # fmt: skip
    kept = BaseAnswers.from_dict(stored)
    assert kept.belief is None and kept.greedy[0].answer is None
    near = NearRows.from_dict({"neighbours": [{"hash": "h", "similarity": 1.0, "same": 1.0, "verbatim": True}]})
    assert near.neighbours[0] == NearRow("h", 1.0, 1.0, True) and near.verbatim == 0


def test_a_field_that_must_be_there_is_missed():
    with pytest.raises(TypeError, match="output"):
        RowOutputs.from_dict({"turns": [{"turn": 0}]})


def test_masks():
    for values, letters in ((np.array([True, False]), "10"), (np.array([1.0, np.nan, 0.0]), "1?0")):
        assert mask(values) == letters
        np.testing.assert_array_equal(unmask(letters), values)
