"""The dataset holds another answer to the same question."""

from core.causes._base import Cause
from core.signals import _columns as col
from core.types import Look

KIND = Cause(
    name="data_inconsistency",
    label="Contradiction in the data",
    help="The dataset holds another answer to the same question, and the two cannot both be right.",
    look=Look("#D9772B", "≠", "x"),
    order=3,
    requires=(col.CONTRADICTION,),
    needs="sentence embeddings of the prompts (measured in every run unless the encoder is missing)",
    speaks_for=("contradicted", "other_side_wins"),
    speaks_against=("may_both_be_right",),
    blind="Two answers that contradict each other only through knowledge outside the texts look compatible.",
    advice="Decide which answer is right in each group, and keep, rewrite or drop the rest.",
)
