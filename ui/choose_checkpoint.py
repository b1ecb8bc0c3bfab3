"""Step 2 of a new run: the checkpoint under diagnosis, what it grew from, and the way there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from core.services import checkpoints, setups, uploads
from core.services.uploads import human
from core.services.views import StoredCheckpoint
from core.types import Setup
from ui import forms, markup, progress, state
from ui.uploader import uploader

_ENDINGS = (".zip", ".tar", ".gz", ".tgz")
_TABLES = (".jsonl", ".json", ".csv", ".parquet", ".gz")


@dataclass(frozen=True, slots=True)
class Chosen:
    """The checkpoints of a run: ids as ``runs.create_run`` takes them."""

    final: StoredCheckpoint
    base_id: int | None
    trajectory_ids: tuple[int, ...]


def draw(setup: Setup) -> Chosen | None:
    """Draw the step; return what is chosen, or None while there is no checkpoint.

    Args:
        setup: what the trainer's configuration says of the base.
    """
    stored = checkpoints.list_checkpoints()
    _registering()
    by_id = {c.id: c for c in stored}
    chosen = state.chosen("final")
    final = checkpoints.get_checkpoint(chosen) if chosen == checkpoints.NOTHING else by_id.get(chosen or -1)
    with st.expander("Add a checkpoint", expanded=not stored and final is None, icon=":material/add:"):
        _add(stored)
    names = {c.id: describe(c) for c in stored}
    choices = names | {checkpoints.NOTHING: "No model: judge the dataset alone"}
    left, right = st.columns(2)
    key = state.key("checkpoint", "final", state.chosen("final"))
    standing = final.id if final else None
    first_base = state.chosen("base") or _named_base(setup, stored)
    picked = forms.choose(
        left, "Checkpoint to diagnose", choices, key, standing, placeholder="Choose the model after training"
    )
    base = forms.choose(
        right,
        "Base model before training (optional)",
        {}
        if final is not None and not final.checkpoint.has_weights
        else {c: name for c, name in names.items() if c != picked and _alike(by_id[c], by_id.get(picked or -1))},
        state.key("checkpoint", "base", first_base),
        first_base if first_base != picked else None,
        placeholder="None: what the base knew is not judged",
        help="Needed to tell what the model knew before training.",
    )
    if picked != standing or base != state.chosen("base"):
        state.choose(final=picked, base=base, preflight=None, asked=None)
        st.rerun()
    if final is None:
        return None
    if final.id == checkpoints.NOTHING:
        st.caption(
            "Contradictions, duplicates, faults of the rows and rarity are judged. What needs a model is not, and says "
            "so."
        )
        return Chosen(final, None, ())
    _facts(final)
    return Chosen(final, base, _trajectory(final, stored, names))


def _named_base(setup: Setup, stored: Sequence[StoredCheckpoint]) -> int | None:
    """The registered full model that has the name of the base in the configuration, while no base is chosen."""
    name = setups.file_name(str(setup.value("base") or ""))
    if not name:
        return None
    same = [c for c in stored if c.checkpoint.base is None and name in (c.name, c.checkpoint.path.rsplit("/", 1)[-1])]
    if not same:
        st.caption(
            f":material/info: The configuration names the base {markup.md(str(setup.value('base')))}. Add it, too."
        )
        return None
    return same[0].id


def describe(stored: StoredCheckpoint) -> str:
    """A checkpoint as one line: name, step, size."""
    if stored.checkpoint.server is not None:
        return f"{markup.line(stored.name, 60)} (on {stored.checkpoint.server.url})"
    step = f", step {stored.checkpoint.step:,}" if stored.checkpoint.step is not None else ""
    kind = "adapter, " if stored.facts.get("adapter") else ""
    return f"{markup.line(stored.name, 60)} ({kind}{human(stored.n_bytes)}{step})"


def _alike(one: StoredCheckpoint, other: StoredCheckpoint | None) -> bool:
    """Whether both can be of one run: all of its checkpoints are folders, or on servers, or spoken of by files."""
    if other is None:
        return one.checkpoint.has_weights
    return (one.checkpoint.server is None, one.checkpoint.has_weights) == (
        other.checkpoint.server is None,
        other.checkpoint.has_weights,
    )


def _facts(stored: StoredCheckpoint) -> None:
    facts = stored.facts
    parts = [str(facts.get("architecture") or facts.get("model_type") or facts.get("kind") or "")]
    for name, word in (("n_parameters", "parameters"), ("vocab_size", "tokens in the vocabulary")):
        if facts.get(name):
            parts.append(f"{facts[name]:,} {word}")
    if facts.get("context_length"):
        parts.append(f"context {facts['context_length']:,}")
    if stored.checkpoint.base:
        parts.append(f"adapter on {stored.checkpoint.base.rsplit('/', 1)[-1]}")
    st.caption(markup.md(" · ".join(p for p in parts if p)))


def _trajectory(final: StoredCheckpoint, stored: Sequence[StoredCheckpoint], names: dict[int, str]) -> tuple[int, ...]:
    others = [c for c in stored if c.checkpoint.fingerprint != final.checkpoint.fingerprint and _alike(c, final)]
    if not others:
        return ()
    order = sorted(others, key=lambda c: (c.checkpoint.step is None, c.checkpoint.step or 0, c.name))
    picked = st.multiselect(
        "Earlier checkpoints of the same training, in step order (optional)",
        [c.id for c in order],
        default=[c.id for c in order if _earlier(c, final)],
        format_func=names.__getitem__,
        placeholder="None: what was learned and lost again is not judged",
        key=state.key("checkpoint", "trajectory", final.id),
    )
    return tuple(picked)


def _earlier(other: StoredCheckpoint, final: StoredCheckpoint) -> bool:
    """Whether ``other`` came in the same archive or folder and from an earlier step."""
    if other.group != final.group or other.checkpoint.step is None:
        return False
    return final.checkpoint.step is None or other.checkpoint.step < final.checkpoint.step


# ------------------------------------------------------------------------------------------------------------- add


def _registering() -> None:
    """Progress of an archive being unpacked; what it held becomes the choice."""
    job_id = state.chosen("register")
    if job_id is None:
        return
    job = progress.watch(job_id, "Unpacking and checking the weights")
    if job.state == "done" and job.result is not None:
        ids = [int(i) for i in job.result["checkpoint_ids"]]
        added = {} if not ids or state.chosen("final") is not None else {"final": ids[-1]}
        state.say(f"Added {', '.join(job.result['names'])}.")
        if ids and state.chosen("setup") is None and "outputs" not in job.payload:
            added["setup"] = setups.start_beside(ids[-1])
        state.choose(register=None, **added)
        st.rerun()
    progress.ended(job)
    if job.state in ("failed", "cancelled") and st.button("Dismiss", key=state.key("register", "dismiss")):
        if "upload" in job.payload:
            uploads.discard(job.payload["upload"])
        state.choose(register=None)
        st.rerun()


def _add(stored: Sequence[StoredCheckpoint]) -> None:
    full = {c.id: describe(c) for c in stored if _is_model(c)}
    base = None
    if full:
        label = "If it is a PEFT adapter: the model it was trained on"
        base = forms.choose(st, label, full, state.key("add", "base"), placeholder="Not an adapter")
    tabs = ["Upload an archive", "Folder on the server", "Model server", "Answers or losses in a file"]
    upload, folder, server, outputs = st.tabs(tabs)
    with upload:
        finished = uploader(
            "Upload the checkpoint as an archive",
            "zip, tar or tar.gz of a Hugging Face folder: a model with safetensors, a PEFT adapter, or checkpoint-* "
            "folders of one training.",
            key=state.key("upload", "checkpoint"),
            accept=_ENDINGS,
        )
        if finished:
            state.choose(register=checkpoints.start_register_archive(finished[0]["id"], base))
            st.rerun()
    with folder:
        _browse(base)
    with server:
        _on_server()
    with outputs:
        finished = uploader(
            "Upload a file of answers or losses",
            "In place of a checkpoint: the predictions that LLaMA-Factory wrote, the logged samples of "
            "lm-evaluation-harness, or a table with row id or prompt and an answer, a loss, or both.",
            key=state.key("upload", "outputs"),
            accept=_TABLES,
        )
        if finished:
            state.choose(register=checkpoints.start_register_outputs(finished[0]["id"]))
            st.rerun()


def _is_model(stored: StoredCheckpoint) -> bool:
    """Whether an adapter can have been trained on it."""
    checkpoint = stored.checkpoint
    return checkpoint.base is None and checkpoint.server is None and checkpoint.has_weights


def _on_server() -> None:
    addresses = checkpoints.server_addresses()
    if not addresses or not checkpoints.roots():
        st.caption(
            "No model server may be asked. Start Lacuna with `LACUNA_SERVERS=http://localhost:8000/v1` (several "
            "separated by spaces) for vLLM, SGLang or another OpenAI-compatible server, and with "
            "`LACUNA_CHECKPOINT_ROOTS` for the folder of the model's tokenizer."
        )
        return
    with st.form(state.key("server"), border=False):
        url = st.selectbox("Server", addresses, key=state.key("server", "url"))
        model = st.text_input(
            "Model", key=state.key("server", "model"), placeholder="The only one that the server lists"
        )
        folder = st.text_input(
            "Folder of its tokenizer",
            key=state.key("server", "tokenizer"),
            placeholder=f"{checkpoints.roots()[0]}/…",
            help="Rows are made into tokens here, as the trainer made them. The server must read texts alike.",
        )
        if st.form_submit_button("Ask the server") and url:
            state.choose(register=checkpoints.start_register_server(url, model, folder.strip()))
            st.rerun()


def _browse(base: int | None) -> None:
    if not checkpoints.roots():
        st.caption(
            "No folder on the server may be chosen. Start Lacuna with `LACUNA_CHECKPOINT_ROOTS=/path/to/models` "
            "(several folders separated by a colon) to choose from it here."
        )
        return
    key = state.key("browse")
    here = state.get(key)
    if here is not None:
        up, where = st.columns([1, 6], vertical_alignment="center")
        if up.button("Up", key=state.key("browse", "up"), icon=":material/arrow_upward:", width="stretch"):
            state.put(key, _parent(here))
            st.rerun()
        where.text(markup.visible(here))
    entries = checkpoints.browse(here)
    if not entries:
        st.caption("There is no checkpoint in this folder.")
    for i, entry in enumerate(entries):
        name, use = st.columns([6, 1], vertical_alignment="center")
        if entry["kind"] == "folder":
            if name.button(
                markup.md(entry["name"]), key=state.key("open", i), icon=":material/folder:", type="tertiary"
            ):
                state.put(key, entry["path"])
                st.rerun()
            continue
        name.markdown(f":material/deployed_code: {markup.md(entry['name'])} :gray[{entry['kind']}]")
        if use.button("Add", key=state.key("use", i), width="stretch"):
            state.choose(register=checkpoints.start_register_folder(entry["path"], base))
            st.rerun()


def _parent(path: str) -> str | None:
    """One folder up, or None (the list of roots) above a root."""
    if path in checkpoints.roots():
        return None
    return path.rsplit("/", 1)[0] or None
