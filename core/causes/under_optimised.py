"""Prompt and base hold all that the answer takes; there were too few steps to fit it."""

from core.causes._base import Cause
from core.signals import _columns as col
from core.types import Look

KIND = Cause(
    name="under_optimised",
    label="Too little optimisation",
    help="What the answer takes was there, and training ended before it was fitted.",
    look=Look("#8E9A33", "◔", "."),
    order=5,
    requires=(col.MISSED_GIVEN,),
    needs="the model's own outputs (from a backend that generates)",
    speaks_for=(
        "prompt_gives", "long_target", "wrong_type", "still_falling", "base_ignorant", "base_knew", "never_learned",
        "partly_right",
    ),
    speaks_against=(
        "from_elsewhere", "new_information", "contradicted", "other_side_wins", "forgotten", "rise", "base_belief",
        "belief_ahead", "belief_kept", "belief_steady", "belief_stands_out", "unfamiliar",
    ),
    blind="A skill that takes words from outside the prompt, such as translating, looks like a fact; without "
    "checkpoints it is not seen whether the loss was still falling.",
    advice="Repeat rows of this kind, or train longer on them; a few more epochs over everything mostly polish what "
    "is learned already.",
)  # fmt: skip
