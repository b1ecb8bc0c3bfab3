"""bfloat16 on processors that cannot multiply it.

Where a processor has no instructions for bfloat16 (few without AVX-512 have), torch multiplies such matrices number by
number: on an AMD EPYC of the third generation 0.9 billion multiplications a second, against 25 in float32. There
matrices are multiplied in float32 and the product is rounded, which is what the instructions do. Of SmolLM2-135M a
scoring then takes 1.1 times as long as in float32; as torch does it, 5.3 times.
"""

from __future__ import annotations

import time
from functools import cache
from typing import Any

import torch
from torch import nn

# How much slower bfloat16 must be than float32 to be worked around. Reading the matrix in float32 costs as much as
# multiplying some ten rows; with the instructions bfloat16 is faster than float32, without them 7 to 60 times slower.
SLOWER = 3.0


class WideLinear(nn.Linear):
    """A linear map held in bfloat16 and applied in float32; one row alone needs no matrix product."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if input.dtype != torch.bfloat16 or input.numel() == input.shape[-1]:
            return super().forward(input)
        bias = None if self.bias is None else self.bias.float()
        return nn.functional.linear(input.float(), self.weight.float(), bias).to(torch.bfloat16)


@cache
def multiplies_bfloat16() -> bool:
    """Whether this machine's processor multiplies matrices in bfloat16 about as fast as in float32; measured once."""
    seconds = []
    for dtype in (torch.float32, torch.bfloat16):
        a, b = torch.ones(64, 256, dtype=dtype), torch.ones(256, 256, dtype=dtype)
        tries = []
        for _ in range(4):
            began = time.perf_counter()
            a @ b
            tries.append(time.perf_counter() - began)
        seconds.append(min(tries))
    return seconds[1] < SLOWER * seconds[0]


def widen(model: Any) -> None:
    """Lets linear maps that are held in bfloat16 on a processor multiply in float32 where that is faster."""
    if multiplies_bfloat16():
        return
    for module in model.modules():
        if type(module) is nn.Linear and module.weight.dtype == torch.bfloat16 and module.weight.device.type == "cpu":
            module.__class__ = WideLinear
