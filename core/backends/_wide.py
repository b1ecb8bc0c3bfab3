"""bfloat16 on processors that cannot multiply it.

Where a processor has no instructions for bfloat16 (few without AVX-512 have), torch multiplies such matrices number by
number, many times slower than in float32. There the matrices of linear maps are multiplied in float32 and the
product is rounded, which is what the instructions do. Other products (attention, ``Conv1D`` of GPT-2, the experts of a
mixture) are left as torch does them. ``bench/wide.py`` measures it.
"""

from __future__ import annotations

from types import MethodType
from typing import Any


def forward(self: Any, input: Any) -> Any:
    """``forward`` of a linear map held in bfloat16 and applied in float32; one row alone needs no matrix product."""
    from torch import bfloat16, nn

    if input.dtype != bfloat16 or input.numel() == input.shape[-1]:
        return nn.Linear.forward(self, input)
    bias = None if self.bias is None else self.bias.float()
    return nn.functional.linear(input.float(), self.weight.float(), bias).to(bfloat16)


def multiplies_bfloat16() -> bool:
    """Whether this machine's processor has what torch needs to multiply matrices in bfloat16 as fast as in float32.

    Read from its instruction set, not timed: how a model is read must not depend on what else the machine does.
    """
    import torch

    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def widen(model: Any) -> None:
    """Lets linear maps that are held in bfloat16 on a processor multiply in float32 where that is faster."""
    from torch import bfloat16, nn

    if multiplies_bfloat16():
        return
    for module in model.modules():
        if type(module) is nn.Linear and module.weight.dtype == bfloat16 and module.weight.device.type == "cpu":
            vars(module)["forward"] = MethodType(forward, module)
