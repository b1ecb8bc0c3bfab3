"""Groups of rows that ask the same and answer otherwise: paged, with both sides, and what people decided about them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from core.errors import UserError
from core.pairs import commentary as judge
from core.services import who
from core.services.measurements import records
from core.services.people import ANY
from core.services.runs import get_run
from core.services.views import ContradictionGroup, ContradictionPage, ContradictionSide, NeighbourView
from core.settings import settings
from core.signals import _columns as col
from core.signals._artefacts import DISPUTE, NEAR_ROWS
from core.signals._records import NearRow, Side
from core.types import Comment, Decision, Filter, Run, Sample, Term
from db import comments as comment_table
from db import decisions as decision_table
from db import samples as sample_table
from db import verdicts as verdict_table
from db.session import database

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
CHOICES = {"keep": "Keep one side", "both_valid": "Both valid: rewrite the prompts", "drop": "Drop the rows"}
# A group that lost or gained a few members by recomputation still is the one that was decided.
_SAME_GROUP = 0.5


def groups(run_id: int, chosen: Filter, order: str = "size", page: int = 0, limit: int = 10) -> ContradictionPage:
    """One page of the groups that have a row passing the filter, largest or surest first."""
    run = get_run(run_id)
    if not compared(run):
        return ContradictionPage((), 0, page, 0, False)
    with database().reading() as conn:
        page_groups, total = ordered(conn, run, chosen, order, limit, page * limit)
        made = decision_table.decisions(conn, run.spec.dataset_id)
        comments = comment_table.comments(conn, run.spec.dataset_id)
        shown = tuple(_group(conn, run, value, made, comments) for value, _, _, _ in page_groups)
    return ContradictionPage(tuple(g for g in shown if g is not None), total, page, len(made), True)


def count(run_id: int, chosen: Filter) -> int:
    """How many groups have a row passing the filter."""
    run = get_run(run_id)
    if not compared(run):
        return 0
    with database().reading() as conn:
        return ordered(conn, run, chosen, "size", 0)[1]


def compared(run: Run) -> bool:
    """Whether rows of the run were compared with each other."""
    return any(c.name == col.GROUP for c in run.columns)


def ordered(
    conn: Connection, run: Run, chosen: Filter, order: str, limit: int, offset: int = 0
) -> tuple[list[tuple[float, int, float, float]], int]:
    """The groups that have a row passing the filter, ``limit`` of them, each with its number first; and their count."""
    return verdict_table.groups(conn, run, col.GROUP, col.GROUP_SIZE, col.CONTRADICTION, chosen, order, limit, offset)


def group(run_id: int, number: int) -> ContradictionGroup:
    """One group; raises UserError where the run has none of that number."""
    run = get_run(run_id)
    with database().reading() as conn:
        made = decision_table.decisions(conn, run.spec.dataset_id)
        contradiction = _group(conn, run, number, made, comment_table.comments(conn, run.spec.dataset_id))
    if contradiction is None:
        raise UserError(f"Run {run_id} has no contradiction group {number}.", "", "Choose one from the page.")
    return contradiction


def _group(
    conn: Any, run: Run, number: float, made: Sequence[Decision], comments: Mapping[str, Comment]
) -> ContradictionGroup | None:
    rows, _, _ = verdict_table.page(conn, run, of_group(number), limit=200)
    head = max(rows, key=lambda r: (r[col.CONTRADICTION] or 0.0, -r["ordinal"]), default=None)
    if head is None:
        return None
    key = head["content_hash"]
    dispute = records(conn, run, DISPUTE, [key]).get(key)
    if dispute is None:
        return None
    by_content: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_content.setdefault(row["content_hash"], []).append(row)
    samples = {
        s.content_hash: s
        for s in sample_table.iter_samples(
            conn, run.spec.dataset_id, sorted({r[0]["ordinal"] for r in by_content.values()})
        )
    }
    sides = tuple(
        _side(LETTERS[i % 26], side, by_content, samples)
        for i, side in enumerate(dispute.sides)
        if any(m in by_content for m in side.members)
    )
    members = tuple(m for side in sides for m in side.members)
    others = {m for i, side in enumerate(sides) if i != dispute.side for m in side.members}
    pair = next((row for row in _near(conn, run, key) if row.hash in others), None)
    return ContradictionGroup(
        number=int(number),
        key=dispute.key,
        size=int(sum(s.weight for s in sides)),
        strength=dispute.strength,
        question=samples[key].prompt if key in samples else "",
        sides=sides,
        final_takes=_label(dispute.takes, sides) or None,
        base_takes=_likelier(sides),
        same=dispute.same,
        differ=dispute.differ,
        both_valid=dispute.valid,
        kind=dispute.kind,
        differs=tuple((a, b) for a, b in dispute.differs),
        shared=tuple(pair.shared) if pair else (),
        only=(tuple(pair.left), tuple(pair.right)) if pair else ((), ()),
        verbatim=pair is not None and pair.verbatim,
        similarity=pair.similarity if pair else None,
        decision=decided(dispute.key, members, made),
        comment=commented(dispute.key, sides, comments),
    )


def of_group(number: float) -> Filter:
    """The filter that keeps the rows of one group."""
    return Filter((Term(col.GROUP, "range", (float(number), float(number))),))


def _near(conn: Any, run: Run, content_hash: str) -> tuple[NearRow, ...]:
    kept = records(conn, run, NEAR_ROWS, [content_hash])
    return kept[content_hash].neighbours if content_hash in kept else ()


def _side(
    letter: str, side: Side, rows: Mapping[str, list[Mapping[str, Any]]], samples: Mapping[str, Sample]
) -> ContradictionSide:
    members = [m for m in side.members if m in rows and m in samples]
    listed = [row for m in members for row in rows[m]]
    return ContradictionSide(
        letter,
        float(side.weight),
        samples[members[0]].response if members else "",
        tuple(members),
        tuple((samples[m].prompt, samples[m].response) for m in members),
        tuple((str(r["sid"]), str(r["status"]), r["cause"]) for r in listed),
        _mean(listed, col.NLL),
        _mean(listed, col.BASE_NLL),
    )


def _mean(rows: Sequence[Mapping[str, Any]], name: str) -> float | None:
    values = [r[name] for r in rows if r.get(name) is not None]
    return sum(values) / len(values) if values else None


def _label(place: int | None, sides: Sequence[ContradictionSide]) -> str:
    return sides[place].letter if place is not None and place < len(sides) else ""


def _likelier(sides: Sequence[ContradictionSide]) -> str | None:
    """The side whose answers have the lowest mean loss under the base; None where a side was not measured."""
    losses = [(s.base_nll, s.letter) for s in sides if s.base_nll is not None]
    return min(losses)[1] if len(losses) == len(sides) > 1 else None


def decided(key: str, members: Sequence[str], made: Sequence[Decision]) -> Decision | None:
    """The decision on a group: the one on exactly its content, else the one whose rows it mostly shares."""
    mine = set(members)
    best: tuple[float, Decision] | None = None
    for decision in made:
        if decision.key == key:
            return decision
        theirs = set(decision.members)
        share = len(mine & theirs) / max(1, len(mine | theirs))
        if share > _SAME_GROUP and (best is None or share > best[0]):
            best = (share, decision)
    return best[1] if best else None


def commented(key: str, sides: Sequence[ContradictionSide], comments: Mapping[str, Comment]) -> Comment | None:
    """The comment on exactly this group: it calls sides by their letters, so any change of rows or sides ends it."""
    comment = comments.get(key)
    return comment if comment is not None and comment.sides == tuple(s.members for s in sides) else None


# ------------------------------------------------------------------------------------------------------- deciding


def decide(
    run_id: int,
    number: int,
    choice: str,
    side: str | None = None,
    author: str = "",
    note: str = "",
    seen: float | None = ANY,
) -> Decision:
    """Stores what is to become of a group.

    Args:
        seen: ``created`` of the decision that the person saw, None where there was none; ``ANY``: whatever stands.

    Raises:
        UserError: no such group, choice or side, or another person decided since.
    """
    if choice not in CHOICES:
        raise UserError(f"There is no choice {choice!r}.", f"There are: {', '.join(CHOICES)}.")
    contradiction = group(run_id, number)
    kept: tuple[str, ...] = ()
    if choice == "keep":
        chosen = next((s for s in contradiction.sides if s.letter == side), None)
        if chosen is None:
            raise UserError(f"Group {number} has no side {side!r}.", "", "Choose one of its sides.")
        kept = chosen.members
    members = tuple(m for s in contradiction.sides for m in s.members)
    by = who.name() or author.strip()
    decision = Decision(contradiction.key, choice, kept, members, by, note.strip(), time.time())  # type: ignore[arg-type]
    dataset = get_run(run_id).spec.dataset_id
    with database().writing() as conn:
        standing = decided(contradiction.key, members, decision_table.decisions(conn, dataset))
        if seen != ANY and (None if standing is None else standing.created) != seen:
            what = (
                "This decision was taken back" if standing is None else f"{standing.author} has decided on this group"
            )
            todo = "Look at what stands now, then save again."
            raise UserError(f"{what} since you opened it.", "Yours is not saved.", todo)
        if standing is not None:
            decision_table.forget(conn, dataset, standing.key)
        decision_table.decide(conn, dataset, decision)
    return decision


def undo(run_id: int, key: str) -> bool:
    """Takes a decision back; whether there was one."""
    with database().writing() as conn:
        return decision_table.forget(conn, get_run(run_id).spec.dataset_id, key)


def action(decision: Decision, content_hash: str) -> str:
    """What becomes of a row of a decided group: ``keep``, ``drop`` or ``rewrite``."""
    if decision.choice == "keep":
        return "keep" if content_hash in decision.kept else "drop"
    return "rewrite" if decision.choice == "both_valid" else "drop"


def decision_lines(run_id: int, chosen: Filter | None = None) -> Iterator[bytes]:
    """One JSON object a row of a decided group, in training order: what is to become of it, who said so, and why.

    ``comment``: what a judge said about exactly the group that was decided, else null.
    """
    run = get_run(run_id)
    with database().reading() as conn:
        made = decision_table.decisions(conn, run.spec.dataset_id)
        comments = comment_table.comments(conn, run.spec.dataset_id)
        of = {m: d for d in made for m in d.members}
        hashes = sample_table.content_hashes(conn, run.spec.dataset_id)
        ordinals = [i for i, h in enumerate(hashes) if h in of]
        for at in range(0, len(ordinals), 1000):
            for sample in sample_table.iter_samples(conn, run.spec.dataset_id, ordinals[at : at + 1000]):
                decision = of[sample.content_hash]
                line = {
                    "id": sample.id, "row": sample.row, "group": decision.key, "decision": decision.choice,
                    "action": action(decision, sample.content_hash),
                    "author": decision.author, "note": decision.note, "decided": decision.created,
                    "comment": _exported(comments.get(decision.key), sample.content_hash),
                }  # fmt: skip
                yield json.dumps(line, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def _exported(comment: Comment | None, content_hash: str) -> dict[str, Any] | None:
    """A comment as a field of a row's line; ``answer`` is the letter by which the text calls the row's answer."""
    if comment is None:
        return None
    letter = next((LETTERS[i % 26] for i, side in enumerate(comment.sides) if content_hash in side), None)
    return {"text": comment.text, "model": comment.model, "created": comment.created, "answer": letter}


# ----------------------------------------------------------------------------------------------------- commenting


def judge_model() -> str:
    """The model that may be asked to comment on a group; empty where no judge is configured."""
    return settings().judge_model


def ask_judge(run_id: int, number: int) -> Comment:
    """Asks the configured judge about a group and stores what it says, in place of what it said before.

    Waits for the answer with no transaction open. Nothing but this page and the export of decisions reads a comment.

    Raises:
        UserError: no such group, no judge, or one that does not answer (see ``core.pairs.commentary.ask``).
    """
    contradiction = group(run_id, number)
    sides = [judge.Side(s.letter, tuple(prompt for prompt, _ in s.wordings), s.answer) for s in contradiction.sides]
    reply = judge.ask(settings(), sides, contradiction.differs)
    members = tuple(s.members for s in contradiction.sides)
    comment = Comment(contradiction.key, members, judge_model(), reply.text, reply.shortened, time.time())
    dataset = get_run(run_id).spec.dataset_id  # the run may have been deleted while the judge thought
    with database().writing() as conn:
        comment_table.put(conn, dataset, comment)
    return comment


# ---------------------------------------------------------------------------------------------------- one row


def neighbours(run_id: int, content_hash: str, most: int = 8) -> tuple[NeighbourView, ...]:
    """Rows that ask the same or nearly the same as this one, surest first; empty where none was measured."""
    run = get_run(run_id)
    with database().reading() as conn:
        near = _near(conn, run, content_hash)[:most]
        first = sample_table.first_of(conn, run.spec.dataset_id, [n.hash for n in near])
        samples = {
            s.content_hash: s for s in sample_table.iter_samples(conn, run.spec.dataset_id, sorted(first.values()))
        }
    return tuple(
        NeighbourView(
            samples[n.hash].id, samples[n.hash].prompt, samples[n.hash].response, n.similarity, n.same,
            tuple(n.left), tuple(n.right),
        )
        for n in near
        if n.hash in samples
    )  # fmt: skip
