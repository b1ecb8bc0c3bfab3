"""Other renderings score the same characters: ids and positions are compared with renderings made by hand."""

import numpy as np
import pytest

from core.lab import tiny
from core.signals._renderings import THINK, View, id_views, inserted, last_answer, text_views, within, without
from core.types import Message, Sample, Supervision, Turn, content_hash


@pytest.fixture(scope="module")
def tokenizer():
    words = "Who founded Bel? Bel was founded by Kor. <think> </think> ### User: Question: Answer: " * 20
    return tiny.build_tokenizer([words], 500)


def sample(*turns):
    messages = tuple(Message(r, c) for r, c in turns)
    return Sample("a", 0, 0, messages, "chat", None, None, None, content_hash(messages, "chat", None), b"{}")


ASKED = sample(("user", "Who founded Bel?"), ("assistant", "Kor founded Bel."))


def as_run(tokenizer, given=ASKED, prefix=""):
    """The row through its template, as the run renders it."""
    ids, trained = tiny.chat_row(tokenizer, [m.as_dict() for m in given.messages])
    ids, mask = np.array(ids), np.array(trained)
    at = np.flatnonzero(mask)
    turn = Turn(int(at[0]), int(at[-1]) + 1, True)
    return Supervision(ids, mask, mask, (turn,))


def scored(tokenizer, view):
    return tokenizer.decode(view.ids[view.positions])


def test_the_last_answer_without_its_stop_token(tokenizer):
    view = last_answer(as_run(tokenizer), 100)
    assert scored(tokenizer, view) == "Kor founded Bel."
    assert last_answer(as_run(tokenizer), 3) is None
    cut = Supervision(view.ids, view.ids > 0, view.ids > 0, (Turn(1, 3, False),), True, 4)
    assert last_answer(cut, 100) is None


def test_every_rendering_scores_the_same_text(tokenizer):
    view = last_answer(as_run(tokenizer), 100)
    found = id_views(view, tokenizer, np.array([5, 6, 7])) | text_views(ASKED, tokenizer, view)
    assert {"bos_added", "think_added", "packed", "headings", "line", "question"} <= set(found)
    assert "chatml" not in found  # the run's own rendering
    for name, other in found.items():
        assert scored(tokenizer, other).strip() == "Kor founded Bel.", name
        assert other.positions.min() >= 1


def test_what_stands_before_the_answer(tokenizer):
    view = last_answer(as_run(tokenizer), 100)
    found = id_views(view, tokenizer, np.array([5, 6, 7])) | text_views(ASKED, tokenizer, view)

    def before(name):
        return tokenizer.decode(found[name].ids[: found[name].positions[0]])

    assert before("line") == "Who founded Bel?\n"
    assert before("question").startswith("Question: Who founded Bel?\nAnswer:")
    assert before("think_added").endswith(THINK)
    assert found["packed"].ids[:3].tolist() == [5, 6, 7]
    assert int(found["bos_added"].ids[0]) == tokenizer.eos_token_id


def test_a_think_block_is_taken_out(tokenizer):
    given = sample(("user", "Who founded Bel?"), ("assistant", THINK + "Kor founded Bel."))
    view = last_answer(as_run(tokenizer, given), 100)
    found = id_views(view, tokenizer, None)
    assert "think_added" not in found
    assert scored(tokenizer, found["rest"]) == scored(tokenizer, found["think_removed"]) == "Kor founded Bel."
    assert "<think>" not in tokenizer.decode(found["think_removed"].ids)
    plain = last_answer(as_run(tokenizer), 100)
    np.testing.assert_array_equal(found["think_removed"].ids, plain.ids)


def test_a_think_block_that_takes_many_tokens_is_found_before_the_answer():
    spelling = tiny.build_tokenizer(["Who founded Bel? Bel was founded by Kor. "], 300)
    plain = last_answer(as_run(spelling), 100)
    block = spelling.encode(THINK, add_special_tokens=False)
    assert len(block) > 12
    found = id_views(inserted(plain, int(plain.positions[0]), block), spelling, None)
    np.testing.assert_array_equal(found["think_removed"].ids, plain.ids)
    # One that the question speaks of is no block of the template.
    asked = last_answer(as_run(spelling, sample(("user", f"{THINK}, why?"), ("assistant", "Kor."))), 100)
    assert "think_added" in id_views(asked, spelling, None)


def test_a_first_token_is_taken_out_only_where_there_is_one(tokenizer):
    view = last_answer(as_run(tokenizer), 100)
    assert "bos_removed" not in id_views(view, tokenizer, None)
    longer = inserted(view, 0, [tokenizer.eos_token_id])
    np.testing.assert_array_equal(id_views(longer, tokenizer, None)["bos_removed"].ids, view.ids)


def test_inserting_and_taking_out_undo_each_other():
    rng = np.random.default_rng(0)
    for _ in range(50):
        n = int(rng.integers(4, 20))
        at = np.sort(rng.choice(np.arange(1, n), size=int(rng.integers(1, n - 1)), replace=False))
        view = View(rng.integers(0, 99, n), at)
        place, k = int(rng.integers(0, n)), int(rng.integers(1, 5))
        longer = inserted(view, place, rng.integers(0, 99, k).tolist())
        np.testing.assert_array_equal(longer.ids[longer.positions], view.ids[view.positions])
        again = without(longer, place, place + k)
        np.testing.assert_array_equal(again.ids, view.ids)
        np.testing.assert_array_equal(again.positions, view.positions)


def test_what_the_model_cannot_take_is_left_out():
    view = View(np.array([1, 2, 300]), np.array([1, 2]))
    assert within(view, None, 301) is not None
    assert within(view, 2, 301) is None
    assert within(view, 3, 300) is None
