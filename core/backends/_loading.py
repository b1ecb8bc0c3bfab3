"""A checkpoint folder into a model: safetensors only, nothing from the network, no code from the folder."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.backends._wide import widen
from core.errors import UserError
from core.types import Checkpoint, DtypeName

if TYPE_CHECKING:
    import torch

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
DTYPES = ("float32", "bfloat16", "auto")
# Of a card's free memory; the rest is for activations and caches.
WEIGHTS_SHARE = 0.7


def pick_device(name: str) -> torch.device:
    """The device called ``name``; ``auto`` is CUDA where there is one, else the CPU.

    Raises:
        UserError: not a device of this machine.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        names = "cpu, cuda" if torch.cuda.is_available() else "cpu"
        raise UserError(
            f"There is no device {name!r} on this machine.",
            f"There are: {names}.",
            "Choose one of these or 'auto'.",
        ) from error


def load(checkpoint: Checkpoint, dtype: DtypeName, device: torch.device, spread: Any = None) -> tuple[Any, Any]:
    """The model as it is called, and the causal language model inside it (the same one where there is no adapter).

    Args:
        spread: a device map as accelerate takes it; None: all of it on ``device``, or over all cards where it does not
            fit on that one.

    Raises:
        UserError: missing or unreadable weights, weights that leave part of the model unset, an architecture that
            transformers does not know, a missing base, an adapter of a kind that cannot be scored.
    """
    if dtype not in DTYPES:
        raise UserError(f"There is no dtype {dtype!r}.", f"There are: {', '.join(DTYPES)}.")
    is_adapter = (Path(checkpoint.path) / ADAPTER_CONFIG).is_file()
    if is_adapter and checkpoint.base is None:
        raise UserError(
            f"{checkpoint.path} is an adapter, and its base model is not given.",
            "An adapter holds only the change to a base model's weights.",
            "Give the folder of the base model it was trained on.",
        )
    folder = checkpoint.base or checkpoint.path if is_adapter else checkpoint.path
    spread = spread or _spread(Path(folder), dtype, device)
    with _quietly():
        inner = _load_full(folder, dtype, spread)
        outer = _load_adapter(checkpoint.path, inner) if is_adapter else inner
    outer = outer.eval().requires_grad_(False)
    if spread is None:
        outer = outer.to(device)
    widen(outer)
    return outer, outer.get_base_model() if is_adapter else outer


def _spread(folder: Path, dtype: DtypeName, device: torch.device) -> str | None:
    """``auto``, over all cards, where the weights do not fit on the one; else None."""
    import torch

    if device.type != "cuda" or torch.cuda.device_count() < 2:
        return None
    stored = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    # Nearly all weights are stored in two bytes today; held in float32 they take four.
    needed = stored * (2 if dtype == "float32" else 1)
    free, _ = torch.cuda.mem_get_info(device)
    return "auto" if needed > WEIGHTS_SHARE * free else None


def base_folder(checkpoint: Checkpoint) -> str:
    """The folder whose weights are read whole: an adapter's base, else the checkpoint's own."""
    is_adapter = (Path(checkpoint.path) / ADAPTER_CONFIG).is_file()
    return str(Path((checkpoint.base or "") if is_adapter else checkpoint.path).resolve())


def exchange(outer: Any, inner: Any, checkpoint: Checkpoint) -> tuple[Any, Any]:
    """``load`` of a checkpoint over base weights that are in memory; takes their present adapter off.

    Raises:
        UserError: as ``load`` of the adapter.
    """
    bare = outer.unload() if outer is not inner else inner
    if checkpoint.base is None or not (Path(checkpoint.path) / ADAPTER_CONFIG).is_file():
        return bare, bare
    with _quietly():
        adapted = _load_adapter(checkpoint.path, bare)
    adapted = adapted.eval().requires_grad_(False).to(bare.device)
    widen(adapted)
    return adapted, adapted.get_base_model()


def _load_full(folder: str, dtype: DtypeName, spread: Any = None) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM, __version__

    if not (Path(folder) / "config.json").is_file():
        raise UserError(
            f"There is no model in {folder}.",
            "The folder does not exist or has no config.json.",
            "Give a folder as save_pretrained writes it.",
        )
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # the library raises whatever its parsers raise
        raise _unsupported(folder, _declared_type(folder), __version__, error) from error
    if type(config) not in AutoModelForCausalLM._model_mapping:
        raise _unsupported(folder, config.model_type, __version__, None)
    try:
        # With loading info a pair comes back, which the library's types do not say.
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            device_map=spread,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
        model, report = loaded
    except Exception as error:  # the same
        raise UserError(
            f"The weights in {folder} cannot be loaded.",
            f"transformers {__version__} says: {first_line(error)}",
            "The folder needs model.safetensors, or the index and every shard it names, matching its config.json; "
            "other weight formats are never opened.",
        ) from error
    missing = sorted({*report["missing_keys"], *(key[0] for key in report["mismatched_keys"])})
    if missing:
        raise UserError(
            f"The weights in {folder} leave {len(missing)} of the model's tensors unset.",
            f"Missing or of another shape: {', '.join(missing[:5])}{', …' if len(missing) > 5 else ''}.",
            "Save the whole model again, or give the folder as an adapter with its base.",
        )
    return model


def _load_adapter(folder: str, base: Any) -> Any:
    from peft import PeftConfig, PeftModel, __version__

    if not (Path(folder) / ADAPTER_WEIGHTS).is_file():
        raise UserError(
            f"The adapter in {folder} has no {ADAPTER_WEIGHTS}.",
            "Adapter weights in other formats are never opened.",
            "Save the adapter again with save_pretrained of a current peft.",
        )
    try:
        config = PeftConfig.from_pretrained(folder)
        kind = getattr(config.peft_type, "value", str(config.peft_type))
        if config.is_prompt_learning or config.is_adaption_prompt or kind == "XLORA":
            raise UserError(
                f"The adapter in {folder} is of the kind {kind}, which cannot be scored.",
                "It puts learned vectors beside the prompt or mixes other adapters; only adapters that change weights "
                "(LoRA and its relatives) can.",
                "Merge it into its base, or train with LoRA.",
            )
        _bound_patterns(folder, config, kind, base)
        _fit_vocabulary(base, Path(folder) / ADAPTER_WEIGHTS)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model = PeftModel.from_pretrained(base, folder, config=config, torch_device="cpu")
    except UserError:
        raise
    except Exception as error:  # the library raises whatever its parsers raise
        raise UserError(
            f"The adapter in {folder} cannot be loaded onto its base.",
            f"peft {__version__} says: {first_line(error)}",
            "Check that the base is the model the adapter was trained on.",
        ) from error
    if any("missing adapter keys" in str(w.message) for w in caught):
        raise UserError(
            f"The adapter in {folder} does not hold all the weights its configuration names.",
            f"peft {__version__} found adapter tensors of the model that the file does not set.",
            "Check that the base is the model the adapter was trained on, and save the adapter again.",
        )
    return model


# Names, dots, and few enough wildcards that matching ends soon; no repetition within another.
_PATTERN = re.compile(r"\^?(?:[\w-]|\\\.|\.\*|\.(?![*+?{])|\\d\+(?!\\d))*\$?", re.ASCII)
MAX_PATTERN, MAX_WILDCARDS, MAX_PATTERNS = 200, 2, 10_000


def _bound_patterns(folder: str, config: Any, kind: str, base: Any) -> None:
    """Keeps regular expressions of the folder from being matched unless they are simple; some never end.

    Raises:
        UserError: one is not simple.
    """
    fields = {name: value for name, value in vars(config).items() if name.endswith("_pattern")}
    fields |= {name: getattr(config, name, None) for name in ("modules_to_save", "feedforward_modules")}
    for name, value in fields.items():
        keys = [value] if isinstance(value, str) else list(value or ())
        odd = next((key for key in map(str, keys) if not _simple(key)), f"{len(keys):,} entries")
        if len(keys) > MAX_PATTERNS or not all(_simple(str(key)) for key in keys):
            raise UserError(
                f"{name} of the adapter in {folder} holds {odd[:80]!r}, which is not matched.",
                "Only names, dots, ^, $, \\d+ and at most two .* are, because other patterns can take for ever.",
                "Write the names of the modules there.",
            )
    written = (config.target_modules, getattr(config, "exclude_modules", None))
    if any(isinstance(value, str) and value.lower() != "all-linear" for value in written):
        config.target_modules, config.exclude_modules = _adapted(folder, config, kind, base), None


def _simple(pattern: str) -> bool:
    short = len(pattern) <= MAX_PATTERN and pattern.count(".*") <= MAX_WILDCARDS
    return short and _PATTERN.fullmatch(pattern) is not None


def _adapted(folder: str, config: Any, kind: str, base: Any) -> set[str]:
    """The modules of the base that the adapter's own tensors belong to."""
    from peft.mapping import PEFT_TYPE_TO_PREFIX_MAPPING
    from safetensors import safe_open

    prefix = PEFT_TYPE_TO_PREFIX_MAPPING[config.peft_type]
    with safe_open(Path(folder) / ADAPTER_WEIGHTS, framework="pt") as file:
        names = [key.removeprefix("base_model.model.").split(".") for key in file.keys()]  # noqa: SIM118
    parts = [(name, next((i for i, part in enumerate(name) if part.startswith(prefix)), 0)) for name in names]
    found = {".".join(name[:end]) for name, end in parts if end}
    # Parameters that are adapted by themselves are named in target_parameters.
    parents = tuple(str(name).rpartition(".")[0] for name in getattr(config, "target_parameters", None) or ())
    found = {name for name in found if not any(f".{name}".endswith(f".{parent}") for parent in parents)}
    # Layers that are copied first are no modules of the base yet.
    return found if getattr(config, "layer_replication", None) else found & {name for name, _ in base.named_modules()}


def _fit_vocabulary(base: Any, weights: Path) -> None:
    """Resizes the base to an adapter that was saved with embeddings of its own for added tokens."""
    from safetensors import safe_open

    with safe_open(weights, framework="pt") as file:
        for key in file.keys():  # noqa: SIM118 - not a mapping
            if key.endswith(("embed_tokens.weight", "lm_head.weight", "wte.weight", "embed_in.weight")):
                rows = file.get_slice(key).get_shape()[0]
                if rows != base.get_input_embeddings().weight.shape[0]:
                    base.resize_token_embeddings(rows, mean_resizing=False)


def _unsupported(folder: str, model_type: str, version: str, error: Exception | None) -> UserError:
    return UserError(
        f"The model in {folder} cannot be opened: its model_type is {model_type!r}.",
        f"transformers {version} has no causal language model of this type."
        if error is None
        else f"transformers {version} says: {first_line(error)}",
        "Models that need code of their own are never run; give a causal language model that transformers knows.",
    )


def _declared_type(folder: str) -> str:
    import json

    try:
        return str(json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))["model_type"])
    except (OSError, ValueError, KeyError, TypeError):
        return "unknown"


@contextmanager
def _quietly() -> Iterator[None]:
    """Keeps transformers' loading report off stderr: what it says is raised as an error or does not matter."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    logger = logging.getLogger("transformers")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def first_line(error: Exception) -> str:
    """The first line of an error's message, 300 characters at most."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
