"""What recording costs: paired trainings with and without ``lacuna_recorder.py``, and its losses against own passes.

    .venv/bin/python bench/recorder.py --model FOLDER [--pairs 6] [--steps 4] [--out bench/results/recorder.json]

First the losses: two ranks (gloo) train packed rows with TRL and two batches a step, at a learning rate of nought, and
every recorded loss is compared with a pass of the row alone. Then the cost:

Each pair trains the same steps twice on the same rows, in turn the recorded one first or last. What is compared is the
time of the processor over the steps after the first: on a machine that does other things beside, it says more than the
clock on the wall. The recorder's own time is also taken, from inside: the difference of two trainings on a busy
machine is mostly noise. Both trainers are taken: TRL's, which computes token
losses itself, and that of transformers, whose logits the recorder reads once more.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench._machine import machine, versions  # noqa: E402
from lacuna_recorder import LacunaRecorder, digests  # noqa: E402

# The rows whose losses are checked; two ranks see 8 packed sequences of them in two steps.
CHECKED, STEPS, PACK = 24, 2, 3


class Timed(LacunaRecorder):
    """The recorder with its own time of the processor, which no other process disturbs."""

    spent = 0.0

    def _before(self, *args: Any) -> None:
        began = time.process_time()
        super()._before(*args)
        self.spent += time.process_time() - began

    def _after(self, *args: Any) -> None:
        began = time.process_time()
        super()._after(*args)
        self.spent += time.process_time() - began

    def flush(self) -> None:
        began = time.process_time()
        super().flush()
        self.spent += time.process_time() - began


def rows(vocabulary: int, n: int, length: int) -> list[dict[str, list[int]]]:
    """Token ids with loss on their second half; lengths vary by a fifth."""
    draw = random.Random(0)
    out = []
    for _ in range(n):
        ids = [draw.randrange(10, vocabulary) for _ in range(draw.randrange(int(0.8 * length), length + 1))]
        out.append({"input_ids": ids, "labels": [-100] * (len(ids) // 2) + ids[len(ids) // 2 :]})
    return out


def trained(
    model: Any, tokenizer: Any, data: Any, args: argparse.Namespace, kind: str, recorder: Any
) -> tuple[float, float]:
    """Seconds of the steps after the first; the recorder's own share of all steps."""
    from transformers import DataCollatorForSeq2Seq, Trainer, TrainerCallback, TrainingArguments
    from trl import SFTConfig, SFTTrainer

    stamps: list[float] = []
    began: list[float] = []

    class Clock(TrainerCallback):
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            began.append(time.process_time())

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
    share = recorder.spent / (stamps[-1] - began[0]) if recorder is not None else 0.0
    return stamps[-1] - stamps[0], share


def packed(folder: Path, into: Path, layers: int | None, length: int) -> None:
    """One rank's training of packed rows; the recorder writes to ``into``."""
    import datasets
    import torch
    import transformers
    from trl import SFTConfig, SFTTrainer

    transformers.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    torch.set_num_threads(1)
    model, tokenizer = opened(folder, layers)
    config = SFTConfig(
        output_dir=str(into / "out"), use_cpu=True, bf16=False, report_to="none", save_strategy="no", max_steps=STEPS,
        learning_rate=0.0, disable_tqdm=True, logging_strategy="no", packing=True, packing_strategy="bfd",
        max_length=PACK * length, per_device_train_batch_size=2, gradient_accumulation_steps=2, ddp_backend="gloo",
    )  # fmt: skip
    data = datasets.Dataset.from_list(rows(len(tokenizer), CHECKED, length))
    trainer = SFTTrainer(model, config, train_dataset=data, processing_class=tokenizer)
    trainer.add_callback(LacunaRecorder(into / "recording", parquet=False))
    trainer.train()


def opened(folder: Path, layers: int | None) -> tuple[Any, Any]:
    """The model in float32 and its tokenizer."""
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if layers:
        model.model.layers = model.model.layers[:layers]
    return model, tokenizer


def exactness(args: argparse.Namespace) -> dict[str, Any]:
    """Recorded losses of two ranks against a pass of each row alone."""
    import torch

    with tempfile.TemporaryDirectory() as made, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        world = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
        free.close()
        command = [sys.executable, __file__, "--model", str(args.model), "--packed", made, "--length", str(args.length)]
        command += ["--layers", str(args.layers)] if args.layers else []
        ranks = [
            subprocess.Popen(command, env={**os.environ, **world, "RANK": str(r), "LOCAL_RANK": str(r)})
            for r in range(2)
        ]
        if any(rank.wait() for rank in ranks):
            raise RuntimeError("a rank of the training failed")
        files = sorted(Path(made, "recording").iterdir())
        lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    model, tokenizer = opened(args.model, args.layers)
    known = {
        digests(r["input_ids"], [v != -100 for v in r["labels"]])[0]: r
        for r in rows(len(tokenizer), CHECKED, args.length)
    }
    apart, tokens = [], 0
    for line in lines:
        row = known[line["row"]]
        ids, labels = torch.tensor(row["input_ids"]), torch.tensor(row["labels"])
        with torch.no_grad():
            logits = model.eval()(ids[None]).logits[0, :-1]
        apart.append(abs(torch.nn.functional.cross_entropy(logits, labels[1:]).item() - line["loss"]))
        tokens += line["tokens"]
    return {
        "ranks": len(files), "samples": len(lines), "of_rows": len({line["row"] for line in lines}),
        "supervised_tokens": tokens, "largest_difference": max(apart), "batches_a_step": 2,
        "tokens_a_packed_sequence": PACK * args.length,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--layers", type=int, help="layers to keep of the model")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--packed", type=Path, help="(internal) be one rank, and write here")
    args = parser.parse_args()
    if args.packed:
        packed(args.model, args.packed, args.layers, args.length)
        return

    import datasets
    import transformers

    transformers.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    exact = exactness(args)
    print(exact, file=sys.stderr)
    model, tokenizer = opened(args.model, args.layers)
    data = datasets.Dataset.from_list(rows(len(tokenizer), args.batch * (args.steps + 1), args.length))
    results: dict[str, Any] = {}
    for kind in ("transformers", "trl"):
        shares, plain_times, own = [], [], []
        for pair in range(args.pairs):
            seconds = {}
            with tempfile.TemporaryDirectory() as folder:
                for recorded in (pair % 2 == 0, pair % 2 == 1):
                    recorder = Timed(folder) if recorded else None
                    seconds[recorded], share = trained(model, tokenizer, data, args, kind, recorder)
                    own += [share] if recorded else []
            shares.append(seconds[True] / seconds[False] - 1)
            plain_times.append(seconds[False])
            words = f"{seconds[False]:.2f} s, recorded {shares[-1]:+.2%}, own time {own[-1]:.2%}"
            print(f"{kind} pair {pair + 1}: {words}", file=sys.stderr)
        error = statistics.stdev(shares) / len(shares) ** 0.5 if len(shares) > 1 else float("nan")
        results[kind] = {
            "overhead_mean": statistics.mean(shares),
            "overhead_median": statistics.median(shares),
            "standard_error": error,
            "own_share_mean": statistics.mean(own),
            "own_share_highest": max(own),
            "pairs": shares,
            "seconds_plain": statistics.mean(plain_times),
        }
    out = {
        "case": {
            "model": args.model.name, "layers": args.layers or len(model.model.layers), "steps": args.steps,
            "batch": args.batch, "tokens_a_row": args.length, "vocabulary": len(tokenizer),
        },
        "machine": machine(),
        "versions": versions(("torch", "transformers", "trl")),
        "losses": exact,
        **results,
    }  # fmt: skip
    text = json.dumps(out, indent=1)
    if args.out:
        args.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
