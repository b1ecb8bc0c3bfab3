"""A model on a server and the folder with its tokenizer: the checkpoint that they make, and its checks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from core.backends._base import capabilities_of
from core.backends._flavours import FLAVOURS
from core.backends._probe import (
    answers,
    check_tokenizer,
    check_unchanged,
    model_of,
    models,
    probe,
    stop_ids_of_folder,
    wire_of,
)
from core.backends._server import Client, allow, check_allowed
from core.checkpoint.card_rows import Rows, Variant, row_checks
from core.checkpoint.facts import TEMPLATE_FILES, TOKENIZER_FILES, FolderFacts
from core.checkpoint.folder_guards import listed, read_json, refuse_links
from core.errors import UserError
from core.plugins import kind
from core.rendering.tokenizers import open_tokenizer, template_in
from core.types import Check, Checkpoint, Flavour, Sample, Server

__all__ = ["allow", "as_checkpoint", "check_allowed", "examined", "folder_facts", "server_checks"]

LABELS: dict[Flavour, str] = {
    "vllm": "vLLM",
    "sglang": "SGLang",
    "transformers": "transformers serve",
    "plain": "an OpenAI-compatible server",
}


def as_checkpoint(url: str, model: str, tokenizer: Path, label: str = "") -> Checkpoint:
    """The value that names a model on a server in a run.

    Args:
        url: address before ``/completions``; it must be allowed (see ``core.backends._server``).
        model: the name that the server lists; empty for its only one.
        tokenizer: folder of the model's tokenizer.

    Raises:
        UserError: the server cannot be asked, lists no such model, or reads texts with another tokenizer.
    """
    folder = Path(tokenizer).resolve()
    opened = open_tokenizer(str(folder))
    refuse_links(folder)
    client = Client(url)
    try:
        contexts = models(client)
        model = model_of(contexts, model, client.url)
        wire = wire_of(client, model, opened, contexts)
        check_tokenizer(client, wire, opened)
        context = contexts.get(model) or _context_of_folder(folder)
        # A server that scores always generates a token, too, which must find room.
        limit = None if context is None else context - ("logprobs" in wire.gives)
        server = Server(client.url, model, wire.name, limit, probe(client, wire, opened))
        said = answers(client, wire, opened)
    finally:
        client.close()
    total = hashlib.sha256(f"server\0{server.url}\0{model}\0{wire.name}\0{said}\n".encode())
    for name in sorted((*TOKENIZER_FILES, *TEMPLATE_FILES)):
        if (folder / name).is_file():
            total.update(f"{name}\0{hashlib.sha256((folder / name).read_bytes()).hexdigest()}\n".encode())
    return Checkpoint(str(folder), None, None, label or model, total.hexdigest(), server=server)


def _context_of_folder(folder: Path) -> int | None:
    """What the configuration beside the tokenizer says, where the server says nothing."""
    config = read_json(folder, "config.json")
    text = config["text_config"] if isinstance(config.get("text_config"), dict) else config
    length = text.get("max_position_embeddings")
    return length if type(length) is int and length > 1 else None


def folder_facts(checkpoint: Checkpoint) -> FolderFacts:
    """What is known of a model on a server, in the form of a folder's facts: no weights, no sizes."""
    server = checkpoint.server
    assert server is not None
    folder = Path(checkpoint.path)
    names = listed(folder)
    tokenizer_files = tuple(name for name in TOKENIZER_FILES if name in names)
    template = next((name for name in TEMPLATE_FILES if name in names), "tokenizer_config.json")
    return FolderFacts(
        path=folder, kind="full", model_type="", architecture=f"{server.model} on {LABELS[server.flavour]}",
        n_parameters=0, dtypes={}, n_bytes=0, shards=(), vocab_size=None, context_length=server.context_length,
        quantised="", tokenizer_files=tokenizer_files, chat_template=template if template_in(str(folder)) else "",
        eos_ids=stop_ids_of_folder(checkpoint.path, open_tokenizer(checkpoint.path)), step=None, adapter=None,
        trainer=None, has_training_args=False,
        notes=(f"the weights are on {server.url}; nothing of them was looked at",),
    )  # fmt: skip


def examined(
    checkpoint: Checkpoint, samples: Sequence[Sample], preset: str, preset_settings: Mapping[str, Any], backend: str
) -> tuple[FolderFacts, tuple[Check, ...], Variant]:
    """Facts, checks and the tokenizer variant that fits, for the sanity card."""
    facts = folder_facts(checkpoint)
    rows = Rows(checkpoint, facts, facts, None, samples, preset, preset_settings, "auto", "cpu", backend)
    checks = server_checks(checkpoint)
    usable = not any(check.state == "fail" for check in checks)
    more, variant = row_checks(rows, usable and "logprobs" in capabilities_of(kind("backends", backend), checkpoint))
    return facts, (*checks, *more), variant


def server_checks(checkpoint: Checkpoint) -> list[Check]:
    """Whether the server answers, is what it was, and reads as the folder's tokenizer does."""
    server = checkpoint.server
    assert server is not None
    tokenizer = open_tokenizer(checkpoint.path, checkpoint.tokenizer)
    try:
        client = Client(server.url)
    except UserError as error:
        return [Check("server", "fail", error.what, error.why, error.todo)]
    try:
        wire = FLAVOURS[server.flavour](client.url, client.root, server.model, tokenizer)
        check_unchanged(client, wire, server, tokenizer)
        compared = check_tokenizer(client, wire, tokenizer)
    except UserError as error:
        return [Check("server", "fail", error.what, error.why, error.todo)]
    finally:
        client.close()
    checks = [
        Check("server", "pass", f"The server answers: {LABELS[server.flavour]} with {server.model}.", server.url),
        Check("weights_on_server", "unknown", "The weights are on the server and were not looked at."),
    ]
    if compared:
        text = "The server reads texts as the folder's tokenizer does."
        return [*checks, Check("server_tokenizer", "pass", text, f"on {compared} texts")]
    text = "The server does not say how it reads a text, so its tokenizer was not compared."
    return [*checks, Check("server_tokenizer", "unknown", text)]
