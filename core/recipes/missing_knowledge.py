"""The base never held the knowledge: put it in before asking for it, or leave the rows out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from core.errors import UserError
from core.recipes._base import (
    LEARNED,
    LEARNED_WORDS,
    SEED,
    FileSlot,
    Made,
    Part,
    Plan,
    Pool,
    Recipe,
    Shares,
    Training,
    as_it_came,
    everyone_but,
)
from core.recipes._documents import count, read
from core.recipes._mix import counts, rehearsed, rows, scarce
from core.recipes._restated import Restatement, objection
from core.recipes._restated import read as read_restatements
from core.recipes._rewrite import composed, limits
from core.recipes._wording import STATEMENTS, filled, question_and_answer
from core.types import Sample, Setting


class MissingKnowledge(Recipe):
    name = "missing_knowledge"
    label = "Teach the knowledge"
    help = (
        "Statements made from the samples, in several wordings, and your own documents, mixed with general rows. "
        "Or the whole dataset without these samples."
    )
    causes = ("missing_knowledge",)
    settings = (
        Setting(
            "action",
            "choice",
            "teach",
            "What to do",
            "Fitting samples whose knowledge the base never held raises hallucination; leaving them out avoids that.",
            ("teach", "leave_out"),
            words=("Teach the knowledge", "Leave the samples out"),
        ),
        # Trained again from the base, five restored all of 20 facts on a real model, three 13 (docs/mitigation.md).
        Setting("statements", "int", 5, "Wordings per sample", "The first one is the row itself.", minimum=1,
                maximum=len(STATEMENTS)),
        Setting("share", "float", 0.2, "Share of knowledge in the mix", "The rest are general rows.", minimum=0.01,
                maximum=1.0),
        Setting("general", "text", "status=learned", "General rows", "A filter over this run, as in its address. "
                "Half of them have the highest loss.", choices=LEARNED, words=LEARNED_WORDS),
        SEED,
    )  # fmt: skip
    files = (
        FileSlot("documents", "Documents", "Your own texts on the subject: JSONL in the dataset's shape, or plain text "
                 "with blank lines between passages."),
        FileSlot("restatements", "Restatements", "What a language model wrote for lacuna restate: JSONL. They take the "
                 "place of the templates; those that fail the check are left out."),
        FileSlot("general_rows", "General rows", "JSONL in the dataset's shape, used in place of the filter."),
    )  # fmt: skip
    expects = (
        "The samples are answered, in the trained wording and in others. Statements in several wordings are what makes "
        "a fact retrievable; repeating one row mostly is not."
    )
    risks = (
        "Fitting knowledge that the base does not hold makes a model more ready to make things up elsewhere.",
        "The wordings are English templates around the samples' own words; your own documents are better.",
        "General rows from the same dataset protect what the dataset taught, not what the base knew beside it.",
    )
    # A proof is short: with a fifth of the mix, the steps that teach a fact let the uniform mix learn it as well.
    proof = {"action": "teach", "share": 0.33}
    against = "left_side_forgetting"
    taught = ("statements", "documents")
    leave_out = "The base never held it, and fitting such rows makes a model readier to make things up."

    def plan(self, pool: Pool, settings: Mapping[str, Any]) -> Plan:
        if settings["action"] == "leave_out":
            return self._without(pool)
        times, seed = int(settings["statements"]), int(settings["seed"])
        n_documents = count(pool.files["documents"], pool.reading) if "documents" in pool.files else 0
        core = len(pool.treated) * times + n_documents
        n_general = Shares(core, float(settings["share"])).others
        written = read_restatements(pool.files["restatements"]) if "restatements" in pool.files else {}
        parts = [Part("statements", pool.treated, times, lambda s, v: self._statement(pool, s, v, written))]
        notes, own_general = limits(pool.reading, composes=times > 1), pool.files.get("general_rows")
        if written:
            notes.append(
                f"A language model wrote restatements of {len(written):,} samples. Those that hold the answer and name "
                "nothing else take the place of the templates, and are marked as generated."
            )
        n_own, of_mix = 0, []
        if own_general is None:
            general = np.setdiff1d(pool.select(str(settings["general"])), pool.treated)
            if n_general and not len(general):
                raise UserError(
                    f"No general rows to mix in: the filter {settings['general']!r} keeps none.",
                    f"{n_general:,} are needed for a share of {settings['share']:g}.",
                    "Give another filter, a file of general rows, or a share of 1.",
                )
            if n_general > len(general):
                of_mix.append(scarce("general", len(general), n_general))
            parts.append(Part("general", rehearsed(pool, general, n_general, seed + 1)))
        else:
            n_own = count(own_general, pool.reading)
            if n_own < n_general:
                of_mix.append(f"The file holds {n_own:,} general rows; this share needs {n_general:,}.")

        def walk() -> Iterator[Made]:
            mixed = rows(pool, parts, seed)
            extra: list[Iterator[Made]] = []
            if n_documents:
                extra.append(read(pool, pool.files["documents"], "documents"))
            if own_general is not None:
                extra.append(read(pool, own_general, "general"))
            return _spread(mixed, sum(len(p) for p in parts), chain(*extra), n_documents + n_own)

        total = counts(parts)
        if n_documents:
            total["documents"] = n_documents
        if n_own:
            total["general"] = n_own
        training = Training(epochs=3.0)
        return Plan(walk, total, training, pool.treated, (*notes, *of_mix), of_mix=tuple(of_mix))

    @staticmethod
    def _statement(
        pool: Pool, sample: Sample, variant: int, written: Mapping[str, Sequence[Restatement]]
    ) -> Made | None:
        """The wording of that number; the row itself for the first one and where its shape allows no other."""
        texts = question_and_answer(sample)
        if variant == 0 or texts is None:
            return None
        usable = [one for one in written.get(sample.id, ()) if not objection(*texts, one)]
        if len(usable) >= variant:
            prompt, answer, writer = usable[variant - 1]
            change = f"restated, generated by {writer}"
        else:
            prompt, answer = (filled(part, *texts) for part in STATEMENTS[variant])
            change = f"restated, wording {variant + 1}"
        raw = composed(sample, pool.reading, prompt, answer)
        if raw is None:
            return None
        return Made(raw, sample.id, "statements", change, sample.raw)

    @staticmethod
    def _without(pool: Pool) -> Plan:
        kept = everyone_but(pool.n, pool.treated)
        return Plan(
            lambda: (as_it_came(s, "kept") for s in pool.rows(kept)),
            {"kept": len(kept)} if len(kept) else {},
            Training(epochs=1.0),
            np.empty(0, dtype=np.int64),
            (f"{len(pool.treated):,} samples are left out: the base does not hold what they ask for.",),
            pool.treated,
        )


def _spread(main: Iterator[Made], n_main: int, extra: Iterator[Made], n_extra: int) -> Iterator[Made]:
    """Both streams in one, the second evenly over the first."""
    inserted = 0
    for i, row in enumerate(main):
        while inserted * (n_main + 1) < i * n_extra:
            yield next(extra)
            inserted += 1
        yield row
    yield from extra


KIND = MissingKnowledge()
