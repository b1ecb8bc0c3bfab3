"""The second look at kept details, on details written by hand."""

from dataclasses import replace

import numpy as np
import pytest

from core.signals._records import RowOutputs, RowTokens, TurnOutputs, TurnTokens
from core.signals.answers import text_values, token_values
from core.types import Message, Sample, content_hash


def seen(turns, hits, target=None, trained=None, logprobs=None):
    """Details of a row of ``len(hits) + 1`` tokens; everything from position 1 on is scored."""
    n = len(hits)
    return RowTokens(
        positions=list(range(1, n + 1)), hits=hits, logprobs=logprobs or [-0.1] * n,
        target=target or "0" + "1" * n, trained=trained or "0" + "1" * n,
        turns=tuple(TurnTokens(start, stop, complete, exact) for start, stop, exact, complete in turns),
    )  # fmt: skip


def test_only_the_stop_is_missed():
    found = token_values(seen([(1, 6, False, True)], "11110", logprobs=[-0.1] * 4 + [-4.0]))
    assert found["content_right"] == 1
    assert found["stop_logp"] == -4.0
    assert (found["miss_at"], found["n_after"]) == (5, 1)
    assert "after_right" not in found and "last_right" not in found


def test_the_first_miss_and_what_follows():
    found = token_values(seen([(1, 9, False, True)], "11010111"))
    assert found["content_right"] == 0
    assert (found["miss_at"], found["n_after"]) == (3, 6)
    assert found["after_right"] == pytest.approx(4 / 5)


def test_turns_apart():
    logprobs = [-2.0, -2.0, -9.0, -0.1, -0.3]
    row = seen([(1, 3, False, True), (4, 6, True, True)], "01111", "011011", "000011", logprobs)
    found = token_values(row)
    assert (found["last_right"], found["earlier_right"], found["earlier_untrained"]) == (1, 0, 1)
    assert found["earlier_nll"] == pytest.approx(2.0)
    assert found["last_nll"] == pytest.approx(0.2)


def test_nothing_kept_gives_nothing():
    assert token_values(None) == {} == token_values(RowTokens(refused={"what": "no"}))
    assert text_values(None, sample()) == {} == text_values(RowOutputs(), sample())


def sample(*answers):
    turns = [m for a in answers or ("Kor.",) for m in (Message("user", "Who?"), Message("assistant", a))]
    return Sample("a", 0, 0, tuple(turns), "chat", None, None, None, content_hash(tuple(turns), "chat", None), b"{}")


def asked(output, target="Kor built Bel.", stopped=True, complete=True, texts=(), score=0.0, turn=0):
    return TurnOutputs(turn, target, output, stopped, score, complete, [], list(texts))


def values(*turns):
    return text_values(RowOutputs(turns), sample("a", "b"))


def test_running_on():
    assert values(asked("Kor built Bel. And Tan."))["ran_on"] == 1
    assert values(asked("Kor built Bel."))["ran_on"] == 0
    assert values(asked("Kor built Bel.  \n"))["ran_on"] == 0
    assert values(asked("Tan built Bel. And"))["ran_on"] == 0
    assert values(asked("Kor built Bel. And", complete=False))["ran_on"] == 0  # a cut target ends nowhere


def test_cut_at_the_limit():
    assert values(asked("Kor built", stopped=False))["limit_hit"] == 1
    assert values(asked("Kor built", stopped=True))["limit_hit"] == 0
    assert values(asked("Tan built", stopped=False))["limit_hit"] == 0
    assert values(asked("", stopped=False))["limit_hit"] == 0


def test_all_wrong_turns_must_be_the_same_but_form():
    right, wrong = asked("kor built bel"), asked("Tan.", turn=1)
    assert values(right)["same_form"] == 1
    assert values(right, wrong)["same_form"] == 0
    assert values(right, replace(wrong, score=1.0))["same_form"] == 1


def test_share_of_outputs_that_mean_the_target():
    found = values(
        asked("Bel: built by Kor.", texts=["By Kor Bel was built.", "Tan built Bel.", "Kor built it in Bel."])
    )
    assert found["same_meaning"] == pytest.approx(3 / 4)
    assert found["greedy_meaning"] == 1
    assert values(asked("Tan built Bel.", texts=["By Kor Bel was built."]))["greedy_meaning"] == 0


def test_an_earlier_answer_is_no_question():
    """The value of one turn's answer must not count as asked for in another turn."""
    row = sample("Kor.", "Tan.")
    turns = (asked("Lem.", target="Kor."), asked("Tan", target="Tan.", turn=1, score=1.0))
    found = text_values(RowOutputs(turns), row)
    assert found["same_meaning"] == 0
    assert np.isfinite(found["same_form"])
