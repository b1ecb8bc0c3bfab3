"""Every kind of encoder: order kept, batches change nothing, no network, wrong folders say what to do."""

import shutil
import socket

import numpy as np
import pytest

from core.encoders import sentence_transformer
from core.errors import UserError
from core.plugins import kind, kinds

TEXTS = [
    "What does Kulm sell?",
    "",
    "a",
    "Tell me, what does Kulm sell?",
    "word " * 900,
    "\x00\x1b[31m \u202e <script>alert(1)</script>",
    "东京在哪里",
    "What does Kulm sell?",
]


@pytest.fixture(scope="module", params=sorted(kinds("encoders")))
def opened(request):
    encoder = kind("encoders", request.param).open("", "cpu")
    yield encoder
    encoder.close()


def test_the_order_is_the_callers_and_rows_have_length_one(opened):
    together = opened.encode(TEXTS)
    assert together.dtype == np.float32 and together.shape[0] == len(TEXTS)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1.0, atol=1e-5)
    for text, row in zip(TEXTS, together, strict=True):
        np.testing.assert_allclose(opened.encode([text])[0], row, atol=1e-5)


def test_no_text_is_no_row(opened):
    assert opened.encode([]).shape[0] == 0 and opened.encode([]).shape[1] == opened.encode(["a"]).shape[1]


def test_lengths_count_what_is_cut(opened):
    lengths = opened.lengths(TEXTS)
    assert lengths[4] >= 900 > opened.window and lengths[1] == 2 and lengths[0] == lengths[7]


def test_meaning_is_near(opened):
    one, other, far = opened.encode(["Who founded the town?", "By whom was the town founded?", "Boil the eggs."])
    assert one @ other > 0.8 > 0.3 > one @ far


def test_the_default_is_the_packaged_model(opened):
    assert opened.window == 256 and opened.languages == ("en",)
    found = kind("encoders", "sentence_transformer")
    assert found.fingerprint("") == found.fingerprint("")


def test_other_weights_than_expected_are_refused(monkeypatch):
    monkeypatch.setattr(sentence_transformer, "SHA256", "0" * 64)
    with pytest.raises(UserError, match="not those of all-MiniLM-L6-v2"):
        kind("encoders", "sentence_transformer").fingerprint("")


def test_a_folder_of_ones_own(tmp_path, monkeypatch):
    encoder = kind("encoders", "sentence_transformer")
    own = tmp_path / "own"
    shutil.copytree(encoder.locate(""), own)
    (own / "README.md").write_text("---\nlanguage:\n- de\n- fr\n---\n")

    def refused(*_):
        raise AssertionError("an encoder asked for the network")

    monkeypatch.setattr(socket.socket, "connect", refused)
    opened = encoder.open(str(own), "cpu")
    assert opened.languages == ("de", "fr") and opened.encode(["a"]).shape == (1, 384)
    assert encoder.fingerprint(str(own)) == encoder.fingerprint("")
    config = own / "config.json"
    config.write_text(config.read_text() + "\n")
    assert encoder.fingerprint(str(own)) != encoder.fingerprint("")


def test_what_is_no_encoder_says_what_to_do(tmp_path):
    encoder = kind("encoders", "sentence_transformer")
    with pytest.raises(UserError, match="LACUNA_ENCODER"):
        encoder.locate(str(tmp_path / "nothing"))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="safetensors"):
        encoder.open(str(tmp_path), "cpu")
