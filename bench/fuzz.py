"""Broken and hostile inputs by the thousand: no crash, none over 5 s of computing or 2 GiB, no file outside its folder.

``python -m bench.fuzz --minutes 10`` goes on where the last call stopped. Input ``i`` of a kind is the same on every
machine: it follows from the kind's name and ``i``. Every few inputs run in a process of their own with limits. What
goes wrong is listed with its number; ``python -m bench.fuzz --show json:17`` writes that input to a file.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import os
import random
import resource
import shutil
import signal
import struct
import sys
import tarfile
import tempfile
import time
import traceback
import zipfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

from bench._machine import machine, versions
from core.errors import UserError
from core.settings import quiet_libraries

OUT = Path(__file__).parent / "results" / "fuzz.json"
SECONDS = 5.0
MEMORY = 2 << 30
# Inputs that one process takes. A process costs about as much as ten inputs.
PIECE = 25
CHAT = [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Yes."}]
ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 10**30, 1.5, 1e308, "", " ", "\ud800", "\x00", "é" * 50, "x" * 3000, [], {}, [[]], [None],
    {"role": "user"}, [{"role": 1}], CHAT, json.dumps(CHAT), "[1", "{'a': 1}", "../../x", [1] * 500, {"a": {"b": [1]}},
)  # fmt: skip
KEYS = ("messages", "conversations", "prompt", "completion", "instruction", "input", "output", "text", "id", "stage",
        "tools", "system", "chosen", "rejected", "label", "images", "input_ids", "labels", "functions",
        "history")  # fmt: skip
TOKENS = (
    b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"[", b"{", b"]", b"}", b'"', b"\\", b"\n", b"\r", b",", b"NaN", b"null",
    b"1e999", b"\\ud800", b"\xed\xa0\x80", b"-", b"9" * 400, b"[" * 2000, b'{"a":' * 700, b"\x1f\x8b", b"PK\x03\x04",
    b"PAR1",
)  # fmt: skip


# ------------------------------------------------------------------------------------------------------- making


def value(chance: random.Random, depth: int = 0) -> Any:
    """A JSON value, often one that a format half expects."""
    roll = chance.random()
    if roll < 0.5 or depth > 4:
        return chance.choice(ODD)
    if roll < 0.7:
        return [value(chance, depth + 1) for _ in range(chance.randrange(4))]
    if roll < 0.9:
        return {chance.choice((*KEYS, "role", "content", "from", "value")): value(chance, depth + 1) for _ in range(3)}
    return [{"role": chance.choice(("user", "assistant", "tool", "odd", "")), "content": value(chance, depth + 1)}]


def row(chance: random.Random) -> dict[str, Any]:
    """A row, mostly one that can be read."""
    rows: list[dict[str, Any]] = [
        {"id": chance.randrange(9), "messages": CHAT},
        {"instruction": "a", "input": "", "output": "b"},
        {"prompt": "a", "completion": "b", "source": "s"},
        {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]},
        {"text": "a b c"},
    ]
    out = dict(rows[chance.randrange(len(rows))])
    for _ in range(chance.randrange(3)):
        out[chance.choice((*KEYS, *out))] = value(chance)
    return out


def mutated(data: bytes, chance: random.Random) -> bytes:
    """The bytes with a few of them changed, left out, doubled, cut off or replaced by what parsers stumble over."""
    out = bytearray(data)
    for _ in range(chance.choice((0, 1, 1, 2, 4, 16))):
        at, way = chance.randrange(len(out) + 1), chance.randrange(6)
        if way == 0 and at < len(out):
            out[at] = chance.randrange(256)
        elif way == 1:
            del out[at : at + chance.choice((1, 2, 8, 64))]
        elif way == 2:
            out[at:at] = out[at : at + chance.choice((1, 8, 200))]
        elif way == 3:
            out[at:at] = chance.choice(TOKENS)
        elif way == 4 and chance.random() < 0.3:
            del out[at:]
        elif at + 4 <= len(out):
            out[at : at + 4] = struct.pack("<I", chance.choice((0, 1, 0x7FFFFFFF, 0xFFFFFFFF, chance.getrandbits(32))))
    return bytes(out)


def text(item: Any) -> bytes:
    return json.dumps(item, ensure_ascii=False).encode("utf-8", "surrogatepass")


def make_jsonl(chance: random.Random) -> bytes:
    return mutated(b"\n".join(text(row(chance)) for _ in range(chance.randrange(1, 8))), chance)


def make_json(chance: random.Random) -> bytes:
    rows = [row(chance) for _ in range(chance.randrange(1, 6))]
    return mutated(text(chance.choice((rows, {"data": rows}, rows[0], {"train": rows, "test": rows}))), chance)


def make_csv(chance: random.Random) -> bytes:
    names = chance.sample(KEYS, 3)
    cells = [[str(value(chance))[:300] for _ in names] for _ in range(4)]
    lines = [";,\t"[chance.randrange(3)].join(line) for line in (names, *cells)]
    return mutated("\n".join(lines).encode("utf-8", "surrogatepass"), chance)


def make_gzip(chance: random.Random) -> bytes:
    inner = (make_jsonl, make_csv, lambda c: bytes(c.choice((10, 10**6, 10**7))))[chance.randrange(3)](chance)
    return mutated(gzip.compress(inner, mtime=0), chance)


def make_parquet(chance: random.Random) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    many = chance.choice((1, 3, 100, 5000))
    texts = pa.array([chance.choice(("a", "b" * 2000, None)) for _ in range(many)], pa.string())
    large = pa.DictionaryArray.from_arrays(
        pa.array([0] * many, pa.int32()), pa.array(["x" * chance.choice((1, 10**6 if many < 500 else 9))])
    )
    lists = pa.array([chance.choice(([], CHAT, None)) for _ in range(many)])
    other = pa.array([float("nan")] * many) if chance.random() < 0.3 else pa.nulls(many, pa.int8())
    columns = {"text": texts, "large": large, "messages": lists, "other": other}
    kept = chance.sample(sorted(columns), chance.randrange(1, 5))
    sink = io.BytesIO()
    options = {"compression": chance.choice(("snappy", "zstd", "none")), "use_dictionary": chance.random() < 0.7}
    pq.write_table(pa.table({name: columns[name] for name in kept}), sink, row_group_size=max(1, many // 2), **options)
    return mutated(sink.getvalue(), chance)


def make_archive(chance: random.Random) -> bytes:
    names = [
        "config.json",
        "model/config.json",
        "../out",
        "/abs",
        "a/../../b",
        "x" * 300,
        "C:\\x",
        "d/",
        "n\x01",
        "é\udce4",
    ]
    files = [
        (chance.choice(names), chance.choice((b"{}", b"x" * 1000, bytes(10**6)))) for _ in range(chance.randrange(5))
    ]
    sink = io.BytesIO()
    if chance.random() < 0.5:
        with zipfile.ZipFile(sink, "w", chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as made:
            for name, data in files:
                info = zipfile.ZipInfo(name.encode("utf-8", "replace").decode())
                info.external_attr = chance.choice((0, 0o120777 << 16, 0o100644 << 16))
                made.writestr(info, data)
    else:
        with tarfile.open(fileobj=sink, mode=chance.choice(("w", "w:gz"))) as tar:
            for name, data in files:
                entry = tarfile.TarInfo(name)
                entry.size, entry.type = (
                    len(data),
                    chance.choice((tarfile.REGTYPE,) * 3 + (tarfile.SYMTYPE, tarfile.LNKTYPE)),
                )
                entry.linkname = "../../../etc/passwd"
                tar.addfile(entry, io.BytesIO(data) if entry.type == tarfile.REGTYPE else None)
    return mutated(sink.getvalue(), chance)


def make_safetensors(chance: random.Random) -> bytes:
    size = chance.choice((0, 8, 64))
    header: dict[str, Any] = {"a": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}
    for key in chance.sample(("dtype", "shape", "data_offsets"), chance.randrange(2)):
        header["a"][key] = value(chance)
    if chance.random() < 0.3:
        header[str(value(chance))[:50]] = value(chance)
    body = text(header)
    return mutated(struct.pack("<Q", len(body)) + body + bytes(size), chance)


def make_folder(chance: random.Random) -> bytes:
    """config.json and adapter_config.json of a folder, as one JSON object."""
    config: dict[str, Any] = {"model_type": "llama", "num_hidden_layers": 2, "vocab_size": 9, "eos_token_id": 1}
    adapter: dict[str, Any] = {"peft_type": "LORA", "r": 4, "target_modules": ["q_proj"], "rank_pattern": {}}
    for part in (config, adapter):
        for key in chance.sample([*part, "auto_map", "text_config", "quantization_config"], chance.randrange(4)):
            part[key] = chance.choice((value(chance), 10**8, {"q_proj": 10**8}))
    return mutated(text(config) + b"\0\0\0" + text(adapter), chance)


def make_tokenizer(chance: random.Random) -> bytes:
    vocab: dict[str, Any] = {"a": 0, "b": 1, "<eos>": 2}
    made: dict[str, Any] = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
        "pre_tokenizer": None, "post_processor": None, "decoder": None,
        "model": {"type": "BPE", "vocab": vocab, "merges": []},
    }  # fmt: skip
    for key in chance.sample(sorted(made), chance.randrange(3)):
        made[key] = value(chance)
    if chance.random() < 0.3:
        made["added_tokens"] = [{"id": chance.choice((3, -1, 10**12)), "content": value(chance), "special": True}]
    return mutated(text(made), chance)


def make_template(chance: random.Random) -> bytes:
    parts = [
        "{% for m in messages %}", "{{ m.content }}", "{% endfor %}", "{{ messages[0]['role'] }}", "{% if tools %}",
        "{% endif %}", "{{ 'a' * 10**9 }}", "{{ [1] * 10**9 }}", "{% for i in range(10**9) %}", "{{ ''.__class__ }}",
        "{{ m|tojson }}", "{% generation %}", "{% endgeneration %}", "{{ x.y.z }}", "{{ raise_exception('no') }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "{{ " + "[" * 300 + "}}", "{{ namespace(_a=1) }}",
    ]  # fmt: skip
    return mutated("".join(chance.choice(parts) for _ in range(chance.randrange(1, 8))).encode(), chance)


def make_configuration(chance: random.Random) -> bytes:
    from core.plugins import kinds

    examples = [e for kind in kinds("configurations").values() for e in kind.examples]
    name, content = chance.choice(list(chance.choice(examples).items()))
    return name.encode() + b"\0\0\0" + mutated(content.encode(), chance)


# ------------------------------------------------------------------------------------------------------ reading


def read_dataset(data: bytes, folder: Path, name: str) -> None:
    from core.intake.datasets import read, scan

    path = folder / name
    path.write_bytes(data)
    found = scan([path])
    json.dumps(found.as_dict())
    for _ in islice(read([path], found.reading), 200_000):
        pass


def read_archive(data: bytes, folder: Path) -> None:
    from core.checkpoint.archives import extract

    place = folder / "place"
    place.mkdir()
    (folder / "a.zip").write_bytes(data)
    try:
        extract(folder / "a.zip", place / "into", 1 << 30)
    finally:
        beside = sorted(p.name for p in folder.iterdir()), sorted(p.name for p in place.iterdir())
        if beside not in ((["a.zip", "place"], ["into"]), (["a.zip", "place"], [])):
            raise AssertionError(f"files outside the folder: {beside}")


def read_header(data: bytes, folder: Path) -> None:
    from core.checkpoint.weights import read_header as header

    (folder / "model.safetensors").write_bytes(data)
    header(folder / "model.safetensors")


def read_folder(data: bytes, folder: Path) -> None:
    from core.checkpoint.facts import read_folder as facts

    config, _, adapter = data.partition(b"\0\0\0")
    body = text({"a": {"dtype": "F32", "shape": [4, 2], "data_offsets": [0, 32]}})
    for name, content in (("config.json", config), ("adapter_config.json", adapter)):
        (folder / name).write_bytes(content)
    (folder / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(body)) + body + bytes(32))
    facts(folder)


def read_tokenizer(data: bytes, folder: Path) -> None:
    from core.rendering.tokenizers import open_tokenizer

    (folder / "tokenizer.json").write_bytes(data)
    open_tokenizer(str(folder), "file")("ab a", verbose=False)


def read_template(data: bytes, folder: Path) -> None:
    from core.rendering.templates import Chat, render_chats

    render_chats(data.decode("utf-8", "replace"), [Chat(CHAT, False)])


def read_configuration(data: bytes, folder: Path) -> None:
    from core.configurations._documents import documents
    from core.configurations._places import Uploads
    from core.configurations._setup import setup_of

    name, _, content = data.partition(b"\0\0\0")
    found = documents(name.decode(), content)
    setup = setup_of(found, lambda document: Uploads({}), here=False)
    json.dumps(None if setup is None else setup.as_dict())


Maker = Callable[[random.Random], bytes]
Reader = Callable[[bytes, Path], None]
# Kind to how an input is made, how it is read, and its share of the inputs.
INPUTS: dict[str, tuple[Maker, Reader, int]] = {
    "jsonl": (make_jsonl, lambda d, f: read_dataset(d, f, "a.jsonl"), 20),
    "json": (make_json, lambda d, f: read_dataset(d, f, "a.json"), 20),
    "csv": (make_csv, lambda d, f: read_dataset(d, f, "a.csv"), 12),
    "gzip": (make_gzip, lambda d, f: read_dataset(d, f, "a.jsonl.gz"), 4),
    "parquet": (make_parquet, lambda d, f: read_dataset(d, f, "a.parquet"), 8),
    "archive": (make_archive, read_archive, 10),
    "safetensors": (make_safetensors, read_header, 10),
    "folder": (make_folder, read_folder, 10),
    "configuration": (make_configuration, read_configuration, 10),
    "tokenizer": (make_tokenizer, read_tokenizer, 4),
    "template": (make_template, read_template, 1),
}


class TooLong(BaseException):
    """The input took more than its time."""


def made(kind: str, number: int) -> bytes:
    """Input ``number`` of a kind, the same wherever it is made."""
    return INPUTS[kind][0](random.Random(f"{kind}:{number}"))


def one(kind: str, number: int) -> str:
    """What is wrong with how an input was taken, empty where nothing is."""
    data = made(kind, number)
    with tempfile.TemporaryDirectory() as folder:
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            INPUTS[kind][1](data, Path(folder))
        except UserError:
            return ""
        except (Exception, TooLong) as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            return f"{type(error).__name__}: {str(error)[:120]} ({Path(where.filename).name}:{where.lineno})"
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
    return ""


def _stop(*_: object) -> None:
    raise TooLong(f"more than {SECONDS:g} s")


def piece(kind: str, numbers: range) -> dict[int, str]:
    """What is wrong with inputs, each by its number, from a process with limits. A dead process is wrong, too."""
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(receive)
        signal.signal(signal.SIGPROF, _stop)
        base = int(Path("/proc/self/statm").read_text().split()[5]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_DATA, (base + MEMORY, base + MEMORY))
        # One that a handler cannot stop ends with its process.
        resource.setrlimit(resource.RLIMIT_CPU, (int(SECONDS * (len(numbers) + 1)),) * 2)
        with os.fdopen(send, "w") as out:
            for number in numbers:
                out.write(f"{number}\t")
                out.flush()
                out.write(one(kind, number).replace("\n", " ").replace("\t", " ") + "\n")
                out.flush()
        os._exit(0)
    os.close(send)
    with os.fdopen(receive) as back:
        lines = back.read().splitlines()
    _, status = os.waitpid(child, 0)
    wrong = {int(n): text for n, _, text in (line.partition("\t") for line in lines) if text}
    if status and lines:
        wrong[int(lines[-1].partition("\t")[0])] = f"the process ended with {os.waitstatus_to_exitcode(status)}"
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--minutes", type=float, default=10, help="of computing, this process and its children together"
    )
    parser.add_argument("--show", metavar="KIND:NUMBER", help="write one input to a file here")
    parser.add_argument("--again", action="store_true", help="begin anew, not where the last call stopped")
    args = parser.parse_args()
    if args.show:
        kind, _, number = args.show.partition(":")
        Path(f"fuzz-{kind}-{number}").write_bytes(made(kind, int(number)))
        return
    quiet_libraries()
    from core.intake import datasets  # noqa: F401 - loaded once, not in every process

    result: dict[str, Any] = json.loads(OUT.read_text()) if OUT.exists() and not args.again else {}
    kinds = result.setdefault("kinds", {})
    wrong = result.setdefault("wrong", {})
    began, used = time.time(), result.get("seconds", 0.0)
    while computing() < args.minutes * 60:
        shares = {kind: kinds.get(kind, 0) / share for kind, (_, _, share) in INPUTS.items()}
        kind = min(shares, key=lambda k: shares[k])
        first = kinds.get(kind, 0)
        if kind == "tokenizer" and "transformers" not in sys.modules:
            import transformers  # noqa: F401 - the same

        for number, said in piece(kind, range(first, first + PIECE)).items():
            wrong[f"{kind}:{number}"] = said
            print(f"{kind}:{number}  {said}", flush=True)
        kinds[kind] = first + PIECE
        result |= {
            "inputs": sum(kinds.values()), "seconds": round(used + computing(), 1),
            "limits": {"seconds": SECONDS, "bytes": MEMORY},
            "machine": machine(), "versions": versions(["pyarrow", "tokenizers", "transformers", "PyYAML"]),
        }  # fmt: skip
        if time.time() - began > 5:
            began = time.time()
            _write(result)
    _write(result)
    print(f"{result['inputs']:,} inputs, {len(wrong)} wrong")


def computing() -> float:
    """Seconds of computing of this process and its ended children."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def _write(result: dict[str, Any]) -> None:
    part = OUT.with_suffix(".part")
    part.write_text(json.dumps(result, indent=2, sort_keys=True) + "\n")
    shutil.move(part, OUT)


if __name__ == "__main__":
    main()
