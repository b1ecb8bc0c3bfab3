"""Step 1 of a new run: which rows the model was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from core.services import datasets, setups, uploads
from core.text.counts import counted
from core.types import Dataset, Reading, Setup
from ui import errors, evidence, forms, markup, progress, state, tables
from ui.uploader import uploader

_ENDINGS = (".jsonl", ".json", ".ndjson", ".csv", ".parquet", ".gz")
# The first one: found by looking at the file.
_CONTAINERS = {"": "detected"} | {name: name for name in ("jsonl", "json", "csv", "parquet")}
_UNSET = "—"


def draw(setup: Setup) -> Dataset | None:
    """Draw the step; return the dataset chosen, or None while there is none.

    Args:
        setup: what the trainer's configuration says of files, format and columns.
    """
    chosen = state.chosen("dataset")
    if chosen is not None:
        return _stored(datasets.get_dataset(chosen))
    job_id = state.chosen("scan")
    if job_id is not None:
        _scanned(job_id, setup)
    else:
        _offer(setup)
    return None


# ---------------------------------------------------------------------------------------------------------- stored


def _stored(dataset: Dataset) -> Dataset:
    left, right = st.columns([5, 1], vertical_alignment="top")
    with left:
        st.markdown(f"**{markup.md(dataset.name)}**")
        kept = counted(dataset.n_samples, "sample")
        parts = [f"{counted(dataset.n_rows, 'row')} = {kept} + {dataset.n_problems:,} rejected"]
        if dataset.n_duplicates:
            parts.append(f"{counted(dataset.n_duplicates, 'exact duplicate')} kept")
        parts.append(f"read as {_label(dataset.reading.format)} ({dataset.reading.container})")
        if dataset.stages:
            parts.append(counted(len(dataset.stages), "stage"))
        st.caption(markup.md(" · ".join(parts)))
    with right:
        if st.button("Change", key=state.key("dataset", "change"), width="stretch"):
            state.choose(dataset=None, preflight=None, asked=None)
            st.rerun()
    markup.notes(dataset.notes)
    if dataset.n_problems:
        lost = f"{dataset.n_problems:,} of {counted(dataset.n_rows, 'row')} cannot be read and are not part of a run."
        st.warning(lost, icon=":material/warning:")
        with st.expander(counted(dataset.n_problems, "rejected row"), expanded=True):
            _problems(dataset.id)
    return dataset


def _problems(dataset_id: int) -> None:
    rejected = datasets.problems(dataset_id, limit=200)
    _problem_table([{"row": p.row, "line": p.line, "field": p.field, "text": p.text, "file": p.file} for p in rejected])
    if len(rejected) == 200:
        st.caption("The first 200 are shown.")


def _problem_table(rows: Sequence[Mapping[str, Any]]) -> None:
    shown = [
        {
            "row": p["row"] + 1,
            "line": p.get("line"),
            "field": markup.line(str(p.get("field") or ""), 40),
            "reason": markup.line(str(p.get("text") or ""), 300),
        }
        for p in rows
    ]
    tables.draw(shown, wrapped=True, column_config={"reason": st.column_config.TextColumn(width="large")})


def _label(format_name: str) -> str:
    return next((f.label for f in datasets.formats() if f.name == format_name), format_name)


# ----------------------------------------------------------------------------------------------------------- offer


def _offer(setup: Setup) -> None:
    named = [setups.file_name(str(stated.value)) for stated in setup.of("dataset")]
    if named:
        st.caption(f":material/info: The configuration names, in this order: {markup.md(', '.join(named))}")
    stored = datasets.list_datasets()
    finished = uploader(
        "Upload the dataset",
        "JSONL, JSON, CSV or Parquet, also gzipped. Several files are read in the order of their names.",
        key=state.key("upload", "dataset"),
        accept=_ENDINGS,
        multiple=True,
    )
    if finished:
        state.choose(scan=_start_scan(finished, named, setup))
        st.rerun()
    if stored:
        words = {d.id: f"{markup.line(d.name, 60)} — {counted(d.n_samples, 'sample')}" for d in stored}
        key = state.key("dataset", "stored")
        picked = forms.choose(st, "or choose one that is stored", words, key, placeholder="Stored datasets")
        if picked is not None:
            state.choose(dataset=picked)
            st.rerun()


def _start_scan(finished: Sequence[Mapping[str, Any]], named: Sequence[str], setup: Setup) -> int:
    """Looks at the files: those that the configuration names in its order and its way."""
    if not set(named) >= {f["name"] for f in finished}:
        return datasets.start_scan([f["id"] for f in finished])
    ids = [f["id"] for f in sorted(finished, key=lambda f: named.index(f["name"]))]
    form = setup.value("format")
    return datasets.start_scan(ids, Reading("", form, {}) if form else None, setup.named("column"))


# ---------------------------------------------------------------------------------------------------------- scanned


def _start_over(upload_ids: Sequence[str]) -> None:
    """A way back to the beginning; the files that were looked at go."""
    if st.button("Choose other files", key=state.key("dataset", "other")):
        for upload_id in upload_ids:
            uploads.discard(upload_id)
        state.choose(scan=None, importing=None)
        state.drop(state.key("reading"))
        st.rerun()


def _scanned(job_id: int, setup: Setup) -> None:
    job = progress.watch(job_id, "Reading the files")
    if job.state in ("failed", "cancelled"):
        progress.ended(job)
        _start_over(job.payload["uploads"])
    if job.state != "done" or job.result is None:
        return
    importing = state.chosen("importing")
    if importing is not None and _importing(importing):
        return
    _found(job.payload["uploads"], job.result, setup.value("rows") if job.payload.get("stated") else None)


def _importing(job_id: int) -> bool:
    """Whether the import still fills the step."""
    job = progress.watch(job_id, "Storing the rows")
    if job.state == "done" and job.result is not None:
        state.choose(dataset=int(job.result["dataset_id"]), scan=None, importing=None)
        st.rerun()
    progress.ended(job)
    return job.state in progress.ACTIVE


def _found(upload_ids: Sequence[str], result: Mapping[str, Any], most: int | None) -> None:
    names = {u: uploads.get(u).name for u in upload_ids}
    refused = result.get("refused")
    if refused:
        errors.message(refused["what"], refused["why"], refused["todo"])
    else:
        label = _label(result["reading"]["format"])
        st.markdown(f"Detected **{markup.md(label)}** in {markup.md(', '.join(names.values()))}.")
    markup.notes(result.get("notes", ()))
    changed = _reading_form(names, result)
    if changed is not None:
        state.choose(scan=datasets.start_scan(*changed))
        state.drop(state.key("reading"))
        st.rerun()
    if refused:
        _start_over(upload_ids)
        return
    _preview(result)
    name, button, other = st.columns([4, 1.4, 1.4], vertical_alignment="bottom")
    given = name.text_input("Name", value=_stem(names[upload_ids[0]]), key=state.key("dataset", "name"), max_chars=120)
    if button.button("Import", type="primary", key=state.key("dataset", "import"), width="stretch"):
        reading = result["reading"]
        now = Reading(reading["container"], reading["format"], reading["mapping"])
        state.choose(importing=datasets.start_import(list(upload_ids), given or "", now, most))
        st.rerun()
    with other:
        _start_over(upload_ids)


def _stem(name: str) -> str:
    return name.split(".")[0][:120] or name[:120]


def _reading_form(names: Mapping[str, str], result: Mapping[str, Any]) -> tuple[list[str], Reading] | None:
    """How the files are read, changeable; returns the new order and reading when asked to read again."""
    reading = result.get("reading") or {"container": "", "format": "prompt_completion", "mapping": {}}
    kinds = {f.name: f for f in datasets.formats()}
    with st.expander("How the rows are read: format and columns", expanded=not result.get("samples")):
        first, second = st.columns(2)
        labels = {name: kind.label for name, kind in kinds.items()}
        form = forms.choose(first, "Format", labels, state.key("reading", "format"), reading["format"])
        key = state.key("reading", "container")
        container = forms.choose(second, "File type", _CONTAINERS, key, reading["container"])
        st.caption(markup.md(kinds[form].help))
        mapping, complete = _mapping(kinds[form].roles, list(result.get("columns", {})), _known_mapping(form, result))
        order = list(names)
        if len(names) > 1:
            order = st.multiselect(
                "Files, in training order",
                list(names),
                default=list(names),
                format_func=lambda u: markup.line(names[u], 60),
                key=state.key("reading", "order"),
            )
        if st.button("Read again", key=state.key("reading", "again"), disabled=not order or not complete):
            return order, Reading(container, form, mapping)
    return None


def _known_mapping(form: str, result: Mapping[str, Any]) -> Mapping[str, str]:
    reading = result.get("reading") or {}
    if form == reading.get("format"):
        mapping: Mapping[str, str] = reading["mapping"]
        return mapping
    return next((c["mapping"] for c in result.get("candidates", ()) if c["format"] == form), {})


def _mapping(roles: Sequence[Any], columns: Sequence[str], known: Mapping[str, str]) -> tuple[dict[str, str], bool]:
    """One box for each role that a column can play; the mapping, and whether every required role has a column."""
    mapping: dict[str, str] = {}
    boxes = st.columns(3)
    for i, role in enumerate(roles):
        options = [*([] if role.required else [_UNSET]), *columns]
        value = known.get(role.name)
        picked = boxes[i % 3].selectbox(
            markup.md(role.label) + ("" if role.required else " (optional)"),
            options,
            index=options.index(value) if value in options else (None if role.required else 0),
            format_func=lambda c: markup.line(c, 40),
            help=role.help or None,
            key=state.key("reading", "role", role.name),
        )
        if picked is not None and picked != _UNSET:
            mapping[role.name] = picked
    missing = [role.label for role in roles if role.required and role.name not in mapping]
    if missing:
        st.caption(f":material/warning: Still to choose: {markup.md(', '.join(missing))}")
    return mapping, not missing


def _preview(result: Mapping[str, Any]) -> None:
    samples, problems = result.get("samples", ()), result.get("problems", ())
    if problems:
        seen = f"{result.get('n_rejected', len(problems)):,} of the first {counted(result.get('n_seen', 0), 'row')}"
        st.warning(f"{seen} cannot be read and will not be part of a run.", icon=":material/warning:")
        _problem_table(problems)
        st.caption("Rejected rows are kept and listed with the dataset. The import looks at every row.")
    if not samples:
        st.caption("No row can be read this way. Choose another format or other columns above.")
    for sample in samples[:3]:
        tags = [f"row {sample['row'] + 1}", f"id {sample['id']}"]
        tags += [f"{name} {sample[name]}" for name in ("stage", "source") if sample.get(name)]
        st.caption(markup.md(" · ".join([*tags, *sample.get("notes", ())])))
        evidence.conversation([(str(m["role"]), str(m["content"])) for m in sample["messages"]], 1200)
