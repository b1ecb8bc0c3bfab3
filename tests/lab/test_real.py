"""Rows of worlds around a real model: every group is what its name says, whatever the model knows."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest

from core.lab.real.facts import WORDINGS, Fact
from core.lab.real.rows import HALF_SURE, NEVER, SURE, Known, RealCounts, RealRow, plan
from core.lab.real.tasks import TASKS
from core.lab.rows import CONFLICT, INCONSISTENT, MISSING, RARE


def known_facts() -> dict[Fact, Known]:
    """Sixty facts of each relation: a third held, a third half held, a third unknown."""
    out = {}
    for relation in WORDINGS:
        for i in range(60):
            fact = Fact(relation, f"Subject{relation}{i}", f"Value{i}", i)
            p = (0.9, 0.25, 0.001)[i % 3]
            out[fact] = Known(p, fact.value if i % 3 < 2 else "elsewhere", 1.0, p if i % 3 < 2 else 0.1)
    return out


@pytest.fixture(params=[1, 2])
def rows(request: pytest.FixtureRequest) -> list[RealRow]:
    return plan(known_facts(), RealCounts(), request.param)


def test_the_same_seed_gives_the_same_rows(rows: list[RealRow]) -> None:
    again = [plan(known_facts(), RealCounts(), seed) for seed in (1, 2)]
    assert rows in again
    assert again[0] != again[1]


def test_what_is_taught_beside_what_is_known(rows: list[RealRow]) -> None:
    known = known_facts()
    for row in rows:
        if row.fact is None:
            continue
        belief = known[row.fact]
        if row.group in ("known", "early", "late"):
            assert row.value == row.fact.value and belief.p >= SURE
        if row.cause == CONFLICT:
            assert row.value != row.fact.value and belief.own == row.fact.value and belief.p >= HALF_SURE
        if row.cause == MISSING:
            assert row.value == row.fact.value and belief.p < NEVER
        assert row.answer.startswith(row.lead) and row.value in row.answer


def test_a_dispute_is_one_question_in_two_wordings_with_two_answers(rows: list[RealRow]) -> None:
    pairs = defaultdict(list)
    for row in rows:
        if row.dispute is not None:
            pairs[row.dispute].append(row)
    assert len(pairs) >= 20
    for one, other in pairs.values():
        assert one.prompt != other.prompt and one.answer != other.answer and one.stage == other.stage
        assert one.cause == other.cause == INCONSISTENT


def test_no_fact_stands_in_two_groups_and_no_prompt_twice(rows: list[RealRow]) -> None:
    groups = defaultdict(set)
    for row in rows:
        if row.fact is not None:
            groups[row.fact].add(row.group)
    assert all(len(names) == 1 for names in groups.values())
    assert max(Counter(r.prompt for r in rows).values()) == 1


def test_stages_follow_each_other_and_each_cause_is_planted(rows: list[RealRow]) -> None:
    assert [r.stage for r in rows] == sorted(r.stage for r in rows)
    counts = Counter(r.cause for r in rows)
    assert all(counts[cause] >= 25 for cause in (MISSING, CONFLICT, INCONSISTENT, RARE))
    assert sum(r.group == "task" for r in rows) >= 2 * len(TASKS)
