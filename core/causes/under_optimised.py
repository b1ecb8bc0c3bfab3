"""Too few steps for how rare or how complex the pattern is."""

from core.causes._base import Cause
from core.signals import _columns as col
from core.types import Look

KIND = Cause(
    name="under_optimised",
    label="Too little optimisation",
    help="The pattern is rare or complex, and training ended before it was fitted.",
    look=Look("#8E9A33", "◔", "."),
    order=5,
    requires=(col.PATTERN_COUNT,),
    needs="the patterns of the dataset's rows (measured in every run)",
    speaks_for=(
        "rare_pattern", "long_target", "pattern_unlearned", "wrong_type", "still_falling", "base_ignorant",
        "never_learned", "partly_right", "prompt_gives", "base_knew",
    ),
    speaks_against=(
        "contradicted", "other_side_wins", "forgotten", "rise", "base_belief", "belief_ahead", "belief_kept",
        "common_pattern", "unfamiliar", "from_elsewhere",
    ),
    blind="Without checkpoints it is not seen whether the loss was still falling.",
    advice="Repeat rows of these patterns, or train longer on them; a few more epochs over everything mostly "
    "polish what is learned already.",
)  # fmt: skip
