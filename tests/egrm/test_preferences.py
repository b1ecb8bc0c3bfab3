"""Preference pairs and labelled paths as they are published."""

import json

import pytest

from core.egrm.preferences import read_labelled, read_pairs
from core.errors import UserError

ROWS = {
    "rewardbench": {"prompt": "Say hi", "chosen": "Hi!", "rejected": "No.", "subset": "easy", "id": 3},
    "rewardbench turns": {
        "prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "Say hi"}],
        "chosen": [{"role": "user", "content": "Say hi"}, {"role": "assistant", "content": "Hi!"}],
        "rejected": [{"role": "user", "content": "Say hi"}, {"role": "assistant", "content": "No."}],
    },
    "rmbench": {
        "prompt": "Say hi", "chosen": ["Hi!", "Hi, you", "# Hi"], "rejected": ["No", "No, you", "# No"],
        "domain": "chat",
    },
    "judgebench": {
        "pair_id": "x", "question": "Say hi", "response_A": "No.", "response_B": "Hi!", "label": "B>A", "source": "m",
    },
    "llamafactory": {
        "conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"},
                          {"from": "human", "value": "Say hi"}],
        "chosen": {"from": "gpt", "value": "Hi!"}, "rejected": {"from": "gpt", "value": "No."}, "system": "s",
    },
    "llamafactory alpaca": {"instruction": "Say", "input": "hi", "chosen": "Hi!", "rejected": "No.",
                            "history": [["x", "y"]]},
    "llamafactory messages": {
        "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "Say hi"}],
        "chosen": {"role": "assistant", "content": "Hi!"}, "rejected": {"role": "assistant", "content": "No."},
    },
    "llamafactory ranking": {"instruction": "Say hi", "input": "", "output": ["Hi!", "No."]},
    "rmbench uneven": {"prompt": "Say hi", "chosen": ["Hi!"], "rejected": ["No", "No, you", "# No"], "subset": "Math"},
}  # fmt: skip


def written(tmp_path, rows, name="pairs.jsonl"):
    path = tmp_path / name
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


@pytest.mark.parametrize("name", ROWS)
def test_each_shape_gives_the_better_reply(name, tmp_path):
    found = read_pairs(written(tmp_path, [ROWS[name]]))
    assert len(found.questions) == {"rmbench": 9, "rmbench uneven": 3}.get(name, 1) and found.problems == []
    for question in found.questions:
        assert "hi" in question.pair[question.better].lower() and "no" in question.pair[1 - question.better].lower()
        assert question.text.endswith("hi")
    assert list(found.shapes) == [name.split()[0]]
    roles = [m.role for m in found.questions[0].history]
    assert roles == {"rewardbench turns": ["system"], "llamafactory": ["system", "user", "assistant"],
                     "llamafactory alpaca": ["user", "assistant"],
                     "llamafactory messages": ["system"]}.get(name, [])  # fmt: skip
    groups = {"rewardbench": "easy", "rmbench": "chat", "judgebench": "m", "rmbench uneven": "Math"}
    assert {q.group for q in found.questions} == {groups.get(name)}


def test_the_better_reply_stands_first_about_half_the_time_and_always_in_the_same_place(tmp_path):
    rows = [{"prompt": f"Say {i}", "chosen": f"{i}", "rejected": "no"} for i in range(400)]
    found = read_pairs(written(tmp_path, rows)).questions
    assert 160 < sum(q.better for q in found) < 240
    assert [q.better for q in found] == [q.better for q in read_pairs(written(tmp_path, rows)).questions]
    turned = read_pairs(written(tmp_path, [{"question": q["prompt"], "response_A": q["rejected"],
                                            "response_B": q["chosen"], "label": "B>A"} for q in rows]))  # fmt: skip
    assert [q.pair for q in turned.questions] == [q.pair for q in found]


def test_bad_records_are_counted_and_harm_no_other(tmp_path):
    path = tmp_path / "p.jsonl"
    bad = [
        "{", "3", '{"prompt": "x"}', '{"prompt": "x", "chosen": "", "rejected": "b"}',
        '{"prompt": "x", "chosen": "b", "rejected": "b"}',
        '{"question": "x", "response_A": "a", "response_B": "b", "label": "A=B"}',
    ]  # fmt: skip
    path.write_text("\n".join([*bad, json.dumps(ROWS["rewardbench"])]))
    found = read_pairs(path)
    assert len(found.questions) == 1 and len(found.problems) == 6
    assert "record 6" in found.problems[-1] and "A=B" in found.problems[-1]
    path.write_text("\n".join(bad))
    with pytest.raises(UserError, match="no preference pair that could be read"):
        read_pairs(path)


def test_line_separators_inside_a_text_end_no_record(tmp_path):
    text = "Say\u2028hi\x85there\x0c\x1c"
    path = tmp_path / "p.jsonl"
    rows = [{"prompt": f"{text}{i}", "chosen": f"a\u2029{text}", "rejected": "b"} for i in range(3)]
    # As json.dumps without ASCII escapes writes them, with the line ends of Windows.
    path.write_bytes("\r\n".join(json.dumps(r, ensure_ascii=False) for r in rows).encode())
    found = read_pairs(path)
    assert found.problems == [] and [q.text for q in found.questions] == [r["prompt"] for r in rows]
    assert all(q.pair[q.better] == f"a\u2029{text}" for q in found.questions)


def test_what_a_preference_row_lacks_is_named(tmp_path):
    rows = [{"chosen": "a", "rejected": "b"}, {"instruction": "x", "output": ["a", "b", "c"]}]
    found = read_pairs(written(tmp_path, [*rows, ROWS["rewardbench"]]))
    assert found.problems == [
        "record 1: no field 'instruction'",
        "record 2: an output of 3 replies; two are wanted, the better one first",
    ]


def test_a_json_list_is_read_too(tmp_path):
    path = tmp_path / "p.json"
    path.write_text(json.dumps([ROWS["rewardbench"], ROWS["judgebench"]]))
    assert read_pairs(path).shapes == {"rewardbench": 1, "judgebench": 1}
    path.write_text("[1, ")
    with pytest.raises(UserError, match="is not JSON"):
        read_pairs(path)


def test_labelled_paths(tmp_path):
    rows = [
        {"question": "2+2?", "gold": "4", "paths": [{"text": "Answer: 4"}, {"text": "Answer: 5"}]},
        {"question": "2+2?", "paths": [{"text": "A: 4", "label": 0.8}, {"text": "x", "right": False}]},
        {"question": "2+2?", "ground_truth": "so\nA: 4", "one": {"is_correct": True, "solution": "A: 4"},
         "two": {"is_correct": False, "solution": "A: 3"}},
        {"question": "2+2?", "paths": [{"text": "Answer: 4"}]},
        {"question": "2+2?", "paths": []},
        {"question": "2+2?", "paths": [{"text": "x", "label": 3}]},
    ]  # fmt: skip
    data, problems = read_labelled(written(tmp_path, rows), "numeric")
    assert [d.labels for d in data] == [(1.0, 0.0), (0.8, 0.0), (1.0, 0.0)]
    assert [p.key for p in data[2].paths] == ["4", "3"]
    assert len(problems) == 3 and "no gold answer" in problems[0]
    with pytest.raises(UserError, match="no labelled paths"):
        read_labelled(written(tmp_path, rows[3:]), "numeric")
