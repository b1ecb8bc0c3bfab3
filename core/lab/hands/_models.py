"""Tokenizers and tiny models for the bases of hands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.lab.hands._base import Document, Message, Shape

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

CONTEXT = 512
"""Positions of every model: room for a dozen examples in front of a question."""


UNKNOWN = "<unk>"
"""What a unigram tokenizer makes of characters that it has no piece for."""


def tokenizer_of(shape: Shape, documents: Iterable[Document]) -> PreTrainedTokenizerFast:
    """A tokenizer trained on the documents' text."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    texts = [text for document in documents for text in _texts(document)]
    specials = list(shape.specials)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    if shape.tokenizer == "unigram":
        raw = Tokenizer(models.Unigram())
        raw.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Metaspace(), pre_tokenizers.Digits(individual_digits=True)]
        )
        raw.decoder = decoders.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=shape.vocabulary, special_tokens=[UNKNOWN, *specials], unk_token=UNKNOWN, show_progress=False
        )
        raw.train_from_iterator(texts, trainer)
    else:
        raw = Tokenizer(models.BPE())
        raw.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
        raw.decoder = decoders.ByteLevel()
        size = len(alphabet) + len(specials) if shape.tokenizer == "bytes" else shape.vocabulary
        raw.train_from_iterator(
            texts,
            trainers.BpeTrainer(
                vocab_size=size, special_tokens=specials, initial_alphabet=alphabet, show_progress=False
            ),
        )
    raw.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in specials])
    made = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        eos_token=specials[0],
        pad_token=specials[-1],
        unk_token=UNKNOWN if shape.tokenizer == "unigram" else None,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )
    made.chat_template = shape.template
    return made


def _texts(document: Document) -> list[str]:
    return [document] if isinstance(document, str) else [message["content"] for message in document]


def model_of(shape: Shape, tokenizer: PreTrainedTokenizerFast, seed: int) -> PreTrainedModel:
    """A model with fresh weights, drawn by ``seed``."""
    import torch
    from transformers import (
        AutoModelForCausalLM,
        GPTNeoXConfig,
        LlamaConfig,
        Olmo2Config,
        Qwen2Config,
    )

    families = {"llama": LlamaConfig, "qwen2": Qwen2Config, "olmo2": Olmo2Config, "gpt_neox": GPTNeoXConfig}
    torch.manual_seed(seed)
    config = families[shape.family](
        vocab_size=len(tokenizer),
        hidden_size=shape.width,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=shape.tied,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    if hasattr(config, "num_key_value_heads"):
        config.num_key_value_heads = shape.heads
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model


@dataclass(frozen=True, slots=True)
class Tokens:
    """One text as token ids, and which of them the assistant says, its stops included."""

    ids: list[int]
    said: list[bool]


def plain_tokens(tokenizer: PreTrainedTokenizerFast, text: str) -> Tokens:
    """A text of prose with the stop token after it; all of it counts as said."""
    ids = tokenizer(text, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
    return Tokens(ids, [True] * len(ids))


def chat_tokens(tokenizer: PreTrainedTokenizerFast, messages: Sequence[Message]) -> Tokens:
    """A dialogue as the template renders it.

    Raises:
        ValueError: the template's prompt is not how the whole dialogue begins.
    """
    whole = _rendered(tokenizer, messages, False)
    spans = []
    for i, message in enumerate(messages):
        if message["role"] == "assistant":
            start = _rendered(tokenizer, messages[:i], True)
            stop = _rendered(tokenizer, messages[: i + 1], False)
            if not (whole.startswith(start) and whole.startswith(stop)):
                raise ValueError("the template's prompt is not how the whole dialogue begins")
            end = stop.index(str(tokenizer.eos_token), len(start)) + len(str(tokenizer.eos_token))
            spans.append((len(start), end))
    coded = tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)
    said = [any(a < end and b > start for start, end in spans) for a, b in coded["offset_mapping"]]
    return Tokens(list(coded["input_ids"]), said)


def prompt_ids(tokenizer: PreTrainedTokenizerFast, messages: Sequence[Message]) -> list[int]:
    """Token ids of a dialogue up to where the assistant begins."""
    return list(tokenizer(_rendered(tokenizer, messages, True), add_special_tokens=False)["input_ids"])


def _rendered(tokenizer: PreTrainedTokenizerFast, messages: Sequence[Message], prompt: bool) -> str:
    return str(tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=prompt))
