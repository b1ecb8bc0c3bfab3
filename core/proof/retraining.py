"""Training again from the base: what a person who changes the data and starts over would get.

Every arm begins with the base and sees as many rows as the others: the dataset in its stages, and beside it what the
recipe makes of the treated samples, what another cause's recipe makes of them, or as many rows drawn uniformly. One arm
is trained on the dataset alone, in another order: what it restores is owed to chance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from core.errors import UserError
from core.recipes._order import Order, drawn
from core.types import RunFacts, Setting

ARMS = ("treatment", "again", "control", "off_target")
# Where neither the person nor a log says how long, how large and in which order.
EPOCHS, BATCH = 3.0, 8
# Where a value of the course is from, as a person reads it.
LOGGED = "as the training log says"
# The share of the passes a recipe asks for that is as good as all: trainers log the end of three epochs as 2.98 or so.
ENOUGH = 0.95
# Working out the order of a file takes 36 bytes a line, 80 where the stages are mixed: 0.8 GB then.
MOST_LINES = 10_000_000
BUDGET: tuple[Setting, ...] = (
    Setting("epochs", "text", "", "Epochs", "One number, or one for each stage in its order: 8, 2. Empty: as logged."),
    Setting("batch", "int", 0, "Rows per step", "0: as logged.", minimum=0, maximum=1024),
    Setting("samples", "int", 100, "Treated samples, at most", "Drawn at random from the selected ones.", minimum=2,
            maximum=100_000),
    Setting("order", "choice", "stages", "Order of the dataset", "", ("stages", "shuffled"),
            words=("Stage after stage, shuffled within", "All shuffled")),
    Setting("learning_rate", "float", 0.0, "Learning rate", "0: as logged, else by method and size of the model.",
            minimum=0.0),
    Setting("learned", "int", 100, "Learned samples to watch, at most", "Shows what the change costs.", minimum=0,
            maximum=100_000),
    Setting("method", "choice", "auto", "What is trained", "As the diagnosed model was: an adapter like its own, or "
            "all weights.", ("auto", "lora", "full"), words=("As it was", "LoRA adapter", "All weights")),
    Setting("proof_seed", "int", 0, "Seed", "Decides which samples are drawn, and every order.", minimum=0),
)  # fmt: skip
# Those that say how to train, whatever is measured afterwards.
COURSE = tuple(s for s in BUDGET if s.name in ("epochs", "batch", "order", "learning_rate", "method"))


@dataclass(frozen=True, slots=True)
class Course:
    """How an arm is trained.

    Attributes:
        epochs: one a stage. learning_rate: 0 by method and size.
        origin: where each value is from, for a person: value to words.
    """

    epochs: tuple[float, ...]
    batch: int
    learning_rate: float
    shuffled: bool
    origin: Mapping[str, str]

    def in_words(self) -> list[str]:
        """How it is trained and where each value is from, a phrase each."""
        epochs = self.epochs[:1] if len(set(self.epochs)) == 1 else self.epochs
        rate = (
            f"{self.learning_rate:g} ({self.origin['learning_rate']})" if self.learning_rate else "by size and method"
        )
        order = "all rows shuffled" if self.shuffled else f"{len(self.epochs)} stages in order, shuffled within"
        return [
            f"epochs {', '.join(f'{e:g}' for e in epochs)} ({self.origin['epochs']})",
            f"{self.batch} rows per step ({self.origin['batch']})",
            f"learning rate {rate}",
            order,
        ]


def course(wanted: Mapping[str, object], facts: RunFacts, n_stages: int) -> Course:
    """What the person wants; what they leave open as the training log of the run says, else by default.

    Args:
        n_stages: stages of the dataset.

    Raises:
        UserError: epochs that are no numbers, or not as many as there are stages.
    """
    log = next((state for state in reversed(facts.states) if state.epoch or state.batch), None)
    origin: dict[str, str] = {}

    def first(name: str, chosen: float, logged: float | None, default: float) -> float:
        origin[name] = "as chosen" if chosen else LOGGED if logged else "by default"
        return chosen or logged or default

    given = _epochs(str(wanted["epochs"]), n_stages)
    if given:
        origin["epochs"], epochs = "as chosen", given
    else:
        epochs = (first("epochs", 0.0, log.epoch if log else None, EPOCHS),) * n_stages
    batch = first("batch", float(str(wanted["batch"])), log.batch if log else None, BATCH)
    peak = max((rate for state in facts.states for _, rate in state.rates), default=None)
    rate = first("learning_rate", float(str(wanted["learning_rate"])), peak, 0.0)
    return Course(epochs, int(batch), rate, wanted["order"] == "shuffled" or n_stages == 1, origin)


def _epochs(text: str, n_stages: int) -> tuple[float, ...]:
    if not text.strip():
        return ()
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) not in (1, n_stages) or not all(0.0 < n <= 1000.0 for n in numbers):
        raise UserError(
            f"{text!r} does not say how many epochs.",
            f"The dataset has {n_stages} stage{'s' if n_stages > 1 else ''}.",
            "Give one number above 0, or one for each stage: 8, 2.",
        )
    return numbers if len(numbers) == n_stages else numbers * n_stages


def mean_passes(stages: Sequence[np.ndarray], course: Course) -> float:
    """How often a row of the dataset comes in all, on average over the stages."""
    of_dataset = sum(e * len(stage) for e, stage in zip(course.epochs, stages, strict=True))
    return of_dataset / max(sum(len(stage) for stage in stages), 1)


def passes(stages: Sequence[np.ndarray], course: Course, wanted: float) -> float:
    """How often each row beside the dataset comes in all: as often as the dataset on average, or ``wanted`` times."""
    mean = mean_passes(stages, course)
    return mean if wanted <= mean / ENOUGH else wanted


def lengths(
    stages: Sequence[np.ndarray], course: Course, n_rows: int, wanted: float, left_out: np.ndarray
) -> tuple[int, int]:
    """Rows of one arm in all its passes: of the dataset, and of the ``n_rows`` that are beside it.

    Args:
        wanted: see ``passes``.
        left_out: ordinals that are not trained on.

    Raises:
        UserError: the epochs are so few that no row of the dataset is trained on.
    """
    kept = [len(np.setdiff1d(stage, left_out)) for stage in stages]
    of_dataset = round(sum(e * n for e, n in zip(course.epochs, kept, strict=True)))
    if any(kept) and not of_dataset:
        raise UserError(
            f"{', '.join(f'{e:g}' for e in course.epochs)} epochs are not one row of training.",
            f"The dataset has {sum(kept):,} rows.",
            "Give more epochs, 1 for example.",
        )
    return of_dataset, round(passes(stages, course, wanted) * n_rows)


def in_words(stages: Sequence[np.ndarray], course: Course, wanted: float, both: bool) -> list[str]:
    """The course, a phrase each, and how often rows beside the dataset come where that is more than those of it.

    Args:
        wanted: see ``passes``.
        both: whether there are rows of the dataset and rows beside it.
    """
    often, on_average = passes(stages, course, wanted), mean_passes(stages, course)
    if not both or often == on_average:
        return course.in_words()
    several = "pass" if often == 1.0 else "passes"
    phrase = f"{often:g} {several} over the recipe's rows, {on_average:.3g} over the dataset on average"
    return [*course.in_words(), phrase]


def seed_of(arm: str, seed: int) -> int:
    """Another order for every arm: the same one would make them more alike than two trainings are."""
    return 1000 * (1 + ARMS.index(arm)) + seed


def stages_of(codes: np.ndarray) -> list[np.ndarray]:
    """Ordinals of each stage, in the order in which the training met them; ``codes`` say each ordinal's stage."""
    stages = [np.flatnonzero(codes == code) for code in np.unique(codes)]
    return sorted(stages, key=lambda stage: int(stage[0]))


def arm(
    stages: Sequence[np.ndarray],
    course: Course,
    total: int,
    n_rows: int,
    n_added: int,
    seed: int,
    left_out: np.ndarray,
    shuffled: bool,
) -> list[np.ndarray]:
    """``total`` rows, stage by stage; one stage where the arm is shuffled.

    Args:
        stages: ordinals of each stage.
        n_rows: how many rows there are beside the dataset; they are spread evenly over the whole training, ``n_added``
            in all, or all ``total`` where no row of the dataset is left.
        left_out: ordinals that the arm does not train on.

    Returns:
        What stands at each place: an ordinal of the dataset, or -1 - i for row i of those beside it.
    """
    kept = [np.setdiff1d(stage, left_out) for stage in stages]
    wanted = np.array([e * len(stage) for e, stage in zip(course.epochs, kept, strict=True)])
    if not any(len(stage) for stage in kept):  # what stands beside the dataset is all there is
        n_added = total
    n_added = n_added if n_rows else 0
    counts = _apportioned(wanted, total - n_added)
    sizes = counts if counts.any() else np.array([len(stage) for stage in stages])
    shares = _apportioned(sizes.astype(float), n_added)
    beside = -1 - drawn(np.arange(n_rows), n_added, seed + 1)
    parts: list[np.ndarray] = []
    taken = 0
    for i, (stage, count, share) in enumerate(zip(kept, counts, shares, strict=True)):
        main = drawn(stage, int(count), seed + 100 * (i + 2))
        parts.append(_spread(main, beside[taken : taken + share]))
        taken += int(share)
    if shuffled or course.shuffled:
        everything = np.concatenate(parts)
        return [everything[Order(len(everything), seed + 2)(np.arange(len(everything)))]]
    return parts


@dataclass(frozen=True, slots=True)
class File:
    """An arm as a file of rows that a trainer reads.

    Attributes:
        places: what stands in each line, as ``arm`` says it.
        epochs: passes over the file.
        in_order: it holds every pass, and the trainer must keep its order.
    """

    places: np.ndarray
    epochs: float
    in_order: bool


def as_file(
    stages: Sequence[np.ndarray],
    course: Course,
    n_rows: int,
    wanted: float,
    seed: int,
    left_out: np.ndarray,
    shuffled: bool,
) -> File:
    """The treatment's arm for a trainer: one pass where all are alike and shuffled, else every pass in its order.

    Args:
        n_rows: how many rows there are beside the dataset.
        wanted: see ``passes``.

    Raises:
        UserError: the epochs are too few, or the passes have more than ``MOST_LINES`` lines.
    """
    of_dataset, n_added = lengths(stages, course, n_rows, wanted, left_out)
    epochs = course.epochs[0]
    in_one = passes(stages, course, wanted) / epochs
    each = math.isclose(in_one, 1.0) or (epochs.is_integer() and in_one.is_integer())
    if (shuffled or course.shuffled) and len(set(course.epochs)) == 1 and (each or not n_rows):
        one_pass = replace(course, epochs=(1.0,) * len(stages))
        n, n_added = lengths(stages, one_pass, n_rows, round(in_one), left_out)
        (places,) = arm(stages, one_pass, n + n_added, n_rows, n_added, seed, left_out, True)
        return File(places, epochs, False)
    if of_dataset + n_added > MOST_LINES:
        raise UserError(
            f"{', '.join(f'{e:g}' for e in course.epochs)} epochs written out are {of_dataset + n_added:,} lines.",
            f"At most {MOST_LINES:,} are written, because their order is kept in memory.",
            "Choose fewer epochs or samples. Or choose order=shuffled and one number of epochs, "
            f"{wanted:g} or more: the trainer then counts them.",
        )
    parts = arm(stages, course, of_dataset + n_added, n_rows, n_added, seed, left_out, shuffled)
    return File(np.concatenate(parts), 1.0, True)


def _apportioned(weights: np.ndarray, total: int) -> np.ndarray:
    """(n,) whole numbers in proportion to the weights that sum to ``total``, by largest remainder."""
    exact = total * weights / max(float(weights.sum()), 1e-12)
    counts = np.floor(exact).astype(int)
    for i in np.argsort(counts - exact, kind="stable")[: total - int(counts.sum())]:
        counts[i] += 1
    return counts


def _spread(main: np.ndarray, extra: np.ndarray) -> np.ndarray:
    """Both in one, each in its order, the second evenly over the first."""
    places = [(np.arange(len(part)) + 0.5) / max(len(part), 1) for part in (main, extra)]
    both: np.ndarray = np.concatenate([main, extra])[np.argsort(np.concatenate(places), kind="stable")]
    return both
