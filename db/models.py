"""The tables. Each run has one more, ``verdicts_<run id>``, whose columns its kinds declare (``db/verdicts.py``)."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQL NULL for None, so that "not there" is asked for with IS NULL.
_JSON = JSON(none_as_null=True)
# ``sqlite_autoincrement`` below: an id stands in addresses and file names, so it is never used twice. PostgreSQL never
# does.


def _of_dataset() -> Column[int]:
    return Column("dataset_id", Integer, ForeignKey("datasets.id", ondelete="CASCADE"), primary_key=True)


datasets = Table(
    "datasets",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("files", _JSON, nullable=False),
    Column("reading", _JSON, nullable=False),
    Column("fingerprint", Text),
    Column("n_rows", Integer),
    Column("n_samples", Integer),
    Column("n_problems", Integer),
    Column("n_duplicates", Integer),
    Column("stages", _JSON),
    Column("sources", _JSON),
    Column("notes", _JSON),
    Column("created", Float, nullable=False),
    # Last time rows were added. An import that died is one that is not finished and long untouched.
    Column("touched", Float, nullable=False),
    Column("finished", Boolean, nullable=False),
    # The import that makes it, so that a second try removes what the first one left.
    Column("job_id", Integer),
    sqlite_autoincrement=True,
)

samples = Table(
    "samples",
    metadata,
    _of_dataset(),
    Column("ordinal", Integer, primary_key=True, autoincrement=False),
    Column("sid", Text, nullable=False),
    Column("row", Integer, nullable=False),
    Column("content_hash", Text, nullable=False),
    Column("stage", Text),
    Column("source", Text),
    Column("shape", Text, nullable=False),
    Column("n_turns", Integer, nullable=False),
    Column("prompt_chars", Integer, nullable=False),
    Column("response_chars", Integer, nullable=False),
    Column("prompt", Text, nullable=False),
    Column("response", Text, nullable=False),
    Column("copies", Integer, nullable=False),
    Index(None, "dataset_id", "sid", unique=True),
    Index(None, "dataset_id", "content_hash"),
)

# Apart from samples, so that scans over samples stay narrow. ``search`` is id and text in folded form; it
# stands first, so that a search does not read past the raw row.
sample_bodies = Table(
    "sample_bodies",
    metadata,
    _of_dataset(),
    Column("ordinal", Integer, primary_key=True, autoincrement=False),
    Column("search", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("raw", LargeBinary, nullable=False),
)

problems = Table(
    "problems",
    metadata,
    _of_dataset(),
    Column("row", Integer, primary_key=True, autoincrement=False),
    Column("line", Integer),
    Column("field", Text),
    Column("text", Text, nullable=False),
    Column("file", Text, nullable=False),
    Column("raw", LargeBinary, nullable=False),
)

uploads = Table(
    "uploads",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("sha256", Text),
    Column("state", Text, nullable=False),
    Column("created", Float, nullable=False),
    Column("author", Text),
)

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("group_name", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("base", Text),
    Column("step", Integer),
    Column("label", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("tokenizer", Text, nullable=False),
    Column("owned", Boolean, nullable=False),
    Column("n_bytes", BigInteger, nullable=False),
    Column("card", _JSON),
    Column("facts", _JSON, nullable=False),
    Column("created", Float, nullable=False),
    sqlite_autoincrement=True,
)

runs = Table(
    "runs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("dataset_id", Integer, ForeignKey("datasets.id"), nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("spec", _JSON, nullable=False),
    Column("spec_hash", Text, nullable=False, index=True),
    Column("thresholds", _JSON, nullable=False),
    Column("columns", _JSON, nullable=False),
    Column("state", Text, nullable=False),
    Column("created", Float, nullable=False),
    Column("n_samples", Integer, nullable=False),
    Column("summary", _JSON, nullable=False),
    Column("author", Text),
    sqlite_autoincrement=True,
)

measures = Table(
    "measures",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("key", Text, nullable=False, unique=True),
    Column("signal", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("spec", _JSON, nullable=False),
)

measured = Table(
    "measured",
    metadata,
    Column("measure_id", Integer, ForeignKey("measures.id", ondelete="CASCADE"), primary_key=True),
    Column("content_hash", Text, primary_key=True),
    Column("columns", Text, nullable=False),
    Column("artefact", Text, index=True),
    Column("slot", Integer),
)

# What a measured row rests on, so that another measurement of its kin finds it again; of a measurement that was made
# here. A bundle brings none: what it says was measured elsewhere must not pass for what would be measured here.
subjects = Table(
    "subjects",
    metadata,
    Column("measure_id", Integer, ForeignKey("measures.id", ondelete="CASCADE"), primary_key=True),
    Column("content_hash", Text, primary_key=True),
    Column("subject", Text, primary_key=True, index=True),
)

# Measures that no run rests on any more and that are kept for the next one, since when.
kept_measures = Table(
    "kept_measures",
    metadata,
    Column("measure_id", Integer, ForeignKey("measures.id", ondelete="CASCADE"), primary_key=True),
    Column("since", Float, nullable=False),
)

# Which runs rest on a measure: one that no run rests on any more is collected.
run_measures = Table(
    "run_measures",
    metadata,
    Column("run_id", Integer, ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("measure_id", Integer, ForeignKey("measures.id", ondelete="CASCADE"), primary_key=True, index=True),
)

# What a recipe was proven to do, in a small training run: causal evidence, kept with the run it belongs to.
proofs = Table(
    "proofs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("run_id", Integer, ForeignKey("runs.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("recipe", Text, nullable=False),
    Column("cause", Text),
    Column("request", _JSON, nullable=False),
    # Arm to what was measured after it; an interrupted proof goes on with the arms that are missing.
    Column("arms", _JSON, nullable=False),
    Column("result", _JSON),
    Column("job_id", Integer),
    Column("created", Float, nullable=False),
    Column("finished", Float),
    sqlite_autoincrement=True,
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("lane", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("payload", _JSON, nullable=False),
    Column("state", Text, nullable=False),
    Column("stage", Text, nullable=False),
    Column("done", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("unit", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("owner", Text),
    Column("lease_until", Float),
    Column("cancel", Boolean, nullable=False),
    Column("error", _JSON),
    Column("result", _JSON),
    Column("run_id", Integer, ForeignKey("runs.id", ondelete="SET NULL"), index=True),
    Column("title", Text, nullable=False),
    Column("created", Float, nullable=False),
    Column("started", Float),
    Column("finished", Float),
    Column("author", Text),
    # Jobs of a lane are taken in this order; NULL stands for the id.
    Column("place", Float),
    # [[stage, began (epoch seconds), done when it began], ...], in the order in which they began.
    Column("stages", _JSON),
    # What is known of how its worker died last.
    Column("death", _JSON),
    Index(None, "lane", "state", "id"),
    sqlite_autoincrement=True,
)

# What people decided about groups of contradicting rows. Keyed by the group's content, not by a run, so that it
# survives recomputation and holds for every run over the dataset.
contradiction_decisions = Table(
    "contradiction_decisions",
    metadata,
    _of_dataset(),
    Column("key", Text, primary_key=True),
    Column("choice", Text, nullable=False),
    Column("kept", _JSON, nullable=False),
    Column("members", _JSON, nullable=False),
    Column("author", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("created", Float, nullable=False),
)

# What a language model said about a group of contradicting rows. Keyed as decisions are; no verdict reads it.
contradiction_comments = Table(
    "contradiction_comments",
    metadata,
    _of_dataset(),
    Column("key", Text, primary_key=True),
    Column("sides", _JSON, nullable=False),
    Column("model", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("shortened", Boolean, nullable=False),
    Column("created", Float, nullable=False),
)

# The latest grouping of a run's unlearned samples; numbers of groups mean nothing beyond it.
groupings = Table(
    "groupings",
    metadata,
    Column("run_id", Integer, ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("embedding", Text, nullable=False),
    Column("thresholds", _JSON, nullable=False),
    Column("n_rows", Integer, nullable=False),
    Column("groups", _JSON, nullable=False),
    Column("created", Float, nullable=False),
)

grouped = Table(
    "grouped",
    metadata,
    Column("run_id", Integer, ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("ordinal", Integer, primary_key=True, autoincrement=False),
    Column("group", Integer, nullable=False),
    Column("part", Integer, nullable=False),
    Column("x", Float, nullable=False),
    Column("y", Float, nullable=False),
    Index(None, "run_id", "group", "part"),
)

# Rows picked on a map. Equal picks are one, so that an address that names one stays short and stays true.
picks = Table(
    "picks",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("run_id", Integer, ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
    Column("digest", Text, nullable=False),
    Column("n_rows", Integer, nullable=False),
    Column("created", Float, nullable=False),
    UniqueConstraint("run_id", "digest"),
    sqlite_autoincrement=True,
)

picked = Table(
    "picked",
    metadata,
    Column("pick_id", Integer, ForeignKey("picks.id", ondelete="CASCADE"), primary_key=True),
    Column("ordinal", Integer, primary_key=True, autoincrement=False),
)

# What a person says of a sample in a run; either part may be left to the verdict.
overrides = Table(
    "overrides",
    metadata,
    Column("run_id", Integer, ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("ordinal", Integer, primary_key=True, autoincrement=False),
    Column("status", Text),
    Column("cause", Text),
    Column("author", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("created", Float, nullable=False),
)

# What the checkpoint answers, in folded form, where it does not give the target: a search looks here too.
run_outputs = Table(
    "run_outputs",
    metadata,
    Column("run_id", Integer, ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("ordinal", Integer, primary_key=True, autoincrement=False),
    Column("search", Text, nullable=False),
)

# Free words that people put on samples of a run.
tags = Table(
    "tags",
    metadata,
    Column("run_id", Integer, ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("ordinal", Integer, primary_key=True, autoincrement=False),
    Column("tag", Text, primary_key=True),
    Column("author", Text, nullable=False),
    Column("created", Float, nullable=False),
    Index(None, "run_id", "tag", "ordinal"),
)

# Files of labels that were taken in. ``changes``: what each changed sample had before and has since, for undoing it.
label_files = Table(
    "label_files",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("run_id", Integer, ForeignKey("runs.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("changes", _JSON, nullable=False),
    Column("created", Float, nullable=False),
    Column("undone", Float),
    sqlite_autoincrement=True,
)

saved_filters = Table(
    "saved_filters",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("query", Text, nullable=False),
    Column("created", Float, nullable=False),
)

scorers = Table(
    "scorers",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("file", Text, nullable=False),
    Column("encoder", Text, nullable=False),
    Column("settings", _JSON, nullable=False),
    Column("facts", _JSON, nullable=False),
    Column("created", Float, nullable=False),
    sqlite_autoincrement=True,
)

# ``version`` is raised with everything that is stored, so that what was read of it before is known to be old.
routes = Table(
    "routes",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("run_id", Integer, ForeignKey("runs.id", ondelete="CASCADE"), index=True),
    Column("name", Text, nullable=False),
    Column("mode", Text, nullable=False),
    Column("spec", _JSON, nullable=False),
    Column("n_items", Integer, nullable=False),
    Column("scorer_id", Integer, ForeignKey("scorers.id", ondelete="SET NULL"), index=True),
    Column("version", Integer, nullable=False),
    Column("created", Float, nullable=False),
    sqlite_autoincrement=True,
)

# Chosen items; ``kept`` (what replay reads, JSON) is NULL until both routes of the item were generated.
route_items = Table(
    "route_items",
    metadata,
    Column("route_id", Integer, ForeignKey("routes.id", ondelete="CASCADE"), primary_key=True),
    Column("ordinal", Integer, primary_key=True, autoincrement=False),
    Column("sid", Text, nullable=False),
    Column("content_hash", Text, nullable=False),
    Column("question", Text, nullable=False),
    Column("kept", Text),
    Column("artefact", Text, index=True),
    Column("slot", Integer),
)
