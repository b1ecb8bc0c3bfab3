"""Was an empty think block added to the answers, or taken away?"""

from __future__ import annotations

from core.faults._renderings import Rendering


class ThinkBlock(Rendering):
    name = "think_block"
    label = "Think block"
    help = "The model was trained with another think block than the one it is asked with."
    needs = "at least 8 rows with an answer"


KIND = ThinkBlock()
