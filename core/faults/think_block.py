"""Was an empty think block added to the answers, or taken away?"""

from __future__ import annotations

from core.faults._renderings import Rendering


class ThinkBlock(Rendering):
    name = "think_block"
    label = "Think block"
    place = 440
    help = "The model was trained with another think block than the one it is asked with."
    advice = "Ask with the think block of the training, and diagnose again."
    needs = "at least 8 rows with an answer"
    renderings = ("think_added", "think_removed")
    change = 2


KIND = ThinkBlock()
