"""Restatements are written by the model that was named, checked, and stored as JSONL."""

import json

import pytest

from core.checkpoint.folders import as_checkpoint
from core.errors import UserError
from core.filters import from_query
from core.recipes._wording import question_and_answer
from core.services import restating
from core.services.recipes import RunPool, selected
from core.settings import settings


@pytest.fixture
def chosen(final_run):
    return from_query("status=unlearned,partly,unknown", final_run.columns)


def test_a_server_is_asked_once_for_each_sample_and_what_fails_the_check_is_left_out(
    final_run, chosen, chat, monkeypatch, tmp_path
):
    monkeypatch.setenv("LACUNA_JUDGE_URL", chat.url)
    monkeypatch.setenv("LACUNA_JUDGE_MODEL", "writer-1")
    settings.cache_clear()
    pool = RunPool(final_run, selected(final_run, chosen), {})
    (sample,) = list(pool.rows(pool.treated[:1].tolist()))
    question, answer = question_and_answer(sample)
    replies = [{"question": f"Please answer. {question}", "answer": answer}, {"question": question, "answer": "Lagos"}]
    chat.says = json.dumps(replies)
    out = tmp_path / "out.jsonl"
    written = restating.write(final_run.id, chosen, None, out, lambda *_: None)
    assert len(chat.requests) == written.samples == len(pool.treated)
    sent = json.loads(chat.requests[0][2])
    assert sent["model"] == "writer-1" and question in sent["messages"][1]["content"]
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert written.kept == len(lines) and {line["writer"] for line in lines} <= {"writer-1"}
    assert {"id": sample.id, "question": f"Please answer. {question}", "answer": answer, "writer": "writer-1"} in lines
    assert any("does not hold" in why for why in written.left_out)


def test_without_a_server_nothing_is_written_and_an_own_model_may_fail_to_write_a_list(
    final_run, chosen, tiny_project, monkeypatch, tmp_path
):
    out = tmp_path / "out.jsonl"
    with pytest.raises(UserError, match="LACUNA_JUDGE_URL"):
        restating.write(final_run.id, chosen, None, out, lambda *_: None)
    assert not out.exists()
    monkeypatch.setattr(restating, "MOST_TOKENS", 8)
    model = as_checkpoint(tiny_project.base, None, "own")
    written = restating.write(final_run.id, chosen, model, out, lambda *_: None)
    assert written.kept == 0 and written.left_out == {"no list of restatements": written.samples}
