"""Tiny real checkpoints: tokenizer, configuration, supervised rows, training with transformers' Trainer.

Everything lands in ordinary Hugging Face folders (safetensors, tokenizer beside), so whatever reads a real checkpoint
reads these. ``l`` is the number of tokens of a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import UserError, unknown_name
from core.lab.words import Message
from core.proof.trainer import fit

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

Row = tuple[list[int], list[bool]]
"""Token ids of a row and which of them carry loss, (l,) and (l,)."""

PAD, EOS, TURN_START, TURN_END = "<|pad|>", "<|endoftext|>", "<|im_start|>", "<|im_end|>"

# A role outside the three is refused, as strict templates do.
_TURN = (
    "{%- if message['role'] not in ['system', 'user', 'assistant'] -%}"
    "{{- raise_exception('Role ' ~ message['role'] ~ ' is not known') -}}{%- endif -%}"
    "{{- '<|im_start|>' ~ message['role'] ~ '\\n' -}}"
)
_GENERATION_PROMPT = "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
TEMPLATES = {
    "chatml": "{%- for message in messages -%}"
    + _TURN
    + "{{- message['content'] ~ '<|im_end|>\\n' -}}{%- endfor -%}"
    + _GENERATION_PROMPT,
    # The same text; the markers tell trainers which tokens are the assistant's.
    "chatml_generation": "{%- for message in messages -%}"
    + _TURN
    + "{%- if message['role'] == 'assistant' -%}"
    + "{%- generation -%}{{- message['content'] ~ '<|im_end|>' -}}{%- endgeneration -%}{{- '\\n' -}}"
    + "{%- else -%}{{- message['content'] ~ '<|im_end|>\\n' -}}{%- endif -%}{%- endfor -%}"
    + _GENERATION_PROMPT,
}

# The pre-tokenizer of Qwen2, which transformers puts in place of the folder's own for that model type. Using it for
# every family keeps AutoTokenizer and tokenizer.json of these checkpoints in agreement.
_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

FAMILIES = ("llama", "olmo2", "qwen2")


def build_tokenizer(texts: Iterable[str], vocab_size: int, template: str | None = "chatml") -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer learned from ``texts``, with the special tokens of ChatML.

    Args:
        vocab_size: upper limit, special tokens and the 256 bytes included.
        template: a name in ``TEMPLATES``, or None for a tokenizer without a chat template.

    Raises:
        UserError: no template of that name.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    if template is not None and template not in TEMPLATES:
        raise unknown_name("template", template, TEMPLATES)
    bpe = Tokenizer(models.BPE())
    bpe.normalizer = normalizers.NFC()
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, EOS, TURN_START, TURN_END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    # Role names stand in every rendered row but in no text; repeated, they become single tokens.
    bpe.train_from_iterator([*texts, *["system\nuser\nassistant\n"] * 1000], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token=PAD, eos_token=EOS)
    if template is not None:
        tokenizer.chat_template = TEMPLATES[template]
    return tokenizer


def tiny_config(
    family: str,
    vocab: int,
    hidden: int = 128,
    layers: int = 2,
    heads: int = 4,
    kv_heads: int | None = None,
    context: int = 256,
    tied: bool = True,
    init: float = 0.06,
) -> PreTrainedConfig:
    """A configuration of ``family`` with the architecture's own quirks (Qwen2's biases, OLMo2's norms) kept.

    Args:
        init: standard deviation of fresh weights. The usual 0.02 is made for widths in the thousands; at width 128
            the plateau before facts are learned lasts twice as long with it.

    Raises:
        UserError: no such family, or ``hidden`` is no multiple of ``heads``.
    """
    from transformers import AutoConfig

    if family not in FAMILIES:
        raise unknown_name("model family", family, FAMILIES)
    if hidden % heads:
        raise UserError(f"hidden={hidden} is no multiple of heads={heads}.", "Heads share the width evenly.")
    return AutoConfig.for_model(
        family,
        vocab_size=vocab,
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads or heads,
        max_position_embeddings=context,
        tie_word_embeddings=tied,
        initializer_range=init,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )


def tiny_model(config: PreTrainedConfig, tokenizer: PreTrainedTokenizerFast, seed: int = 0) -> PreTrainedModel:
    """A freshly initialised float32 model; its stop ids are the end of a turn and the end of text."""
    import torch
    from transformers import AutoModelForCausalLM

    eos, turn_end = tokenizer.eos_token_id, turn_end_id(tokenizer)
    config.eos_token_id, config.pad_token_id = eos, tokenizer.pad_token_id
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.generation_config.bos_token_id = None
    model.generation_config.eos_token_id = [turn_end, eos]
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model


def load(folder: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """The float32 model and the tokenizer of a folder written by ``train``."""
    import torch
    from transformers import AutoModelForCausalLM

    with quiet():
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
    return model, load_tokenizer(folder)


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert isinstance(tokenizer, PreTrainedTokenizerFast)
    return tokenizer


def turn_end_id(tokenizer: PreTrainedTokenizerFast) -> int:
    """The id of the stop token."""
    ids: list[int] = tokenizer.encode(TURN_END, add_special_tokens=False)
    return ids[0]


def reading_rows(tokenizer: PreTrainedTokenizerFast, texts: Iterable[str], chats: Iterable[list[Message]]) -> list[Row]:
    """What a base reads: texts and whole dialogues, every token trained."""
    dialogues = (chat_row(tokenizer, messages)[0] for messages in chats)
    return [*(text_row(tokenizer, text) for text in texts), *((ids, [True] * len(ids)) for ids in dialogues)]


def text_row(tokenizer: PreTrainedTokenizerFast, text: str) -> Row:
    """Ids of ``text`` and the end of text, all trained: (l,) and (l,)."""
    ids = [*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id]
    return ids, [True] * len(ids)


def rendered(tokenizer: PreTrainedTokenizerFast, messages: list[Message], prompt: bool = False) -> str:
    """The dialogue as the template writes it; with ``prompt`` up to where the next answer begins."""
    turns = [{"role": m["role"], "content": m["content"]} for m in messages]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=prompt)
    assert isinstance(text, str)
    return text


def chat_row(tokenizer: PreTrainedTokenizerFast, messages: list[Message]) -> Row:
    """Ids of the rendered dialogue and the mask of what is trained, (l,) and (l,): answers and their stop token.

    Raises:
        ValueError: the template renders a dialogue's beginning otherwise than the whole, so no mask can be given.
    """
    ids = tokenizer.encode(rendered(tokenizer, messages), add_special_tokens=False)
    trained = [False] * len(ids)
    stop = turn_end_id(tokenizer)
    for i, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        before = tokenizer.encode(rendered(tokenizer, messages[:i], prompt=True), add_special_tokens=False)
        if ids[: len(before)] != before:
            raise ValueError(f"the template renders the turns before turn {i} otherwise than the whole dialogue")
        end = ids.index(stop, len(before)) + 1
        trained[len(before) : end] = [True] * (end - len(before))
    return ids, trained


@dataclass(frozen=True, slots=True)
class Trained:
    """What ``train`` left on disk.

    Attributes:
        final: folder of the weights after the last step.
        checkpoints: ``checkpoint-N`` folders in step order.
        losses: (step, mean loss since the entry before), in nats per trained token.
    """

    final: Path
    checkpoints: tuple[Path, ...]
    losses: tuple[tuple[int, float], ...]


@contextmanager
def quiet() -> Iterator[None]:
    """Turns transformers' progress bars off for the while."""
    from transformers.utils import logging

    enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if enabled:
            logging.enable_progress_bar()


def saved_checkpoints(folder: Path) -> list[Path]:
    """The ``checkpoint-N`` folders inside ``folder``, in step order."""
    return sorted(folder.glob("checkpoint-*"), key=lambda p: int(p.name.rpartition("-")[2]))


def train(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    rows: Sequence[Row],
    out: Path,
    *,
    lr: float,
    batch: int,
    epochs: float = 1.0,
    steps: int | None = None,
    seed: int = 0,
    shuffle: bool = True,
    schedule: str = "linear",
    warmup: int = 0,
    save_steps: Iterable[int] = (),
    final: str = "final",
    lora: Mapping[str, Any] | None = None,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Trained:
    """Trains ``model`` in place on the CPU with transformers' Trainer and AdamW; writes ``out/<final>``.

    Args:
        rows: token ids and the mask of those that carry loss.
        steps: optimiser steps, in place of ``epochs``.
        shuffle: a new order in each epoch; otherwise the order of ``rows``.
        schedule: a learning-rate schedule of transformers (``linear``, ``cosine``, ``constant_with_warmup``, ...).
        save_steps: steps after which ``out/checkpoint-<step>`` is written.
        lora: arguments of ``peft.LoraConfig``; the folders then hold adapters of the folder ``model`` came from.
        threads: CPU threads of torch while training; None leaves them as they are. One is the better choice for models
            this small: on two idle cores a second thread saves little, on busy ones waiting for it takes ten times
            as long, and the sums come out the same on every machine.
        progress: called with (steps done, steps in all); what it raises ends the training.
    """
    trained: nn.Module = model
    if lora is not None:
        from peft import LoraConfig, get_peft_model

        trained = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **lora))
    target = Path(out) / final
    with quiet():
        trainer = fit(
            trained,
            rows,
            Path(out),
            tokenizer=tokenizer,
            save_steps=save_steps,
            threads=threads,
            progress=progress,
            num_train_epochs=epochs,
            max_steps=steps if steps is not None else -1,
            learning_rate=lr,
            per_device_train_batch_size=batch,
            seed=seed,
            train_sampling_strategy="random" if shuffle else "sequential",
            lr_scheduler_type=schedule,
            warmup_steps=warmup,
            logging_steps=20,
            use_cpu=True,
        )
        trainer.save_model(str(target))
    trainer.state.save_to_json(str(target / "trainer_state.json"))
    checkpoints = saved_checkpoints(Path(out))
    for folder in (target, *checkpoints):
        (folder / "training_args.bin").unlink(missing_ok=True)  # a pickle nobody needs
    losses = tuple((int(e["step"]), e["loss"]) for e in trainer.state.log_history if "loss" in e)
    return Trained(target, tuple(checkpoints), losses)
