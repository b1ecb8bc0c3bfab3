"""A run as one HTML file that opens without a network: what it found, on what evidence, and what it rests on."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from itertools import zip_longest
from typing import Any

from core import __version__
from core.causes import UNDETERMINED
from core.errors import UserError
from core.filters import describe
from core.report.drawing import Bar, bars, histogram
from core.report.html import Html, Part, clipped, document, table, tag
from core.services import advice, causes, clusters, labels, people, recipes, results, samples, words
from core.services.exports import count
from core.services.runs import get_run
from core.services.selftest import selftest
from core.services.views import Overview, SampleView, Share
from core.text.counts import counted
from core.types import Filter, Run, Term
from db import samples as sample_table
from db import verdicts as verdict_table
from db.session import database

# Rows with their evidence: as many as a reader pages through; with the limits below the file stays under 3 MB.
ROWS = 50
_TEXT, _REASON, _REASONS = 1500, 400, 8
# Groups named, and rows a group must have before its share says anything.
_GROUPS, _SMALL = 10, 5
# The colours of the pages.
_STATUS = {"learned": ("Learned", "#3B82B8"), "partly": ("Partly", "#E0A526"), "unlearned": ("Unlearned", "#C8503C"),
           "unknown": ("Unknown", "#8793A0")}  # fmt: skip


def report(run_id: int, chosen: Filter | None = None) -> bytes:
    """The file.

    Raises:
        UserError: the run has no verdicts yet, or no sample passes the filter.
    """
    run, chosen = get_run(run_id), chosen or Filter()
    if run.state != "judged":
        raise UserError(f"Run {run.id} has no verdicts yet.", "A report is on verdicts.", "Wait for the run.")
    if not count(run_id, chosen):
        raise UserError("No sample passes this filter.", "", "Choose another one.")
    overview = results.overview(run_id, chosen)
    return document(
        f"{run.name}: what it did not learn",
        [
            *_headline(run, chosen, overview),
            *_notes(overview),
            *_causes(overview),
            *_advice(run, chosen),
            *_losses(overview),
            *_groups(run, chosen, overview),
            *_rows(run, chosen),
            *_people(run),
            *_data(run),
            *_settings(run),
            *_selftest(),
        ],
    )


# --------------------------------------------------------------------------------------------------------- sections


def _headline(run: Run, chosen: Filter, overview: Overview) -> Iterator[Part]:
    missed = overview.status["unlearned"].k + overview.status["partly"].k
    named = [(c, s) for c, s in overview.causes.items() if c != UNDETERMINED]
    yield tag("h1", run.name)
    about = [f"run {run.id}", run.spec.final.label, *([f"base {run.spec.base.label}"] if run.spec.base else [])]
    yield tag("p", " · ".join(about), class_="dim")
    text = f"{missed:,} of {counted(overview.shown, 'sample')} were not learned, or only partly."
    if named:
        cause, share = max(named, key=lambda pair: pair[1].k)
        text += f" Most often: {causes.look(cause).label}, {share.k:,} of them."
    yield tag("p", text, class_="lead")
    if chosen.terms or chosen.text:
        yield tag("p", f"Under the filter: {describe(chosen, run.columns, words.value)}.", class_="dim")
    yield bars([_bar(*_STATUS[s], share) for s, share in overview.status.items()], "Samples by status")
    yield tag("p", "Lines are 95% Wilson intervals.", class_="dim")


def _bar(label: str, colour: str, share: Share) -> Bar:
    value = share.share if math.isfinite(share.share) else 0.0
    return Bar(label, colour, value, share.low, share.high, f"{share.k:,}  ({value:.1%})")


def _notes(overview: Overview) -> Iterator[Part]:
    for _, text in overview.notes[:20]:
        yield tag("p", clipped(text, 1000), class_="warn")
    for sentence in overview.hidden:
        yield tag("p", sentence)


def _causes(overview: Overview) -> Iterator[Part]:
    if not overview.causes:
        return
    ordered = sorted(overview.causes.items(), key=lambda pair: -pair[1].k)
    yield tag("h2", "Why samples were not learned")
    yield bars([_bar(causes.look(c).label, causes.look(c).colour, share) for c, share in ordered], "Samples by cause")
    forms = {form.name: form for form in recipes.recipes()}
    rows = []
    for cause, share in ordered:
        recipe = forms.get(recipes.recipe_for(cause) or "")
        what = f"{recipe.label}: {recipe.help}" if recipe else "Look at the rows: no cause is named."
        rows.append((causes.look(cause).label, f"{share.k:,}", what))
    yield table(("Cause", "Samples", "What helps"), rows, (1,))


def _advice(run: Run, chosen: Filter) -> Iterator[Part]:
    """What would pay, the most gain first; nothing where no figure is known."""
    options = advice.options(run.id, chosen)
    if all(option.gain is None for option in options if option.recipe and option.rows):
        return
    yield tag("h2", "What would pay")
    rows = [
        (
            f"{causes.look(option.cause).label} ({option.n:,})",
            advice.WORDS[option.what],
            advice.in_rows(option.restored),
            advice.in_rows(option.at_risk),
            "not possible" if option.rows is None else f"{option.rows:,}",
            clipped(option.source, 200),
        )
        for option in options
    ]
    yield table(("Cause", "What to do", "May come back", "May be lost", "Rows to train", "From"), rows, (2, 3, 4))
    yield tag("p", "Rows, with 95% intervals. Planted worlds are small models and say little about this one.",
              class_="dim")  # fmt: skip


def _losses(overview: Overview) -> Iterator[Part]:
    if len(overview.nll.edges) > 1:
        yield tag("h2", "Loss by status")
        title = "Mean loss per target token in nats, stacked by status"
        yield histogram(overview.nll.edges, overview.nll.counts, _STATUS, title)
        yield tag("p", f"{title}. Lower is better.", class_="dim")


def _groups(run: Run, chosen: Filter, overview: Overview) -> Iterator[Part]:
    worst = []
    for breakdown in overview.breakdowns:
        for value, counts in breakdown.rows:
            n = sum(counts.values())
            missed = counts.get("unlearned", 0) + counts.get("partly", 0)
            if n >= _SMALL and missed:
                worst.append((breakdown.label, "not given" if value is None else str(value), missed, n))
    worst.sort(key=lambda row: (-row[2] / row[3], -row[2]))
    if worst:
        yield tag("h2", "Where what is missing lies")
        rows = [(a, clipped(b, 120), f"{m:,} of {n:,}", f"{m / n:.1%}") for a, b, m, n in worst[:_GROUPS]]
        yield table(("By", "Value", "Not learned", "Share"), rows, (2, 3))
    grouping = clusters.grouping(run.id, chosen)
    if grouping is not None and grouping.groups:
        yield tag("h2", "Groups of unlearned samples that resemble each other")
        groups = sorted(grouping.groups, key=lambda g: -g.matching)[:_GROUPS]
        cells = [
            (g.name, clipped(g.title, 160), f"{g.matching:,}", causes.look(g.cause).label if g.cause else "")
            for g in groups
        ]
        yield table(("Group", "Title", "Samples", "Most often"), cells, (2,))


def _rows(run: Run, chosen: Filter) -> Iterator[Part]:
    sids = _chosen_rows(run, chosen)
    if not sids:
        return
    yield tag("h2", f"{counted(len(sids), 'row')} with evidence")
    yield tag("p", "Taken from every cause in turn, the surest verdicts first.", class_="dim")
    views = [samples.sample(run.id, sid, Filter()) for sid in sids]
    with database().reading() as conn:
        review = labels.reviews_of(conn, run.id, [view.sample.ordinal for view in views])
    yield from (_row(view, review.get(view.sample.ordinal, {})) for view in views)


def _chosen_rows(run: Run, chosen: Filter) -> list[str]:
    """Ids of up to ``ROWS`` samples that were not learned: of every cause in turn, by confidence."""
    missed = Term("status", "in", ("unlearned", "partly"))
    kept = tuple(t for t in chosen.terms if t.column != "status")
    own = tuple(t for t in chosen.terms if t.column == "status")
    with database().reading() as conn:
        named = verdict_table.group_counts(conn, run, ["cause"], Filter((*kept, *(own or (missed,))), chosen.text))
        by_cause = []
        for (cause,), _ in sorted(named, key=lambda pair: -pair[1]):
            terms = (*(t for t in kept if t.column != "cause"), *(own or (missed,)), Term("cause", "in", (cause,)))
            order = Filter(terms, chosen.text, "confidence", True)
            by_cause.append([r["sid"] for r in verdict_table.page(conn, run, order, limit=ROWS)[0]])
    turns = (sid for turn in zip_longest(*by_cause) for sid in turn if sid is not None)
    return [sid for sid, _ in zip(turns, range(ROWS), strict=False)]


def _row(view: SampleView, review: Mapping[str, Any]) -> Html:
    verdict, sample = view.verdict, view.sample
    cause = f", {causes.look(verdict.cause).label}" if verdict.cause else ""
    sure = f", confidence {_sure(verdict.confidence)}" if verdict.confidence is not None else ""
    wrong = next((t for t in view.turns if t.right is not True and t.output is not None), None)
    parts: list[Part] = [
        tag("h3", f"{_STATUS[verdict.status][0]}{cause}{sure}"),
        tag("p", f"id {clipped(sample.id, 120)} · input row {sample.row + 1:,}", class_="dim"),
        tag("p", "Prompt", class_="dim"), tag("pre", clipped(sample.prompt, _TEXT)),
        tag("p", "Target", class_="dim"), tag("pre", clipped(wrong.target if wrong else sample.response, _TEXT)),
    ]  # fmt: skip
    if wrong is not None and wrong.output is not None:
        parts += [tag("p", "Output", class_="dim"), tag("pre", clipped(wrong.output, _TEXT))]
    signs = {"for": "+ ", "against": "− ", "note": ""}
    reasons = [tag("li", clipped(signs[r.favours] + r.text, _REASON)) for r in verdict.evidence[:_REASONS]]
    parts += [tag("ul", *reasons)] if reasons else []
    if review:
        cause = words.value("cause", review["human_cause"]) if review["human_cause"] else ""
        own = [cause, review["human_status"] or ""]
        judged = ", ".join(part for part in own if part)
        tagged = f" Tags: {', '.join(review['tags'][:20])}." if review["tags"] else ""
        by = f"{review['author']} says: {judged}. {review['note'] or ''}" if judged else ""
        parts.append(tag("p", clipped(f"{by}{tagged}".strip(), _REASON)))
    return tag("article", *parts)


def _sure(confidence: float) -> str:
    return f"over {causes.SURE:.0%}" if confidence > causes.SURE else f"{confidence:.0%}"


def _people(run: Run) -> Iterator[Part]:
    agreed = people.agreement(run.id)
    if agreed:
        yield tag("h2", "Verdicts and people")
        yield table(
            ("", "Verdicts that agree with reviews", "Share", "95% interval"),
            [
                (name.capitalize(), f"{s.k:,} of {s.n:,}", f"{s.share:.1%}", f"{s.low:.1%} to {s.high:.1%}")
                for name, s in agreed.items()
            ],
            (1, 2, 3),
        )


def _data(run: Run) -> Iterator[Part]:
    with database().reading() as conn:
        data = sample_table.get_dataset(conn, run.spec.dataset_id)
    rows = [
        ("Name", data.name),
        ("Files", ", ".join(data.files)),
        ("Rows", f"{data.n_rows:,}: {data.n_samples:,} samples, {data.n_problems:,} rejected"),
        ("Exact copies", f"{data.n_duplicates:,}"),
        ("Format", f"{words.label('formats', data.reading.format)}, {data.reading.container}"),
        ("Stages", ", ".join(data.stages) or "none named"),
        ("Sources", ", ".join(data.sources) or "none named"),
        ("Fingerprint", data.fingerprint),
        *(("Note", note) for note in data.notes[:20]),
    ]
    yield tag("h2", "Data")
    yield table(("", ""), [(a, clipped(b, 1000)) for a, b in rows])


def _settings(run: Run) -> Iterator[Part]:
    spec = run.spec.as_dict()
    versions = {"lacuna": __version__, **spec.pop("versions", {})}
    rows = [(name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)) for name, value in
            spec.items()]  # fmt: skip
    rows += [(f"threshold {name}", f"{value:g}") for name, value in asdict(run.thresholds).items()]
    yield tag("h2", "Settings")
    yield tag("p", f"Specification {run.spec.hash}", class_="dim")
    yield table(("", ""), [(a, clipped(b, 1000)) for a, b in rows])
    yield tag("h2", "Versions")
    yield table(("", ""), [(a, clipped(str(b), 200)) for a, b in versions.items()])


def _selftest() -> Iterator[Part]:
    scores = selftest()
    if scores is None:
        return
    yield tag("h2", "How far to trust a cause")
    text = "This version's own test, on models whose causes were planted and verified, by weights that saw no world "
    text += "of the same author; those of “real model” saw other worlds on the same model."
    yield tag("p", text, class_="dim")
    rows = []
    for name, group in scores["groups"].items():
        mine = group["lacuna"]
        numbers = (mine["macro_f1"], mine["coverage"], mine["calibration_error"])
        shown = ["not measured" if n is None else f"{n:.3f}" for n in numbers]
        rows.append((name.capitalize(), *shown, f"{mine['n']:,}"))
    yield table(("", "Macro-F1", "Coverage", "Calibration error", "Samples"), rows, (1, 2, 3, 4))
