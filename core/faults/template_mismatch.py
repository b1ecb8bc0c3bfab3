"""Was the model trained under the template it is asked with?"""

from __future__ import annotations

from core.faults._renderings import Rendering


class TemplateMismatch(Rendering):
    name = "template_mismatch"
    label = "Template mismatch"
    place = 460
    help = "The model was trained with another template or system prompt than the one it is asked with."
    advice = "Ask with the template and system prompt of the training, and diagnose again."
    needs = "the chat template and system prompt of the training, and at least 8 rows with an answer"
    renderings = (
        "chatml", "llama3", "gemma", "headings", "alpaca", "vicuna", "inst", "question", "line", "space", "bare",
        "system_added", "system_dropped",
    )  # fmt: skip
    change = 5


KIND = TemplateMismatch()
