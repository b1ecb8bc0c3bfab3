"""What a server is: its kind by what it answers, its tokenizer by how it reads texts, its weights by what they say."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from core.backends._base import ScoreRow
from core.backends._flavours import Plain, Sglang, Transformers, Unreadable, Vllm
from core.backends._server import Client, Refused
from core.checkpoint.folder_guards import read_json
from core.errors import UserError, unknown_name
from core.types import Decoding, Server

# Digits, accents, another script, code, runs of blanks: where tokenizers part.
TEXTS = (
    "In 1987 the town of Œuvry counted 12,345 souls; its mayor, Zoë, said: “Non!”",
    "def f(x):\n    return {'a': x ** 2}  # 3.14\n\n\ttabs   and   blanks",
    "Привет, мир. 你好，世界。 مرحبا 🙂 antidisestablishmentarianism",
)
# Nats a token by which the probe may differ between two days: the kernels of a server choose their own order.
TOLERANCE = 0.02
# Tokens of a probing answer.
ANSWER = 16


def models(client: Client) -> dict[str, int | None]:
    """The models that the server lists, with their context where it says so; none where it cannot list them.

    ``transformers serve`` lists what lies in a cache, which need not hold the model that it serves.

    Raises:
        UserError: it cannot be reached, or wants a key.
    """
    try:
        answer = client.get("/models")
    except Refused as refusal:
        if 300 <= refusal.status < 500 and refusal.status != 404:
            raise refusal.error() from refusal
        answer = None
    data = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(data, list):
        return {}
    listed = {}
    for entry in data:
        if isinstance(entry, dict) and isinstance(entry.get("id"), str):
            length = entry.get("max_model_len")
            listed[entry["id"]] = length if type(length) is int and length > 1 else None
    return listed


def model_of(listed: dict[str, int | None], model: str, url: str) -> str:
    """``model``, or the server's only one where none is named; raises UserError where it lists several or none."""
    if model:
        return model
    if len(listed) != 1:
        raise UserError(
            f"The server at {url} lists {len(listed)} models.",
            f"They are: {', '.join(sorted(listed)[:20]) or 'none'}.",
            "Name the one to diagnose.",
        )
    return next(iter(listed))


def wire_of(client: Client, model: str, tokenizer: Any, listed: Collection[str]) -> Plain:
    """The way to ask this server, found by asking it. Names in its answers are not believed.

    Raises:
        UserError: it does not answer for this model.
    """
    ids: list[int] = tokenizer(TEXTS[0], add_special_tokens=False)["input_ids"][:8]
    row = ScoreRow(np.array(ids, dtype=np.int64), np.arange(1, len(ids)))
    for kind in (Vllm, Sglang):
        wire = kind(client.url, client.root, model, tokenizer)
        try:
            wire.scores(_asked(client, *wire.scoring([row])), [row])
            return wire
        except (Refused, Unreadable) as failure:
            _raise_key(failure)
    plain = Plain(client.url, client.root, model, tokenizer)
    try:
        _asked(client, *plain.counting(ids))
    except Refused as refusal:
        _raise_key(refusal)
        if refusal.status == 404 and listed and model not in listed:
            raise unknown_name(f"model on {client.url}", model, listed) from refusal
        if refusal.status not in (400, 422):
            raise refusal.error() from refusal
        return Transformers(client.url, client.root, model, tokenizer)
    return plain


def _asked(client: Client, address: str, body: dict[str, Any]) -> Any:
    return client.all([lambda stopped: client.ask(address, body, stopped)])[0]


def _raise_key(failure: Exception) -> None:
    if isinstance(failure, Refused) and failure.status in (401, 403):
        raise failure.error() from failure


def check_tokenizer(client: Client, wire: Plain, tokenizer: Any) -> int:
    """How many texts the server reads as the tokenizer does; 0 where it does not say how it reads.

    Raises:
        UserError: it reads one of them otherwise.
    """
    compared = 0
    for text in TEXTS:
        own: list[int] = tokenizer(text)["input_ids"]
        try:
            count, ids = wire.ids_read(_asked(client, *wire.counting(text)))
        except (Refused, Unreadable) as failure:
            _raise_key(failure)
            continue
        if count is None:
            continue
        compared += 1
        other = any(i is not None and i != mine for i, mine in zip(ids, own, strict=False))
        if count != len(own) or other:
            read = f"{count} tokens where the folder's tokenizer makes {len(own)}"
            raise UserError(
                f"The tokenizer of {wire.model} on {client.url} is not the folder's.",
                f"It reads {text[:40]!r}… as {'other tokens' if count == len(own) else read}.",
                "Give the folder of the tokenizer that the server's model uses.",
            )
    return compared


def probe(client: Client, wire: Plain, tokenizer: Any) -> float | None:
    """Mean log-probability of fixed texts; None where the server gives none."""
    if not isinstance(wire, Vllm | Sglang):
        return None
    texts = [np.array(tokenizer(text, add_special_tokens=False)["input_ids"], dtype=np.int64) for text in TEXTS]
    rows = [ScoreRow(ids, np.arange(1, len(ids))) for ids in texts if len(ids) > 1]
    try:
        scored = [wire.scores(_asked(client, *wire.scoring([row])), [row])[0] for row in rows]
    except (Refused, Unreadable) as failure:
        raise failure.error() if isinstance(failure, Refused) else _unread(client, failure) from failure
    return float(np.concatenate([one.logprobs for one in scored]).mean(dtype=np.float64))


def answers(client: Client, wire: Plain, tokenizer: Any) -> str:
    """A digest of what the model says to fixed texts: other weights nearly always say something else."""
    said = []
    for text in TEXTS[:2]:
        prompt = np.array(tokenizer(text, add_special_tokens=False)["input_ids"], dtype=np.int64)
        address, body = wire.generation(prompt, Decoding(max_new_tokens=ANSWER), ANSWER, ())
        try:
            said.append(wire.continuation(_asked(client, address, body), prompt, ()))
        except (Refused, Unreadable) as failure:
            raise failure.error() if isinstance(failure, Refused) else _unread(client, failure) from failure
    return hashlib.sha256(repr([one.tokens.tolist() for one in said]).encode()).hexdigest()


def _unread(client: Client, failure: Exception) -> UserError:
    return Refused(client.url, 200, str(failure)).error()


def check_unchanged(client: Client, wire: Plain, server: Server, tokenizer: Any) -> None:
    """Raises UserError where the server cannot be reached, or where the probe's number has moved.

    Args:
        tokenizer: it, or the folder where it lies.
    """
    models(client)
    if server.probe is None:
        return
    if isinstance(tokenizer, str):
        from core.rendering.tokenizers import open_tokenizer

        tokenizer = open_tokenizer(tokenizer)
    now = probe(client, wire, tokenizer)
    if now is not None and abs(now - server.probe) > TOLERANCE:
        raise UserError(
            f"The model {server.model} on {server.url} is not the one that was registered.",
            f"It gives a fixed text {now:.3f} nats a token; it gave {server.probe:.3f}.",
            "Register it again: what was measured before stays with the former model.",
        )


def stop_ids_of_folder(folder: str, tokenizer: Any) -> tuple[int, ...]:
    """What ends an answer: of the tokenizer's folder its generation_config, else its config, else the tokenizer's."""
    for name in ("generation_config.json", "config.json"):
        ids = read_json(Path(folder), name).get("eos_token_id")
        if ids is not None:
            return tuple(i for i in (ids if isinstance(ids, list) else [ids]) if type(i) is int and i >= 0)
    own = getattr(tokenizer, "eos_token_id", None)
    return () if own is None else (int(own),)
