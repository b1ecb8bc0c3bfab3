"""What every signal must do, found by the folder scan."""

import copy
import dataclasses

import numpy as np
import pytest

from core.checkpoint.folders import as_checkpoint
from core.intake.datasets import read, scan
from core.plugins import kind
from core.signals import _columns as col
from core.signals._instruments import Instruments
from core.signals._plan import ordered_signals, plan
from core.types import BASE, FINAL, Column, Role, RunSpec, Sample, SignalTable

SIGNALS = [s.name for s in ordered_signals()]
# Which rows are measured: enough to hold every planted group, few enough to take seconds.
STEP = 3


class Kept:
    """A run's store in memory."""

    def __init__(self, rows):
        self.rows, self.columns, self.kept = rows, {}, {}

    def samples(self):
        return self.rows

    def measured(self):
        return SignalTable(tuple(s.content_hash for s in self.rows), self.columns)

    def details(self, measure, content_hash):
        return self.kept.get((measure.key, content_hash))

    def store(self, measure, chunks):
        for chunk in chunks:
            for name, values in chunk.columns.items():
                column = self.columns.setdefault(measure.column(name), np.full(len(self.rows), np.nan))
                for key, value in zip(chunk.keys, values, strict=True):
                    column[[s.content_hash == key for s in self.rows]] = value
            for key, detail in zip(chunk.keys, chunk.details, strict=False):
                self.kept[measure.key, key] = detail


def distinct(rows):
    return list({s.content_hash: s for s in rows}.values())


@pytest.fixture(scope="module")
def measured(tiny_project):
    """(spec, store, instruments, rows that were wanted of each measure): a run measured once, in order."""
    path = [tiny_project.dataset]
    rows = [s for s in read(path, scan(path).reading) if isinstance(s, Sample)][::STEP]
    rows = [dataclasses.replace(s, ordinal=i) for i, s in enumerate(rows)]
    spec = RunSpec(
        dataset_id=1, dataset_fingerprint="a" * 64, final=as_checkpoint(tiny_project.final, None, "final"),
        base=as_checkpoint(tiny_project.base, None, "base"),
        trajectory=(as_checkpoint(tiny_project.checkpoints[0], None, "early"),),
        max_draws=4, max_new_tokens=24, paper_mode=True,
    )  # fmt: skip
    store = Kept(rows)
    instruments = Instruments(spec, "cpu", store)
    wanted = {}
    for measure in plan(spec):
        signal = kind("signals", measure.signal)
        mask = signal.applies_to(store.measured())
        chosen = distinct([s for s, want in zip(rows, mask, strict=True) if want])
        wanted[measure.key] = chosen
        store.store(measure, signal.measure(measure, chosen, instruments, lambda: False))
    yield spec, store, instruments, wanted
    instruments.close()


def again(measure, rows, instruments):
    """Name to content hash to value."""
    found = {}
    for chunk in kind("signals", measure.signal).measure(measure, rows, instruments, lambda: False):
        for name, values in chunk.columns.items():
            found.setdefault(name, {}).update(zip(chunk.keys, values.tolist(), strict=True))
    return found


def parts(rows, size):
    return [rows[i : i + size] for i in range(0, len(rows), size)]


@pytest.mark.parametrize("name", SIGNALS)
def test_numbers_do_not_depend_on_order_or_on_what_else_is_asked(measured, name):
    spec, store, instruments, wanted = measured
    signal = kind("signals", name)
    mine = [m for m in plan(spec) if m.signal == name and m.role in (FINAL, BASE, None)]
    assert mine
    place = {s.content_hash: i for i, s in enumerate(store.rows)}
    for measure in mine:
        rows = wanted[measure.key]
        turned = rows[::-1]
        found = {}
        for part in [turned] if signal.whole else parts(turned, 7):
            for column, values in again(measure, part, instruments).items():
                found.setdefault(column, {}).update(values)
        for column, values in found.items():
            first = [store.columns[measure.column(column)][place[key]] for key in values]
            # Eight bits of mantissa: what else shares a batch in bfloat16 moves a loss by a hundredth.
            atol = 3e-2 if column.startswith("prec_") else 2e-3
            np.testing.assert_allclose(list(values.values()), first, atol=atol, err_msg=f"{measure.role} {column}")


@pytest.mark.parametrize("name", SIGNALS)
def test_inputs_are_left_alone(measured, name):
    spec, store, instruments, wanted = measured
    measure = next(m for m in plan(spec) if m.signal == name)
    rows = wanted[measure.key] if kind("signals", name).whole else wanted[measure.key][:6]
    before = copy.deepcopy((rows, store.columns, dict(measure.depends)))
    list(kind("signals", name).measure(measure, rows, instruments, lambda: False))
    assert rows == before[0]
    assert dict(measure.depends) == before[2]
    for column, values in store.columns.items():
        np.testing.assert_array_equal(values, before[1][column])


@pytest.mark.parametrize("name", SIGNALS)
def test_chunks_hold_what_was_asked_in_that_order(measured, name):
    spec, _, instruments, wanted = measured
    for measure in [m for m in plan(spec) if m.signal == name and m.role != Role("checkpoint")]:
        rows = wanted[measure.key]
        chunks = list(kind("signals", name).measure(measure, rows, instruments, lambda: False))
        assert [key for c in chunks for key in c.keys] == [s.content_hash for s in rows]
        for chunk in chunks:
            assert chunk.measure == measure.key
            assert {len(v) for v in chunk.columns.values()} <= {len(chunk.keys)}
            assert all(v.dtype == np.float64 for v in chunk.columns.values())
            assert len(chunk.details) in (0, len(chunk.keys))


@pytest.mark.parametrize("name", SIGNALS)
def test_a_wish_to_stop_is_heard(measured, name):
    spec, _, instruments, wanted = measured
    measure = next(m for m in plan(spec) if m.signal == name)
    assert list(kind("signals", name).measure(measure, wanted[measure.key], instruments, lambda: True)) == []


@pytest.mark.parametrize("name", SIGNALS)
def test_the_measurement_depends_on_what_changes_it(measured, name):
    spec = measured[0]
    signal = kind("signals", name)
    keys = [m.key for m in signal.plan(spec)]
    assert len(set(keys)) == len(keys)
    assert keys == [m.key for m in signal.plan(RunSpec.from_dict(spec.as_dict()))]
    other = dataclasses.replace(spec, final=dataclasses.replace(spec.final, fingerprint="f" * 64))
    weights = {m.key for m in signal.plan(spec) if m.role is not None}
    assert not weights & {m.key for m in signal.plan(other)}
    if signal.whole:
        elsewhere = dataclasses.replace(spec, dataset_fingerprint="b" * 64)
        assert not set(keys) & {m.key for m in signal.plan(elsewhere)}


def test_columns_are_declared_once_and_measured(measured):
    _, store, _, _ = measured
    for name in SIGNALS:
        for column in kind("signals", name).columns:
            assert isinstance(column, Column)
    declared = [c.name for name in SIGNALS for c in kind("signals", name).columns]
    assert len(set(declared)) == len(declared)
    # Only a recording made while training says when it saw a row.
    measured_names = {*store.columns, col.AT_STEP}
    assert set(declared) <= measured_names, set(declared) - measured_names
