"""The sanity card: what a checkpoint is and what is wrong with it, before any long compute.

Weights are looked at file by file; no check holds a whole model in memory except the scoring of a few rows where two
tokenizers disagree (``core/checkpoint/card_rows.py``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from core.checkpoint.card_rows import Rows, row_checks
from core.checkpoint.facts import ADAPTER_CONFIG, AdapterFacts, FolderFacts, read_folder, tensors
from core.checkpoint.folder_guards import read_json, some
from core.checkpoint.servers import examined
from core.checkpoint.weights import FLOATS, Tensor, all_zero, compare, not_finite
from core.types import DEFAULT_BACKEND, DEFAULT_PRESET, Card, Check, Checkpoint, DtypeName, Sample


def card(
    checkpoint: Checkpoint,
    base: Checkpoint | None,
    samples: Sequence[Sample],
    preset: str | None = None,
    preset_settings: Mapping[str, Any] | None = None,
    dtype: DtypeName = "float32",
    device: str = "cpu",
    backend: str = DEFAULT_BACKEND,
) -> tuple[Card, Checkpoint]:
    """Examines ``checkpoint`` against its folder, its base and the user's rows.

    Args:
        base: the model before fine-tuning, if there is one to compare with.
        samples: rows that stand for the dataset; all of them are rendered, at most 32 are scored.
        preset, preset_settings: the trainer preset that renders rows; ``custom`` by default.
        dtype, device, backend: how the model is opened where rows must be scored.

    Returns:
        The card, and the checkpoint with the tokenizer variant that fits it.

    Raises:
        UserError: a folder cannot be read at all (see ``core/checkpoint/folders.py``).
    """
    if checkpoint.server is not None:
        facts, found, variant = examined(checkpoint, samples, preset or DEFAULT_PRESET, preset_settings or {}, backend)
        return Card(_describe(facts, facts, None), found), replace(checkpoint, tokenizer=variant)
    facts = read_folder(Path(checkpoint.path))
    model = read_folder(Path(checkpoint.base)) if checkpoint.base else facts
    outline, checks = _opening(model)
    checks += _finite(facts, model)
    n_embeddings = outline.n_embeddings if outline else model.vocab_size
    if facts.adapter:
        stored = tensors(facts.path)
        checks += _adapter(facts.path, facts.adapter, stored, outline)
        sizes = [t.shape[0] for name, t in stored.items() if _is_embedding(name) and 0 not in t.shape]
        n_embeddings = next(iter(sizes), n_embeddings)
    checks += _difference(facts, base)
    rows = Rows(
        checkpoint, facts, model, n_embeddings, samples, preset or DEFAULT_PRESET, preset_settings or {}, dtype, device,
        backend,
    )  # fmt: skip
    more, variant = row_checks(rows, scorable=not any(check.state == "fail" for check in checks))
    return Card(_describe(facts, model, base), (*checks, *more)), replace(checkpoint, tokenizer=variant)


def _describe(facts: FolderFacts, model: FolderFacts, base: Checkpoint | None) -> dict[str, Any]:
    """The card's facts; JSON values only."""
    out: dict[str, Any] = {
        "kind": facts.kind,
        "architecture": model.architecture,
        "model_type": model.model_type,
        "parameters": model.n_parameters,
        "dtypes": dict(model.dtypes),
        "bytes": facts.n_bytes,
        "shards": len(facts.shards),
        "vocabulary": model.vocab_size,
        "context_length": model.context_length,
        "quantised": model.quantised,
        "tokenizer_files": list(facts.tokenizer_files or model.tokenizer_files),
        "chat_template": facts.chat_template or model.chat_template,
        "stop_ids": list(model.eos_ids),
        "step": facts.step,
        "base": base.label if base else None,
        "notes": list(facts.notes),
    }
    if facts.adapter:
        out["adapter"] = {
            "type": facts.adapter.peft_type,
            "rank": facts.adapter.r,
            "modules": [modules] if isinstance(modules := facts.adapter.target_modules, str) else list(modules),
            "parameters": facts.n_parameters,
            "base_name": facts.adapter.base_name_or_path,
        }
    if facts.trainer:
        loss = facts.trainer.last_loss
        out["training"] = {
            "step": facts.trainer.global_step,
            "epoch": facts.trainer.epoch,
            "last_loss": loss if loss is not None and abs(loss) < float("inf") else None,
        }
    return out


# --------------------------------------------------------------------------------------------------- the weights


CHECK_TYPE = "Check model_type in config.json against the installed version of transformers."


@dataclass(frozen=True, slots=True)
class Outline:
    """What transformers makes of the folder, without loading a value.

    Attributes:
        shapes: parameter name in the opened model to its shape. Tied weights appear under each name.
        n_embeddings: rows of the input embedding; None if the model names none.
        missing, unused, mismatched: names as transformers reports them after tying.
    """

    shapes: Mapping[str, tuple[int, ...]]
    n_embeddings: int | None
    missing: tuple[str, ...]
    unused: tuple[str, ...]
    mismatched: tuple[str, ...]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps transformers from reporting on stderr what the card says in words."""
    import logging as levels

    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(levels.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def outline_of(folder: Path) -> Outline:
    """Opens the model on torch's meta device, which needs no memory: names, shapes, and what does not fit."""
    from transformers import AutoModelForCausalLM

    with _quiet():
        # With loading info the call returns a pair, which the library's types do not say.
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            device_map="meta",
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
        )
    model, report = loaded
    embedding = model.get_input_embeddings()
    weight = getattr(embedding, "weight", None)
    return Outline(
        shapes={name: tuple(value.shape) for name, value in model.state_dict().items()},
        n_embeddings=None if weight is None else int(weight.shape[0]),
        missing=tuple(sorted(report["missing_keys"])),
        unused=tuple(sorted(report["unexpected_keys"])),
        mismatched=tuple(sorted(f"{name} {tuple(a)} against {tuple(b)}" for name, a, b in report["mismatched_keys"])),
    )


def _opening(model: FolderFacts) -> tuple[Outline | None, list[Check]]:
    try:
        outline = outline_of(model.path)
    except Exception as error:  # transformers raises whatever its configuration classes raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        text = f"transformers cannot open {model.model_type or 'this model'} as a causal language model."
        return None, [_left_over_quantisation(model) or Check("opens", "fail", text, reason, CHECK_TYPE)]
    measured = f"{len(outline.shapes)} tensors, {model.n_parameters:,} parameters"
    checks = [Check("opens", "pass", f"transformers opens it as {model.architecture or model.model_type}.", measured)]
    again = "Save the model again with save_pretrained, or check that config.json belongs to these weights."
    wrong = [*outline.missing, *outline.mismatched]
    if wrong and (wrapped := wrapping(outline.unused)) is not None:
        checks.append(Check("weights_complete", "fail", *wrapped))
    elif wrong:
        text = f"{len(wrong)} tensors of the model are missing in the files or have another shape: {some(wrong)}."
        checks.append(Check("weights_complete", "fail", text, "they would be random numbers", again))
    elif outline.unused:
        text = f"{len(outline.unused)} stored tensors have no place in the model: {some(outline.unused)}."
        checks.append(Check("weights_complete", "warn", text, "they are left out", again))
    else:
        checks.append(Check("weights_complete", "pass", "Every tensor of the model is in the files, and no other."))
    return outline, checks


# What wrappers put before the name of every tensor, and how a model is saved without it.
_WRAPPERS: Mapping[str, tuple[str, str]] = {
    "_orig_mod.": ("torch.compile", "model._orig_mod"),
    "module.": ("DataParallel or DistributedDataParallel", "model.module"),
    "_fsdp_wrapped_module.": ("FSDP", "the full state dict of FSDP"),
    "_forward_module.": ("Lightning Fabric or DeepSpeed", "model.module"),
}


def wrapping(names: Sequence[str]) -> tuple[str, str, str] | None:
    """Text, measure and way out where tensors were saved from inside a wrapper; None where no name shows one."""
    for prefix, (wrapper, inner) in _WRAPPERS.items():
        # Whole components only: a module may really be called so, but never before every other part of the name.
        wrapped = [name for name in names if f".{prefix}" in f".{name}"]
        if wrapped:
            return (
                f"The weights were saved from inside {wrapper}: names hold {prefix!r}, as in {wrapped[0][:80]}.",
                f"{len(wrapped)} of {len(names)} names without a place hold it",
                f"Save {inner} with save_pretrained, or take {prefix!r} out of the names in the safetensors file.",
            )
    return None


def _left_over_quantisation(model: FolderFacts) -> Check | None:
    """The failed check of a folder whose configuration asks for quantised weights while its weights are plain.

    QLoRA leaves such folders when an adapter was merged into weights that were loaded in full again.
    """
    config = read_json(model.path, "config.json").get("quantization_config")
    if not isinstance(config, Mapping) or not model.dtypes or not set(model.dtypes) <= set(FLOATS):
        return None
    bits = next((f" {n}-bit" for n in (4, 8) if config.get(f"load_in_{n}bit")), "")
    method = str(config.get("quant_method") or "quantised")[:40]
    return Check(
        "opens",
        "fail",
        f"config.json asks for {method}{bits} weights, and the weights are {', '.join(sorted(model.dtypes))}.",
        "a quantization_config was left over from training",
        "Remove quantization_config from config.json.",
    )


def _finite(facts: FolderFacts, model: FolderFacts) -> list[Check]:
    """Whether the weights, including those of an adapter's base, hold NaN or infinity."""
    folders = {facts.path, model.path}
    bad: dict[str, int] = {}
    unread: set[str] = set()
    for folder in sorted(folders):
        weights = tensors(folder)
        bad |= not_finite(weights)
        unread |= {tensor.dtype for tensor in weights.values()} - set(FLOATS)
    if bad:
        text = f"{len(bad)} tensors hold NaN or infinity: {some(list(bad))}."
        todo = "Training diverged or the file was damaged; choose an earlier checkpoint."
        return [Check("weights_finite", "fail", text, f"{sum(bad.values()):,} values", todo)]
    if unread:
        text = f"Tensors of type {', '.join(sorted(unread))} were not searched for NaN."
        return [Check("weights_finite", "unknown", text, "no NaN or infinity in the others")]
    return [Check("weights_finite", "pass", "No weight is NaN or infinite.")]


# A fine-tuning of all weights changes nearly every tensor. So few are worth their names.
FEW_CHANGED = 3


def _difference(facts: FolderFacts, base: Checkpoint | None) -> list[Check]:
    """Whether fine-tuning changed anything. An adapter does not change its base, so it has a check of its own."""
    code = "base_equals_final"
    if facts.adapter:
        return []
    if base is None:
        return [Check(code, "unknown", "Whether training changed the weights is unknown: no base model was given.")]
    gap = compare(tensors(Path(base.path)), tensors(facts.path))
    alone = len(gap.only_first) + len(gap.only_second)
    measured = f"{gap.n_changed} of {gap.n_common} tensors differ, by at most {gap.max_abs:.3g}"
    if alone:
        measured += f"; {alone} are in one of the two only ({some([*gap.only_first, *gap.only_second], 3)})"
    if gap.skipped:
        measured += f"; {len(gap.skipped)} of other types were not compared"
    if gap.reshaped:
        measured += f"; shapes differ for {some(gap.reshaped, 3)}"
    if not gap.n_common:
        text = "The base model and this checkpoint have no tensor in common: two different architectures."
        return [Check(code, "unknown", text, measured, "Give the model that the training started from.")]
    if not gap.n_changed:
        text = "This checkpoint's weights equal the base model's: nothing was trained, or the wrong folder was saved."
        todo = "Check which folder the trainer wrote. A run on this one shows what the base model knows."
        return [Check(code, "unknown" if gap.skipped else "warn", text, measured, todo)]
    text = "The weights differ from the base model's."
    if len(gap.changed) <= FEW_CHANGED < gap.n_common:
        text = f"Only {len(gap.changed)} of {gap.n_common} tensors differ from the base model's: {some(gap.changed)}."
    if any(_is_embedding(name) for name in gap.reshaped):
        text += " The embedding has another number of rows: tokens were added."
    return [Check(code, "pass", text, measured)]


# --------------------------------------------------------------------------------------------------- the adapter

_LORA = re.compile(
    r"(?P<module>.+)\.(?P<part>lora_A|lora_B|lora_embedding_A|lora_embedding_B|lora_magnitude_vector)"
    r"(?P<kind>\.weight|\.bias)?"
)
_PREFIX = "base_model.model."


def _is_embedding(name: str) -> bool:
    return name.replace(".base_layer.", ".").endswith(("embed_tokens.weight", "wte.weight", "embed_in.weight"))


def adapter_alone(folder: Path, adapter: AdapterFacts) -> tuple[Check, ...]:
    """What an adapter's own file shows without its base: whether it holds values, and whether they change anything."""
    return tuple(_adapter(folder, adapter, tensors(folder), None))


def _adapter(folder: Path, adapter: AdapterFacts, stored: Mapping[str, Tensor], outline: Outline | None) -> list[Check]:
    if (nothing := _nothing_saved(stored)) is not None:
        return [nothing]
    checks = [_adapter_keys(folder, adapter, stored, outline)]
    ups = {name: t for name, t in stored.items() if ".lora_B" in name or ".lora_embedding_B" in name}
    code = "adapter_not_applied"
    if not ups or any(tensor.dtype not in FLOATS for tensor in ups.values()):
        text = f"Whether the adapter changes the model is unknown for type {adapter.peft_type or 'unnamed'}."
        return [*checks, Check(code, "unknown", text)]
    zero = [name for name, tensor in ups.items() if all_zero(tensor)]
    others = [name for name in stored if not _LORA.fullmatch(name)]
    measured = f"{len(zero)} of {len(ups)} lora_B matrices are zero"
    magnitudes = sum(".lora_magnitude_vector" in name for name in stored)
    if len(zero) == len(ups) and not others and magnitudes:
        text = "Every lora_B is zero, as before the first training step; at most DoRA's magnitudes were trained."
        return [*checks, Check(code, "warn", text, f"{measured}; {magnitudes} magnitudes", "Check what was trained.")]
    if len(zero) == len(ups) and not others:
        text = "The adapter changes nothing: every lora_B is zero, as before the first training step."
        todo = "Check that the trainer saved the adapter after training, and which adapter it saved."
        return [*checks, Check(code, "fail", text, measured, todo)]
    if zero:
        text = f"Parts of the adapter change nothing: {some(zero, 4)}."
        return [*checks, Check(code, "warn", text, measured, "Check which modules were meant to be trained.")]
    return [*checks, Check(code, "pass", "The adapter changes the base model.", measured)]


def _nothing_saved(stored: Mapping[str, Tensor]) -> Check | None:
    """The failed check of an adapter without values. Every other check would hold for no values."""
    hollow = [name for name, tensor in stored.items() if 0 in tensor.shape]
    if stored and not hollow:
        return None
    measured = f"{len(hollow)} of {len(stored)} tensors have a shape such as (0,)" if stored else "0 tensors"
    part = "no values" if len(hollow) == len(stored) else f"no values for {len(hollow)} of its tensors"
    return Check(
        "adapter_keys",
        "fail",
        f"The adapter's file holds {part}: ZeRO-3 shards were not gathered before saving.",
        measured,
        "Save again with stage3_gather_16bit_weights_on_model_save, or gather the shards with zero_to_fp32.py.",
    )


def _adapter_keys(folder: Path, adapter: AdapterFacts, stored: Mapping[str, Tensor], outline: Outline | None) -> Check:
    """Whether each stored tensor has a module of the right shape in the base."""
    code = "adapter_keys"
    if outline is None:
        return Check(code, "unknown", "The adapter's keys were not checked: its base is not at hand or does not open.")
    lost, unsized, modules = [], 0, set()
    for name, tensor in stored.items():
        fit, module = _fits(name, tensor, stored, outline.shapes)
        modules |= {module}
        if fit is None:
            unsized += 1
        elif not fit:
            lost.append(f"{name} {tensor.shape}")
    measured = f"{len(stored) - len(lost)} of {len(stored)} tensors fit"
    if unsized:
        measured += f"; {unsized} of them by name alone"
    named = adapter.base_name_or_path or "no model by name"
    if lost and (wrapped := wrapping([name.rpartition(" ")[0] for name in lost])) is not None:
        return Check(code, "fail", *wrapped)
    if lost:
        text = f"{len(lost)} of the adapter's tensors have no place in the base: {some(lost, 4)}."
        todo = f"The adapter was trained on {named!r}; give that model as the base."
        return Check(code, "fail", text, measured, todo)
    left = _left_out(modules, outline.shapes, read_json(folder, ADAPTER_CONFIG))
    if left:
        text = f"The base has {len(left)} more modules of the same names that the adapter lacks: {some(left, 4)}."
        todo = f"The adapter was trained on {named!r}; check that the base is that model and not a deeper one."
        return Check(code, "warn", text, measured, todo)
    parts = [
        (sum(name.endswith((".lora_B.bias", ".bias")) for name in stored), "biases"),
        (sum(".lora_magnitude_vector" in name for name in stored), "DoRA magnitudes"),
    ]
    text = "Every tensor of the adapter fits a module of the base."
    if more := " and ".join(f"{n} {word}" for n, word in parts if n):
        text += f" Among them are {more}."
    grown = {
        tensor.shape[0] - shape[0]
        for name, tensor in stored.items()
        if _is_embedding(name) and (shape := outline.shapes.get(_short(name))) is not None
    } - {0}
    if grown:
        text += f" It brings an embedding with {max(grown):+,} rows: tokens were added, and the base is resized to it."
    return Check(code, "pass", text, measured)


def _fits(
    name: str, tensor: Tensor, stored: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]
) -> tuple[bool | None, str]:
    """Whether the tensor fits, and its module. None if the module exists but its shape cannot tell."""
    # A module with an adapter around it keeps its own weight under base_layer.
    short = _short(name)
    match = _LORA.fullmatch(short)
    if match is None:
        module = short.rpartition(".")[0]
        if short in shapes:
            # An adapter may add rows to embeddings for new tokens. The base is resized to them.
            grown = _is_embedding(short) or short.endswith("lm_head.weight")
            return shapes[short][grown:] == tensor.shape[grown:], module
        return (None if _has(module, shapes) else False), module
    module, part = match["module"], match["part"]
    weight = shapes.get(f"{module}.weight")
    one_each = part == "lora_magnitude_vector" or match["kind"] == ".bias"
    if weight is not None and one_each and len(weight) == 2:
        # One value for each output. GPT-2 stores (in, out), convolutions and embeddings other shapes.
        return max(tensor.shape, default=0) in weight, module
    if weight is None or len(weight) != 2 or len(tensor.shape) != 2:
        return (None if _has(module, shapes) else False), module
    # Linear (out, in): A (r, in), B (out, r). Embedding (vocab, d): A (r, vocab), B (d, r). GPT-2 stores (in, out).
    down, up = part.replace("_B", "_A"), part.replace("_A", "_B")
    a, b = (stored.get(name.replace(part, half)) for half in (down, up))
    if a is None or b is None or len(a.shape) != 2 or len(b.shape) != 2:
        return False, module
    (rank, n_in), (n_out, rank_up) = a.shape, b.shape
    return rank == rank_up and sorted((n_out, n_in)) == sorted(weight), module


def _short(name: str) -> str:
    """The name of an adapter's tensor without what PEFT puts around the module it belongs to."""
    return re.sub(r"\.(base_layer|modules_to_save|original_module)(?=\.)", "", name.removeprefix(_PREFIX))


def _has(module: str, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    return any(name.startswith(f"{module}.") or name == module for name in shapes)


def _left_out(modules: set[str], shapes: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """Modules of the base that the adapter lacks, though it has modules of the same name in other layers."""
    if config.get("layers_to_transform") is not None or config.get("exclude_modules"):
        return []
    families = {re.sub(r"\.\d+\.", ".*.", module) for module in modules}
    candidates = {name.rpartition(".")[0] for name in shapes}
    return sorted(m for m in candidates - modules if re.sub(r"\.\d+\.", ".*.", m) in families)
