"""The pairs of published rows that people read: what they must be so that figures made from them mean something."""

import hashlib
import json
from pathlib import Path

CONTENT = json.loads((Path(__file__).parent / "fixtures/real_pairs.json").read_text(encoding="utf-8"))
PAIRS = CONTENT["pairs"]


def test_pairs_are_labelled_with_a_reason_and_name_rows_of_a_known_licence():
    assert len(PAIRS) >= 300
    assert {p["label"] for p in PAIRS} == {"contradiction", "none", "cannot tell"}
    assert all(p["reason"] for p in PAIRS)
    assert all(any(name.startswith(k) for k in CONTENT["licences"]) for p in PAIRS for name, _ in p["rows"])


def test_no_pair_is_there_twice_and_no_text_was_copied():
    assert len({tuple(sorted(p["texts"])) for p in PAIRS}) == len(PAIRS)
    assert all(len(t) == 16 and int(t, 16) >= 0 for p in PAIRS for t in p["texts"])


def test_both_halves_hold_every_label_and_what_was_called_and_what_was_not():
    for half in ("fitted", "held out"):
        own = [p for p in PAIRS if p["half"] == half]
        assert len(own) >= 150
        assert {p["label"] for p in own} == {"contradiction", "none", "cannot tell"}
        assert {p["drawn"] == "group" for p in own} == {True, False}


def test_what_is_held_out_stays_so_and_no_row_of_it_is_fitted_on_through_a_later_pair():
    held = {t for p in PAIRS if p["half"] == "held out" for t in p["texts"]}
    # The pairs that were held out when they were first read. A pair that moves makes figures before and after differ.
    kept = sorted(" ".join(sorted(p["texts"])) for p in PAIRS if p["half"] == "held out")
    assert hashlib.sha256("\n".join(kept).encode()).hexdigest()[:16] == "5c20ebb2ea49d680"
    later = [p for p in PAIRS if "set" in p]
    assert len(later) >= 200
    assert {p["half"] for p in later} == {"fitted"}
    assert {p["set"] for p in later} == {"later", "models"}
    assert not held & {t for p in later for t in p["texts"]}
