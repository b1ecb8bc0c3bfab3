"""What recording costs: paired trainings with and without ``lacuna_recorder.py``, and its losses against own passes.

    .venv/bin/python bench/recorder.py --model FOLDER [--pairs 6] [--steps 4] [--out bench/results/recorder.json]

Each pair trains the same steps twice on the same rows, in turn the recorded one first or last. What is compared is the
time of the processor over the steps after the first: on a machine that does other things beside, it says more than the
clock on the wall. Both trainers are taken: TRL's, which computes token
losses itself, and that of transformers, whose logits the recorder reads once more.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from lacuna_recorder import LacunaRecorder  # noqa: E402


def rows(vocabulary: int, n: int, length: int) -> list[dict[str, list[int]]]:
    """Token ids with loss on their second half; lengths vary by a fifth."""
    draw = random.Random(0)
    out = []
    for _ in range(n):
        ids = [draw.randrange(10, vocabulary) for _ in range(draw.randrange(int(0.8 * length), length + 1))]
        out.append({"input_ids": ids, "labels": [-100] * (len(ids) // 2) + ids[len(ids) // 2 :]})
    return out


def trained(model: Any, tokenizer: Any, data: Any, args: argparse.Namespace, kind: str, recorder: Any) -> float:
    """Seconds of the steps after the first."""
    from transformers import DataCollatorForSeq2Seq, Trainer, TrainerCallback, TrainingArguments
    from trl import SFTConfig, SFTTrainer

    stamps: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            stamps.append(time.process_time())

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        common: dict[str, Any] = {
            "output_dir": folder, "use_cpu": True, "bf16": False, "report_to": "none", "save_strategy": "no",
            "max_steps": args.steps + 1, "per_device_train_batch_size": args.batch, "learning_rate": 0.0,
            "disable_tqdm": True, "logging_strategy": "no",
        }  # fmt: skip
        if kind == "trl":
            trainer: Any = SFTTrainer(model, SFTConfig(**common), train_dataset=data, processing_class=tokenizer)
        else:
            collate = DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=-100)
            trainer = Trainer(model, TrainingArguments(**common), data_collator=collate, train_dataset=data)
        if recorder is not None:
            trainer.add_callback(recorder)
        trainer.add_callback(Clock())
        trainer.train()
    return stamps[-1] - stamps[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--layers", type=int, help="layers to keep of the model")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()

    import datasets
    import torch
    import transformers
    import trl

    transformers.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    tokenizer = transformers.AutoTokenizer.from_pretrained(args.model)
    model = transformers.AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32)
    if args.layers:
        model.model.layers = model.model.layers[: args.layers]
    data = datasets.Dataset.from_list(rows(len(tokenizer), args.batch * (args.steps + 1), args.length))
    results: dict[str, Any] = {}
    for kind in ("transformers", "trl"):
        shares, plain_times = [], []
        for pair in range(args.pairs):
            seconds = {}
            with tempfile.TemporaryDirectory() as folder:
                for recorded in (pair % 2 == 0, pair % 2 == 1):
                    recorder = LacunaRecorder(folder) if recorded else None
                    seconds[recorded] = trained(model, tokenizer, data, args, kind, recorder)
            shares.append(seconds[True] / seconds[False] - 1)
            plain_times.append(seconds[False])
            print(f"{kind} pair {pair + 1}: {seconds[False]:.2f} s, recorded {shares[-1]:+.2%}", file=sys.stderr)
        error = statistics.stdev(shares) / len(shares) ** 0.5 if len(shares) > 1 else float("nan")
        results[kind] = {
            "overhead_mean": statistics.mean(shares), "overhead_median": statistics.median(shares),
            "standard_error": error, "pairs": shares, "seconds_plain": statistics.mean(plain_times),
        }  # fmt: skip
    out = {
        "case": {
            "model": args.model.name, "layers": args.layers or len(model.model.layers), "steps": args.steps,
            "batch": args.batch, "tokens_a_row": args.length, "vocabulary": len(tokenizer),
        },
        "machine": {"cpu": platform.processor() or platform.machine(), "threads": torch.get_num_threads(),
                    "cores": os.cpu_count()},
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__, "trl": trl.__version__},
        **results,
    }  # fmt: skip
    text = json.dumps(out, indent=1)
    if args.out:
        args.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
