"""Do rows become the token ids that the weights were trained on?"""

from __future__ import annotations

from core.faults._base import Finding
from core.faults._renderings import ROWS, Rendering, against, best
from core.types import RunFacts, SignalTable


class TokenizerMismatch(Rendering):
    name = "tokenizer_mismatch"
    label = "Tokenizer mismatch"
    place = 430
    help = "The tokenizer beside the weights is not the one they were trained with."
    advice = "Put the tokenizer of the training beside the weights, and diagnose again."
    needs = "the tokenizer of the training, or the base model with its own"
    renderings = ("tokenizer_other", "tokenizer_base")
    change = 3

    def examine(self, table: SignalTable, facts: RunFacts) -> Finding:
        tried = any(against(table, name).n for name in self.renderings)
        if tried or (best(table) is not None):
            return super().examine(table, facts)
        tokenizer, vocabulary = facts.state_of("tokenizer"), facts.state_of("vocabulary")
        if "fail" in (tokenizer, vocabulary):
            check = facts.checks["tokenizer" if tokenizer == "fail" else "vocabulary"]
            return Finding("fail", check.text, check.measured)
        compared = facts.spec is not None and (facts.spec.base is not None or facts.spec.final.base is not None)
        rows = max(against(table, name).n for name in ("bos_added", "line"))
        # The base's tokenizer was there to be compared and gave the same ids on every row.
        if tokenizer == "pass" and vocabulary == "pass" and compared and rows >= ROWS:
            return Finding("pass", "Every tokenizer at hand gives the same ids.", f"on {rows} rows")
        return Finding("unknown", "There is no other tokenizer to compare with.", "", self.needs)


KIND = TokenizerMismatch()
