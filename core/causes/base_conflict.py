"""The model before fine-tuning believed something else, and still does."""

from core.causes._base import Cause
from core.types import Look

KIND = Cause(
    name="base_conflict",
    label="Conflict with the base",
    help="The base model held another answer to be true, and fine-tuning did not overturn it.",
    look=Look("#B5478A", "⇄", "/"),
    order=2,
    requires=("base",),
    needs="the model before fine-tuning (--base)",
    speaks_for=(
        "base_belief", "belief_ahead", "belief_kept", "belief_stays_ahead", "belief_steady", "belief_stands_out",
        "never_learned",
    ),
    speaks_against=(
        "base_knew", "unfamiliar", "misspelt", "wavering", "open_answer", "contradicted", "other_side_wins",
        "forgotten", "rise", "prompt_gives", "long_target",
    ),
    blind="A base that never saw an entity still names an answer; only its confidence and constancy tell a guess "
    "from a belief.",
    advice="Give these rows explicit context, or repeat them beside rows that must stay as they are; check first "
    "that the new answers are meant.",
)  # fmt: skip
