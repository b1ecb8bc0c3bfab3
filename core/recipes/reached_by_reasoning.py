"""Known, and not recalled directly: train the chain of thought that reaches it, or distil it into a direct answer."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from core.egrm.answers import extract, key, options_of, suggest_normaliser
from core.egrm.brought import read_answers
from core.egrm.route import RouteText
from core.egrm.settings import PATH_PROMPT
from core.recipes._base import OTHERS, SEED, FileSlot, Made, Part, Plan, Pool, Recipe, Shares, Training
from core.recipes._mix import counts, keepers, rehearsed, rows
from core.recipes._rewrite import composed, limits
from core.recipes._wording import STATEMENTS, filled, question_and_answer
from core.types import Sample, Setting


class ReachedByReasoning(Recipe):
    name = "reached_by_reasoning"
    label = "Teach what reasoning reaches"
    help = (
        "For samples that a chain of thought reaches and a direct answer does not: the direct answer in several "
        "wordings, and, with the answers of a routes run, the model's own chains of thought that arrived at the target."
    )
    causes = ("reachable_by_reasoning",)
    settings = (
        Setting("wordings", "int", 3, "Direct answers per sample", "The first one is the row itself, the others put "
                "the question in other words.", minimum=1, maximum=len(STATEMENTS)),
        Setting("chains", "int", 1, "Chains of thought per sample", "Only with a file of answers. They are asked for "
                "step by step, so that direct questions are still answered directly.", minimum=0, maximum=16),
        Setting("share", "float", 0.33, "Share of these samples in the mix", "The rest are other rows.", minimum=0.05,
                maximum=1.0),
        OTHERS,
        SEED,
    )  # fmt: skip
    files = (
        FileSlot("answers", "Answers of a routes run", "Download them under Manage on the routes run's page, or write "
                 "them with lacuna routes export. Chains of thought that reach the target are trained as they are."),
    )  # fmt: skip
    expects = (
        "What the model could only work out it answers directly: the knowledge is there, so a few passes over the "
        "direct answer may do. Chains of thought keep the way that works."
    )
    risks = (
        "A chain of thought can arrive at the target by a wrong way, and the wrong way is then trained too.",
        "Direct answers to questions that need several steps may be learned by heart, and others like them not.",
        "The wordings are English templates around the samples' own words.",
    )
    against = "left_side_forgetting"
    taught = ("direct", "chains")

    def plan(self, pool: Pool, settings: Mapping[str, Any]) -> Plan:
        seed, wordings = int(settings["seed"]), int(settings["wordings"])
        notes = limits(pool.reading, composes=wordings > 1 or "answers" in pool.files)
        parts = [Part("direct", pool.treated, wordings, lambda s, v: self._direct(pool, s, v))]
        if "answers" in pool.files and int(settings["chains"]):
            times = int(settings["chains"])
            chains = _chains(pool.files["answers"])
            parts.append(Part("chains", pool.treated, times, partial(self._chain, pool, chains)))
            notes.append(
                f"The file holds right chains of thought for {len(chains):,} samples; where a treated sample has none, "
                "its row stands in its place."
            )
        else:
            notes.append("No chains of thought are trained: they come from a file of answers.")
        others, remarks = keepers(pool, str(settings["others"]))
        core = sum(len(p) for p in parts)
        n_others = Shares(core, float(settings["share"])).others
        parts = [p for p in (*parts, Part("others", rehearsed(pool, others, n_others, seed + 1))) if len(p)]
        return Plan(
            lambda: rows(pool, parts, seed), counts(parts), Training(epochs=2.0), pool.treated, (*notes, *remarks),
            of_mix=tuple(remarks),
        )  # fmt: skip

    @staticmethod
    def _direct(pool: Pool, sample: Sample, variant: int) -> Made | None:
        """The wording of that number; the row itself for the first one and where its shape allows no other."""
        texts = question_and_answer(sample)
        if variant == 0 or texts is None:
            return None
        prompt, answer = (filled(part, *texts) for part in STATEMENTS[variant])
        raw = composed(sample, pool.reading, prompt, answer)
        return None if raw is None else Made(raw, sample.id, "direct", f"asked in wording {variant + 1}", sample.raw)

    @staticmethod
    def _chain(pool: Pool, chains: Mapping[str, list[str]], sample: Sample, variant: int) -> Made | None:
        """The sample's right chain of that number, asked for step by step; None where there is none."""
        own, texts = chains.get(sample.id), question_and_answer(sample)
        if not own or texts is None:
            return None
        prompt = PATH_PROMPT.replace("{question}", texts[0])
        raw = composed(sample, pool.reading, prompt, own[variant % len(own)])
        if raw is None:
            return None
        return Made(raw, sample.id, "chains", "answered by a chain of thought that reached the target", sample.raw)


def _chains(path: Path) -> dict[str, list[str]]:
    """Sample's id to its chains of thought that ended by themselves and reach the reference, shortest first."""
    brought = read_answers(path)
    golds = {i: extract(r.question.gold, True).raw for i, r in enumerate(brought.records) if r.question.gold}
    normaliser = suggest_normaliser([g for g in golds.values() if g])

    def right(text: RouteText, gold: str | None, options: Mapping[str, str]) -> bool:
        own = key(extract(text.text, text.complete).raw, normaliser, options)
        return text.complete and own is not None and own == key(gold, normaliser, options)

    found = {}
    for i, (record, identity) in enumerate(zip(brought.records, brought.ids, strict=True)):
        options = options_of(record.question.text)
        texts = {p.text for p in record.paths if right(p, golds.get(i), options)}
        if identity is not None and texts:
            found[identity] = sorted(texts, key=lambda t: (len(t), t))
    return found


KIND = ReachedByReasoning()
