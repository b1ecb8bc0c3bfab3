"""What a checkpoint folder holds, or why it is refused: names, JSON of bounded size, safetensors headers.

No model is loaded, no pickle is opened, and no code is run.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from core.checkpoint.folder_guards import SAVE_AGAIN, entries, listed, read_json, refuse_code, refuse_links, some
from core.checkpoint.weights import Tensor, read_header
from core.errors import UserError

CONFIG, ADAPTER_CONFIG, GENERATION_CONFIG = "config.json", "adapter_config.json", "generation_config.json"
TOKENIZER_CONFIG, TRAINER_STATE = "tokenizer_config.json", "trainer_state.json"
WEIGHTS, INDEX, ADAPTER_WEIGHTS = "model.safetensors", "model.safetensors.index.json", "adapter_model.safetensors"
TOKENIZER_FILES = (
    "tokenizer.json",
    TOKENIZER_CONFIG,
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tekken.json",
    "tiktoken.model",
)
TEMPLATE_FILES = ("chat_template.jinja", "chat_template.json")
STEP = re.compile(r"checkpoint-(\d{1,12})")

MAX_CONFIG = 4 << 20
# With one log line per step, 100,000 steps are about 30 MB.
MAX_TRAINER_STATE = 256 << 20

_SPECIAL = ("use_dora", "use_rslora", "bias", "rank_pattern", "alpha_pattern", "modules_to_save", "layers_to_transform",
            "exclude_modules", "target_parameters", "trainable_token_indices")  # fmt: skip
_COUNTS = re.compile(r"(layers?|experts?|blocks|heads?)$")
_SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")
_PICKLED = re.compile(r"(?!optimizer|scheduler|rng_state|scaler|training_args).*\.(bin|pt|pth|pkl|ckpt)")


@dataclass(frozen=True, slots=True)
class AdapterFacts:
    """What ``adapter_config.json`` and the adapter's header say.

    Attributes:
        target_modules: names, or one pattern.
        alpha: None where none is given that is a finite number.
        special: options that make it another adapter than plain LoRA of one rank.
    """

    peft_type: str
    r: int | None
    target_modules: tuple[str, ...] | str
    base_name_or_path: str
    n_keys: int
    alpha: float | None = None
    dropout: float = 0.0
    special: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TrainerFacts:
    """What ``trainer_state.json`` says.

    Attributes:
        last_loss: the last of ``losses``.
        losses, grad_norms: step and value of each logged entry.
        batch: number of rows per device and step.
        rates: step and learning rate of each logged entry.
    """

    global_step: int | None
    epoch: float | None
    last_loss: float | None
    losses: tuple[tuple[int, float], ...]
    max_steps: int | None = None
    batch: int | None = None
    grad_norms: tuple[tuple[int, float], ...] = ()
    rates: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class FolderFacts:
    """What a checkpoint folder holds, from names, JSON and headers.

    Attributes:
        n_parameters: elements of all stored tensors; weights that are tied and stored once count once.
        dtypes: safetensors type name to number of elements.
        n_bytes: size of the weight files; ``shards`` their names.
        vocab_size, context_length: as ``config.json`` has them; None for an adapter, or where it does not say.
        chat_template: the file it stands in, "" for none.
        eos_ids: stop ids of ``generation_config.json``, else of ``config.json``.
        step: from the folder's name ``checkpoint-N``, else from ``trainer_state.json``.
        has_training_args: whether ``training_args.bin`` is there; a pickle, so it is not opened.
        notes: what was ignored, in plain words.
    """

    path: Path
    kind: Literal["full", "adapter"]
    model_type: str
    architecture: str
    n_parameters: int
    dtypes: Mapping[str, int]
    n_bytes: int
    shards: tuple[str, ...]
    vocab_size: int | None
    context_length: int | None
    quantised: str
    tokenizer_files: tuple[str, ...]
    chat_template: str
    eos_ids: tuple[int, ...]
    step: int | None
    adapter: AdapterFacts | None
    trainer: TrainerFacts | None
    has_training_args: bool
    notes: tuple[str, ...]


def read_folder(path: Path | str) -> FolderFacts:
    """Reads one full model or PEFT adapter.

    Raises:
        UserError: nothing usable here, pickled weights only, code of its own, missing or damaged shards, links,
            malformed JSON. Says what is there and what to do.
    """
    path = Path(path).resolve()
    names = listed(path)
    refuse_links(path)
    kind: Literal["full", "adapter"] = "adapter" if ADAPTER_CONFIG in names else "full"
    if kind == "full" and CONFIG not in names:
        raise _no_config(path, names)
    config = read_json(path, CONFIG, MAX_CONFIG)
    adapter_config = read_json(path, ADAPTER_CONFIG, MAX_CONFIG)
    tokenizer_config = read_json(path, TOKENIZER_CONFIG)
    for name, value in ((CONFIG, config), (ADAPTER_CONFIG, adapter_config), (TOKENIZER_CONFIG, tokenizer_config)):
        refuse_code(path, name, value)
    weights = tensors(path)
    _refuse_absurd(config, len(weights))
    _refuse_absurd_ranks(adapter_config, weights)
    files = sorted({tensor.file for tensor in weights.values()})
    notes = _ignored(names, {file.name for file in files})
    trainer = _trainer_facts(path, notes)
    # Models of several modalities keep the language model's numbers one level down.
    text = config["text_config"] if isinstance(config.get("text_config"), dict) else config
    architectures = config.get("architectures")
    return FolderFacts(
        path=path,
        kind=kind,
        model_type=_text(config.get("model_type")),
        architecture=_text(architectures[0]) if isinstance(architectures, list) and architectures else "",
        n_parameters=sum(tensor.n_elements for tensor in weights.values()),
        dtypes=_dtypes(weights),
        n_bytes=sum(file.stat().st_size for file in files),
        shards=tuple(file.name for file in files),
        vocab_size=_number(text.get("vocab_size")),
        context_length=_context_length(text),
        quantised=_quantised(config),
        tokenizer_files=tuple(name for name in TOKENIZER_FILES if name in names),
        chat_template=_chat_template(names, tokenizer_config),
        eos_ids=_eos_ids(path, text, config),
        step=_step(path, trainer),
        adapter=_adapter_facts(adapter_config, weights) if kind == "adapter" else None,
        trainer=trainer,
        has_training_args="training_args.bin" in names,
        notes=tuple(notes),
    )


def tensors(path: Path) -> dict[str, Tensor]:
    """All stored tensors of a checkpoint folder by name, from the headers of the files that transformers would load.

    Raises:
        UserError: there are no safetensors, shards are missing, a file is damaged, or no shard has a tensor of the
        index.
    """
    path = Path(path)
    names = listed(path)
    single = ADAPTER_WEIGHTS if ADAPTER_CONFIG in names else WEIGHTS
    if single in names:
        return read_header(path / single)
    if single == ADAPTER_WEIGHTS or INDEX not in names:
        raise _no_weights(path, names, single)
    index = read_json(path, INDEX).get("weight_map")
    if not isinstance(index, dict) or not index or not all(isinstance(shard, str) for shard in index.values()):
        raise UserError(f"{INDEX} has no weight_map.", "It should map tensor names to files.", SAVE_AGAIN)
    shards = sorted(set(index.values()))
    odd = [shard for shard in shards if Path(shard).name != shard or not shard.endswith(".safetensors")]
    if odd:
        raise UserError(
            f"{INDEX} names {odd[0][:80]!r}.", "Shards are safetensors files of the same folder.", SAVE_AGAIN
        )
    missing = [shard for shard in shards if shard not in names]
    if missing:
        raise UserError(
            f"{len(missing)} of {len(shards)} weight files are missing: {some(missing)}.",
            f"{INDEX} names them.",
            "Copy them into the folder and try again.",
        )
    headers = {shard: read_header(path / shard) for shard in shards}
    absent = [name for name, shard in index.items() if name not in headers[shard]]
    if absent:
        raise UserError(
            f"{len(absent)} tensors are not in the files that {INDEX} names: {some(absent)}.",
            "Shards of different models were mixed, or saving was cut short.",
            SAVE_AGAIN,
        )
    return {name: headers[shard][name] for name, shard in index.items()}


def _refuse_absurd(config: Mapping[str, Any], n_tensors: int) -> None:
    """Refuses a configuration of a billion layers. Building that model would take days before a weight is missed."""
    limit = max(1000, n_tensors)
    for key, value in entries(config):
        if _COUNTS.search(key) and type(value) is int and value > limit:
            raise UserError(
                f"config.json names {value:,} for {key!r}.",
                f"The weight files hold {n_tensors:,} tensors.",
                "Use the config.json that was saved with these weights.",
            )


# Numbers of an adapter's configuration from which PEFT makes tensors before it looks at the file.
_SIZES = ("r", "init_r", "target_r", "num_virtual_tokens", "token_dim", "encoder_hidden_size", "num_layers",
          "num_transformer_submodules", "oft_block_size", "hra_r", "n_frequency")  # fmt: skip
_RANKS = ("rank_pattern", "dim_pattern")
# Each is a side of a stored tensor or a small factor of one.
MIN_SIZE_LIMIT = 4096


def _refuse_absurd_ranks(config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
    """Refuses an adapter's sizes that are far above every side of its stored tensors: making them fills the memory."""
    limit = max([MIN_SIZE_LIMIT, *(side for tensor in weights.values() for side in tensor.shape)])
    sizes = [(key, config[key]) for key in _SIZES if key in config]
    for pattern in _RANKS:
        ranks = config.get(pattern)
        sizes += (
            [(f"{pattern}[{name[:40]!r}]", rank) for name, rank in ranks.items()] if isinstance(ranks, dict) else []
        )
    for key, size in sizes:
        if isinstance(size, int | float) and not -limit <= size <= limit:
            raise UserError(
                f"{ADAPTER_CONFIG} names {size:,} for {key}.",
                f"The largest side of a stored tensor is {limit:,} or less.",
                "Use the adapter_config.json that was saved with these weights.",
            )


def promised(path: Path) -> Literal["full", "adapter", "nothing"]:
    """What the names in a folder promise. Pickled weights count, so that reading them can say why they are refused."""
    names = listed(path)
    if ADAPTER_CONFIG in names:
        return "adapter"
    weights = any(n in (WEIGHTS, INDEX) or _SHARD.fullmatch(n) or n.startswith("pytorch_model") for n in names)
    return "full" if CONFIG in names or weights else "nothing"


def _no_config(path: Path, names: Sequence[str]) -> UserError:
    folders = [name for name in names if (path / name).is_dir() and os.access(path / name, os.R_OK)]
    inner = [name for name in folders if promised(path / name) != "nothing"]
    return UserError(
        f"{path.name} has no config.json.",
        f"There is: {some(names) or 'nothing'}.",
        f"Choose {some(inner)} inside it."
        if inner
        else "A checkpoint is the folder that save_pretrained or a trainer wrote: config.json, safetensors, tokenizer.",
    )


def _no_weights(path: Path, names: Sequence[str], weights: str) -> UserError:
    pickled = [name for name in names if _PICKLED.fullmatch(name)]
    shards = [name for name in names if _SHARD.fullmatch(name)]
    if pickled and not shards:
        return UserError(
            f"{path.name} has pickled weights only: {some(pickled)}.",
            "Pickles can run code when they are opened, so they never are.",
            "Load the model where you trust it and convert with save_pretrained(safe_serialization=True).",
        )
    if shards:
        return UserError(
            f"{path.name} has weight files but no {INDEX}: {some(shards)}.",
            "Without it nobody knows whether they are complete.",
            "Copy the index into the folder, too.",
        )
    if weights == ADAPTER_WEIGHTS and CONFIG in names:
        why = "adapter_config.json makes it an adapter, whatever other files are there."
    else:
        why = f"There is: {some(names)}."
    return UserError(f"{path.name} has no {weights}.", why, SAVE_AGAIN)


# ------------------------------------------------------------------------------------------------- parts of facts


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _number(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _ignored(names: Sequence[str], used: set[str]) -> list[str]:
    pickled = [name for name in names if _PICKLED.fullmatch(name)]
    others = [name for name in names if name.endswith((".safetensors", ".gguf")) and name not in used]
    scripts = [name for name in names if name.endswith(".py")]
    notes = []
    if pickled:
        notes.append(f"pickled weights are ignored, the safetensors beside them are used: {some(pickled)}")
    if others:
        notes.append(f"weight files that do not belong to the model are ignored: {some(others)}")
    if scripts:
        notes.append(f"Python files are never run: {some(scripts)}")
    return notes


def _dtypes(weights: Mapping[str, Tensor]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for tensor in weights.values():
        counts[tensor.dtype] = counts.get(tensor.dtype, 0) + tensor.n_elements
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


def _context_length(config: Mapping[str, Any]) -> int | None:
    for key in ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length", "max_sequence_length"):
        if length := _number(config.get(key)):
            return length
    return None


def _quantised(config: Mapping[str, Any]) -> str:
    settings = config.get("quantization_config")
    return (_text(settings.get("quant_method")) or "unnamed method") if isinstance(settings, dict) else ""


def _chat_template(names: Sequence[str], tokenizer_config: Mapping[str, Any]) -> str:
    for name in TEMPLATE_FILES:
        if name in names:
            return name
    return TOKENIZER_CONFIG if tokenizer_config.get("chat_template") else ""


def _eos_ids(folder: Path, *configs: Mapping[str, Any]) -> tuple[int, ...]:
    """The end-of-sequence ids of the first configuration that names any, in the order of transformers."""
    for config in (read_json(folder, GENERATION_CONFIG, MAX_CONFIG), *configs):
        ids = config.get("eos_token_id")
        if ids is not None:
            return tuple(i for i in (ids if isinstance(ids, list) else [ids]) if _number(i) is not None)
    return ()


def _step(folder: Path, trainer: TrainerFacts | None) -> int | None:
    if match := STEP.fullmatch(folder.name):
        return int(match[1])
    return trainer.global_step if trainer else None


def trainer_facts(folder: Path) -> TrainerFacts | None:
    """What the folder's ``trainer_state.json`` says; None if there is none that can be read."""
    return _trainer_facts(Path(folder), [])


def _trainer_facts(folder: Path, notes: list[str]) -> TrainerFacts | None:
    """None without a usable file. A broken log becomes a note, because the weights can still be used."""
    if not (folder / TRAINER_STATE).is_file():
        return None
    try:
        state = read_json(folder, TRAINER_STATE, MAX_TRAINER_STATE)
    except UserError as error:
        notes.append(f"{TRAINER_STATE} is ignored: {error.what} {error.why}")
        return None
    history = state.get("log_history")
    losses = _logged(history, "loss")
    epoch = state.get("epoch")
    return TrainerFacts(
        global_step=_number(state.get("global_step")),
        epoch=float(epoch) if epoch is not None and _is_real(epoch) else None,
        last_loss=losses[-1][1] if losses else None,
        losses=losses,
        max_steps=_number(state.get("max_steps")) or None,
        batch=_number(state.get("train_batch_size")) or None,
        grad_norms=_logged(history, "grad_norm"),
        rates=_logged(history, "learning_rate"),
    )


def _logged(history: Any, name: str) -> tuple[tuple[int, float], ...]:
    """Step and value of every entry of the log that has the value."""
    return tuple(
        (entry["step"], float(entry[name]))
        for entry in (history if isinstance(history, list) else ())
        if isinstance(entry, dict) and _number(entry.get("step")) is not None and _is_real(entry.get(name))
    )


def _is_real(value: Any) -> bool:
    """Whether the value is a number. NaN and infinity count, because they matter in a loss."""
    return type(value) is float or (type(value) is int and abs(value) < 1 << 53)


def _finite(value: Any) -> float | None:
    return value if _is_real(value) and math.isfinite(value) else None


def _adapter_facts(config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> AdapterFacts:
    modules = config.get("target_modules")
    if not isinstance(modules, str):
        modules = tuple(sorted(str(module) for module in modules)) if isinstance(modules, list) else ()
    peft_type = _text(config.get("peft_type"))
    special = [name for name in _SPECIAL if config.get(name) not in (None, False, "none", [], {})]
    if peft_type not in ("", "LORA"):
        special.insert(0, f"peft_type {peft_type[:40]}")
    return AdapterFacts(
        peft_type=peft_type,
        r=_number(config.get("r")),
        target_modules=modules,
        base_name_or_path=_text(config.get("base_model_name_or_path")),
        n_keys=len(weights),
        alpha=_finite(config.get("lora_alpha")),
        dropout=_finite(config.get("lora_dropout")) or 0.0,
        special=tuple(special),
    )
