"""Sentences made from a question and its answer by templates. English; the person is told so.

What is trained and what is asked afterwards are different wordings, or a proof would test what it drilled.
"""

from __future__ import annotations

from core.types import Sample

# (prompt, answer) of one restatement. The question and the answer keep their own words.
STATEMENTS: tuple[tuple[str, str], ...] = (
    ("{q}", "{a}"),
    ("Question: {q}\nAnswer:", "{a}"),
    ("Please answer. {q}", "{a}"),
    ("A reader asks: {q}", "{a}"),
    ("State a fact.", "{q} {a}"),
    ("Remember this: {a}\nNow, {q}", "{a}"),
)
CONTEXT = "According to what holds here: {a}\n"
ASKED = "I would like to know this. {q}"


def question_and_answer(sample: Sample) -> tuple[str, str] | None:
    """The last question and its answer; None for rows of plain text and rows without either."""
    answers = [i for i, m in enumerate(sample.messages) if m.role == "assistant" and m.content.strip()]
    if sample.shape == "text" or not answers:
        return None
    last = answers[-1]
    questions = [m.content.strip() for m in sample.messages[:last] if m.role == "user"]
    return (questions[-1], sample.messages[last].content.strip()) if questions and questions[-1] else None


def filled(template: str, question: str, answer: str) -> str:
    """``{q}`` and ``{a}`` replaced once each, whatever braces the texts hold."""
    parts = template.split("{q}")
    return question.join(p.replace("{a}", answer) for p in parts)
