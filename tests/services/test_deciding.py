"""The one sentence that a row is read by."""

import pytest

from core.services.excerpts import deciding
from core.types import Finding, Reason, Verdict

ANSWERED, DRAWN, OF_FAULT = Reason("It answered.", "against"), Reason("It came up."), Reason("The template cut it.")
KNOWN = Finding("missing_knowledge", 0.9, (Reason("Not this.", "against"), Reason("Nobody knew.", "for")))


@pytest.mark.parametrize(
    ("cause", "reasons", "findings", "sentence"),
    [
        ("missing_knowledge", (ANSWERED, DRAWN), (KNOWN,), "Nobody knew."),
        ("pipeline:truncated", (ANSWERED, DRAWN, OF_FAULT), (KNOWN,), "The template cut it."),
        ("undetermined", (ANSWERED, DRAWN), (KNOWN,), "It answered."),
        (None, (ANSWERED, DRAWN), (), "It answered."),
        (None, (), (), ""),
    ],
)
def test_the_deciding_sentence_is_of_what_is_concluded(cause, reasons, findings, sentence):
    assert deciding(Verdict("unlearned", reasons, cause, None, findings)) == sentence
