"""The model before fine-tuning lacked the fact."""

from core.causes._base import Cause
from core.types import Look

KIND = Cause(
    name="missing_knowledge",
    label="Missing knowledge",
    help="The base model did not know what the answer rests on, and fine-tuning did not teach it.",
    look=Look("#7657A8", "∅"),
    order=1,
    requires=("base",),
    needs="the model before fine-tuning (--base)",
    speaks_for=(
        "base_ignorant", "unfamiliar", "misspelt", "wavering", "open_answer", "never_learned", "common_pattern",
        "right_type", "from_elsewhere",
    ),
    speaks_against=(
        "base_belief", "belief_ahead", "belief_kept", "belief_steady", "contradicted", "other_side_wins", "forgotten",
        "rise", "rare_pattern", "long_target", "pattern_unlearned", "wrong_type", "prompt_gives",
    ),
    blind="A base that knows the fact under another wording than the few-shot questions looks ignorant.",
    advice="Teach what the answers rest on first (several wordings of each fact), or leave these rows out: rows "
    "of unknown facts that are forced in raise hallucination.",
)  # fmt: skip
