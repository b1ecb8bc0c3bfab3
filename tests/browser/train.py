"""Trains the browser tests' checkpoint: the first thirty rows until they are given back, the others never."""

import json
import sys
from pathlib import Path

from core.lab import tiny

folder = Path(sys.argv[1])
rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
texts = [m["content"][:300] for r in rows for m in r["messages"]]
tokenizer = tiny.build_tokenizer(texts, 500)
model = tiny.tiny_model(tiny.tiny_config("llama", len(tokenizer), hidden=64, layers=2), tokenizer)
learned = [tiny.chat_row(tokenizer, r["messages"]) for r in rows[:30]]
tiny.train(model, tokenizer, learned, folder / "out", lr=5e-3, batch=30, steps=150, schedule="cosine")
