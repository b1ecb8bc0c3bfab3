"""A pool over rows in memory: what recipes see, without a database."""

import copy
import json

import numpy as np

from core.filters import from_query
from core.intake.datasets import read_json_row
from core.plugins import kind
from core.types import Column, Reading, Sample, content_hash

READINGS = {
    "messages": Reading("jsonl", "messages", {"messages": "messages", "id": "id", "stage": "stage"}),
    "sharegpt": Reading("jsonl", "sharegpt", {"conversations": "conversations", "id": "id", "system": "system"}),
    "alpaca": Reading("jsonl", "alpaca", {"instruction": "instruction", "input": "input", "output": "output"}),
    "prompt_completion": Reading("jsonl", "prompt_completion", {"prompt": "prompt", "completion": "completion"}),
    "text": Reading("jsonl", "text", {"text": "text"}),
}


def reading_of(format):
    """How rows of a format are read: as its examples are."""
    examples = kind("formats", format).examples
    columns = {name: [row[name] for row in examples if name in row] for name in examples[0]}
    return READINGS.get(format) or Reading("jsonl", format, kind("formats", format).detect(columns)[1])


def row(format, i, question, answer):
    """A row of that format as a dict: written by hand where it is known here, else by the format itself."""
    if format not in READINGS:
        kind_ = kind("formats", format)
        value = copy.deepcopy(dict(kind_.examples[i // 2 % len(kind_.examples)]))
        if kind_.compose is not None:
            assert kind_.compose(value, reading_of(format).mapping, question, answer)
        return value
    stage = "one" if i % 2 else "two"
    if format == "messages":
        turns = [{"role": "system", "content": "Be brief."}] if i // 2 % 3 == 0 else []
        turns += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        return {"id": f"r{i}", "stage": stage, "messages": turns, "big": 2**60 + i}
    if format == "sharegpt":
        turns = [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
        return {"id": f"r{i}", "conversations": turns, "system": "Be brief." if i // 2 % 2 else ""}
    if format == "alpaca":
        return {"instruction": question, "input": "Look." if i // 2 % 2 else "", "output": answer}
    if format == "prompt_completion":
        return {"prompt": question, "completion": " " + answer}
    return {"text": f"{question} {answer}"}


def sample(value, ordinal, reading, name=None):
    spaces = [(", ", ": "), (",", " :"), (",", ":")][ordinal % 3]
    raw = json.dumps(value, ensure_ascii=ordinal % 2 == 0, separators=spaces).encode()
    parsed = read_json_row(raw, reading)
    hashed = content_hash(parsed.messages, parsed.shape, parsed.tools)
    return Sample(
        name or str(value.get("id", f"made-{ordinal}")), ordinal, ordinal, parsed.messages, parsed.shape, parsed.tools,
        value.get("stage"), None, hashed, raw,
    )  # fmt: skip


class Rows:
    """See ``core.recipes._base.Pool``. ``columns``: name to (n,) numbers; ``status``: (n,) texts."""

    def __init__(self, samples, treated, reading, columns=None, status=None, files=None, rulings=None):
        self.samples, self.reading, self.n = samples, reading, len(samples)
        self.treated = np.array(sorted(treated), dtype=np.int64)
        self.columns, self.status = columns or {}, status
        self.files, self.rulings = files or {}, rulings or {}
        self.read = 0

    def numbers(self, column):
        return np.asarray(self.columns.get(column, np.full(self.n, np.nan)), dtype=np.float32)

    def labels(self, column):
        values = [s.stage for s in self.samples] if column == "stage" else [None] * self.n
        names = list(dict.fromkeys(values))
        return np.array([names.index(v) for v in values], dtype=np.int32), tuple(names)

    def select(self, query):
        chosen = from_query(query, [Column("status", "category", "Status"), Column("nll", "number", "Loss")])
        wanted = {v for t in chosen.terms if t.column == "status" for v in t.values}
        return np.array([i for i in range(self.n) if not wanted or self.status[i] in wanted], dtype=np.int64)

    def rows(self, ordinals):
        for ordinal in ordinals:
            self.read += 1
            yield self.samples[int(ordinal)]


def pool(format="messages", n=40, treated=range(0, 40, 4), **more):
    """Rows where every eighth question is asked twice with another answer."""
    reading = reading_of(format)
    values = []
    for i in range(n):
        thing = i - 1 if i % 8 == 1 else i
        values.append(row(format, i, f"What is thing {{q}} {thing}?", f"It is «{i}» {{a}}."))
    samples = [sample(v, i, reading) for i, v in enumerate(values)]
    status = ["unlearned" if i in set(treated) else "learned" for i in range(n)]
    rng = np.random.default_rng(0)
    columns = {"nll": rng.random(n), "n_target": rng.integers(3, 20, n), "pattern_count": rng.integers(1, 12, n)}
    return Rows(samples, treated, reading, columns | more.pop("columns", {}), status, **more)
