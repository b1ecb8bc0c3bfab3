"""Links to the streaming routes, drawn as buttons. The browser downloads; nothing passes through the page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict
from urllib.parse import urlencode

import streamlit as st

from core.types import Run
from ui.routes import address


class Link(TypedDict):
    """One download: what stands on it, where it leads, what a pointer resting on it reads."""

    label: str
    url: str
    help: str


_links = st.components.v2.component(
    "lacuna.downloads",
    html='<div class="links"></div>',
    css="""
    .links { display: flex; flex-wrap: wrap; gap: 0.5rem; font-family: var(--st-font); }
    a { padding: 0.4rem 0.8rem; border: 1px solid var(--st-border-color);
      font-size: calc(.875 * var(--st-base-font-size));
      border-radius: var(--st-button-radius, var(--st-base-radius)); color: var(--st-text-color);
      background: var(--st-background-color); text-decoration: none; }
    a.first { background: var(--st-primary-color); border-color: var(--st-primary-color);
      color: var(--st-background-color); }
    a:hover { border-color: var(--st-primary-color); }
    a:focus-visible { outline: 2px solid var(--st-primary-color); outline-offset: 1px; }
    """,
    js="""
    export default function ({ data, parentElement }) {
      const made = data.map((link) => {
        const a = document.createElement("a");
        a.href = link.url;
        a.download = "";
        a.textContent = link.label;
        a.title = link.help;
        if (link.first) a.className = "first";
        return a;
      });
      parentElement.querySelector(".links").replaceChildren(...made);
    }
    """,
)


def draw(links: Sequence[Link], key: str, quiet: bool = False) -> None:
    """The links beside each other, the first one standing out unless they are ``quiet``."""
    data = [{**link, "first": i == 0 and not quiet} for i, link in enumerate(links)]
    _links(key=key, data=data, width="content" if quiet else "stretch")


def of_run(run: Run, query: dict[str, str], count: int) -> list[Link]:
    """The exports of a run under the filter ``query``; ``count`` samples pass it."""

    def url(name: str) -> str:
        return address(f"api/runs/{run.id}/{name}") + (f"?{urlencode(query)}" if query else "")

    samples = "1 sample" if count == 1 else f"{count:,} samples"
    links = [
        Link(
            label=f"Download {samples} (JSONL)",
            url=url("samples.jsonl"),
            help="The original rows that pass the current filter, in training order.",
        ),
        Link(
            label="Work list (CSV)",
            url=url("worklist.csv"),
            help="For a spreadsheet: each sample that was not learned, its output, why, and what to do about it.",
        ),
        Link(label="Manifest", url=url("manifest.json"), help="Run, filter, counts and hashes of this selection."),
        Link(
            label="Verdicts (JSONL)",
            url=url("verdicts.jsonl"),
            help="One verdict per sample, with its reasons and what people said.",
        ),
        Link(
            label="Report (HTML)",
            url=url("report.html"),
            help="One file that opens without a network: causes, worst groups, 50 rows with evidence, data, settings.",
        ),
    ]
    # Without a model nothing is known to be unlearned, and the list would be empty.
    return [link for link in links if not (run.spec.final.is_nothing and "worklist" in link["url"])]


def of_routes(route_id: int) -> Link:
    """Everything that was generated of a routes run, as a file that replays elsewhere without the model."""
    return Link(
        label="Download answers (JSONL)",
        url=address(f"api/routes/{route_id}/answers.jsonl"),
        help="Both routes of every item. It opens on the routes page of any machine, without the model.",
    )


def of_worklist(run: Run, query: dict[str, str]) -> Link:
    """The work list of the samples that pass the filter ``query`` and were not learned."""
    return next(link for link in of_run(run, query, 0) if "worklist" in link["url"])


def of_contradictions(run: Run, query: dict[str, str]) -> Link:
    """Every row of the groups that have a row passing the filter ``query``."""
    return Link(
        label="Contradictions (CSV)",
        url=address(f"api/runs/{run.id}/contradictions.csv") + (f"?{urlencode(query)}" if query else ""),
        help="For a spreadsheet: every row of these groups with its prompt, its target and what was decided.",
    )


def of_decisions(run: Run, count: int) -> list[Link]:
    """The export of what was decided about contradictions."""
    return [
        Link(
            label="Download 1 decision (JSONL)" if count == 1 else f"Download {count:,} decisions (JSONL)",
            url=address(f"api/runs/{run.id}/decisions.jsonl"),
            help="One line per row of a decided group: keep, drop or rewrite, by whom and why, and the comment.",
        )
    ]
