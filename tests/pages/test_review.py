"""The review queue, labels as files, and the switch that lets reviews count."""

import json

from core.services import labels, people, review, uploads
from tests.pages.reading import button, words


def widget(found, label):
    return next(w for w in found if w.label == label)


def test_walk_the_queue(run_data, open_page):
    at = open_page("review", run="1")
    assert not at.exception
    first = review.queue(1).rows[0]
    assert first.prompt in words(at)
    button(at, "The verdict is right").click()
    at.run()
    assert "The author is missing" in words(at)
    widget(at.text_input, "Author").set_value("Ada")
    button(at, "The verdict is right").click()
    at.run()
    assert not at.exception and not at.error
    assert people.agreement(1)["status"].k == 1
    assert review.queue(1).done == 1
    second = review.queue(1).rows[1]
    assert second.prompt[:200] in words(at), "the next row is open"
    widget(at.selectbox, "Status").set_value("learned")
    widget(at.text_input, "Reason").set_value("The same in other words.")
    button(at, "Save this review").click()
    at.run()
    assert not at.exception and not at.error
    assert people.overrides(1, [second.ordinal])[second.ordinal].status == "learned"


def test_take_a_file_in_and_undo_it(run_data, open_page, tmp_path):
    text = b"".join(json.dumps({"id": f"r{i}", "human_status": "learned"}).encode() + b"\n" for i in (40, 41, 99))
    upload = uploads.begin("said.jsonl", len(text))
    with uploads.open_writer(upload) as writer:
        writer.write(text)
    labels.take(1, labels.check(1, uploads.finish(upload).path, "Ada", "said.jsonl"))
    at = open_page("review", run="1")
    assert "2 samples from said.jsonl" in words(at)
    button(at, "Undo").click()
    at.run()
    assert not at.exception and not at.error
    assert "2 samples put back" in words(at)
    assert people.agreement(1) == {}


def test_use_my_judgement(run_data, open_page):
    people.override(1, "r40", "learned", None, "Ada", "Right.")
    at = open_page("samples", run="1")
    widget(at.toggle, "Use my judgement").set_value(True)
    at.run()
    assert not at.exception and not at.error
    assert at.query_params == {"run": "1", "judged": "people"}
    assert "Judged by is people" in [b.label for b in at.button]
    widget(at.toggle, "Use my judgement").set_value(False)
    at.run()
    assert at.query_params == {"run": "1"}
