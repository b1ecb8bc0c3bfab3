"""A second look at what was measured already: where a turn goes wrong, whether the model stops, what the output says.

No model: it reads the details that likelihood and reproduction kept, of rows that greedy decoding does not give
verbatim and of rows with several turns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from core.backends._base import Capability
from core.plugins import kind
from core.signals._base import Instruments, Measure, chunked
from core.signals._reading import same_but_form, same_meaning
from core.types import Chunk, Column, RunSpec, Sample, SignalTable

PARTLY: Mapping[Capability, tuple[str, ...]] = {
    "logprobs": (
        "stop_logp", "content_right", "miss_at", "after_right", "n_after", "last_right", "earlier_right", "last_nll",
        "earlier_nll", "earlier_untrained",
    ),
    "argmax": ("content_right", "miss_at", "after_right", "n_after", "last_right", "earlier_right"),
    "generations": ("ran_on", "same_form", "same_meaning", "greedy_meaning", "limit_hit"),
}  # fmt: skip


class Answers:
    name = "answers"
    label = "Answers"
    version = 3
    needs = ("likelihood", "reproduction")
    whole = False
    columns = (
        Column("stop_logp", "number", "log p(stop)", "Of the stop token after the whole answer, in the turn that is "
               "missed.", "nats", "high"),
        Column("content_right", "flag", "All but the stop", "Greedy decoding gives the whole missed answer but does "
               "not stop."),
        Column("ran_on", "flag", "Runs on", "The output begins with the whole target and goes on."),
        Column("same_form", "flag", "Same but form", "Target and output differ in case, punctuation or articles only."),
        Column("same_meaning", "number", "Same meaning", "Share of the outputs (greedy and drawn) that say the target "
               "in other words."),
        Column("greedy_meaning", "flag", "Greedy means it", "The greedy output says the target in other words."),
        Column("limit_hit", "flag", "Cut at limit", "The output is the target's beginning, ended by the limit on new "
               "tokens."),
        Column("miss_at", "number", "First miss", "Place in the row of the first token greedy decoding gets wrong."),
        Column("after_right", "number", "Right after it", "Share of later target tokens that are the argmax."),
        Column("n_after", "number", "Tokens after it", "Target tokens from the first miss on."),
        Column("last_right", "flag", "Last turn right", "Greedy decoding gives the last of several answers."),
        Column("earlier_right", "number", "Earlier turns right", "Share of the answers before the last it gives."),
        Column("last_nll", "number", "Loss, last turn", "Mean loss of the last of several answers.", "nats", "low"),
        Column("earlier_nll", "number", "Loss, earlier turns", "Mean loss of the answers before it.", "nats", "low"),
        Column("earlier_untrained", "flag", "Earlier turns without loss", "The trainer put loss on the last answer "
               "only."),
    )  # fmt: skip

    def _sources(self, spec: RunSpec) -> tuple[Measure, Measure]:
        plans = (kind("signals", name).plan(spec) for name in self.needs)
        likelihood, reproduction = (next(m for m in plan if m.role == "final") for plan in plans)
        return likelihood, reproduction

    def plan(self, spec: RunSpec) -> list[Measure]:
        depends = {"signal": self.name, "version": self.version, "from": [m.key for m in self._sources(spec)]}
        return [Measure(self.name, "final", spec.final, depends, (), PARTLY)]

    def wanted(self, table: SignalTable) -> np.ndarray:
        turns = table.get("turns")
        return ((turns > 0) & ~(table.get("greedy_exact") == 1)) | (turns > 1)

    def measure(
        self, measure: Measure, samples: Sequence[Sample], instruments: Instruments, stop: Callable[[], bool]
    ) -> Iterator[Chunk]:
        likelihood, reproduction = self._sources(instruments.spec)
        for chunk in chunked(samples, lambda s: 1, 512, 512):
            if stop():
                return
            columns = {c.name: np.full(len(chunk), np.nan) for c in self.columns}
            for i, sample in enumerate(chunk):
                seen = instruments.details(likelihood, sample.content_hash) or {}
                asked = instruments.details(reproduction, sample.content_hash) or {}
                for name, value in (token_values(seen) | text_values(asked, sample)).items():
                    columns[name][i] = value
            yield Chunk(measure.key, tuple(s.content_hash for s in chunk), columns)


def token_values(seen: Mapping[str, Any]) -> dict[str, float]:
    """What the kept token scores of one row say; empty where there are none."""
    if "positions" not in seen or not seen.get("turns"):
        return {}
    at = np.asarray(seen["positions"], dtype=np.int64)
    logp = np.asarray(seen["logprobs"], dtype=np.float64)
    hits = _letters(seen["hits"])
    trained, target = _letters(seen["trained"]) == 1, _letters(seen["target"]) == 1
    turns = seen["turns"]
    out: dict[str, float] = {}
    missed = next((t for t in turns if t["exact"] is False), None)
    if missed is not None:
        inside = (at >= missed["start"]) & (at < missed["stop"])
        wrong = np.flatnonzero(inside & (hits == 0))
        if wrong.size:
            out["miss_at"] = float(at[wrong[0]])
            later = target[at] & (at >= at[wrong[0]])
            out["n_after"] = float(later.sum())
            if later.sum() > 1:
                out["after_right"] = float(hits[later][1:].mean())
        if missed["complete"] and inside.sum() > 1:
            last = np.flatnonzero(inside)[-1]
            out["stop_logp"] = float(logp[last])
            out["content_right"] = float((hits[inside][:-1] == 1).all())
    if len(turns) > 1:
        last, earlier = turns[-1], turns[:-1]
        right = np.array([turn["exact"] for turn in turns], dtype=np.float64)  # None = not measured: NaN
        out["last_right"], out["earlier_right"] = float(right[-1]), float(right[:-1].mean())
        mine = (at >= last["start"]) & (at < last["stop"])
        before = np.any([(at >= t["start"]) & (at < t["stop"]) for t in earlier], axis=0)
        if mine.any() and before.any():
            out["last_nll"], out["earlier_nll"] = -float(logp[mine].mean()), -float(logp[before].mean())
        loss = [float(trained[t["start"] : t["stop"]].mean()) for t in turns]
        out["earlier_untrained"] = float(loss[-1] > 0.5 and max(loss[:-1]) < 0.5)
    return out


def _letters(mask: str) -> np.ndarray:
    """(t,) float64 of a mask's letters: 1, 0, and NaN for ?."""
    letters = np.frombuffer(mask.encode(), dtype=np.uint8)
    return np.where(letters == ord("?"), np.nan, letters == ord("1"))


def text_values(asked: Mapping[str, Any], sample: Sample) -> dict[str, float]:
    """What the outputs of the wrong turns of one row say; empty where none was asked."""
    wrong = [t for t in asked.get("turns", ()) if t["score"] < 1]
    if not wrong:
        return {}
    meant = [
        [same_meaning(text, t["target"], _asked(sample, t["turn"])) for text in (t["output"], *t["texts"])]
        for t in wrong
        if t["target"].strip()
    ]
    first = wrong[0]
    target, output = first["target"].rstrip(), first["output"]
    goes_on = bool(target) and output.startswith(target) and len(output.strip()) > len(target.strip())
    cut = not first["stopped"] and bool(output.strip()) and len(output) < len(target) and target.startswith(output)
    return {
        "ran_on": float(goes_on and first["complete"]),
        "limit_hit": float(cut and first["complete"]),
        "same_form": float(all(same_but_form(t["output"], t["target"]) for t in wrong)),
        # The turn that says it least often speaks for the row.
        "same_meaning": min((float(np.mean(m)) for m in meant), default=np.nan),
        "greedy_meaning": float(all(m[0] for m in meant)) if meant else np.nan,
    }


def _asked(sample: Sample, turn: int) -> str:
    """What people said before the turn. Answers are left out: a word of one of them may be what the next one is for."""
    places = [i for i, m in enumerate(sample.messages) if m.role == "assistant"]
    stop = places[turn] if turn < len(places) else len(sample.messages)
    return "\n".join(m.content for m in sample.messages[:stop] if m.role not in ("assistant", "text"))


KIND = Answers()
