"""Files to documents: YAML, JSON, and the front matter of a model card. Bounded, and nothing is run."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from core.configurations._base import Document
from core.errors import UserError

# A training configuration has a few kilobytes; reading YAML takes about ten seconds for a megabyte.
MAX_YAML = 128 << 10
# With one log line per step, 100,000 steps are about 30 MB. dataset_info.json has some hundred kilobytes.
MAX_JSON = 64 << 20
# Entries that YAML's merge keys may add, and mappings that one may name. A few lines can otherwise ask for billions.
MAX_MERGED, MAX_MERGES = 10_000, 20
# Values of a YAML file once its references are followed. 128 KiB without references hold fewer.
MAX_NODES = 100_000
MAX_INTEGER = 2**63 - 1
ENDINGS = (".yaml", ".yml", ".json", ".md")
PICKLED = "training_args.bin"
# Files of a folder that are looked at. A checkpoint has about a dozen of these endings.
MAX_FILES = 50
# They lie in every checkpoint folder and say nothing about the training; some have many megabytes.
_NOT_CONFIGURATIONS = re.compile(
    r"(config|generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab|chat_template"
    r"|preprocessor_config|processor_config|.*\.index|all_results|train_results|eval_results|running_log)\.json"
)


def documents(name: str, data: bytes, folder: Path | None = None) -> list[Document]:
    """The documents in a file: one, or for a model card its front matter and the configurations it quotes.

    Raises:
        UserError: the file cannot be read as what its name says.
    """
    if Path(name).name == PICKLED:
        raise pickled()
    ending = Path(name).suffix.lower()
    if ending not in ENDINGS:
        raise UserError(
            f"{name} is not a configuration that is read here.",
            f"Configurations end with {', '.join(ENDINGS)}.",
            "Give the file that the training was started with.",
        )
    limit = MAX_JSON if ending == ".json" else MAX_YAML
    if len(data) > limit:
        raise UserError(f"{name} has {len(data):,} bytes.", f"More than {limit:,} are not read.", "Give another file.")
    try:
        content = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{name} is not UTF-8.", f"{error.reason}.", "Save it as UTF-8.") from error
    if ending == ".md":
        return _model_card(name, content, folder)
    values = _json(name, content) if ending == ".json" else _yaml(name, content)
    if not isinstance(values, dict):
        raise UserError(
            f"{name} holds no keys with values.",
            "A configuration is one key with its value a line.",
            "Give another one.",
        )
    return [Document(name, values, folder)]


def of_folder(folder: Path) -> list[Document]:
    """The documents in the files of a folder, those that cannot be read left out."""
    found: list[Document] = []
    names = sorted(p.name for p in folder.iterdir() if p.suffix.lower() in ENDINGS)
    for name in [n for n in names if not _NOT_CONFIGURATIONS.fullmatch(n)][:MAX_FILES]:
        path = folder / name
        try:
            if path.is_file() and not path.is_symlink():
                found += documents(name, read_bytes(path), folder)
        except UserError:
            continue
    return found


def read_bytes(path: Path) -> bytes:
    """The bytes of a configuration, at most one more than are ever read.

    Raises:
        UserError: it cannot be read.
    """
    if path.name == PICKLED:
        raise pickled()
    try:
        with path.open("rb") as file:
            return file.read(MAX_JSON + 1)
    except OSError as error:
        raise UserError(f"{path.name} cannot be read.", f"{error.strerror}.", "Check path and permissions.") from error


def pickled() -> UserError:
    """The error for ``training_args.bin``."""
    return UserError(
        f"{PICKLED} is never opened.",
        "It is a pickle, and opening one can run code.",
        "Give the file that the training was started with: the YAML of LLaMA-Factory or Axolotl, args.json of "
        "ms-swift. For TRL write json.dumps(trainer.args.to_dict()) into training_args.json and give that.",
    )


def _json(name: str, content: str) -> Any:
    try:
        return json.loads(content, parse_int=_integer)
    except (ValueError, RecursionError) as error:
        reason = str(error)[:200] if isinstance(error, ValueError) else "It is nested too deeply"
        raise UserError(f"{name} is not JSON.", f"{reason}.", "Save it again, or give another file.") from error


def _integer(written: str) -> int:
    # The length is looked at first: reading a long number takes long, too.
    value = int(written) if len(written) <= 20 else None
    if value is None or abs(value) > MAX_INTEGER:
        raise ValueError("It holds an integer beyond 2^63-1")
    return value


class _Bounded(yaml.SafeLoader):
    """SafeLoader with limits on integers, on what references multiply to and on what merge keys may add."""

    merged = 0

    def get_single_node(self) -> yaml.Node | None:
        node: yaml.Node | None = super().get_single_node()
        if node is not None and _expanded(node, {}) > MAX_NODES:
            raise yaml.YAMLError(f"its references make more than {MAX_NODES:,} values")
        return node

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        # 2^63 in binary has 64 digits; underscores may stand between them.
        value = super().construct_yaml_int(node) if len(str(node.value)) <= 200 else None
        if value is None or abs(value) > MAX_INTEGER:
            raise yaml.YAMLError("it holds an integer beyond 2^63-1")
        return int(value)

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        lists = [v for k, v in node.value if k.tag == "tag:yaml.org,2002:merge" and isinstance(v, yaml.SequenceNode)]
        if any(len(merges.value) > MAX_MERGES for merges in lists) or self.merged > MAX_MERGED:
            raise yaml.YAMLError(f"its merge keys make more than {MAX_MERGED:,} entries")
        super().flatten_mapping(node)
        self.merged += len(node.value)


_Bounded.add_constructor("tag:yaml.org,2002:int", _Bounded.construct_yaml_int)


def _expanded(node: yaml.Node, sizes: dict[int, int]) -> int:
    """The number of nodes with references followed. ``sizes`` holds what is known of each; 0 while it is counted."""
    known = sizes.get(id(node))
    if known == 0:
        raise yaml.YAMLError("it holds a value that contains itself")
    if known is None:
        sizes[id(node)] = 0
        inner: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            inner = [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            inner = node.value
        # More than the limit is not told apart, so that sums stay small.
        known = sizes[id(node)] = min(1 + sum(_expanded(part, sizes) for part in inner), MAX_NODES + 1)
    return known


def _yaml(name: str, content: str) -> Any:
    try:
        return yaml.load(content, _Bounded)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError, TypeError, AttributeError) as error:
        reason = "It is nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())[:200]
        raise UserError(f"{name} is not YAML.", f"{reason}.", "Save it again, or give another file.") from error


_FRONT = re.compile(r"---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|$)", re.DOTALL)
_QUOTED = re.compile(r"^```ya?ml[ \t]*\r?\n(.*?)^```", re.DOTALL | re.MULTILINE)


def _model_card(name: str, content: str, folder: Path | None) -> list[Document]:
    front = _FRONT.match(content)
    values = _yaml(name, front[1]) if front else {}
    found = [Document(name, values if isinstance(values, dict) else {}, folder)]
    for quoted in _QUOTED.finditer(content, front.end() if front else 0):
        try:
            values = _yaml(name, quoted[1])
        except UserError:
            continue
        if isinstance(values, dict):
            found.append(Document(name, values, folder, inner=True))
    return found


def names_of(files: Sequence[Document]) -> str:
    """The names of documents, each once."""
    return ", ".join(dict.fromkeys(document.name for document in files))
