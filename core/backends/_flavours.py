"""What the kinds of model servers are sent, and what their answers mean.

``vllm`` and ``sglang`` take token ids and give log-probabilities of a prompt's tokens. ``transformers`` (its ``serve``)
and ``plain`` (any other OpenAI-compatible server) only generate. Each answer is checked against what was sent: a list
of another length or other token ids is an answer that cannot be read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.backends._base import Capability, ScoreRow
from core.errors import UserError
from core.types import Decoding, Flavour, TokenScores

# The most likely token and the next one: enough for the argmax and for the distance to the best other token.
TOP = 2
# Seeds above this are refused by some servers.
LARGEST_SEED = 2**31 - 1
Body = dict[str, Any]


class Unreadable(Exception):
    """An answer that does not fit what was sent."""


@dataclass(frozen=True, slots=True)
class Continuation:
    """What a server generated. ``text`` is None where the tokens say it."""

    tokens: np.ndarray
    stopped: bool
    text: str | None = None


class Plain:
    """Any server with ``/completions``: it generates, from token ids where it takes them.

    Args:
        url: address before ``/completions``; ``root``: the same without ``/v1``.
        tokenizer: None where only token ids go to and fro.
    """

    name: Flavour = "plain"
    gives: frozenset[Capability] = frozenset({"generations"})
    # Whether one request may disturb the draws of another.
    alone = False

    def __init__(self, url: str, root: str, model: str, tokenizer: Any) -> None:
        self.url, self.root, self.model, self.tokenizer = url, root, model, tokenizer

    def counting(self, prompt: str | list[int]) -> tuple[str, Body]:
        """A request that reads a prompt and writes one token."""
        return f"{self.url}/completions", {"model": self.model, "prompt": prompt, "max_tokens": 1, "temperature": 0}

    def ids_read(self, answer: Any) -> tuple[int | None, list[int | None]]:
        """How many tokens the server read of the prompt of ``counting``, and which; None where it does not say."""
        usage = answer.get("usage") if isinstance(answer, dict) else None
        count = usage.get("prompt_tokens") if isinstance(usage, dict) else None
        return (count if isinstance(count, int) else None), []

    def generation(
        self, prompt: np.ndarray, decoding: Decoding, limit: int, stop_ids: Sequence[int]
    ) -> tuple[str, Body]:
        body = {
            "model": self.model,
            "prompt": prompt.tolist(),
            "max_tokens": limit,
            "temperature": decoding.temperature,
        }
        if decoding.temperature > 0:
            body |= {"top_p": decoding.top_p, "seed": decoding.seed % LARGEST_SEED}
        stops = self._tokenizer().convert_ids_to_tokens([int(i) for i in stop_ids])
        if texts := [text for text in stops if text]:
            body["stop"] = texts[:4]  # no server of this kind takes more
        return f"{self.url}/completions", body

    def continuation(self, answer: Any, prompt: np.ndarray, stop_ids: Sequence[int]) -> Continuation:
        choice = _choices(answer, 1)[0]
        text, reason = choice.get("text"), choice.get("finish_reason")
        if not isinstance(text, str):
            raise Unreadable("The answer holds no text.")
        self._check_count(answer, prompt)
        tokens: list[int] = self._tokenizer().encode(text, add_special_tokens=False)
        stopped = reason == "stop" and bool(stop_ids)
        ids = np.array([*tokens, *(list(stop_ids)[:1] if stopped else [])], dtype=np.int64)
        return Continuation(ids, stopped, text)

    def _check_count(self, answer: Any, prompt: np.ndarray) -> None:
        count, _ = self.ids_read(answer)
        if count is not None and count != len(prompt):
            raise UserError(
                f"The server at {self.url} read {count:,} tokens where {len(prompt):,} were sent.",
                "Its tokenizer, or what it adds to a prompt, is not that of the folder.",
                "Give the folder of the tokenizer that the server's model uses.",
            )

    def _tokenizer(self) -> Any:
        if self.tokenizer is None:
            raise UserError(
                f"The server at {self.url} answers in text only.", "There is no tokenizer to read it with.",
                "Give the folder of the model's tokenizer.",
            )  # fmt: skip
        return self.tokenizer


class Transformers(Plain):
    """``transformers serve``: prompts are texts, and a generation configuration says all of the decoding."""

    name: Flavour = "transformers"
    alone = True  # it seeds the whole process for each request

    def generation(
        self, prompt: np.ndarray, decoding: Decoding, limit: int, stop_ids: Sequence[int]
    ) -> tuple[str, Body]:
        draws = decoding.temperature > 0
        configuration = {
            "max_new_tokens": limit,
            "do_sample": draws,
            "top_k": 0,
            **({"temperature": decoding.temperature, "top_p": decoding.top_p} if draws else {}),
            **({"eos_token_id": [int(i) for i in stop_ids]} if stop_ids else {}),
        }
        body: Body = {"model": self.model, "prompt": self.text_of(prompt), "max_tokens": limit}
        if draws:
            body["seed"] = decoding.seed % LARGEST_SEED
        return f"{self.url}/completions", body | {"generation_config": json.dumps(configuration)}

    def text_of(self, prompt: np.ndarray) -> str:
        """The text that the server reads as these tokens; where there is none, the text of the tokens.

        A beginning that the tokenizer adds by itself is left out.
        """
        tokenizer, ids = self._tokenizer(), prompt.tolist()
        texts: list[str] = [
            tokenizer.decode(ids[skipped:], skip_special_tokens=False, clean_up_tokenization_spaces=False)
            for skipped in (0, 1)
        ]
        same = [text for text in texts if tokenizer(text)["input_ids"] == ids]
        return next(iter(same), texts[0])

    def _check_count(self, answer: Any, prompt: np.ndarray) -> None:
        count, _ = self.ids_read(answer)
        expected = len(self._tokenizer()(self.text_of(prompt))["input_ids"])
        if count is not None and count != expected:
            super()._check_count(answer, prompt)


class Vllm(Plain):
    """vLLM: ``prompt_logprobs`` of token ids, with the rank of each; draws by seed; token ids in the answer."""

    name: Flavour = "vllm"
    gives: frozenset[Capability] = frozenset({"logprobs", "argmax", "margin", "generations"})

    def counting(self, prompt: str | list[int]) -> tuple[str, Body]:
        address, body = super().counting(prompt)
        return address, body | {"prompt_logprobs": 0}

    def ids_read(self, answer: Any) -> tuple[int | None, list[int | None]]:
        places = _choices(answer, 1)[0].get("prompt_logprobs")
        if not isinstance(places, list) or not all(p is None or isinstance(p, dict) for p in places):
            raise Unreadable("The answer holds no prompt_logprobs.")
        ids = [_whole(next(iter(place))) if place and len(place) == 1 else None for place in places]
        return len(places), ids

    def scoring(self, rows: Sequence[ScoreRow]) -> tuple[str, Body]:
        prompts = [row.ids[: row.positions.max() + 1].tolist() for row in rows]
        return f"{self.url}/completions", {
            "model": self.model, "prompt": prompts, "max_tokens": 1, "temperature": 0, "prompt_logprobs": TOP,
        }  # fmt: skip

    def scores(self, answer: Any, rows: Sequence[ScoreRow]) -> list[TokenScores]:
        choices = _choices(answer, len(rows))
        return [self._scores(choice, row) for choice, row in zip(choices, rows, strict=True)]

    def _scores(self, choice: Mapping[str, Any], row: ScoreRow) -> TokenScores:
        places, length = choice.get("prompt_logprobs"), int(row.positions.max()) + 1
        if not isinstance(places, list) or len(places) != length:
            got = len(places) if isinstance(places, list) else "none"
            raise Unreadable(f"prompt_logprobs should cover {length} tokens; it covers {got}.")
        entries = []
        for position in row.positions.tolist():
            place, own = places[position], int(row.ids[position])
            if not isinstance(place, dict) or str(own) not in place:
                raise Unreadable(f"prompt_logprobs lacks token {own} at position {position}.")
            others = {_whole(key): _logprob(value) for key, value in place.items() if key != str(own)}
            rank = place[str(own)].get("rank") if isinstance(place[str(own)], dict) else None
            entries.append(_entry(own, _logprob(place[str(own)]), others, rank))
        return _token_scores(row, entries)

    def generation(
        self, prompt: np.ndarray, decoding: Decoding, limit: int, stop_ids: Sequence[int]
    ) -> tuple[str, Body]:
        body: Body = {
            "model": self.model, "prompt": prompt.tolist(), "max_tokens": limit, "temperature": decoding.temperature,
            # Named one by one, since the model's generation_config stands in for what is left out.
            "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0,
            "top_p": decoding.top_p if decoding.temperature > 0 else 1.0,
            "stop_token_ids": [int(i) for i in stop_ids], "ignore_eos": True, "skip_special_tokens": False,
            "return_token_ids": True,
        }  # fmt: skip
        if decoding.temperature > 0:
            body["seed"] = decoding.seed
        return f"{self.url}/completions", body

    def continuation(self, answer: Any, prompt: np.ndarray, stop_ids: Sequence[int]) -> Continuation:
        choice = _choices(answer, 1)[0]
        tokens = choice.get("token_ids")
        if tokens is None:  # an older server: its text is all there is
            return super().continuation(answer, prompt, stop_ids)
        return _ended(tokens, choice.get("stop_reason"), stop_ids)


class Sglang(Plain):
    """SGLang, by its own ``/generate``: log-probabilities of input ids, output ids in the answer."""

    name: Flavour = "sglang"
    gives: frozenset[Capability] = frozenset({"logprobs", "argmax", "margin", "generations"})

    def counting(self, prompt: str | list[int]) -> tuple[str, Body]:
        asked = {"text": prompt} if isinstance(prompt, str) else {"input_ids": prompt}
        return f"{self.root}/generate", {
            **asked, "sampling_params": {"max_new_tokens": 1, "temperature": 0}, "return_logprob": True,
            "logprob_start_len": 0,
        }  # fmt: skip

    def ids_read(self, answer: Any) -> tuple[int | None, list[int | None]]:
        listed = _meta(answer).get("input_token_logprobs")
        if not isinstance(listed, list) or not all(isinstance(e, list) and len(e) >= 2 for e in listed):
            raise Unreadable("The answer holds no input_token_logprobs.")
        return len(listed), [_whole(entry[1]) for entry in listed]

    def scoring(self, rows: Sequence[ScoreRow]) -> tuple[str, Body]:
        return f"{self.root}/generate", {
            "input_ids": [row.ids[: row.positions.max() + 1].tolist() for row in rows],
            "sampling_params": {"max_new_tokens": 0, "temperature": 0},
            "return_logprob": True,
            # The list begins with a token whose own log-probability it does not give.
            "logprob_start_len": [int(row.positions.min()) - 1 for row in rows],
            "top_logprobs_num": TOP,
        }

    def scores(self, answer: Any, rows: Sequence[ScoreRow]) -> list[TokenScores]:
        answers = answer if isinstance(answer, list) else [answer]
        if len(answers) != len(rows):
            raise Unreadable(f"{len(rows)} rows were sent, {len(answers)} answers came back.")
        return [self._scores(_meta(one), row) for one, row in zip(answers, rows, strict=True)]

    def _scores(self, meta: Mapping[str, Any], row: ScoreRow) -> TokenScores:
        own_list, top_list = meta.get("input_token_logprobs"), meta.get("input_top_logprobs")
        if not isinstance(own_list, list) or not isinstance(top_list, list) or len(own_list) != len(top_list):
            raise Unreadable("input_token_logprobs and input_top_logprobs are not lists of one length.")
        start = int(row.positions.max()) + 1 - len(own_list)
        entries = []
        for position in row.positions.tolist():
            if not 0 <= position - start < len(own_list):
                raise Unreadable(f"input_token_logprobs does not cover position {position}.")
            entry, top = own_list[position - start], top_list[position - start]
            own = int(row.ids[position])
            if not isinstance(entry, list) or len(entry) < 2 or entry[1] != own or not isinstance(top, list):
                raise Unreadable(f"input_token_logprobs has another token than {own} at position {position}.")
            others = {_whole(e[1]): _logprob(e[0]) for e in top if isinstance(e, list) and len(e) >= 2 and e[1] != own}
            entries.append(_entry(own, _logprob(entry[0]), others, None))
        return _token_scores(row, entries)

    def generation(
        self, prompt: np.ndarray, decoding: Decoding, limit: int, stop_ids: Sequence[int]
    ) -> tuple[str, Body]:
        sampling: Body = {
            "max_new_tokens": limit, "temperature": decoding.temperature, "top_k": -1, "min_p": 0.0,
            "top_p": decoding.top_p if decoding.temperature > 0 else 1.0,
            "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0,
            # It takes "ignore the model's own stop" to mean every stop token.
            "stop_token_ids": [int(i) for i in stop_ids], "ignore_eos": not stop_ids, "skip_special_tokens": False,
            "spaces_between_special_tokens": False, "no_stop_trim": True,
        }  # fmt: skip
        if decoding.temperature > 0:
            sampling["sampling_seed"] = decoding.seed % LARGEST_SEED
        return f"{self.root}/generate", {"input_ids": prompt.tolist(), "sampling_params": sampling}

    def continuation(self, answer: Any, prompt: np.ndarray, stop_ids: Sequence[int]) -> Continuation:
        meta, tokens = _meta(answer), answer.get("output_ids")
        if tokens is None:
            text, reason = answer.get("text"), meta.get("finish_reason")
            ended = reason.get("type") if isinstance(reason, dict) else reason
            return super().continuation({"choices": [{"text": text, "finish_reason": ended}]}, prompt, stop_ids)
        reason = meta.get("finish_reason")
        return _ended(tokens, reason.get("matched") if isinstance(reason, dict) else None, stop_ids)


FLAVOURS: Mapping[Flavour, type[Plain]] = {kind.name: kind for kind in (Vllm, Sglang, Transformers, Plain)}


def _choices(answer: Any, n: int) -> list[Mapping[str, Any]]:
    choices = answer.get("choices") if isinstance(answer, dict) else None
    if not isinstance(choices, list) or len(choices) != n or not all(isinstance(c, dict) for c in choices):
        raise Unreadable(f"The answer should hold {n} choices.")
    return sorted(choices, key=lambda choice: choice.get("index", 0))


def _meta(answer: Any) -> Mapping[str, Any]:
    meta = answer.get("meta_info") if isinstance(answer, dict) else None
    if not isinstance(meta, dict):
        raise Unreadable("The answer holds no meta_info.")
    return meta


def _whole(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError) as error:
        raise Unreadable(f"{str(value)[:40]!r} is no token id.") from error


def _logprob(value: Any) -> float:
    if isinstance(value, dict):
        value = value.get("logprob")
    if not isinstance(value, int | float) or isinstance(value, bool) or math.isnan(value) or value > 1e-3:
        raise Unreadable(f"{str(value)[:40]!r} is no log-probability.")
    return min(float(value), 0.0)


def _entry(own: int, logprob: float, others: Mapping[int, float], rank: Any) -> tuple[float, int, float]:
    """Log-probability, argmax (-1 = not known) and margin (NaN = not known) of one token."""
    if not others:
        return logprob, own if rank == 1 else -1, np.nan
    best = max(others, key=lambda i: (others[i], -i))
    margin = logprob - others[best]
    first = rank == 1 if isinstance(rank, int) else margin > 0 or (margin == 0 and own < best)
    return logprob, own if first else best, margin


def _token_scores(row: ScoreRow, entries: Sequence[tuple[float, int, float]]) -> TokenScores:
    logprobs, argmax, margin = zip(*entries, strict=True)
    return TokenScores.of(
        row.positions,
        np.array(logprobs, dtype=np.float32),
        np.array(argmax, dtype=np.int64),
        np.array(margin, dtype=np.float32),
    )


def _ended(tokens: Any, matched: Any, stop_ids: Sequence[int]) -> Continuation:
    """The tokens, with the stop token that ended them where the server leaves it out."""
    if not isinstance(tokens, list) or not all(type(t) is int and t >= 0 for t in tokens):
        raise Unreadable("The generated tokens are no list of ids.")
    stops = set(map(int, stop_ids))
    if type(matched) is int and matched in stops and (not tokens or tokens[-1] not in stops):
        tokens = [*tokens, matched]
    return Continuation(np.array(tokens, dtype=np.int64), bool(tokens) and tokens[-1] in stops)
