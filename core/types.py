"""Every value that crosses a border of the house, from one place; each is defined in ``core/values``.

Shape letters: ``n`` samples, ``k`` samples in a chunk, ``t`` supervised tokens of one sample, ``l`` all tokens of
one sample, ``d`` embedding width. These files import the standard library and numpy only.
"""

from core.values.checkpoints import BASE, FINAL, Card, Check, Checkpoint, Flavour, Role, Server
from core.values.columns import EVIDENCE, FAULT, PIPELINE, STRENGTH, Column, ColumnFamily, ColumnKind, Look, Setting
from core.values.jobs import Job, JobState
from core.values.people import Comment, Decision, Proof
from core.values.runs import DEFAULT_BACKEND, DEFAULT_PRESET, DtypeName, Run, RunFacts, RunSpec, TrainerState
from core.values.samples import (
    Dataset,
    Message,
    Problem,
    Reading,
    Sample,
    Shape,
    Tokens,
    canonical_json,
    content_hash,
    digest,
)
from core.values.scores import TEMPERATURES, Decoding, Generation, Supervision, TokenScores, Turn
from core.values.selection import Filter, Term
from core.values.setup import SETUP_LABELS, Setup, SetupField, Stated, Unmet
from core.values.verdicts import Chunk, Finding, Gap, Reason, SignalTable, Status, Thresholds, Verdict

__all__ = [
    "BASE",
    "DEFAULT_BACKEND",
    "DEFAULT_PRESET",
    "EVIDENCE",
    "FAULT",
    "FINAL",
    "PIPELINE",
    "SETUP_LABELS",
    "STRENGTH",
    "TEMPERATURES",
    "Card",
    "Check",
    "Checkpoint",
    "Chunk",
    "Column",
    "ColumnFamily",
    "ColumnKind",
    "Comment",
    "Dataset",
    "Decision",
    "Decoding",
    "DtypeName",
    "Filter",
    "Finding",
    "Flavour",
    "Gap",
    "Generation",
    "Job",
    "JobState",
    "Look",
    "Message",
    "Problem",
    "Proof",
    "Reading",
    "Reason",
    "Role",
    "Run",
    "RunFacts",
    "RunSpec",
    "Sample",
    "Server",
    "Setting",
    "Setup",
    "SetupField",
    "Shape",
    "SignalTable",
    "Stated",
    "Status",
    "Supervision",
    "Term",
    "Thresholds",
    "TokenScores",
    "Tokens",
    "TrainerState",
    "Turn",
    "Unmet",
    "Verdict",
    "canonical_json",
    "content_hash",
    "digest",
]
