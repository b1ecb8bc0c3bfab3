"""What follows from a run: which decision, what fixing each cause would gain, and what fine-tuning did to whom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.causes import UNDETERMINED
from core.plugins import kinds
from core.services import proofs, recipes
from core.services.causes import look
from core.services.runs import get_run
from core.services.views import Share
from core.signals import _columns as col
from core.statistics import Interval, bootstrap_shares
from core.text.counts import counted
from core.types import PIPELINE, Filter, Proof, Run
from db import verdicts as verdict_table
from db.session import database

# Of a run that leaves this share or less unlearned or partly learned, as many rows are lost to label noise as a rule.
SHIP = 0.05
# The cause that more steps on the same rows treat; every other one lies in the rows.
TRAIN_ON = "under_optimised"
EFFECTS = ("helped", "hurt", "wasted", "kept")


@dataclass(frozen=True, slots=True)
class Gain:
    """What fixing one cause would bring.

    Attributes:
        n: samples that were not learned for this cause.
        restored: share of them that the newest proof of its recipe brought back; None where nothing is proven.
        beside: what restored them as well as its recipe did, in words; empty where nothing else did.
        advice: what to do about it, in a sentence.
        recipe: whether there is a recipe for it.
    """

    cause: str
    n: int
    restored: Share | None
    advice: str
    recipe: bool
    beside: str = ""

    @property
    def rows(self) -> float:
        """Samples that may come back: as proven, else all of them."""
        return self.n * (self.restored.share if self.restored is not None else 1.0)


@dataclass(frozen=True, slots=True)
class Decision:
    """``ship``, ``pipeline``, ``data``, ``train`` or ``look``, as a heading and a sentence with its numbers."""

    what: str
    heading: str
    text: str


@dataclass(frozen=True, slots=True)
class Effect:
    """What fine-tuning did to the samples of one group, against the base.

    Attributes:
        group: value of the column; None = not given, or all samples together.
        n: samples of which both models' answers are known.
        shares: ``EFFECTS`` to its share with a 95 % bootstrap interval. Helped: given verbatim only after fine-tuning,
            or learned since. Hurt: given only before. Wasted: neither before nor after. Kept: both.
    """

    group: str | None
    n: int
    shares: Mapping[str, Interval]


def gains(run_id: int, causes: Mapping[str, Share]) -> tuple[Gain, ...]:
    """Every one of the causes, the one whose fixing brings most first; proven before unproven.

    Args:
        causes: how many samples have each, as ``results.overview`` counts them.
    """
    proven = _restored(proofs.of_run(run_id))
    ranked = [
        Gain(cause, share.k, restored, advice(cause), recipes.recipe_for(cause) is not None, beside)
        for cause, share in causes.items()
        for restored, beside in [proven.get(cause, (None, ""))]
    ]
    return tuple(sorted(ranked, key=lambda gain: (gain.cause == UNDETERMINED, -gain.rows, gain.cause)))


def _restored(newest_first: list[Proof]) -> dict[str, tuple[Share, str]]:
    """Cause to the share restored by the newest finished proof of the recipe made for it, and what did as well."""
    shares: dict[str, tuple[Share, str]] = {}
    for proof in reversed(newest_first):
        measured = ((proof.result or {}).get("arms", {}).get("treatment") or {}).get("recovered")
        if proof.cause is not None and measured is not None and proof.recipe == recipes.recipe_for(proof.cause):
            names = ("k", "n", "share", "low", "high")
            shares[proof.cause] = Share(*(measured[name] for name in names)), _beside(proof.result or {})
    return shares


def _beside(result: Mapping[str, Any]) -> str:
    plainest = "training again unchanged" if "again" in result.get("against", ()) else "a uniform mix"
    did = {"open": "did about as well", "against": "did better"}.get(result.get("outcome", ""))
    return f"{plainest} {did}" if did else ""


def advice(cause: str) -> str:
    """What to do about a cause or fault, in a sentence."""
    if cause == UNDETERMINED:
        return (
            "No cause is sure enough. Look at these rows, or measure more: a base, earlier checkpoints; where two "
            "logits are nearly equal, the checkpoint in float32."
        )
    code = PIPELINE.member(cause)
    known = kinds("causes").get(cause) if code is None else kinds("faults").get(code)
    text = (known.advice or known.help) if known is not None else ""
    return text[:1].upper() + text[1:]


def decide(run: Run, n: int, missing: int, ranked: tuple[Gain, ...], unknown: int = 0, disputed: int = 0) -> Decision:
    """What to do about ``missing`` of ``n`` samples that were not learned; of ``unknown`` ones it cannot be said.

    Args:
        disputed: groups of rows that contradict each other. They are what a dataset alone is judged by.
    """
    wrong = [f for f in run.summary.get("faults", ()) if f["state"] == "fail" and f["scope"] == "run"]
    if wrong:
        text = f"{wrong[0]['label']}: {wrong[0]['text']} Nothing else can be trusted before that is mended."
        return Decision("pipeline", "Fix the pipeline first", text)
    of = f"{missing:,} of {counted(n, 'sample')}"
    if missing + unknown > SHIP * n >= missing:
        return _open(run, n, missing, unknown, disputed)
    if missing <= SHIP * n:
        share = f"{missing / n:.1%}" if n else "none"
        return Decision("ship", "Ship it", f"{of} were not learned, or only partly ({share}), {SHIP:.0%} or less.")
    causes = {gain.cause: gain.n for gain in ranked if gain.cause != UNDETERMINED}
    if not causes:
        return Decision(
            "look", "Look at the rows", f"{of} were not learned, or only partly, and no cause is sure enough."
        )
    steps = causes.pop(TRAIN_ON, 0)
    data = sum(causes.values())
    most = max(causes, key=lambda c: causes[c], default="")
    named = f", most of all “{look(most).label}” ({causes[most]:,})" if most else ""
    if steps > data:
        rest = f" {data:,} have a cause in the data{named}." if data else ""
        text = f"{of} were not learned, or only partly. More training on the same rows treats {steps:,} of them.{rest}"
        return Decision("train", "Train on", text)
    rest = f" More training on the same rows treats only {steps:,}." if steps else ""
    text = f"{of} were not learned, or only partly. Of these, {data:,} have a cause in the data{named}.{rest}"
    return Decision("data", "Fix the data", text)


def _open(run: Run, n: int, missing: int, unknown: int, disputed: int) -> Decision:
    """Too few statuses are known to ship, and too few samples are known to be missing for anything else."""
    if unknown < n:
        text = f"{missing:,} of {counted(n, 'sample')} were not learned, and of {unknown:,} it is not known."
        return Decision("look", "Too little is known", text)
    if not run.spec.final.is_nothing:
        text = f"Of {counted(n, 'sample')} it is not known whether they were learned."
        return Decision("look", "Too little is known", text)
    found = f"In {counted(disputed, 'group')} rows" if disputed else "No two rows"
    text = f"No model was given, so nothing says what was learned. {found} contradict each other."
    return Decision("look", "The dataset alone", text)


def effects(run_id: int, chosen: Filter, by: str | None) -> tuple[Effect, ...]:
    """What fine-tuning did, over all samples that pass or for each value of a category, the most wasted first.

    Empty where the base's answers were not measured.
    """
    run = get_run(run_id)
    base = col.BASE_GREEDY_EXACT
    if base not in {c.name for c in run.columns}:
        return ()
    with database().reading() as conn:
        names = [*([by] if by else []), base, "status"]
        cells = verdict_table.group_counts(conn, run, names, chosen)
    groups: dict[str | None, dict[str, int]] = {}
    for values, n in cells:
        before, status = values[-2:]
        if before is None or status == "unknown":
            continue
        kind = _EFFECT[bool(before), status == "learned"]
        counts = groups.setdefault(values[0] if by else None, dict.fromkeys(EFFECTS, 0))
        counts[kind] += n
    compared = [
        Effect(group, sum(counts.values()), dict(zip(EFFECTS, bootstrap_shares(list(counts.values())), strict=True)))
        for group, counts in groups.items()
    ]
    return tuple(sorted(compared, key=lambda e: (e.group is None, -e.shares["wasted"].value, -e.n)))


_EFFECT = {(False, True): "helped", (True, False): "hurt", (False, False): "wasted", (True, True): "kept"}
