"""How often this version names the right cause, on worlds whose causes are known."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from core.services import selftest
from core.services.causes import look as cause_look
from core.text.counts import counted
from ui import charts, frame, markup, parts, state, tables
from ui.menu import Entry

PAGE = Entry(title="Self-test", icon=":material/science:", place=110, group="System")


def main() -> None:
    frame.title("Self-test", "Models trained here, with causes planted and verified, diagnosed by this version")
    scores = selftest.selftest()
    if scores is None:
        st.info(
            "This version has not been tested. Build worlds with `.venv/bin/lacuna lab build`, then run "
            "`python -m bench.attribution`.",
            icon=":material/science:",
        )
        return
    st.markdown(
        "A diagnosis deserves trust where it was right before. Datasets of several authors were fine-tuned here in "
        "stages, on tiny models and on a real pretrained one, so that the cause of every unlearned sample is known and "
        "was checked inside the model. Each kind of world is judged by weights that saw no world of its author; "
        "*real model* by weights that also saw other datasets on that model, *by toys alone* by those that saw none."
    )
    groups = dict(reversed(scores["groups"].items()))  # real models, of which a reader has one, first
    _summary(groups)
    drawn = st.tabs([name.capitalize() for name in groups], key=state.key("selftest", "groups"), on_change="rerun")
    for tab, (name, group) in zip(drawn, groups.items(), strict=True):
        if tab.open:
            with tab:
                _group(name, group)
    _ablation(scores.get("ablation", {}))
    _origin(scores)


def _percent(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.1%}"


def _summary(groups: dict[str, Any]) -> None:
    """The figures of every kind of world, beside each other."""
    rows = [
        {
            "worlds": name.capitalize(),
            "macro-F1": group["lacuna"]["macro_f1"],
            "coverage": group["lacuna"]["coverage"],
            "calibration error": group["lacuna"]["calibration_error"],
            "samples": group["lacuna"]["n"],
        }
        for name, group in groups.items()
    ]
    formats = {"%.3f": ("macro-F1", "calibration error"), "percent": ("coverage",)}
    tables.draw(rows, formats, key=state.key("selftest", "summary"), placeholder=tables.UNKNOWN)


def _group(name: str, group: dict[str, Any]) -> None:
    mine = group["lacuna"]
    cells = st.columns(4)
    cells[0].metric("Macro-F1", f"{mine['macro_f1']:.3f}", help="Mean F1 over the five causes; 1 is perfect.")
    cells[1].metric("Coverage", _percent(mine["coverage"]), help="Share of samples for which a cause was named.")
    cells[2].metric(
        "Calibration error",
        "not measured" if mine["calibration_error"] is None else f"{mine['calibration_error']:.3f}",
        help="Mean distance between stated confidence and how often it was right; 0 is perfect.",
    )  # fmt: skip
    cells[3].metric("Samples", f"{mine['n']:,}", help=f"From {counted(len(group['worlds']), 'world')}.")
    left, right = st.columns(2)
    with left, st.container(border=True, height="stretch"):
        _confusion(name, group["confusion"])
    with right, st.container(border=True, height="stretch"):
        _calibration(name, group["calibration"])
    with st.container(border=True):
        st.markdown("**By cause, and beside other methods**")
        st.caption(
            f"Each cause over its own samples; the macro-F1 above, {mine['macro_f1']:.3f}, is the mean of these F1."
        )
        tables.draw(_by_cause(mine), {"%.3f": ("F1",)}, key=state.key("selftest", name, "causes"))
        st.caption(
            f"Each method over the same {mine['n']:,} samples; without base or trajectory the macro-F1 is over the "
            "causes that can still be judged."
        )
        tables.draw(
            _methods(group), {"%.3f": ("macro-F1",), "percent": ("coverage", "right, where named")},
            key=state.key("selftest", name, "methods"), placeholder=tables.UNKNOWN,
        )  # fmt: skip
        st.caption("What asking for more confidence leaves, and how much of that is wrong.")
        tables.draw(_risks(group["risks"]), {"percent": ("named",)}, key=state.key("selftest", name, "risks"))
        wrong = group["accusations"]
        learned, controls = wrong["learned_given_a_cause"], wrong["controls_accused_of_contradiction"]
        st.caption(
            f"Learned samples that were given a cause: {_percent(learned[0])} of {learned[3]:,}. Unlearned samples "
            f"without a planted cause accused of a contradiction: {_percent(controls[0])} of {controls[3]:,}."
        )


def _confusion(name: str, counts: dict[str, dict[str, int]]) -> None:
    columns = [*counts, "undetermined"]
    parts.figure(
        ("selftest", name, "confusion"),
        "True cause against named cause",
        lambda: [{"true cause": _label(t), **{_label(c): counts[t].get(c, 0) for c in columns}} for t in counts],
        lambda: charts.confusion(counts, columns),
        "Confusion matrix",
    )


def _calibration(name: str, calibration: dict[str, Any]) -> None:
    parts.figure(
        ("selftest", name, "calibration"),
        "Confidence against accuracy",
        lambda: calibration["bins"],
        lambda: charts.calibration(calibration["bins"]),
        "Calibration curve",
    )


def _label(cause: str) -> str:
    return cause_look(cause).label


def _by_cause(mine: dict[str, Any]) -> pd.DataFrame:
    def words(share: list[float | None]) -> str:
        return "not measured" if share[0] is None else f"{share[0]:.3f}  ({share[1]:.2f} to {share[2]:.2f})"

    return pd.DataFrame(
        [
            {"cause": _label(c), "samples": v["n"], "precision": words(v["precision"]), "recall": words(v["recall"]),
             "F1": v["f1"]}
            for c, v in mine["by_cause"].items()
        ]
    )  # fmt: skip


def _risks(risks: list[dict[str, Any]]) -> pd.DataFrame:
    def words(share: list[float | None]) -> str:
        return "none is named" if share[0] is None else f"{share[0]:.1%}  ({share[1]:.0%} to {share[2]:.0%})"

    return pd.DataFrame(
        [{"confidence from": r["from"], "named": r["named"], "of these wrong": words(r["wrong"])} for r in risks]
    )


def _methods(group: dict[str, Any]) -> pd.DataFrame:
    named = {"lacuna": "Lacuna", "paper": "The paper's rules", "nearest_centroid": "Nearest centroid, same evidence"}
    for key in (key for key in group if key.startswith("with ")):
        left = (word for word in ("base", "trajectory") if word not in key.removeprefix("with ").split("+"))
        named[key] = f"Lacuna, without {' and '.join(left)}"
    found = {label: group[key] for key, label in named.items() if isinstance(group.get(key), dict)}
    return pd.DataFrame(
        [
            {"method": label, "macro-F1": one["macro_f1"], "coverage": one["coverage"],
             "right, where named": one["named_and_right"][0]}
            for label, one in found.items()
        ]
    )  # fmt: skip


def _ablation(ablation: dict[str, Any]) -> None:
    if not ablation:
        return
    with st.expander("What each piece of evidence contributes"):
        names, labels = list(next(iter(ablation.values()))["without"]), selftest.evidence_labels()
        rows = [
            {"left out": labels.get(name, name),
             **{f"{group} macro-F1": f["without"][name] for group, f in ablation.items()},
             **{f"{group} loss": round(f["everything"] - f["without"][name], 4) for group, f in ablation.items()}}
            for name in names
        ]  # fmt: skip
        tables.draw(rows, key=state.key("selftest", "ablation"))
        st.caption(
            "The weights were fitted again without each piece. A loss near 0 means that other evidence says the same."
        )


def _origin(scores: dict[str, Any]) -> None:
    fitted = selftest.calibrated_on()
    with st.expander("Where these numbers come from"):
        st.markdown("Measured with")
        st.code(scores["made_by"], language=None, wrap_lines=True)
        st.markdown("Weights fitted with")
        st.code(fitted["made_by"], language=None, wrap_lines=True)
        machine = scores.get("machine", {})
        st.caption(
            markup.md(f"{machine.get('processor', '')}, {machine.get('cores', '?')} cores; {scores.get('versions')}")
        )


main()
