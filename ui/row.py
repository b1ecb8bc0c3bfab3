"""The evidence of one sample, below the row itself."""

from __future__ import annotations

import math
from collections import Counter

import streamlit as st

from core.services import contradictions, knowledge
from core.services.causes import look as cause_look
from core.services.routes import runs as routes
from core.services.views import SampleView, TurnView
from core.text.counts import counted
from core.types import Filter, Run, Term
from ui import charts, evidence, markup, parts, people, state, tables

_ROLES = {"final": "final", "base": "base"}
_CHANCES = {"p": "in one draw", "once_in_5": "at least once in 5", "never_in_5": "never in 5"}


def draw(run: Run, view: SampleView) -> None:
    """What stands below the open row: its evidence, then its tokens, its training, its neighbours."""
    _why(view)
    _faults(view)
    people.judgement(run, view)
    _turns(view)
    _base(run, view)
    _tokens(run, view)
    left, right = st.columns(2)
    with left:
        _checkpoints(view)
    with right:
        _chances(view)
    _neighbours(run, view)
    _raw(view)
    _more(run, view)


def _neighbours(run: Run, view: SampleView) -> None:
    """Rows that ask the same or nearly so, and the way to the row's contradiction group."""
    st.subheader("Same question elsewhere", anchor=False)
    number = view.values.get("group")
    if number is not None:
        share, size = view.values.get("side_share"), view.values.get("group_size")
        st.markdown(
            f"{size:.0f} rows ask this question and do not agree; {share:.0%} of them give this row's answer. "
            f"Contradiction {view.values.get('contradiction') or 0.0:.2f}, "
            f"both may be right {view.values.get('both_valid') or 0.0:.2f}."
        )
        if st.button("Open the group", icon=":material/compare_arrows:", key=state.key("row", "group")):
            selection = Filter((Term("group", "range", (number, number)),))
            state.leave("pages/contradictions.py", state.link(run=run.id, selection=selection))
    if view.values.get("same_question") is None:
        st.caption("Not measured: the run was made without neighbours, or the row has no prompt.")
        return
    near = contradictions.neighbours(run.id, view.sample.content_hash)
    if not near:
        st.caption("No other row asks a similar question.")
        return
    evidence.neighbours(near)


def _why(view: SampleView) -> None:
    """What the status rests on, and for a cause every cause's strength with what speaks for and against it."""
    verdict = view.verdict
    st.subheader("Evidence", anchor=False)
    evidence.reasons(verdict.reasons)
    if verdict.cause is None:
        return
    if verdict.proof:
        evidence.reasons(verdict.proof)
    if all(math.isnan(f.strength) for f in verdict.findings):
        return
    evidence.strengths(verdict.findings)
    st.caption("Each cause is judged by itself, so the strengths need not add up to 1. The confidence weighs them up.")
    for i, finding in enumerate(verdict.findings):
        if not finding.reasons:
            continue
        look = cause_look(finding.cause)
        with st.expander(f"{look.mark} {look.label}: for and against", expanded=i == 0):
            evidence.reasons(finding.reasons)


def _more(run: Run, view: SampleView) -> None:
    """Remarks on the row, and other pages that show it."""
    for routes_id, item, name in routes.of_sample(run.id, view.sample.id):
        parts.link(
            "routes",
            f"Both routes of this sample: {markup.md(markup.line(name, 60))}",
            "alt_route",
            state.routes_link(routes_id, item),
        )
    markup.notes(markup.clip(note, 500) for note in view.notes)


def _faults(view: SampleView) -> None:
    """The pipeline faults that were checked before any cause; unknown is never shown as a pass."""
    if not view.faults:
        return
    counted = {state: sum(f.state == state for f in view.faults) for state in ("explains", "no", "unknown")}
    words = [
        f"{counted['no']} of {len(view.faults)} do not explain it",
        *([f"{counted['unknown']} cannot tell"] if counted["unknown"] else []),
    ]
    if counted["explains"]:
        words.insert(0, f"{counted['explains']} would explain it")
    with st.expander(f"Pipeline faults checked: {', '.join(words)}"):
        evidence.faults(view.faults)


def _turns(view: SampleView) -> None:
    """Every turn of a conversation, and what was drawn of each; of a single turn the rest stands above."""
    if not view.turns:
        st.caption("No answer to this row is known, or it has no assistant turn that could be judged. Its text:")
        evidence.conversation(evidence.turns(view.sample))
        return
    if len(view.turns) == 1:
        _drawn(view.turns[0])
        return
    st.subheader("All turns", anchor=False)
    evidence.conversation(evidence.turns(view.sample))
    for turn in view.turns:
        st.markdown(f"**Turn {turn.index + 1}**")
        _texts(turn)
        _answered(turn)


def _texts(turn: TurnView) -> None:
    if turn.output is None:
        evidence.text(turn.target, "Target")
    else:
        evidence.comparison(turn.target, turn.output, ("Target", f"Output ({turn.output_source})"))


def _answered(turn: TurnView) -> None:
    """How the turn was answered, in one line, and the drawn answers."""
    if turn.output is None:
        st.caption("No output was generated for this turn.")
        return
    words = [turn.output_source]
    if turn.greedy_exact is not None:
        words.append("reproduced verbatim" if turn.greedy_exact else "not reproduced verbatim")
    if turn.right is not None and not turn.greedy_exact:
        words.append("counts as right" if turn.right else "counts as wrong")
    if turn.score is not None:
        words.append(f"score {turn.score:.3g}")
    if turn.draws:
        words.append(f"right in {turn.successes} of {turn.draws} draws")
        if turn.rate_low is not None and turn.rate_high is not None:
            words.append(f"success rate {turn.rate_low:.0%} to {turn.rate_high:.0%} (90% posterior)")
    st.caption(markup.md(" · ".join(words)))
    _drawn(turn)


def _drawn(turn: TurnView) -> None:
    if turn.samples:
        with st.expander(counted(len(turn.samples), "drawn answer")):
            for i, answer in enumerate(turn.samples):
                evidence.text(markup.clip(answer, 3000), f"Draw {i + 1}")


def _base(run: Run, view: SampleView) -> None:
    """What the base model said before fine-tuning; nothing where it was not asked about this row."""
    base = knowledge.sample(run.id, view.sample.id)
    if base is None:
        return
    st.subheader("What the base knew", anchor=False)
    words = [base.knowledge or "no class measured"]
    if base.knowledge is not None:
        words.append(knowledge.HELP[base.knowledge])
    for name, text in (
        ("base_belief_share", "{:.0%} of its own answers agree"),
        ("base_belief_margin", "own answer over target {:+.2f} nats per token before fine-tuning"),
        ("belief_margin", "{:+.2f} after fine-tuning"),
        ("base_familiarity", "familiarity of the rare words {:.2f}"),
    ):
        value = base.values.get(name)
        if value is not None:
            words.append(text.format(value))
    if base.values.get("base_belief_is_target") == 0 and base.values.get("base_belief_agrees") == 1:
        words.append("its own answer says the same in another form")
    st.caption(markup.md(" · ".join(words)))
    if base.belief is not None:
        evidence.comparison(base.target, base.belief, ("Target", "The base's own answer"))
    with st.expander("How the base was asked, and what it answered"):
        st.caption(markup.md(base.way))
        evidence.text(markup.clip(base.prompt, 4000), "Prompt")
        rows = [
            {"prompt": i + 1, "greedy answer": markup.line(reply or "", 200), "right": "yes" if right else "no",
             "p of the target in one draw": p}
            for i, (reply, right, p) in enumerate(base.greedy)
        ]  # fmt: skip
        tables.draw(rows, {"%.4g": ("p of the target in one draw",)})
        for answer, n in Counter(base.answers).most_common():
            evidence.text(markup.clip(answer, 1000), f"Its own answer, {n} of {len(base.answers)}")


def _tokens(run: Run, view: SampleView) -> None:
    st.subheader("What the trainer saw", anchor=False)
    if not view.pieces:
        st.caption("The row was not rendered, so there are no tokens to show.")
        return
    pick, part = st.columns([3, 2], vertical_alignment="bottom")
    shown = pick.segmented_control(
        "Tokens",
        ("Loss", "Masks", "Table"),
        default="Loss",
        required=True,
        key=state.key("row", "tokens"),
        label_visibility="collapsed",
    )
    start = 0
    if len(view.pieces) > evidence.WINDOW:
        starts = range(0, len(view.pieces), evidence.WINDOW)
        start = part.selectbox(
            "Tokens shown",
            starts,
            format_func=lambda s: f"Tokens {s:,} to {min(s + evidence.WINDOW, len(view.pieces)) - 1:,}",
            key=state.key("row", "part", view.sample.id),
            label_visibility="collapsed",
        )
    if shown == "Masks":
        evidence.mask_legend(view.pieces)
        evidence.mask_strip(view.pieces, start)
    elif shown == "Table":
        tables.draw(evidence.tokens_table(view.pieces, start), height=320)
    else:
        evidence.loss_strip(view.pieces, start)


def _checkpoints(view: SampleView) -> None:
    with st.container(border=True, height="stretch"):
        st.markdown("**Loss under each checkpoint**")
        if sum(c.nll is not None for c in view.checkpoints) > 1:
            alt = "Mean loss of this sample by checkpoint; the table below has the same numbers"
            parts.chart(("row", "trajectory"), charts.trajectory(view.checkpoints), alt)
        verbatim = {True: "yes", False: "no", None: "not measured"}
        rows = [
            {
                "checkpoint": markup.line(c.label, 60),
                "role": _ROLES.get(c.role, "earlier"),
                "step": "" if c.step is None else f"{c.step:,}",
                "mean loss": c.nll,
                "verbatim": verbatim[c.greedy_exact],
            }
            for c in view.checkpoints
        ]
        tables.draw(rows, {"%.4f": ("mean loss",)})


def _chances(view: SampleView) -> None:
    with st.container(border=True, height="stretch"):
        st.markdown("**Chance of the exact target**")
        rows = [{"temperature": t} | {word: c[name] for name, word in _CHANCES.items()} for t, c in view.chance.items()]
        tables.draw(rows, {"%.4g": tuple(_CHANCES.values())})
        st.caption(
            "From the teacher-forced pass, without top-k, top-p or penalties. Other texts may be right too, so this is "
            "a lower bound for a right answer. Empty: not measured."
        )


def _raw(view: SampleView) -> None:
    with st.expander("All measured values"):
        rows = [
            {"column": c.label, "value": _value(view.values.get(c.name)), "what": c.help}
            for c in view.columns
            if c.name in view.values
        ]
        tables.draw(rows)
    with st.expander("Original row"):
        evidence.raw(view.sample.raw)


def _value(value: object) -> str:
    if value is None:
        return "not measured"
    return f"{value:.6g}" if isinstance(value, float) else markup.line(str(value), 200)
