"""What can be told about a reasoning path without knowing the right answer.

Numbers that are there at inference as they are in training: agreement with the other paths of the same question,
whether the path's own equations hold, where its numbers come from, its form. ``k`` paths of a question, ``f`` features.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from core.scorers.numeric import numbers
from core.text.words import letter_words

_ANNOTATED = re.compile(r"<<([^<>=]+)=([^<>]+)>>")
_PLAIN = re.compile(r"(?<![\w.)])((?:[\d.,$%\s()]|[-+*/×x÷](?=\s*[\d($.]))*\d[\d.,%)\s]*)=\s*\$?(-?[\d.,]+)")
_OPERATORS: dict[type, Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
# Longest expression that is computed; longer ones are text, not arithmetic.
_LONGEST = 120


@dataclass(frozen=True, slots=True)
class Path:
    """A reasoning path to be scored: its text, and its answer's own words and key (None where it has none).

    ``state``: (d,) mean of a checkpoint's last hidden layer over the path's tokens; None = not measured.
    """

    text: str
    raw: str | None
    key: str | None
    complete: bool = True
    state: np.ndarray | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Equation:
    """``holds``: the two sides agree to the precision written; ``used``: numbers on the left; ``result``: the right."""

    used: tuple[Fraction, ...]
    result: Fraction
    holds: bool


def value(expression: str) -> Fraction | None:
    """The value of an arithmetic expression of + − × ÷ and brackets, exactly; None where it is anything else."""
    text = expression.replace("×", "*").replace("÷", "/").replace("−", "-").replace("$", "").replace(",", "")
    text = re.sub(r"(?<=\d)\s*x\s*(?=[\d(.])", "*", text)
    text = re.sub(r"(\d+(?:\.\d+)?)\s*%", r"(\1/100)", text).strip()
    if not text or len(text) > _LONGEST:
        return None
    try:
        return _value(ast.parse(re.sub(r"(?<![\d.])0+(?=\d)", "", text), mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError):
        return None


def _value(node: ast.AST) -> Fraction:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and abs(node.value) < 1e15:
        return Fraction(str(node.value))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        inner = _value(node.operand)
        return -inner if isinstance(node.op, ast.USub) else inner
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_value(node.left), _value(node.right))
    raise ValueError("not arithmetic")


def equations(text: str) -> list[Equation]:
    """Equations of a path: ``<<3*4=12>>`` annotations where it has any, else ``3 * 4 = 12`` in its text."""
    pairs = _ANNOTATED.findall(text) or [(m[0], m[1]) for m in _PLAIN.findall(text)]
    out = []
    for left, right in pairs:
        total, results = value(left), numbers(right)
        if total is None or not results or not re.search(r"[-+*/×x÷]", left.strip().lstrip("-")):
            continue
        digits = len(right.rpartition(".")[2].strip()) if "." in right else 0
        # A rounded result is right to its last digit.
        tolerance = Fraction(1, 2 * 10**digits) if total.denominator != 1 else Fraction(0)
        out.append(Equation(tuple(numbers(left)), results[-1], abs(total - results[-1]) <= tolerance))
    return out


NAMES: tuple[str, ...] = (
    "votes", "lead", "distinct", "alone", "steps_shared", "steps_shared_min", "numbers_shared",
    "equations", "all_hold", "hold", "ends_in_answer", "used", "unused", "from_nowhere", "repeats",
    "answered", "complete", "whole", "negative", "magnitude", "answer_in_question", "lines", "length", "length_rank",
    "word_overlap",
)  # fmt: skip
GROUPS: dict[str, tuple[str, ...]] = {
    "agreement": NAMES[:7],
    "arithmetic": NAMES[7:15],
    "form": NAMES[15:],
}


def features(question: str, paths: Sequence[Path]) -> np.ndarray:
    """(k, f) float64, columns as in ``NAMES``; every number is finite."""
    votes = Counter(p.key for p in paths if p.key is not None)
    question_numbers = set(numbers(question))
    chains = [equations(p.text) for p in paths]
    results = [{e.result for e in eqs} for eqs in chains]
    mentioned = [set(numbers(p.text)) for p in paths]
    lengths = np.array([len(p.text.split()) for p in paths], dtype=np.float64)
    order = lengths.argsort(kind="stable").argsort(kind="stable")
    question_words = letter_words(question)
    rows = []
    for i, path in enumerate(paths):
        others = [results[j] for j in range(len(paths)) if j != i]
        n = len(paths)
        mine = votes.get(path.key, 0) if path.key is not None else 0
        rival = max((c for a, c in votes.items() if a != path.key), default=0)
        shared = [len(results[i] & o) / len(results[i] | o) if results[i] | o else 0.0 for o in others]
        others_numbers = [mentioned[j] for j in range(len(paths)) if j != i]
        common = [len(mentioned[i] & o) / len(mentioned[i] | o) if mentioned[i] | o else 0.0 for o in others_numbers]
        own = numbers(path.raw) if path.raw else []
        words = letter_words(path.text)
        rows.append(
            [
                mine / n, (mine - rival) / n, len(votes) / n, float(mine == 1),
                float(np.mean(shared)) if shared else 0.0, max(shared, default=0.0),
                float(np.mean(common)) if common else 0.0,
                *_arithmetic(chains[i], question_numbers, own),
                float(path.key is not None), float(path.complete),
                float(bool(own) and own[-1].denominator == 1), float(bool(own) and own[-1] < 0),
                math.log1p(float(min(abs(own[-1]), Fraction(10**9)))) if own else 0.0,
                float(bool(own) and own[-1] in question_numbers),
                math.log1p(len(path.text.splitlines())), math.log1p(lengths[i]), order[i] / max(1, n - 1),
                len(words & question_words) / max(1, len(question_words)),
            ]
        )  # fmt: skip
    return np.array(rows, dtype=np.float64)


def _arithmetic(eqs: list[Equation], question_numbers: set[Fraction], own: list[Fraction]) -> list[float]:
    known, nowhere, total = set(question_numbers), 0, 0
    for e in eqs:
        for number in e.used:
            total += 1
            # Small whole numbers and per cents need no source.
            nowhere += (
                number not in known and number not in (0, 1, 2, 7, 10, 12, 24, 60, 100) and number * 100 not in known
            )
        known.add(e.result)
    used = {n for e in eqs for n in e.used}
    dangling = {e.result for e in eqs[:-1]} - used
    repeats = len(eqs) - len({(e.used, e.result) for e in eqs})
    return [
        math.log1p(len(eqs)),
        float(bool(eqs) and all(e.holds for e in eqs)),
        float(np.mean([e.holds for e in eqs])) if eqs else 0.0,
        float(bool(eqs) and bool(own) and eqs[-1].result == own[-1]),
        len(question_numbers & used) / len(question_numbers) if question_numbers and eqs else 0.0,
        len(dangling) / len(eqs) if eqs else 0.0,
        nowhere / total if total else 0.0,
        float(repeats),
    ]
