"""The answer holds something that neither the prompt nor the model before fine-tuning has."""

from core.causes._base import Cause
from core.types import Look

KIND = Cause(
    name="missing_knowledge",
    label="Missing knowledge",
    help="The answer takes knowledge that the model did not have, and fine-tuning did not teach it.",
    look=Look("#7657A8", "∅"),
    order=1,
    requires=("base",),
    needs="the model before fine-tuning (--base)",
    speaks_for=(
        "new_information", "from_elsewhere", "base_ignorant", "unfamiliar", "misspelt", "wavering", "open_answer",
        "never_learned", "right_type",
    ),
    speaks_against=(
        "prompt_gives", "base_belief", "belief_ahead", "belief_kept", "belief_steady", "belief_stands_out",
        "contradicted", "other_side_wins", "forgotten", "rise", "long_target", "wrong_type",
    ),
    blind="A base that knows the fact under another wording than the few-shot questions looks ignorant.",
    advice="Teach what the answers rest on first (several wordings of each fact), or leave these rows out: rows "
    "of unknown facts that are forced in raise hallucination.",
)  # fmt: skip
