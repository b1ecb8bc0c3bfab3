"""Published rows that real contradictions are looked for in, each with where it stands.

``FOLDER`` holds sft/ (Alpaca demonstrations and identity rows of LLaMA-Factory, instruction rows of LLMs-from-scratch,
CoachLM's rows before and after revision, the seed tasks of Self-Instruct; prompts of both with the answers of models;
Apache-2.0), reasoning/gsm8k (MIT),
continual/ (BoolQA, CB, COPA, QQP, RTE, SST-2, WiC in the form of O-LoRA; MIT) and knowledge/ (facts of ROME,
EntityQuestions; MIT). The texts stay there.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ALPACA = (
    "llamafactory/alpaca_en_demo.json", "llamafactory/identity.json", "rasbt/instruction-data.json",
    "rasbt/instruction-examples-modified.json", "rasbt/instruction-examples.json", "rasbt/eval-example-data.json",
)  # fmt: skip
# Rows of each part that are taken, from the first one on. Long texts are left out where they only cost time.
LABELLED = {"BoolQA": 300, "CB": 300, "COPA": 500, "QQP": 2000, "RTE": 1200, "SST-2": 3000, "WiC": 3000}
PROBLEMS = {"test": 1319, "train": 900}

# Records of two answers each, the second by a model: file, how many are taken, the fields of the answers.
ANSWERED = (
    ("sft/rasbt/instruction-data-with-response.json", 110, ("output", "model_response")),
    ("sft/rasbt/eval-example-data.json", 100, ("output", "model 1 response")),
    ("sft/rasbt/instruction-data-with-preference.json", 500, ("chosen", "rejected")),
    ("sft/llamafactory/dpo_en_demo.json", 300, ("chosen", "rejected")),
    ("reasoning/gsm8k/example_model_solutions.jsonl", 400, ("ground_truth", "175b_verification")),
)

# (file, number of the record), prompt, answer
Row = tuple[tuple[str, int], str, str]


def rows(folder: Path) -> Iterator[Row]:
    """Every row that is taken, in the order of the files; each text once."""
    return _once(_all(folder))


def answered(folder: Path) -> Iterator[Row]:
    """Prompts with the answers of models, in the order of the files; each text once. A dataset of its own."""
    return _once(_answered(folder))


def _once(found: Iterator[Row]) -> Iterator[Row]:
    seen = set()
    for place, prompt, answer in found:
        if prompt.strip() and answer.strip() and (prompt, answer) not in seen:
            seen.add((prompt, answer))
            yield place, prompt, answer


def _all(folder: Path) -> Iterator[Row]:
    for name in (f"sft/{n}" for n in ALPACA):
        for i, row in enumerate(_json(folder / name)):
            prompt = _joined(row["instruction"], row.get("input"))
            for answer in (row["output"], row.get("output_2")):
                if answer:
                    yield (name, i), prompt, answer
    name = "sft/coachlm/expert_revision.json"
    for i, row in enumerate(_json(folder / name)):
        for side in ("Raw", "Revised"):
            prompt = _joined(row[f"{side} Instruction"], row.get(f"{side} Input"))
            yield (name, i), prompt, row[f"{side} Response"]
    name = "sft/self_instruct_seed_tasks.jsonl"
    for i, row in enumerate(_lines(folder / name)):
        for case in row["instances"]:
            yield (name, i), _joined(row["instruction"], case["input"]), case["output"]
    for part, most in PROBLEMS.items():
        name = f"reasoning/gsm8k/{part}.jsonl"
        for i, row in enumerate(_lines(folder / name)[:most]):
            yield (name, i), row["question"], row["answer"]
    for task, most in LABELLED.items():
        for part in ("train", "test"):
            name = f"continual/{task}/{part}.json"
            if (folder / name).exists():
                for i, row in enumerate(_json(folder / name)[:most]):
                    yield (name, i), row["sentence"], str(row["label"])
    name = "knowledge/known_1000.json"
    for i, row in enumerate(_json(folder / name)):
        yield (name, i), row["prompt"], row["attribute"]
    for path in sorted(folder.glob("knowledge/entityquestions/test/*.json")):
        for i, row in enumerate(_json(path)):
            if row["answers"]:
                yield (f"knowledge/entityquestions/test/{path.name}", i), row["question"], row["answers"][0]


def _answered(folder: Path) -> Iterator[Row]:
    for name, most, fields in ANSWERED:
        path = folder / name
        for i, row in enumerate((_lines if path.suffix == ".jsonl" else _json)(path)[:most]):
            if "conversations" in row:
                said = [m["value"] for m in row["conversations"]]
                if sum(m["from"] != "system" for m in row["conversations"]) > 1:
                    continue
                prompt = "\n".join(said)
            else:
                prompt = row["question"] if "question" in row else _joined(row["instruction"], row["input"])
            for field in fields:
                answer = row[field]
                yield (
                    (name, i),
                    prompt,
                    answer if isinstance(answer, str) else answer.get("value", answer.get("solution")),
                )


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _joined(instruction: str, context: str | None) -> str:
    return "\n".join(p for p in (instruction, context or "") if p)


def fingerprint(prompt: str, answer: str) -> str:
    """What the labelled pairs name a row by."""
    return hashlib.sha256(f"{prompt}\0{answer}".encode()).hexdigest()[:16]


def samples(found: Sequence[Row]) -> list[Any]:
    """The rows as a diagnosis reads them."""
    from core.intake.datasets import read, scan

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        lines = (json.dumps({"prompt": prompt, "completion": answer}) + "\n" for _, prompt, answer in found)
        path.write_text("".join(lines), encoding="utf-8")
        return [s for s in read([path], scan([path]).reading) if hasattr(s, "content_hash")]


def near_rows(pairs: Sequence[Mapping[str, Any]], by_print: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What the neighbours signal keeps of each row, from what the labelled pairs hold of it; ``by_print``: samples."""
    near: dict[str, dict[str, Any]] = {s.content_hash: {"neighbours": [], "verbatim": 0} for s in by_print.values()}
    for pair in pairs:
        a, b = (by_print[t] for t in pair["texts"])
        wording = pair["wording"]
        near[a.content_hash]["neighbours"].append({
            "hash": b.content_hash, "similarity": 0.0, "same": wording["same"], "verbatim": wording["verbatim"],
            "left": ["…"] * wording["left"], "right": ["…"] * wording["right"], "exchanged": wording["exchanged"],
        })  # fmt: skip
    return near
