"""It was learned once, and training on later data overwrote it."""

from core.causes._base import Cause
from core.types import Look

KIND = Cause(
    name="left_side_forgetting",
    label="Forgotten on the way",
    help="It was learned once, and training on later rows overwrote it.",
    look=Look("#0E8280", "↺", "\\"),
    order=4,
    requires=("trajectory",),
    needs="checkpoints saved during training (--trajectory)",
    speaks_for=("forgotten", "rise", "early"),
    speaks_against=("never_learned", "contradicted", "other_side_wins", "still_falling"),
    blind="What was learned and lost between two saved checkpoints is not seen.",
    advice="Mix rows of the earlier stage into the later ones, or shuffle the stages together.",
)
