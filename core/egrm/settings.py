"""What can change a number of a routes run: saved with it, editable before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from core.egrm.answers import NORMALISERS
from core.errors import UserError, unknown_name
from core.types import DEFAULT_BACKEND, Decoding, DtypeName, digest

PROBES: dict[str, str] = {
    "greedy_first": "One greedy answer, the others drawn at one temperature, each from its own seed",
    "sampled": "All drawn at one temperature, each from its own seed",
    "author": "The author's cycle of temperatures 0, 0.3, 0.7, 1 with top-p 0.9 and 1, greedy at most once",
}
CHOOSERS: dict[str, str] = {
    "scorer": "Highest score",
    "weighted": "Vote weighted by score",
    "vote": "Vote",
    "likelihood": "Highest mean log-probability per token",
}
DIRECT_PROMPT = "{question}\n\nReply with the answer alone, without any explanation, in the form\nAnswer: ..."
PATH_PROMPT = "{question}\n\nThink step by step. Then end with a line of the form\nAnswer: ..."
_PAIR = "Request:\n{question}\n\nReply A:\n{a}\n\nReply B:\n{b}\n\nWhich reply is better? "
JUDGE_DIRECT_PROMPT = _PAIR + "Say only the letter, in the form\nAnswer: A or B"
JUDGE_PATH_PROMPT = _PAIR + "Compare them step by step. Then end with a line of the form\nAnswer: A or B"
# The author's cycles; where temperature 0 comes round again it is passed over, because a second greedy answer is the
# first one again and its vote is free.
_TEMPERATURES, _TOP_PS = (0.0, 0.3, 0.7, 1.0), (0.9, 1.0)


@dataclass(frozen=True, slots=True)
class RouteSettings:
    """Settings of both routes. Defaults are the published ones where there are any (see ``docs/method.md``).

    Attributes:
        m, k: direct answers and chain-of-thought paths per item; both are always generated, so that every policy can be
            replayed.
        tau: share of direct answers that must agree for the short route.
        probes: a name in ``PROBES``; ``probe_temperature`` of those drawn at one temperature.
        path_low, path_high: temperatures of the paths, evenly spread; ``path_top_p``.
        direct_tokens, path_tokens: most new tokens.
        direct_prompt, path_prompt: with ``{question}``; in judging mode with ``{a}`` and ``{b}`` too.
        system: a system message, empty for none.
        normaliser: a name in ``NORMALISERS``. ``strict``: only announced answers count.
        choose: a name in ``CHOOSERS``: how the long route picks among its paths.
        hidden_states: keep the checkpoint's mean-pooled last hidden layer of each path, an input that a scorer can
            take; costs one more reading of every path.
        seed: of all draws.
        dtype, backend: how the model is loaded, and by what kind of backend.
    """

    m: int = 5
    k: int = 4
    tau: float = 0.8
    probes: str = "greedy_first"
    probe_temperature: float = 0.7
    path_low: float = 0.3
    path_high: float = 0.7
    path_top_p: float = 0.95
    direct_tokens: int = 128
    path_tokens: int = 256
    direct_prompt: str = DIRECT_PROMPT
    path_prompt: str = PATH_PROMPT
    system: str = ""
    normaliser: str = "words"
    strict: bool = False
    choose: str = "vote"
    hidden_states: bool = False
    seed: int = 0
    dtype: DtypeName = "float32"
    backend: str = DEFAULT_BACKEND

    def __post_init__(self) -> None:
        for name, value, choices in (
            ("way to draw direct answers", self.probes, PROBES),
            ("way to choose", self.choose, CHOOSERS),
            ("normaliser", self.normaliser, NORMALISERS),
            ("dtype", self.dtype, ("float32", "bfloat16", "auto")),
        ):
            if value not in choices:
                raise unknown_name(name, value, choices)
        for name, low, high in (
            ("m", 1, 64), ("k", 1, 64), ("tau", 0.01, 1), ("probe_temperature", 0.01, 5), ("path_low", 0.01, 5),
            ("path_high", 0.01, 5), ("path_top_p", 0.01, 1), ("direct_tokens", 1, 32768), ("path_tokens", 1, 32768),
        ):  # fmt: skip
            value = getattr(self, name)
            if not low <= value <= high:
                raise UserError(f"{name}={value!r} is out of range.", f"It lies between {low} and {high}.")
        for name in ("direct_prompt", "path_prompt"):
            if "{question}" not in getattr(self, name):
                raise UserError(
                    f"The {name.replace('_', ' ')} does not contain {{question}}.",
                    "The item's own text is put in its place.",
                    "Write {question} where the question belongs.",
                )

    def as_dict(self) -> dict[str, Any]:
        """The settings as JSON; the default backend is left out, as in routes runs that knew no other."""
        values = asdict(self)
        if self.backend == DEFAULT_BACKEND:
            del values["backend"]
        return values

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> RouteSettings:
        known = {f.name for f in fields(cls)}
        for name in value:
            if name not in known:
                raise unknown_name("setting of routes", name, known)
        return cls(**value)

    @property
    def measured(self) -> str:
        """Hash of what changes a generated text; limits that are only replayed are left out."""
        replayed = {"tau", "normaliser", "strict", "choose", "hidden_states"}
        return digest({k: v for k, v in self.as_dict().items() if k not in replayed})

    def probe_decodings(self) -> list[Decoding]:
        """M decodings without seeds: no two of them can give the same text for certain."""
        if self.probes == "author":
            cycle = [(_TEMPERATURES[i % 4], _TOP_PS[i % 2]) for i in range(2 * self.m)]
            chosen = [c for i, c in enumerate(cycle) if c[0] > 0 or i == 0][: self.m]
            return [Decoding(t, self.direct_tokens, 0, p if t > 0 else 1.0) for t, p in chosen]
        out = [Decoding(self.probe_temperature, self.direct_tokens)] * self.m
        return [Decoding(0.0, self.direct_tokens), *out[1:]] if self.probes == "greedy_first" else out

    def path_decodings(self) -> list[Decoding]:
        temperatures = np.linspace(self.path_low, self.path_high, self.k).round(4).tolist()
        return [Decoding(t, self.path_tokens, 0, self.path_top_p) for t in temperatures]


def judging(**changes: Any) -> RouteSettings:
    """The defaults of judging mode."""
    given = {"direct_prompt": JUDGE_DIRECT_PROMPT, "path_prompt": JUDGE_PATH_PROMPT, "normaliser": "choice"}
    settings = RouteSettings(**(given | {"direct_tokens": 16} | changes))
    for name in ("direct_prompt", "path_prompt"):
        if not all(field in getattr(settings, name) for field in ("{a}", "{b}")):
            raise UserError(
                f"The {name.replace('_', ' ')} of judging mode does not contain {{a}} and {{b}}.",
                "The two replies are put in their places, in either order.",
                "Write {a} and {b} where they belong.",
            )
    return settings
