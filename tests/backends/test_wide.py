"""bfloat16 where the processor cannot multiply it: the same numbers, in float32's time."""

import copy
from contextlib import closing

import numpy as np
import pytest
import torch
from torch import nn

from core.backends import _wide
from core.backends._base import ScoreRow
from core.backends._wide import widen
from core.backends.hf import KIND
from tests.backends import small_models as sm


def is_wide(module):
    return getattr(vars(module).get("forward"), "__func__", None) is _wide.forward


@pytest.fixture
def slow(monkeypatch):
    """A processor without instructions for bfloat16."""
    monkeypatch.setattr(_wide, "multiplies_bfloat16", lambda: False)


@pytest.mark.parametrize("shape", [(1, 1, 96), (1, 2, 96), (3, 7, 96)])
@pytest.mark.parametrize("bias", [False, True])
def test_a_product_is_that_of_bfloat16(slow, monkeypatch, shape, bias):
    torch.manual_seed(0)
    plain = nn.Linear(96, 64, bias=bias).bfloat16()
    wide = copy.deepcopy(plain)
    widen(wide)
    assert is_wide(copy.deepcopy(wide)) and not is_wide(plain)
    x = torch.randn(shape).bfloat16()
    # Exact sums of the rounded factors, rounded once.
    exact = nn.functional.linear(x.double(), plain.weight.double(), plain.bias.double() if bias else None)
    multiplied, linear = [], nn.functional.linear
    monkeypatch.setattr(nn.functional, "linear", lambda x, *rest: multiplied.append(x.dtype) or linear(x, *rest))
    with torch.no_grad():
        made = wide(x)
    assert multiplied == [torch.bfloat16 if shape[1] == 1 else torch.float32]
    assert made.dtype == torch.bfloat16
    # 2^-8 is half of the distance between two numbers in bfloat16.
    torch.testing.assert_close(made.double(), exact.detach(), rtol=2**-8, atol=1e-6)


def test_only_what_is_slow_is_changed(slow):
    model = nn.Sequential(nn.Linear(4, 4).bfloat16(), nn.Linear(4, 4), nn.LayerNorm(4).bfloat16())
    widen(model)
    assert [is_wide(m) for m in model] == [True, False, False]
    with torch.no_grad():
        assert model[1](torch.ones(2, 4)).dtype == torch.float32


def test_a_processor_that_multiplies_it_is_left_alone(monkeypatch):
    monkeypatch.setattr(_wide, "multiplies_bfloat16", lambda: True)
    model = nn.Sequential(nn.Linear(4, 4).bfloat16())
    widen(model)
    assert not is_wide(model[0])


@pytest.mark.parametrize("made", ["full", "adapter"])
def test_a_model_scores_as_in_bfloat16(monkeypatch, folders, made):
    rng = np.random.default_rng(3)
    rows = [ScoreRow(rng.integers(3, sm.VOCAB, n), np.arange(1, n)) for n in (5, 9, 17)]
    scores, wide = [], []
    for quick in (True, False):
        monkeypatch.setattr(_wide, "multiplies_bfloat16", lambda quick=quick: quick)
        with closing(KIND.open(folders("llama", made)[0], dtype="bfloat16", device="cpu")) as backend:
            wide.append(sum(is_wide(m) for m in backend._outer.modules()))
            scores.append([s.logprobs for s in backend.score(rows)])
    assert wide[0] == 0 and wide[1] > 0
    for native, other in zip(*scores, strict=True):
        np.testing.assert_allclose(other, native, atol=0.1)  # sums of another order, each rounded to eight bits


def test_it_is_told_by_instructions_and_the_same_each_time():
    abilities = torch.cpu.get_capabilities()
    assert isinstance(_wide.multiplies_bfloat16(), bool)
    if abilities.get("avx512_bf16") or abilities.get("amx_bf16"):
        assert _wide.multiplies_bfloat16()
    if abilities.get("architecture") == "x86_64" and not abilities.get("avx512_f"):
        assert not _wide.multiplies_bfloat16()
