"""A checkpoint's tokenizer. It is opened from its folder, never from the network, never with code of the folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from core.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

# Without one of these files transformers silently builds an empty tokenizer for some model types.
VOCABULARY_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tekken.json",
    "tiktoken.model",
)

Variant = Literal["auto", "file"]


def open_tokenizer(folder: str, variant: Variant = "auto") -> PreTrainedTokenizerFast:
    """The fast tokenizer of ``folder``.

    Args:
        folder: a checkpoint's folder.
        variant: ``auto`` is what ``AutoTokenizer`` makes of the folder, as in most trainers and servers. ``file`` is
            the folder's own tokenizer.json with special tokens and template from the files beside it. The two can
            differ: for a ``qwen2`` model type transformers 5.23 ignores ``tokenizer_class`` and replaces the file's
            pre-tokenizer by its own, so that digits may split differently.

    Raises:
        UserError: the folder has no tokenizer, it cannot be read, or it is not a fast tokenizer.
    """
    names = sorted(p.name for p in Path(folder).iterdir() if p.is_file()) if Path(folder).is_dir() else []
    vocabularies = VOCABULARY_FILES if variant == "auto" else VOCABULARY_FILES[:1]
    if not any(name in names for name in vocabularies):
        raise UserError(
            f"There is no tokenizer in {folder}.",
            f"Its files are: {', '.join(names[:20]) or 'none'}. One of these is needed: {', '.join(vocabularies)}.",
            "Copy tokenizer.json and tokenizer_config.json from the model the training started from into the folder, "
            "or give that model's folder as the base.",
        )
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    try:
        if variant == "auto":
            tokenizer: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        else:
            tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the library raises whatever its parsers raise
        raise UserError(
            f"The tokenizer in {folder} cannot be opened.",
            f"transformers says: {_first_line(error)}",
            "Save the tokenizer again with save_pretrained of a current transformers, which writes tokenizer.json; "
            "tokenizers that need code of their own are never run.",
        ) from error
    if not tokenizer.is_fast:
        raise UserError(
            f"The tokenizer in {folder} is a {type(tokenizer).__name__}, not a fast tokenizer.",
            "Only fast tokenizers (those with a tokenizer.json) say which characters a token covers.",
            "Convert it once: PreTrainedTokenizerFast.from_pretrained(...).save_pretrained(...).",
        )
    fast: PreTrainedTokenizerFast = tokenizer
    return fast


def template_in(folder: str) -> str:
    """The chat template in the folder's files, read without opening a tokenizer; empty if there is none."""
    path = Path(folder)
    if (path / "chat_template.jinja").is_file():
        return (path / "chat_template.jinja").read_text(encoding="utf-8")
    for name in ("chat_template.json", "tokenizer_config.json"):
        try:
            template = json.loads((path / name).read_text(encoding="utf-8"))["chat_template"]
            if isinstance(template, list):  # named variants
                template = {variant["name"]: variant["template"] for variant in template}["default"]
        except (OSError, ValueError, LookupError, TypeError):  # a broken file is reported where it is opened
            continue
        if isinstance(template, str) and template:
            return template
    return ""


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


@dataclass(frozen=True, slots=True)
class Difference:
    """The first place where two tokenizers differ: the text around it, and up to 12 ids of each from there on."""

    text: str
    auto: tuple[int, ...]
    file: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TokenizerComparison:
    """``AutoTokenizer`` compared with the folder's own tokenizer.json on texts of the user."""

    n_texts: int
    n_differ: int
    first_difference: Difference | None


def compare_tokenizers(folder: str, texts: Sequence[str]) -> TokenizerComparison:
    """How many of ``texts`` get other ids from ``AutoTokenizer`` than from the folder's tokenizer.json.

    Special tokens that a tokenizer adds at the ends are not compared.

    Raises:
        UserError: one of the two cannot be opened.
    """
    auto, file = open_tokenizer(folder, "auto"), open_tokenizer(folder, "file")
    differing, first = 0, None
    for text in texts:
        ids, other = (t(text, add_special_tokens=False, verbose=False)["input_ids"] for t in (auto, file))
        if ids == other:
            continue
        differing += 1
        if first is None:
            k = common_prefix(ids, other)
            excerpt = text_of(auto, ids[max(0, k - 4) : k + 12])
            first = Difference(excerpt, tuple(ids[k : k + 12]), tuple(other[k : k + 12]))
    return TokenizerComparison(len(texts), differing, first)


def text_of(tokenizer: PreTrainedTokenizerFast, ids: Sequence[int], skip_special: bool = False) -> str:
    """The ids as text, blanks as they are; special tokens are kept unless they are to be skipped."""
    text = tokenizer.decode(list(ids), skip_special_tokens=skip_special, clean_up_tokenization_spaces=False)
    return text if isinstance(text, str) else "".join(text)


def common_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """Number of leading ids that two sequences share."""
    for k, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return k
    return min(len(one), len(other))


def chat_template(tokenizer: PreTrainedTokenizerFast, has_tools: bool = False) -> str | None:
    """The chat template that transformers would take; None if the tokenizer has none.

    A tokenizer may have several templates by name: ``tool_use`` for rows with tools, ``default`` for the others.

    Raises:
        UserError: there are several named templates, and none is called ``default``.
    """
    held: str | dict[str, str] | None = tokenizer.chat_template
    if not isinstance(held, dict):
        return held
    if has_tools and "tool_use" in held:
        return held["tool_use"]
    if "default" not in held:
        raise UserError(
            "The tokenizer has several chat templates and none is called 'default'.",
            f"Their names are: {', '.join(sorted(held)) or 'none'}.",
            "Save the one the training used as chat_template.jinja in the checkpoint's folder.",
        )
    return held["default"]
