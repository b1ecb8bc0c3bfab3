"""Names of the columns that signals measure and derivations add, each named here once.

What a column holds is said where its kind declares it. Columns of a checkpoint other than the final one carry the
checkpoint's role in front, ``base_nll`` or ``t0_nll`` (``Role.column``).
"""

from __future__ import annotations

from core.types import BASE

# Facts of a row that cost nothing.
POSITION = "position"
STAGE_INDEX = "stage_index"
COPIES = "copies"

# One teacher-forced pass.
NLL = "nll"
NLL_TRAINED = "nll_trained"
AT_STEP = "at_step"
TOKEN_ACCURACY = "token_accuracy"  # noqa: S105
GREEDY_EXACT = "greedy_exact"
PREFIX_ONLY = "prefix_only"
NEAR_TIE = "near_tie"
FIRST_MISS = "first_miss"
FIRST_MISS_TRAINED = "first_miss_trained"
TURNS = "turns"
TURNS_EXACT = "turns_exact"
N_TOKENS = "n_tokens"
N_TARGET = "n_target"
N_TRAINED = "n_trained"
N_UNSUPERVISED = "n_unsupervised"
CUT_TARGET = "cut_target"
TRUNCATED = "truncated"
DROPPED = "dropped"
REFUSED = "refused"
BASE_NLL = BASE.column(NLL)
BASE_GREEDY_EXACT = BASE.column(GREEDY_EXACT)


def logp_at(temperature: float) -> str:
    """The log-probability of the exact target in one draw at a temperature of ``TEMPERATURES``."""
    return f"logp_{round(temperature * 10):02d}"


# Generated answers.
SCORE = "score"
DRAWS = "draws"
ONE_ANSWER = "one_answer"
TURNS_ASKED = "turns_asked"


def right_at(percent: int) -> str:
    """Turns whose greedy answer scores this cut or more."""
    return f"right_{percent}"


def hits_at(percent: int) -> str:
    """Draws that score this cut or more."""
    return f"hits_{percent}"


# What outputs and token scores say on a second look.
STOP_LOGP = "stop_logp"
CONTENT_RIGHT = "content_right"
RAN_ON = "ran_on"
SAME_FORM = "same_form"
SAME_MEANING = "same_meaning"
GREEDY_MEANING = "greedy_meaning"
LIMIT_HIT = "limit_hit"
MISS_AT = "miss_at"
AFTER_RIGHT = "after_right"
N_AFTER = "n_after"
LAST_RIGHT = "last_right"
EARLIER_RIGHT = "earlier_right"
LAST_NLL = "last_nll"
EARLIER_NLL = "earlier_nll"
EARLIER_UNTRAINED = "earlier_untrained"
OUTPUT_TYPE_RIGHT = "output_type_right"
MISSED_GIVEN = "missed_given"
MISSED_NEW = "missed_new"


def alt(rendering: str) -> str:
    """The loss under another rendering than the run's."""
    return f"alt_{rendering}"


# Another way to hold the model's numbers.
PREC_NLL = "prec_nll"
PREC_OTHER_NLL = "prec_other_nll"
PREC_HITS = "prec_hits"
PREC_OTHER_HITS = "prec_other_hits"

# The row as it came.
ROLES_KNOWN = "roles_known"
ROLES_ALTERNATE = "roles_alternate"
ANSWER_TURNS = "answer_turns"
ANSWER_FILLED = "answer_filled"
SAME_TARGET = "same_target"
OPEN_REQUEST = "open_request"

# Other rows of the dataset.
SAME_QUESTION = "same_question"
NEIGHBOUR_SIMILARITY = "neighbour_similarity"
N_NEIGHBOURS = "n_neighbours"
FOREIGN_LANGUAGE = "foreign_language"
CONTRADICTION = "contradiction"
GROUP = "group"
GROUP_SIZE = "group_size"
SIDE_SHARE = "side_share"
SIDE_WINS = "side_wins"
BOTH_VALID = "both_valid"
PATTERN = "pattern"
ANSWER_PATTERN = "answer_pattern"
PATTERN_COUNT = "pattern_count"
PROMPT_PATTERN_COUNT = "prompt_pattern_count"
ANSWER_PATTERN_COUNT = "answer_pattern_count"
COPYABLE = "copyable"
COPYABLE_RARE = "copyable_rare"
ANSWER_RARE = "answer_rare"

# What the base knew, and what it still believes.
BASE_KNOWLEDGE = "base_knowledge"
BASE_KNOWN_GREEDY = "base_known_greedy"
BASE_KNOWN_SAMPLED = "base_known_sampled"
BASE_KNOWN_ANY16 = "base_known_any16"
BASE_BELIEF_SHARE = "base_belief_share"
BASE_BELIEF_IS_TARGET = "base_belief_is_target"
BASE_BELIEF_AGREES = "base_belief_agrees"
BASE_BELIEF_P = "base_belief_p"
BASE_BELIEF_MARGIN = "base_belief_margin"
BASE_BELIEF_STABILITY = "base_belief_stability"
BASE_ENTROPY = "base_entropy"
BASE_FAMILIARITY = "base_familiarity"
BASE_SPELLING = "base_spelling"
BELIEF_MARGIN = "belief_margin"
OUTPUT_IS_BELIEF = "output_is_belief"

# Multiple choice.
OPTIONS_RIGHT = "options_right"
OPTIONS_TARGET_P = "options_target_p"
OPTIONS_BEST = "options_best"
OPTIONS_ONLY_RIGHT = "options_only_right"
OPTIONS_JSD = "options_jsd"
BASE_OPTIONS_RIGHT = BASE.column(OPTIONS_RIGHT)
BASE_OPTIONS_BEST = BASE.column(OPTIONS_BEST)

# By arithmetic: beside rows of its pattern, and along the training.
PATTERN_LEARNED = "pattern_learned"
ANSWER_PATTERN_LEARNED = "answer_pattern_learned"
PATTERN_PLACE = "pattern_place"
TARGET_RANK = "target_rank"
LEARNED_AT = "learned_at"
FORGOTTEN = "forgotten"
FORGOTTEN_AFTER = "forgotten_after"
N_LEARNED = "n_learned"
N_FORGOTTEN = "n_forgotten"
BEST_NLL = "best_nll"
NLL_RISE = "nll_rise"
NLL_FALL_END = "nll_fall_end"
BEST_NLL_PLACE = "best_nll_place"
NLL_FALL_PLACE = "nll_fall_place"
LOSS_PROGRESS = "loss_progress"
DYNAMICS_CONFIDENCE = "dynamics_confidence"
DYNAMICS_VARIABILITY = "dynamics_variability"
