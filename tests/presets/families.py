"""Small tokenizers in the shape of known families, trained here on made-up text."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import trl
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from core.types import Message, Sample, content_hash

TRL_TEMPLATES = Path(trl.__file__).parent / "chat_templates"

OLMO2_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'system' %}"
    "{{ '<|system|>\n' + message['content'] + '\n' }}{% elif message['role'] == 'user' %}"
    "{{ '<|user|>\n' + message['content'] + '\n' }}{% elif message['role'] == 'assistant' %}{% if not loop.last %}"
    "{{ '<|assistant|>\n'  + message['content'] + eos_token + '\n' }}{% else %}"
    "{{ '<|assistant|>\n'  + message['content'] + eos_token }}{% endif %}{% endif %}"
    "{% if loop.last and add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}{% endfor %}"
)
LLAMA2_TEMPLATE = (
    "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + message['content'].strip() + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'].strip() + ' ' + eos_token }}{% endif %}"
    "{% endfor %}"
)
MARKED_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}{{ '\n' }}{% else %}"
    "{{ message['content'] + '<|im_end|>' + '\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# No end-of-turn token, no generation prompt: the awkward end of what people write.
BARE_TEMPLATE = (
    "{% for message in messages %}{{ '### ' + message['role'] + '\n' + message['content'] + '\n' }}{% endfor %}"
)

CHATML_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
LLAMA3_TOKENS = (
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<|python_tag|>",
)
# The pre-tokenizer of Llama 3: digits in groups of up to three.
LLAMA3_SPLIT = "|".join(
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)",
        r"[^\r\n\p{L}\p{N}]?\p{L}+",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    )
)


def _corpus() -> list[str]:
    things = ("river", "lantern", "harbour", "Zürich", "café", "東京", "violin", "glacier", "42 apples", "a\tb")
    verbs = ("crosses", "paints", "forgets", "counts 1,234 times", "don't mind", "sings to")
    lines = [f"The {a} {v} the {b}.\n" for a in things for v in verbs for b in things]
    return [*lines, "### User:\nWhat is it?\n### Assistant:\nIt is so.\n"] * 2


@cache
def _byte_level(tokens: tuple[str, ...], added: tuple[str, ...], bos: str | None, trim: bool) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(Regex(LLAMA3_SPLIT), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(_corpus(), trainer)
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in tokens])
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in added])
    ends = processors.ByteLevel(trim_offsets=trim)
    if bos:
        start = processors.TemplateProcessing(f"{bos} $A", special_tokens=[(bos, tokenizer.token_to_id(bos))])
        ends = processors.Sequence([ends, start])
    tokenizer.post_processor = ends
    return tokenizer


@cache
def _metaspace() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    special = ["<unk>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=[*special, *(f"<0x{b:02X}>" for b in range(256))], show_progress=False
    )
    tokenizer.train_from_iterator((x for line in _corpus() for x in line.split(" ")), trainer)
    saved = json.loads(tokenizer.to_str())
    saved["added_tokens"] = [t for t in saved["added_tokens"] if t["content"] in special]
    tokenizer = Tokenizer.from_str(json.dumps(saved))
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer


@cache
def _forgetful() -> Tokenizer:
    """No unknown token, no bytes, no bounds between words: what has no token is left out."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<s>", "</s>"], show_progress=False)
    tokenizer.train_from_iterator([x.replace("#", "") for x in _corpus()], trainer)
    return tokenizer


def _fast(backend: Tokenizer, template: str | None, **tokens: str) -> PreTrainedTokenizerFast:
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **tokens)
    tokenizer.chat_template = template
    return tokenizer


def _known(name: str) -> str:
    return (TRL_TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8")


def tokenizer(family: str) -> PreTrainedTokenizerFast:
    """A fresh tokenizer of the family."""
    tags = ("<tool_call>", "</tool_call>", "<think>", "</think>")
    if family in ("qwen2_5", "qwen3", "marked", "chatml_without_template"):
        template = {"marked": MARKED_TEMPLATE, "chatml_without_template": None}.get(family, "")
        template = _known(family) if template == "" else template
        backend = _byte_level(CHATML_TOKENS, tags, None, False)
        return _fast(backend, template, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    if family in ("llama3", "llama3_2"):
        backend = _byte_level(LLAMA3_TOKENS, (), "<|begin_of_text|>", True)
        return _fast(backend, _known(family), bos_token="<|begin_of_text|>", eos_token="<|eot_id|>")
    if family in ("olmo2", "bare", "without_template"):
        template = {"olmo2": OLMO2_TEMPLATE, "bare": BARE_TEMPLATE, "without_template": None}[family]
        backend = _byte_level(("<|endoftext|>", "<|pad|>"), (), None, True)
        return _fast(backend, template, bos_token="<|endoftext|>", eos_token="<|endoftext|>", pad_token="<|endoftext|>")
    if family == "llama2":
        return _fast(_metaspace(), LLAMA2_TEMPLATE, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    if family == "forgetful":
        return _fast(_forgetful(), None, bos_token="<s>", eos_token="</s>")
    raise KeyError(family)


FAMILIES = ("qwen2_5", "qwen3", "llama3", "olmo2", "llama2", "marked", "without_template", "chatml_without_template")


def chat(*turns: tuple[str, str] | Message, tools: str | None = None, raw: dict | None = None) -> Sample:
    """A sample of messages; turns are (role, content) or messages."""
    messages = tuple(t if isinstance(t, Message) else Message(*t) for t in turns)
    row = {"messages": [m.as_dict() for m in messages]} if raw is None else raw
    return _sample(messages, "chat", json.dumps(row).encode(), tools)


def message_pair(prompt: list[tuple[str, str]], *completion: tuple[str, str], **extra) -> Sample:
    """A prompt-completion row of messages, as it is read: the prompt's turns not trained, the completion's trained."""
    row = {k: [{"role": r, "content": c} for r, c in v] for k, v in (("prompt", prompt), ("completion", completion))}
    turns = [Message(r, c, train=False) for r, c in prompt] + [Message(r, c, train=True) for r, c in completion]
    return chat(*turns, raw={**row, **extra})


def pair(prompt: str, completion: str) -> Sample:
    messages = (Message("user", prompt), Message("assistant", completion))
    return _sample(messages, "prompt_completion", json.dumps({"prompt": prompt, "completion": completion}).encode())


def text(content: str) -> Sample:
    return _sample((Message("text", content),), "text", json.dumps({"text": content}).encode())


def _sample(messages, shape, raw, tools=None) -> Sample:
    key = content_hash(messages, shape, tools)
    return Sample(f"{key[:12]}-0", 0, 0, messages, shape, tools, None, None, key, raw)
