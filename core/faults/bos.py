"""Do rows begin as they did in training?"""

from __future__ import annotations

from core.faults._renderings import Rendering


class Bos(Rendering):
    name = "bos"
    label = "Beginning of sequence"
    place = 450
    help = "The beginning-of-sequence token is doubled or missing."
    advice = "Ask with the beginning-of-sequence token of the training, and diagnose again."
    needs = "at least 8 rows with an answer, and a tokenizer that has such a token"
    renderings = ("bos_added", "bos_removed")
    change = 1


KIND = Bos()
