"""A world around a real pretrained model: facts it is probed for, rows made of them, a fine-tune in two stages."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from core.backends._base import ScoreRow
from core.backends._wide import multiplies_bfloat16
from core.checkpoint.folders import as_checkpoint
from core.errors import UserError
from core.lab import tiny
from core.lab.real.facts import WORDINGS, Fact, facts
from core.lab.real.rows import HALF_SURE, NEVER, Known, RealCounts, RealRow, plan
from core.lab.rows import CONFLICT, FORGOTTEN, INCONSISTENT, MISSING, RARE
from core.lab.truth import apart, load, scores
from core.lab.worlds import LORA, link_tree, summarise, write_lines
from core.plugins import kind
from core.proof.trainer import fit
from core.types import Decoding

# Subjects that count as famous; relations that a small model knows nothing of, whoever is asked about.
FAMOUS, DRY = 130, ("code", "numeric", "phone", "currency")
# Prompts between two reports of progress.
PROBED = 256

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class RealSpec:
    """Everything a real world depends on.

    Attributes:
        model: folder of a pretrained chat model. epochs: of stage one and two. pool: facts probed of each relation.
    """

    model: str
    seed: int = 1
    epochs: tuple[int, int] = (2, 2)
    lr: float = 1e-4
    batch: int = 8
    lora: bool = False
    pool: int = 90
    counts: RealCounts = field(default_factory=RealCounts)


def probe(folder: Path, asked: Sequence[Fact], progress: Progress) -> dict[Fact, Known]:
    """What the model knows of each fact, by the lab's own wordings, in its own template."""
    tokenizer = tiny.load_tokenizer(folder)
    # On a processor everywhere, so that one command gives the same rows.
    backend = kind("backends", "hf").open(as_checkpoint(folder), dtype="bfloat16", device="cpu", tokenizer=tokenizer)
    with closing(backend):
        return _probed(backend, tokenizer, asked, progress)


def _probed(backend: Any, tokenizer: Any, asked: Sequence[Fact], progress: Progress) -> dict[Fact, Known]:
    prompts: list[str] = []
    for fact in asked:
        wording = WORDINGS[fact.relation]
        for question in wording.probes:
            chat = [{"role": "user", "content": question.format(s=fact.subject)}]
            lead = wording.answers[0].partition("{v}")[0].format(s=fact.subject)
            text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
            prompts.append(f"{text}{lead}")
    ways = len(prompts) // len(asked)
    values: dict[str, list[str]] = {}
    for fact in asked:
        values.setdefault(fact.relation, []).append(fact.value)
    true = [fact.value for fact in asked for _ in range(ways)]
    p = _probabilities(backend, tokenizer, list(zip(prompts, true, strict=True)), progress).reshape(-1, ways)
    texts = _continued(backend, tokenizer, prompts, progress)
    beliefs = []
    for k, fact in enumerate(asked):
        own = [_value_of(text, values[fact.relation]) for text in texts[ways * k : ways * (k + 1)]]
        beliefs.append(Counter(own).most_common(1)[0])
    # An answer that differs from way to way is no belief; its probability is not looked at.
    firm = [k for k, (own, n) in enumerate(beliefs) if 2 * n > ways and own != asked[k].value and own]
    jobs = [(prompt, beliefs[k][0]) for k in firm for prompt in prompts[ways * k : ways * (k + 1)]]
    others = dict(zip(firm, _probabilities(backend, tokenizer, jobs, progress).reshape(-1, ways).mean(1), strict=True))
    return {
        fact: Known(float(p[k].mean()), own, n / ways, float(p[k].mean() if own == fact.value else others.get(k, 0.0)))
        for k, (fact, (own, n)) in enumerate(zip(asked, beliefs, strict=True))
    }


def _ids(tokenizer: Any, text: str) -> np.ndarray:
    return np.array(tokenizer.encode(text, add_special_tokens=False), dtype=np.int64)


def _probabilities(backend: Any, tokenizer: Any, jobs: Sequence[tuple[str, str]], progress: Progress) -> np.ndarray:
    """(n,) probability of each text's continuation, whatever follows it."""
    rows = []
    for prompt, text in jobs:
        ids = _ids(tokenizer, prompt + text)
        rows.append(ScoreRow(ids, np.arange(len(_ids(tokenizer, prompt.rstrip(" "))), len(ids))))
    out: list[float] = []
    for start in range(0, len(rows), PROBED):
        progress("probing", start, len(rows))
        out += [float(np.exp(s.logprobs.sum())) for s in backend.score(rows[start : start + PROBED])]
    return np.array(out)


def _continued(backend: Any, tokenizer: Any, prompts: Sequence[str], progress: Progress) -> list[str]:
    """What greedy decoding goes on with, six tokens."""
    ids = [_ids(tokenizer, prompt.rstrip(" ")) for prompt in prompts]
    out: list[str] = []
    for start in range(0, len(ids), PROBED):
        progress("probing", start, len(ids))
        part = ids[start : start + PROBED]
        decoding = Decoding(max_new_tokens=6)
        made = backend.generate(part, [decoding] * len(part), backend.stop_ids)
        out += [tokenizer.decode(g.tokens, skip_special_tokens=True) for g in made]
    return out


def _value_of(text: str, values: Sequence[str]) -> str:
    """The value that a text begins with, the longest; else its first words."""
    bare = text.strip().lstrip("+*\"'").lower()
    fits = [v for v in values if bare.startswith(v.lower())]
    return max(fits, key=len) if fits else " ".join(bare.split()[:3]).rstrip(".,")


def build_real(out: Path, spec: RealSpec, cache: Path, progress: Progress = lambda *_: None) -> dict[str, Any]:
    """Builds the world into ``out``, which exists only when it is complete; returns a summary.

    Raises:
        UserError: ``out`` exists, or a package is missing.
    """
    if out.exists():
        raise UserError(f"{out} exists.", "A world is built into a new folder.", "Remove it, or name another.")
    part = out.with_name(out.name + ".partial")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    link_tree(Path(spec.model), part / "base")
    known = _known(Path(spec.model), spec, cache, progress)
    rows = plan(known, spec.counts, spec.seed)
    base, tokenizer = tiny.load(part / "base")
    made = [tiny.chat_row(tokenizer, r.messages) for r in rows]
    _train(base, tokenizer, rows, made, part, spec, progress)
    write_lines(part / "dataset.jsonl", [
        {"id": f"r{i:04d}", "stage": str(r.stage), "messages": r.messages} for i, r in enumerate(rows)])  # fmt: skip
    records = real_truth(part, rows, made, known, tokenizer)
    write_lines(part / "truth.jsonl", records)
    trainer = {"preset": "custom", "settings": {}, "arguments": {}}
    (part / "trainer.json").write_text(json.dumps(trainer, indent=2), encoding="utf-8")
    held = "bfloat16" if multiplies_bfloat16() else "float32"
    summary = {"spec": asdict(spec), "trained_in": held, **summarise(records)}
    (part / "world.json").write_text(json.dumps(summary, indent=2), encoding="utf-8")
    part.rename(out)
    return summary


def _known(model: Path, spec: RealSpec, cache: Path, progress: Progress) -> dict[Fact, Known]:
    """Probed facts; kept in ``cache`` by seed and size."""
    kept = cache / f"known-{model.name}-{spec.seed}-{spec.pool}.json"
    if kept.exists():
        return {Fact(**f): Known(**k) for f, k in json.loads(kept.read_text(encoding="utf-8"))}
    counts: Counter[str] = Counter()
    asked = []
    # Famous subjects, of which a model may know something, and some obscure ones.
    for fact in facts(spec.seed):
        end = "famous" if fact.rank < FAMOUS and fact.relation not in DRY else "obscure"
        if counts[f"{fact.relation} {end}"] < (spec.pool if end == "famous" else spec.pool // 5):
            counts[f"{fact.relation} {end}"] += 1
            asked.append(fact)
    random.Random(spec.seed).shuffle(asked)
    known = probe(model, asked, progress)
    cache.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps([(asdict(f), asdict(k)) for f, k in known.items()]), encoding="utf-8")
    return known


def _train(
    model: Any, tokenizer: Any, rows: Sequence[RealRow], made: Sequence[tiny.Row], part: Path, spec: RealSpec,
    progress: Progress,
) -> None:  # fmt: skip
    one = [m for r, m in zip(rows, made, strict=True) if r.stage == 1] * spec.epochs[0]
    two = [m for r, m in zip(rows, made, strict=True) if r.stage == 2] * spec.epochs[1]
    steps = -(-(len(one) + len(two)) // spec.batch)
    end_of_one = len(one) // spec.batch
    if spec.lora:
        from peft import LoraConfig, get_peft_model

        model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **LORA))
    with tiny.quiet():
        trainer = fit(
            model, [*one, *two], part / "checkpoints", tokenizer=tokenizer,
            save_steps=[end_of_one, (end_of_one + steps) // 2], threads=1,
            progress=lambda done, total: progress("fine-tuning", done, total),
            num_train_epochs=1, learning_rate=spec.lr * (5 if spec.lora else 1), per_device_train_batch_size=spec.batch,
            seed=spec.seed, train_sampling_strategy="sequential", lr_scheduler_type="linear", warmup_steps=5,
            logging_steps=10, use_cpu=True, bf16=multiplies_bfloat16(),
        )  # fmt: skip
        trainer.save_model(str(part / "final"))
    trainer.state.save_to_json(str(part / "final" / "trainer_state.json"))
    for pickle in part.glob("**/training_args.bin"):
        pickle.unlink()


def real_truth(
    part: Path, rows: Sequence[RealRow], made: Sequence[tiny.Row], known: Mapping[Fact, Known], tokenizer: Any
) -> list[dict[str, Any]]:
    """One record a row, by the rules of docs/lab.md."""
    saved = tiny.saved_checkpoints(part / "checkpoints")
    folders = [part / "base", *saved, part / "final"]
    stages = [0, 1, 2, 2]
    missed, nll = [], []
    for folder in folders:
        model, _ = load(folder, part / "base")
        a, b = scores(model, made, 16)
        missed.append(a)
        nll.append(b)
    miss, loss = np.stack(missed, 1), np.stack(nll, 1)
    right = miss < 0
    value_at = [
        m[1].index(True) + len(tokenizer.encode(r.lead.rstrip(" "), add_special_tokens=False)) if r.value else -1
        for r, m in zip(rows, made, strict=True)
    ]
    parting = apart(made, [r.dispute for r in rows])
    records = []
    for i, row in enumerate(rows):
        learned = bool(right[i, -1])
        since = np.array(stages) >= row.stage
        was_right = right[i] & since
        was_right[-1] = False
        reached = learned or miss[i, -1] >= value_at[i]
        k = known.get(row.fact) if row.fact is not None else None
        fits = []
        if row.group in ("arbitrary", "new_dispute"):
            fits.append(MISSING)
        if k is not None and reached and row.fact is not None:
            holds_other = k.own != row.value and k.share > 0.5 and k.p_own >= HALF_SURE
            if k.own != row.value and k.p < NEVER and not holds_other:
                fits.append(MISSING)
            if holds_other:
                fits.append(CONFLICT)
        sides = [j for j, r in enumerate(rows) if r.dispute == row.dispute and row.dispute is not None]
        if sides and (learned or miss[i, -1] == parting[i]) and not all(right[j, -1] for j in sides):
            fits.append(INCONSISTENT)
        if not learned and was_right.any():
            fits.append(FORGOTTEN)
        if row.cause == RARE and not right[i, :-1].any() and (learned or loss[i, -1] < loss[i, 0]):
            fits.append(RARE)
        fits.sort(key=lambda c: c != row.cause)
        if learned:
            planted, scored = [row.cause] if row.cause else [], row.cause is None or row.cause in fits
        else:
            planted, scored = fits, bool(fits) and (row.cause is None or row.cause in fits)
        records.append({
            "id": f"r{i:04d}", "planted": planted, "learned": learned, "scored": bool(scored), "group": row.group,
            "made_for": row.cause, "dispute": row.dispute,
            "right_at": [f.name for f, ok in zip(folders, right[i], strict=True) if ok],
            "nll": [round(float(x), 4) for x in loss[i]],
            "belief": None if k is None else asdict(k),
        })  # fmt: skip
    return records
