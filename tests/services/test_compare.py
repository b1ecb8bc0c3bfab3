"""Two runs beside each other, against matching and counting by hand."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from core.filters import from_query
from core.services import compare, datasets, exports, runs
from core.types import Filter
from db import runs as run_table
from db import samples as sample_table
from db import verdicts as verdict_table
from db.session import database
from tests.services.conftest import Silent


@pytest.fixture
def second(along_run, tmp_path):
    """A run of the same dataset whose verdicts were made up: some fixed, some broken, some with a cause."""
    return made_up(along_run, along_run.spec.dataset_id)


def made_up(run, dataset_id, seed=0):
    rng = np.random.default_rng(seed)
    with database().writing() as conn:
        spec = replace(run.spec, dataset_id=dataset_id)
        n = datasets.get_dataset(dataset_id).n_samples
        new = run_table.create_run(conn, "second", spec, run.thresholds, run.columns, n)
        facts = sample_table.order(conn, dataset_id)
        columns = {c.name: np.full(n, np.nan) for c in run.columns}
        columns |= {c.name: [None] * n for c in run.columns if c.kind in ("category", "text")}
        columns["status"] = rng.choice(["learned", "partly", "unlearned", "unknown"], n, p=[0.5, 0.1, 0.3, 0.1])
        columns["cause"] = [
            None if s in ("learned", "unknown") else "pipeline:not_supervised" for s in columns["status"]
        ]
        verdict_table.write_verdicts(conn, new, columns, facts["ordinal"], facts["sid"])
        run_table.set_run(conn, new.id, state="judged")
    return runs.get_run(new.id)


def of(run):
    with database().reading() as conn:
        return verdict_table.verdict_columns(conn, run, ["status", "cause", "sid"])


def test_counts_by_hand(along_run, second):
    found = compare.compare(along_run.id, second.id, Filter())
    a, b = of(along_run), of(second)
    pairs = list(zip(a["status"], b["status"], strict=True))
    assert found.status == Counter(pairs)
    assert found.counts["fixed"] == sum(x in ("partly", "unlearned") and y == "learned" for x, y in pairs)
    assert found.counts["broken"] == sum(x == "learned" and y in ("partly", "unlearned") for x, y in pairs)
    assert found.counts["unknown"] == sum("unknown" in p for p in pairs)
    assert sum(found.counts.values()) == found.matched == len(pairs)
    still = [(x, y) for (x, y), p in zip(zip(a["cause"], b["cause"], strict=True), pairs, strict=True)
             if not {"learned", "unknown"} & set(p)]  # fmt: skip
    assert found.causes == Counter(still)
    assert found.cause_changed == sum(x != y for x, y in still) > 0
    known = found.matched - found.counts["unknown"]
    assert found.effect.difference == pytest.approx((found.counts["fixed"] - found.counts["broken"]) / known)
    assert found.how == "the same dataset"


def test_the_filter_is_that_of_the_first_run(along_run, second):
    chosen = from_query("status=learned&stage=1", along_run.columns)
    found = compare.compare(along_run.id, second.id, chosen)
    assert found.matched == exports.count(along_run.id, chosen)
    assert found.counts["fixed"] == found.counts["still"] == 0


def test_pages_reach_every_pair_once(along_run, second):
    seen = []
    start = 0
    while True:
        page = compare.rows(along_run.id, second.id, Filter(), None, False, start, 20)
        seen += [r["sid"] for r in page.rows]
        start += 20
        if start >= page.matching:
            break
    assert seen == of(along_run)["sid"].tolist()
    different = compare.rows(along_run.id, second.id, Filter(), None, True, 0, 100)
    assert different.matching == compare.compare(along_run.id, second.id, Filter()).different
    assert all((r["status"], r["cause"]) != (r["other_status"], r["other_cause"]) for r in different.rows)
    fixed = compare.rows(along_run.id, second.id, Filter(), "fixed", False, 0, 100)
    assert {r["other_status"] for r in fixed.rows} == {"learned"}
    beyond = compare.rows(along_run.id, second.id, Filter(), "fixed", False, 10_000, 10)
    assert beyond.rows


def stored_rows(tmp_path, rows, name):
    path = tmp_path / name
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return datasets.import_files([path], [name], name, None, Silent())


def chat(question, answer, **more):
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}], **more}


def test_matched_by_own_ids_wherever_they_stand(along_run, tmp_path):
    one = stored_rows(tmp_path, [chat(f"q{i}", "a", id=f"x{i}") for i in range(6)], "one.jsonl")
    two = stored_rows(tmp_path, [chat("other words", f"b{i}", id=f"x{i}") for i in (5, 3, 9, 0)], "two.jsonl")
    first, second = made_up(along_run, one.id), made_up(along_run, two.id)
    found = compare.match(first.id, second.id)
    assert found.how == "the rows' own ids"
    assert list(zip(found.first.tolist(), found.second.tolist(), strict=True)) == [(0, 3), (3, 1), (5, 0)]
    assert (found.only_first, found.only_second) == (3, 1)


def test_matched_by_prompt_where_rows_have_no_ids(along_run, tmp_path):
    mine = [chat("a", "1"), chat("b", "1"), chat("b", "2"), chat("c", "1"), chat("b", "3")]
    theirs = [chat("b", "2"), chat(" a", "other"), chat("b", "9"), chat("d", "1")]
    one, two = stored_rows(tmp_path, mine, "one.jsonl"), stored_rows(tmp_path, theirs, "two.jsonl")
    first, second = made_up(along_run, one.id), made_up(along_run, two.id)
    found = compare.match(first.id, second.id)
    assert found.how == "equal prompts"
    # The equal row first (2, 0), then the others that ask the same, in order.
    assert list(zip(found.first.tolist(), found.second.tolist(), strict=True)) == [(0, 1), (1, 2), (2, 0)]
    assert (found.only_first, found.only_second) == (2, 1)
    nothing = stored_rows(tmp_path, [chat("z", "1")], "three.jsonl")
    third = made_up(along_run, nothing.id)
    assert compare.compare(first.id, third.id, Filter()).matched == 0
