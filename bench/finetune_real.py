"""A real fine-tune to diagnose: a pretrained model on real instruction rows with TRL's SFTTrainer, on the CPU.

    python -m pip install -r requirements-dev.txt -c constraints.txt
    python -m bench.finetune_real --model MODEL --data ROWS.json --out OUT [--epochs 11] [--rows N] [--lora]

MODEL is a Hugging Face folder of a causal language model whose tokenizer has an end-of-sequence token; ROWS a JSON
array of Alpaca rows (instruction, input, output). A model with a chat template gets messages in it. A model without one
gets none: rows go to TRL as prompt and completion text, to which TRL adds the end-of-sequence token; the prompt then
ends with a line feed and a dash, so that no token spans the seam. Loss is on the completion. The diagnosis rebuilds the
same ids with ``--trainer trl``. ``--lora`` trains an adapter in place of the weights. Left out, and counted:
rows whose text the tokenizer cannot spell (decoding does not give it back), rows longer than the model's context, and
answers of more than ``--longest`` tokens.

Written: OUT/dataset.jsonl (the rows as trained, in training order; nothing is shuffled), OUT/base, three
OUT/checkpoint-*, OUT/final and OUT/final.zip. Stdout: one JSON object with counts, losses and seconds.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench._machine import machine, versions
from core.lab.worlds import LORA

PACKAGES = ("torch", "transformers", "trl", "tokenizers")


def as_pair(row: Mapping[str, str], chat: bool) -> dict[str, str]:
    """An Alpaca row as the prompt and the completion of a text."""
    asked = ("\n" if chat else " ").join(part for part in (row["instruction"], row.get("input", "")) if part)
    return {"prompt": asked if chat else f"{asked}\n-", "completion": row["output"]}


def as_turns(pair: Mapping[str, str]) -> dict[str, Any]:
    """A pair as the messages that TRL puts into the model's chat template."""
    roles = {"prompt": "user", "completion": "assistant"}
    return {part: [{"role": role, "content": pair[part]}] for part, role in roles.items()}


def chosen(
    rows: Sequence[Mapping[str, str]], tokenizer: Any, context: int, longest: int
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Rows to train on, and how many were left out for which reason."""
    kept: list[dict[str, Any]] = []
    left_out = Counter[str]()
    chat = bool(tokenizer.chat_template)
    for row in rows:
        pair = as_pair(row, chat)
        text = pair["prompt"] + pair["completion"]
        n_prompt = len(tokenizer(pair["prompt"])["input_ids"])
        ids = tokenizer(text + tokenizer.eos_token)["input_ids"]
        if not pair["completion"]:
            left_out["no answer"] += 1
        elif tokenizer.decode(ids, skip_special_tokens=True) != text:
            left_out["text the tokenizer cannot spell"] += 1
        elif ids[-1] != tokenizer.eos_token_id:
            left_out["end-of-sequence token not recognised"] += 1
        elif len(ids) > context:
            left_out["longer than the context"] += 1
        elif len(ids) - n_prompt > longest:
            left_out[f"answer of more than {longest} tokens"] += 1
        else:
            kept.append(as_turns(pair) if chat else pair)
    return kept, dict(left_out)


def finetune(pairs: Sequence[dict[str, Any]], base: Path, out: Path, options: argparse.Namespace) -> Any:
    """Trains with TRL; returns the trainer. ``out`` then holds three checkpoints, without optimiser states."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    steps = -(-len(pairs) // options.batch) * options.epochs
    config = SFTConfig(
        output_dir=str(out),
        num_train_epochs=options.epochs,
        learning_rate=options.lr,
        lr_scheduler_type="cosine",
        warmup_steps=min(50, steps // 10),
        per_device_train_batch_size=options.batch,
        train_sampling_strategy="sequential",
        save_steps=steps // 4,
        save_only_model=True,
        logging_steps=max(1, steps // 40),
        seed=options.seed,
        max_length=None,  # every row was checked against the context
        bf16=options.bf16,
        gradient_checkpointing=False,
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
    )
    trainer = SFTTrainer(
        model=str(base),
        args=config,
        train_dataset=Dataset.from_list(list(pairs)),
        processing_class=AutoTokenizer.from_pretrained(base),
        peft_config=LoraConfig(**LORA) if options.lora else None,
    )
    trainer.train()
    last = out / f"checkpoint-{trainer.state.global_step}"
    shutil.rmtree(last, ignore_errors=True)  # where the last save falls on the last step: it is `final`
    trainer.save_model(str(out / "final"))
    trainer.state.save_to_json(str(out / "final" / "trainer_state.json"))
    for unasked in (*out.glob("*/training_args.bin"), out / "README.md"):
        unasked.unlink(missing_ok=True)
    return trainer


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(options.threads)
    out = options.out
    if out.exists() and any(out.iterdir()):
        sys.exit(f"{out} is not empty. Name another folder with --out, or remove it.")
    base = out / "base"
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    model = AutoModelForCausalLM.from_pretrained(options.model, use_safetensors=True)
    rows = json.loads(options.data.read_text(encoding="utf-8"))
    pairs, left_out = chosen(rows, tokenizer, model.config.max_position_embeddings, options.longest)
    not_asked_for = len(pairs) - len(pairs[: options.rows])
    pairs = pairs[: options.rows]
    model.save_pretrained(base)
    tokenizer.save_pretrained(base)
    lines = [json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs]
    (out / "dataset.jsonl").write_text("".join(lines), encoding="utf-8")

    started = time.perf_counter()
    stdout, sys.stdout = sys.stdout, sys.stderr  # the trainer prints its log; stdout is for the result
    try:
        trainer = finetune(pairs, base, out, options)
    finally:
        sys.stdout = stdout
    seconds = time.perf_counter() - started
    shutil.make_archive(str(out / "final"), "zip", out, "final")
    losses = [(e["step"], round(e["loss"], 4)) for e in trainer.state.log_history if "loss" in e]
    result = {
        "rows": len(pairs),
        "left_out": left_out | ({"beyond --rows": not_asked_for} if not_asked_for else {}),
        "settings": {k: v for k, v in vars(options).items() if k not in ("model", "data", "out")},
        "steps": trainer.state.global_step,
        "seconds": round(seconds, 1),
        "losses": losses,
        "checkpoints": sorted((p.name for p in out.glob("checkpoint-*")), key=lambda n: int(n.rpartition("-")[2])),
        "machine": machine(),
        "versions": versions(PACKAGES),
    }
    print(json.dumps(result, indent=1))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.finetune_real", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="Hugging Face folder of the model to fine-tune")
    parser.add_argument("--data", type=Path, required=True, help="JSON array of Alpaca rows")
    parser.add_argument("--out", type=Path, required=True, help="an empty or new folder")
    parser.add_argument("--rows", type=int, default=1000, help="at most so many rows")
    parser.add_argument("--longest", type=int, default=40, help="longest answer, in tokens with the stop token")
    parser.add_argument("--epochs", type=int, default=11)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lora", action="store_true", help="train an adapter")
    parser.add_argument("--bf16", action="store_true", help="train in bfloat16 with float32 weights")
    parser.add_argument("--seed", type=int, default=0)
    threads = "CPU threads; for a model this small more than one costs time wherever the cores are not idle"
    parser.add_argument("--threads", type=int, default=1, help=threads)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
