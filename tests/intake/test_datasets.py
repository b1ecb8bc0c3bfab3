"""Files -> samples: ids, order, stages, what a scan says, what is refused and how."""

from __future__ import annotations

import json
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.errors import UserError
from core.intake.containers import detect_container
from core.intake.datasets import columns_of, read, read_json_row, scan
from core.intake.surveys import survey
from core.types import Message, Problem, Reading, Sample

ALPACA = Reading("jsonl", "alpaca", {"instruction": "instruction", "output": "output", "id": "id"})


def put(tmp_path, rows, name="data.jsonl"):
    path = tmp_path / name
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def alpaca(i, **more):
    return {"instruction": f"say {i}", "output": str(i)} | more


def samples(items):
    return [item for item in items if isinstance(item, Sample)]


# ----------------------------------------------------------------------------------------------------------- ids


def test_a_unique_id_is_kept_exactly(tmp_path):
    ids = [9007199254740993, 2**64 - 1, -5, "a b", "007", 7, "é"]
    path = put(tmp_path, [alpaca(i, id=own) for i, own in enumerate(ids)])
    assert [s.id for s in read([path], ALPACA)] == [str(own) for own in ids]


def test_ids_that_are_not_unique_are_replaced_and_noted(tmp_path):
    ids = ["x", "y", "x", 3, "3", None, "", "z", 1.5, True]
    path = put(tmp_path, [alpaca(i, id=own) for i, own in enumerate(ids)])
    found = list(read([path], ALPACA))
    made = [f"{s.content_hash[:12]}-{s.ordinal}" for s in found]
    assert [s.id for s in found] == [made[0], "y", *made[2:7], "z", *made[8:]]
    noted = [[n for n in s.notes if "id" in n] for s in found]
    assert ["not unique" in "".join(n) for n in noted] == [i in (0, 2, 3, 4) for i in range(10)]
    assert ["neither text nor" in "".join(n) for n in noted] == [i > 7 for i in range(10)]


def test_uniqueness_is_over_all_files_and_accepted_rows(tmp_path):
    one = put(tmp_path, [alpaca(0, id="a"), alpaca(1, id="b"), alpaca(2, id="c") | {"output": None}], "one.jsonl")
    two = put(tmp_path, [alpaca(3, id="b"), alpaca(4, id="c")], "two.jsonl")
    found = samples(read([one, two], ALPACA))
    assert [s.id for s in found if len(s.id) == 1] == ["a", "c"]
    assert len({s.id for s in found}) == 4


def test_a_made_id_never_equals_a_users_id(tmp_path):
    plain = put(tmp_path, [alpaca(0), alpaca(1)], "plain.jsonl")
    first = next(iter(read([plain], ALPACA)))
    taken = [f"{first.content_hash[:n]}-0" for n in range(12, 65)] + [f"{first.content_hash}0-0"]
    path = put(tmp_path, [alpaca(0)] + [alpaca(i, id=own) for i, own in enumerate(taken, start=1)])
    found = list(read([path], ALPACA))
    assert found[0].id == f"{first.content_hash}00-0"
    assert [s.id for s in found[1:]] == taken
    assert first.id == f"{first.content_hash[:12]}-0"


def test_exact_duplicates_stay_and_share_their_hash(tmp_path):
    path = put(tmp_path, [alpaca(1, x="a"), alpaca(1), alpaca(2)])
    found = list(read([path], ALPACA))
    assert found[0].content_hash == found[1].content_hash != found[2].content_hash
    assert len({s.id for s in found}) == 3


# --------------------------------------------------------------------------------------- order, stages, sources


def test_files_in_the_order_given_are_the_training_order(tmp_path):
    one = put(tmp_path, [alpaca(0), "{", alpaca(1, stage="warm-up", source="web")], "b.jsonl")
    two = put(tmp_path, ["[]", alpaca(2, stage=2), alpaca(3)], "a.jsonl")
    reading = Reading("jsonl", "alpaca", ALPACA.mapping | {"stage": "stage", "source": "source"})
    items = list(read([one, two], reading))
    assert [item.row for item in items] == list(range(6))
    assert [(i.file, i.line) for i in items if isinstance(i, Problem)] == [("b.jsonl", 2), ("a.jsonl", 1)]
    found = samples(items)
    assert [s.ordinal for s in found] == [0, 1, 2, 3]
    assert [s.response for s in found] == ["0", "1", "2", "3"]
    assert [s.stage for s in found] == ["b", "warm-up", "2", "a"]
    assert [s.source for s in found] == [None, "web", None, None]
    assert [s.stage for s in samples(read([one], reading))] == [None, "warm-up"]


def test_names_stand_for_paths(tmp_path):
    paths = [put(tmp_path, [alpaca(i), "x"], f"u{i}.jsonl") for i in range(2)]
    items = list(read(paths, ALPACA, names=["first part.jsonl", "second.jsonl.gz"]))
    assert [s.stage for s in samples(items)] == ["first part", "second"]
    assert [p.file for p in items if isinstance(p, Problem)] == ["first part.jsonl", "second.jsonl.gz"]
    assert scan(paths, names=["one", "two"]).files == ("one", "two")


def test_files_may_be_of_different_containers(tmp_path):
    one = put(tmp_path, [alpaca(0)], "a.jsonl")
    two = tmp_path / "b.parquet"
    pq.write_table(pa.Table.from_pylist([alpaca(1)]), two)
    assert [s.response for s in read([one, two], ALPACA)] == ["0", "1"]


def test_a_container_chosen_by_hand_counts_for_all_files(tmp_path):
    paths = [put(tmp_path, [json.dumps([alpaca(i)])], f"{i}.json") for i in range(2)]
    assert detect_container(paths[0]) == "json"
    assert all(isinstance(item, Problem) for item in read(paths, ALPACA))


# ---------------------------------------------------------------------------------------------------------- scan


def test_a_scan_reads_the_first_rows_only(tmp_path):
    path = put(tmp_path, [alpaca(i) for i in range(300)] + ["broken"])
    found = scan([path])
    assert (found.n_seen, found.n_rejected, len(found.samples)) == (200, 0, 20)
    assert found.bytes == path.stat().st_size
    assert found.reading == Reading("jsonl", "alpaca", {"instruction": "instruction", "output": "output"})
    assert found.candidates[0].reason == "instruction from 'instruction', output from 'output'"


def test_a_scan_is_json_and_cut_to_a_readable_size(tmp_path):
    long = "é" * 5000
    path = put(tmp_path, [alpaca(0, extra={"k": [long]}, bad="\ud83d"), '{"x', alpaca(1, input=long)])
    found = scan([path])
    data = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    json.dumps(found.as_dict(), ensure_ascii=False).encode()
    assert data["columns"]["extra"] == ('{"k": ["' + long)[:200]
    assert data["columns"]["instruction"] == "say 0"
    assert data["columns"]["bad"] == "?"
    assert data["samples"][1]["messages"][0]["content"] == f"say 1\n{long}"[:2000]
    assert [(p["row"], p["line"], p["raw"]) for p in data["problems"]] == [(1, 2, '{"x')]
    unread = ["the column 'extra' is not read", "the column 'bad' is not read"]
    assert sorted(data["notes"]) == sorted(["input is added to the instruction on a new line", *unread])
    assert set(data) == {
        "files", "bytes", "reading", "candidates", "columns", "samples", "problems", "n_seen", "n_rejected", "notes",
    }  # fmt: skip


def test_a_scan_equals_the_reading_that_follows(tmp_path):
    rng = random.Random(2)
    rows = [alpaca(i, id=rng.randrange(30)) if rng.random() < 0.8 else alpaca(i) | {"output": 5.5} for i in range(20)]
    path = put(tmp_path, rows)
    found = scan([path])
    assert list(found.samples) == samples(read([path], found.reading))


def test_notes_of_a_scan(tmp_path):
    path = tmp_path / "d"
    path.write_bytes('{"text": "a", "text": "b"}\n'.encode("utf-16"))
    assert scan([path]).notes == (
        "text rewritten from UTF-16-LE to UTF-8",
        "duplicate key 'text': the last value counts",
    )


def test_a_mapping_by_hand(tmp_path):
    path = put(tmp_path, [{"Ask": "q", "Say": "a", "No": 1}])
    assert columns_of(path) == {"Ask": "q", "Say": "a", "No": "1"}
    reading = Reading("", "alpaca", {"instruction": "Ask", "output": "Say", "id": "No"})
    found = scan([path], reading)
    assert found.reading == Reading("jsonl", "alpaca", reading.mapping)
    assert found.samples[0].messages == (Message("user", "q"), Message("assistant", "a"))
    assert found.samples[0].id == "1"
    assert read_json_row(found.samples[0].raw, found.reading).messages == found.samples[0].messages


def test_a_format_by_hand_takes_the_mapping_it_finds(tmp_path):
    path = put(tmp_path, [{"question": "q", "answer": "a", "text": "q a"}])
    assert scan([path]).reading.format == "prompt_completion"
    assert scan([path], Reading("", "text", {})).reading.mapping == {"text": "text"}


@pytest.mark.parametrize(
    ("reading", "message"),
    [
        (Reading("", "alpacca", {}), "no format named 'alpacca'.*Did you mean 'alpaca'"),
        (Reading("", "alpaca", {"instruction": "a"}), "needs a column for output.*found: a, b.*Choose"),
        (Reading("", "alpaca", {"instruction": "a", "output": "c"}), "no column named 'c'.*found: a, b"),
        (Reading("", "text", {"txt": "a"}), "no role of the format 'text' named 'txt'.*Did you mean 'text'"),
        (Reading("jsonn", "text", {"text": "a"}), "no container named 'jsonn'"),
    ],
)
def test_a_reading_that_does_not_fit_is_refused(tmp_path, reading, message):
    path = put(tmp_path, [{"a": "x", "b": "y"}])
    with pytest.raises(UserError, match=message):
        scan([path], reading)


def test_nothing_detectable_names_columns_and_formats(tmp_path):
    path = put(tmp_path, [{"foo": 1, "bar": "x"}], "rows.jsonl")
    with pytest.raises(UserError) as caught:
        scan([path])
    assert "rows.jsonl" in caught.value.what
    assert "foo, bar" in caught.value.why
    assert "alpaca (instruction, output)" in caught.value.why


def test_no_readable_row_and_no_file():
    with pytest.raises(UserError, match="No file was given"):
        scan([])


def test_a_file_of_broken_rows_names_the_first(tmp_path):
    with pytest.raises(UserError, match=r"first 2 rows of d.jsonl can be read. Line 1: Not readable: not valid JSON"):
        scan([put(tmp_path, ['{"a": x}', '{"a": y}'], "d.jsonl")])


# --------------------------------------------------------------------------------------------------- preferences


@pytest.mark.parametrize(
    ("row", "way"),
    [
        ({"prompt": "p", "chosen": "c", "rejected": "r"}, "'prompt_completion' with prompt = 'prompt' and completion"),
        ({"chosen": "p c", "rejected": "p r"}, "'text' with text = 'chosen'"),
        (
            {"chosen": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "c"}], "rejected": []},
            "'messages' with messages = 'chosen'",
        ),
        (
            {
                "conversations": [{"from": "human", "value": "p"}],
                "chosen": {"from": "gpt", "value": "c"},
                "rejected": {"from": "gpt", "value": "r"},
            },
            "'prompt_completion' with prompt = 'conversations' and completion",
        ),
    ],
)
def test_preferences_are_refused_with_a_way_that_works(tmp_path, row, way):
    path = put(tmp_path, [row])
    with pytest.raises(UserError, match="preference pairs") as caught:
        scan([path])
    assert way in caught.value.todo
    format = way.split("'")[1]
    mapping = {"prompt_completion": {"prompt": way.split("'")[3], "completion": "chosen"}}
    found = scan([path], Reading("", format, mapping.get(format, {format: "chosen"})))
    assert found.samples[0].response.endswith("c")
    assert found.notes == () or "preference" not in "".join(found.notes)


def test_a_column_that_first_occurs_late_plays_its_role(tmp_path):
    rows = [{"instruction": f"Say {i}.", "output": str(i)} for i in range(300)]
    rows += [{"instruction": "Put into French.", "input": "a cat", "output": "un chat", "system": "You translate."}]
    path = put(tmp_path, [json.dumps(row) for row in rows])
    *_, last = read([path], scan([path]).reading)
    assert [(m.role, m.content) for m in last.messages] == [
        ("system", "You translate."), ("user", "Put into French.\na cat"), ("assistant", "un chat"),
    ]  # fmt: skip


def test_a_column_that_nothing_reads_is_named_on_its_rows_and_no_others(tmp_path):
    rows = [alpaca(1), alpaca(2, difficulty=3), alpaca(3, difficulty=None), alpaca(4, difficulty="")]
    path = put(tmp_path, rows)
    note = "the column 'difficulty' is not read"
    assert [note in sample.notes for sample in read([path], scan([path]).reading)] == [False, True, False, False]


def test_what_no_trainer_hands_over_either_is_said_to_be_so(tmp_path):
    path = put(tmp_path, [alpaca(1, documents=[{"title": "a", "text": "b"}])])
    [sample] = read([path], scan([path]).reading)
    assert sample.notes == ("the column 'documents' is not read: trainers do not hand it to the template either, so it "
                            "was not trained",)  # fmt: skip


@pytest.mark.parametrize("column", ["image", "images", "video", "audio"])
def test_media_beside_the_text_reject_the_row_that_has_them(tmp_path, column):
    path = put(tmp_path, [alpaca(1, **{column: "a.bin"}), alpaca(2, **{column: None}), alpaca(3, **{column: []})])
    first, *others = read([path], scan([path]).reading)
    assert isinstance(first, Problem) and first.field == column and "only text can be diagnosed" in first.text
    assert [isinstance(item, Sample) for item in others] == [True, True]


def test_a_scan_says_how_far_it_is_and_stops_when_it_is_told_to(tmp_path):
    path = put(tmp_path, [alpaca(i) for i in range(12_000)])
    counts = []
    scan([path], watch=counts.append)
    assert counts == [0, 5000, 10_000, 12_000]

    def stop(rows):
        if rows:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scan([path], watch=stop)


def test_preference_columns_beside_an_answer_are_noted(tmp_path):
    path = put(tmp_path, [alpaca(1, chosen="1", rejected="2")])
    found = scan([path])
    assert found.reading.format == "alpaca"
    assert "the preference columns chosen and rejected are not used" in found.notes


# --------------------------------------------------------------------------------------------------------- rows


def test_a_stored_parquet_row_reads_the_same_again(tmp_path):
    rows = [
        {"messages": [{"role": "user", "content": "x"}]},
        {"messages": [{"role": "assistant", "content": "y", "tool_calls": [{"name": "f", "arguments": {"a": 1}}]}]},
        {"messages": [{"role": "assistant", "content": "z", "tool_calls": [{"name": "f", "arguments": {"b": 1}}]}]},
    ]
    path = tmp_path / "d.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    found = scan([path])
    assert [json.loads(s.messages[0].tool_calls or "null") for s in found.samples] == [
        row["messages"][0].get("tool_calls") for row in rows
    ]
    for sample in found.samples:
        again = read_json_row(sample.raw, found.reading)
        assert (again.messages, again.tools) == (sample.messages, sample.tools)


def test_half_a_surrogate_pair_is_a_problem_of_its_row(tmp_path):
    path = put(tmp_path, [alpaca(0), '{"instruction": "\\ud83d", "output": "x"}', alpaca(2)])
    items = list(read([path], ALPACA))
    assert [isinstance(item, Problem) for item in items] == [False, True, False]
    assert "surrogate pair (\\ud83d)" in items[1].text


def test_a_role_named_by_hand_goes_over_the_detected_mapping(tmp_path):
    path = put(tmp_path, [alpaca(1, answer="other")])
    reading = scan([path], overrides={"output": "answer"}).reading
    assert (reading.format, reading.mapping["output"], reading.mapping["instruction"]) == (
        "alpaca", "answer", "instruction",
    )  # fmt: skip
    with pytest.raises(UserError, match="no column named 'nowhere'"):
        scan([path], overrides={"output": "nowhere"})


def test_a_format_chosen_by_hand_reads_what_would_be_refused(tmp_path):
    path = put(tmp_path, [alpaca(1, label=True), alpaca(2, label=False)])
    with pytest.raises(UserError, match="KTO"):
        scan([path])
    assert scan([path], Reading("", "alpaca", {})).reading.mapping["output"] == "output"


# ------------------------------------------------------------------------------------------------------- survey


def bytes_read():
    """Bytes that this process has asked the system for so far."""
    with open("/proc/self/io") as file:
        return int(next(line for line in file if line.startswith("rchar")).split()[1])


def test_a_survey_counts_what_reading_gives_and_reads_a_file_once(tmp_path):
    rows = [alpaca(i % 4000, id=i % 4500) for i in range(5000)] + ["{broken", alpaca(1) | {"output": None}]
    path = put(tmp_path, rows)
    before = bytes_read()
    found, tally = survey(path)
    assert bytes_read() - before < path.stat().st_size + (4 << 20)
    items = list(read([path], found.reading))
    accepted = samples(items)
    assert (tally.n_samples, tally.n_rejected) == (len(accepted), 2)
    assert tally.n_duplicates == len(accepted) - len({s.content_hash for s in accepted})
    assert tally.problems == [item for item in items if isinstance(item, Problem)]
    notes = {}
    for note in (note for sample in accepted for note in sample.notes):
        notes[note] = notes.get(note, 0) + 1
    assert tally.notes == notes and notes


def test_a_survey_of_a_column_that_comes_late_counts_under_the_reading_of_all_rows(tmp_path):
    path = put(tmp_path, [*(alpaca(i) for i in range(300)), alpaca(300, system="Be brief.")])
    found, tally = survey(path)
    assert found.reading == scan([path]).reading and "system" in found.reading.mapping
    assert tally.n_samples == 301 and "the column 'system' is not read" not in tally.notes
