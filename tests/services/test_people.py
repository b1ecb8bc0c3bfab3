"""What people say survives a judgement; filters are kept under names."""

import pytest

from core.errors import UserError
from core.filters import from_query
from core.services import exports, judging, people, runs, samples
from core.types import Filter, Thresholds
from core.worker.here import run_here


def rows(run, query):
    return [r["sid"] for r in samples.page(run.id, from_query(query, run.columns), None, 100).rows]


def test_an_override_survives_another_judgement_and_the_agreement_is_counted(along_run):
    unlearned, learned = rows(along_run, "status=unlearned"), rows(along_run, "status=learned")
    assert people.agreement(along_run.id) == {}
    people.override(along_run.id, unlearned[0], "unlearned", "missing_knowledge", " Ada ", "The base never saw it.")
    people.override(along_run.id, unlearned[1], "learned", None, "Ada", "Same in other words.")
    people.override(along_run.id, learned[0], "learned", None, "Bo", "Yes.")
    run_here(judging.start_rejudge(along_run.id, Thresholds(certainty=0.8)))
    run = runs.get_run(along_run.id)
    ordinals = [samples.sample(run.id, s, Filter()).sample.ordinal for s in (*unlearned[:2], learned[0])]
    found = people.overrides(run.id, ordinals)
    assert [found[o].status for o in ordinals] == ["unlearned", "learned", "learned"]
    assert (found[ordinals[0]].cause, found[ordinals[0]].author) == ("missing_knowledge", "Ada")
    rate = people.agreement(run.id)
    assert (rate["status"].k, rate["status"].n) == (2, 3)
    assert (rate["cause"].k, rate["cause"].n) == (0, 1)
    assert rate["status"].low < 2 / 3 < rate["status"].high
    assert set(rows(run, "reviewed=yes")) == {*unlearned[:2], learned[0]}
    assert set(rows(run, "reviewed=agrees")) == {learned[0]}
    assert set(rows(run, "reviewed=differs")) == set(unlearned[:2])
    assert exports.count(run.id, from_query("reviewed!=yes", run.columns)) == run.n_samples - 3


def test_said_again_and_taken_back(along_run):
    sid = rows(along_run, "status=unlearned")[0]
    ordinal = samples.sample(along_run.id, sid, Filter()).sample.ordinal
    people.override(along_run.id, sid, "partly", None, "Ada", "Half.")
    people.override(along_run.id, sid, None, "base_conflict", "Bo", "It answers what it believed before.")
    said = people.overrides(along_run.id, [ordinal])[ordinal]
    assert (said.status, said.cause, said.author) == (None, "base_conflict", "Bo")
    people.withdraw(along_run.id, sid)
    assert people.overrides(along_run.id, [ordinal]) == {}


def test_two_people_do_not_overwrite_each_other_silently(along_run):
    """Both open the sample; what the second one saves was written without the first one's review in sight."""
    sid = rows(along_run, "status=unlearned")[0]
    ordinal = samples.sample(along_run.id, sid, Filter()).sample.ordinal
    people.override(along_run.id, sid, "partly", None, "Ada", "Half.", seen=None)
    with pytest.raises(UserError, match="Ada has reviewed this sample since"):
        people.override(along_run.id, sid, "learned", None, "Bo", "All.", seen=None)
    said = people.overrides(along_run.id, [ordinal])[ordinal]
    assert said.author == "Ada"
    people.override(along_run.id, sid, "learned", None, "Bo", "All.", seen=said.created)
    with pytest.raises(UserError, match="Bo has reviewed"):
        people.withdraw(along_run.id, sid, seen=said.created)
    people.withdraw(along_run.id, sid)
    with pytest.raises(UserError, match="withdrawn since"):
        people.override(along_run.id, sid, "partly", None, "Ada", "Half.", seen=said.created)


@pytest.mark.parametrize(
    ("status", "cause", "author", "reason", "complaint"),
    [
        (None, None, "Ada", "why", "The review is empty"),
        ("learnt", None, "Ada", "why", "Did you mean 'learned'"),
        (None, "forgeting", "Ada", "why", "left_side_forgetting"),
        ("learned", None, " ", "why", "Author or reason is missing"),
        ("learned", None, "Ada", "", "Author or reason is missing"),
    ],
)
def test_what_cannot_be_said(along_run, status, cause, author, reason, complaint):
    sid = rows(along_run, "status=unlearned")[0]
    with pytest.raises(UserError, match=complaint):
        people.override(along_run.id, sid, status, cause, author, reason)
    with pytest.raises(UserError, match="no sample"):
        people.override(along_run.id, "nobody", "learned", None, "Ada", "why")


def test_filters_are_kept_and_given_back(along_run):
    chosen = from_query("status=unlearned&stage=1&sort=-nll&q=a%26b", along_run.columns)
    people.save_filter("  early losses ", chosen)
    (saved,) = people.saved_filters()
    assert saved.name == "early losses"
    assert people.open_filter(along_run.id, saved) == chosen
    with pytest.raises(UserError, match="already"):
        people.save_filter("early losses", chosen)
    with pytest.raises(UserError, match="name"):
        people.save_filter(" ", chosen)
    with pytest.raises(UserError, match="There is no filter to save"):
        people.save_filter("all", Filter())
    people.delete_filter(saved.id)
    assert people.saved_filters() == []


def test_a_filter_of_another_run_says_what_is_missing(along_run):
    with pytest.raises(UserError, match="t9_nll"):
        people.open_filter(along_run.id, people.SavedFilter(1, "x", "t9_nll=1..2"))


def test_a_kind_of_review_that_is_none(along_run):
    with pytest.raises(UserError, match="agrees"):
        exports.count(along_run.id, from_query("reviewed=maybe", along_run.columns))
