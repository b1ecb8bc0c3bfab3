"""A tiny base that has read questions and answers line by line, and what a signal is lent to look at it."""

import random
from dataclasses import dataclass, field

import numpy as np
import pytest

from core.checkpoint.folders import as_checkpoint
from core.lab import tiny
from core.plugins import kind
from core.signals._records import RowOutputs, TurnOutputs
from core.types import Message, RunSpec, Sample, SignalTable, content_hash

# Known for sure; told in two versions, the first one in four of ten readings; never told.
SURE, TORN, NEVER = 12, 5, 4


def question(subject):
    return f"Which river does {subject} lie on?"


def answer(river):
    return f"The river {river}."


def facts():
    """(subject, river of the dataset, river the base reads otherwise or None, how often it reads the first one)."""
    from core.lab.words import coin

    rng, taken = random.Random(5), set()
    subjects, rivers = coin(rng, SURE + TORN + NEVER, taken), coin(rng, 8, taken)
    out = []
    for i, subject in enumerate(subjects):
        first, second = rng.sample(rivers, 2)
        out.append((subject, first, second, 1.0 if i < SURE else 0.4 if i < SURE + TORN else None))
    return out


def documents():
    """Pages of six questions and answers."""
    rng, told = random.Random(6), [f for f in facts() if f[3] is not None]
    for _ in range(240):
        lines = []
        for subject, first, second, share in rng.sample(told, 6):
            lines.append(f"Q: {question(subject)}\nA: {answer(first if rng.random() < share else second)}\n")
        yield "".join(lines)


def make_quiz_base(folder):
    pages = list(documents())
    tokenizer = tiny.build_tokenizer([*pages, *(f[0] + " " for f in facts())], 500, None)
    model = tiny.tiny_model(tiny.tiny_config("llama", len(tokenizer), 64, 2), tokenizer)
    rows = [tiny.text_row(tokenizer, page) for page in pages]
    tiny.train(
        model, tokenizer, rows, folder, lr=6e-3, batch=12, epochs=10, schedule="cosine", warmup=10, threads=1
    )  # fmt: skip


@pytest.fixture(scope="session")
def quiz_base(keep):
    """The base's folder; no chat template."""
    return keep("quiz", make_quiz_base, ("core/lab", "tests/signals/conftest.py")) / "final"


def sample_of(ordinal, prompt, response, shape="chat"):
    messages = (Message("user", prompt), Message("assistant", response))
    return Sample(f"row-{ordinal}", ordinal, ordinal, messages, shape, None, None, None,
                  content_hash(messages, shape, None), b"{}")  # fmt: skip


def answered(target, output):
    """What is kept of the output of a row of one turn."""
    return RowOutputs((TurnOutputs(0, target, output, True, 0.0, True, [], []),)).as_dict()


@dataclass
class Bench:
    """Instruments over rows in memory; ``kept`` holds what was measured, ``asked`` which checkpoints were opened."""

    spec: RunSpec
    rows: list
    columns: dict
    kept: dict = field(default_factory=dict)
    opened: dict = field(default_factory=dict)

    def tokenizer(self):
        from core.rendering.tokenizers import open_tokenizer

        if "tokenizer" not in self.opened:
            self.opened["tokenizer"] = open_tokenizer(self.spec.final.path)
        return self.opened["tokenizer"]

    def backend(self, checkpoint):
        if checkpoint.path not in self.opened:
            self.opened[checkpoint.path] = kind("backends", "hf").open(checkpoint, "float32", "cpu", self.tokenizer())
        return self.opened[checkpoint.path]

    scoring = generating = backend

    def supervision(self, sample):
        return kind("presets", self.spec.preset).supervise(sample, self.tokenizer(), {}, None)

    def examples_from(self):
        return self.samples()

    def samples(self):
        return self.rows

    def measured(self):
        return SignalTable(tuple(s.content_hash for s in self.rows), self.columns)

    def details(self, measure, content_hash):
        return self.kept.get((measure.key, content_hash))

    def run(self, measure, rows=None):
        """Measures and keeps; columns in the order of ``rows``."""
        rows = self.rows if rows is None else rows
        chunks = list(kind("signals", measure.signal).measure(measure, rows, self, lambda: False))
        found = {}
        for chunk in chunks:
            for at, key in enumerate(chunk.keys):
                found[key] = {name: values[at] for name, values in chunk.columns.items()}
                if chunk.details:
                    self.kept[measure.key, key] = chunk.details[at]
        names = next(iter(found.values()))
        return {name: np.array([found[s.content_hash][name] for s in rows]) for name in names}


@pytest.fixture
def quiz(quiz_base):
    """The dataset's rows about every subject, all of the first half learned, over the base as it is."""
    rows = [sample_of(i, question(subject), answer(first)) for i, (subject, first, _, _) in enumerate(facts())]
    checkpoint = as_checkpoint(quiz_base, None, "base")
    spec = RunSpec(dataset_id=1, dataset_fingerprint="0" * 64, final=checkpoint, base=checkpoint)
    learned = np.array([float(i < SURE) for i in range(len(rows))])
    yield (bench := Bench(spec, rows, {"greedy_exact": learned}))
    for opened in bench.opened.values():
        if hasattr(opened, "close"):
            opened.close()
