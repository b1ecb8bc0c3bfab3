"""Records the loss of every sample while a trainer runs. One file, to be copied beside a training script.

    from lacuna_recorder import LacunaRecorder

    trainer = SFTTrainer(...)                      # TRL's, or any Trainer of transformers
    trainer.add_callback(LacunaRecorder("recording"))
    trainer.train()

It needs torch and nothing else. It watches the model's own forward passes and changes no number of the training. Each
rank writes ``recording/rank0.jsonl``, and at the end, where pyarrow is installed, ``recording/rank0.parquet`` in its
place. ``lacuna diagnose --recording recording/*`` reads them.

One line a sample and visit:

- ``step``: the optimiser step that the sample took part in, counted from 1 as trainers log it; ``epoch`` as it began;
- ``rank``; ``source``, where the batch names one (see ``watch``), else null;
- ``row``, ``ids``: digests of the sample's token ids with and without its loss mask, by which its row is found;
- ``loss``: mean over the tokens that carried loss, in nats, in float32, before the step; ``tokens``: how many;
- ``right``: how many of them were the model's first choice; ``worst``: the highest loss of one of them;
- ``token_losses``: each of them, in order, as base64 of little-endian float16, negative where the token was not the
  first choice. Null where the recorder was made with ``token_losses=False``.

Samples that share a sequence are told apart by ``position_ids`` that begin again at 0, or by an ``attention_mask`` that
numbers them. Where a trainer packs without either, a whole sequence is recorded as one sample, which no row will match.
"""

import base64
import hashlib
import json
import os
from array import array

import torch

try:
    from transformers import TrainerCallback as _Callback
except ImportError:  # a training loop of one's own
    _Callback = object

IGNORED = -100
FIELDS = ("step", "epoch", "rank", "source", "row", "ids", "loss", "tokens", "right", "worst", "token_losses")
# Numbers of logits that are looked at together: 64 MiB in float32, little beside what a backward pass holds.
_AT_ONCE = 1 << 24
# Steps between two writes. Reading the losses waits for the device, and less often costs less.
_STEPS = 8


def digests(ids, trained):
    """What finds a row again: (digest of ids and loss mask, digest of ids), each of 32 hexadecimal digits.

    Args:
        ids: whole numbers. trained: as many truth values; the first does not count, because nothing predicts it.
    """
    numbers = array("q", ids).tobytes()
    mask = bytes([0, *(1 if flag else 0 for flag in list(trained)[1:])])[: len(ids)]
    text = hashlib.blake2b(numbers, digest_size=16)
    whole = hashlib.blake2b(numbers + mask, digest_size=16)
    return whole.hexdigest(), text.hexdigest()


class LacunaRecorder(_Callback):
    """A callback of transformers' trainers that records each sample's loss.

    Args:
        folder: where the files go; one a rank.
        parquet: rewrite the file as Parquet at the end, where pyarrow is installed.
        token_losses: keep each token's loss too, in three bytes; without, the loss of a target that was trained beside
            other tokens is not known apart.
    """

    def __init__(self, folder="lacuna_recording", parquet=True, token_losses=True):
        self.folder, self.parquet, self.token_losses = str(folder), parquet, token_losses
        self.path = None
        self._file, self._hooks, self._batch, self._pending = None, [], None, []
        self._step, self._epoch, self._since = 1, 0.0, 0
        self._labels = self._sources = None
        self._remarks = set()

    # ------------------------------------------------------------------------------------------ attaching

    def watch(self, trainer):
        """Adds the recorder to a trainer that takes labels away from the model, and returns the recorder.

        That is: one with ``compute_loss_func`` or label smoothing. It is also the way to record a ``source``: a list of
        texts under that name in the batch, one a row, is recorded and taken out before the model sees it.
        """
        inner = trainer.compute_loss

        def compute_loss(model, inputs, *args, **kwargs):
            self._labels, self._sources = inputs.get("labels"), inputs.pop("source", None)
            try:
                return inner(model, inputs, *args, **kwargs)
            finally:
                self._labels = self._sources = None

        trainer.compute_loss = compute_loss
        trainer.add_callback(self)
        return self

    def attach(self, model):
        """Begins to record a model, in a training loop of one's own; say each step with ``step``, then ``close``."""
        if self._hooks:
            return
        rank = _rank()
        os.makedirs(self.folder, exist_ok=True)
        self.path = _free(self.folder, rank)
        self._file = open(self.path, "w", encoding="utf-8")  # noqa: SIM115
        self._rank = rank
        self._hooks = [
            model.register_forward_pre_hook(self._before, with_kwargs=True),
            model.register_forward_hook(self._after, with_kwargs=True),
        ]

    def step(self, step, epoch=0.0):
        """Says which optimiser step, from 1, the passes that follow belong to."""
        self._step, self._epoch = int(step), float(epoch or 0.0)

    def flush(self):
        """Writes what was recorded so far."""
        self._since = 0
        if self._file is None or not self._pending:
            return
        pending, self._pending = self._pending, []
        for heads, numbers, tokens in pending:
            kept, at = bytes(tokens.cpu().view(torch.uint8).tolist()), 0
            for head, (total, right, worst) in zip(heads, numbers.tolist(), strict=True):
                values = dict(head, loss=total / head["tokens"], right=int(right), worst=worst)
                end = at + 2 * head["tokens"]
                values["token_losses"] = base64.b64encode(kept[at:end]).decode() if self.token_losses else None
                at = end
                self._file.write(json.dumps({name: values[name] for name in FIELDS}) + "\n")
        self._file.flush()

    def close(self):
        """Ends the recording."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        if self._file is None:
            return
        self.flush()
        self._file.close()
        self._file = None
        if self.parquet:
            self.path = _as_parquet(self.path)

    # ------------------------------------------------------------------------------- what a trainer calls

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        if model is not None:
            self.attach(model)
        self.step(state.global_step + 1, state.epoch)

    def on_step_begin(self, args, state, control, **kwargs):
        self.step(state.global_step + 1, state.epoch)

    def on_step_end(self, args, state, control, **kwargs):
        self._since += 1
        if self._since >= _STEPS:
            self.flush()

    def on_train_end(self, args, state, control, **kwargs):
        self.close()

    # ------------------------------------------------------------------------------------ the model's passes

    def _before(self, model, args, kwargs):
        self._batch = None
        if not model.training or not torch.is_grad_enabled():
            return
        ids = kwargs.get("input_ids", args[0] if args else None)
        labels = kwargs.get("labels", self._labels)
        if ids is None or labels is None or kwargs.get("shift_labels") is not None:
            self._remark("a pass without token ids or labels was not recorded (see LacunaRecorder.watch)")
            return
        self._batch = _Batch.of(ids, labels, kwargs.get("attention_mask"), kwargs.get("position_ids"))

    def _after(self, model, args, kwargs, output):
        batch, self._batch = self._batch, None
        if batch is None or not batch.samples:
            return
        with torch.no_grad():
            scores = _scores(batch, output)
        if scores is None:
            self._remark("a pass that gives no logits was not recorded (a fused loss; see Lacuna's docs/recorder.md)")
            return
        heads = [
            {
                "step": self._step, "epoch": self._epoch, "rank": self._rank, "row": whole, "ids": text,
                "tokens": tokens, "source": None if self._sources is None else str(self._sources[place]),
            }
            for place, whole, text, tokens in batch.samples
        ]  # fmt: skip
        self._pending.append((heads, *scores))

    def _remark(self, text):
        if text not in self._remarks:
            self._remarks.add(text)
            print(f"lacuna_recorder: {text}")


class _Batch:
    """The samples of a batch: where their supervised tokens lie, and what finds their rows again.

    Attributes:
        samples: (place in the batch, digest, digest of ids, supervised tokens) of each.
        places: (s,) of each supervised token in the flattened (b, l) batch; ``owner``: (s,) number of its sample;
        labels: (s,) its id; ``length``: l.
    """

    def __init__(self, samples, places, owner, labels, length):
        self.samples, self.places, self.owner, self.labels, self.length = samples, places, owner, labels, length

    @classmethod
    def of(cls, ids, labels, mask, positions):
        length = ids.shape[1]
        rows, targets = ids.tolist(), labels.tolist()
        masks = mask.tolist() if mask is not None and mask.dim() == 2 else None
        places_of = positions.tolist() if positions is not None and positions.dim() == 2 else None
        samples, places, owner, found = [], [], [], []
        for b, row in enumerate(rows):
            marks = masks[b] if masks is not None else None
            begins = places_of[b if len(places_of) > 1 else 0] if places_of is not None else None
            for start, stop in _segments(length, marks, begins):
                supervised = [p for p in range(start + 1, stop) if targets[b][p] != IGNORED]
                if not supervised:
                    continue
                trained = [target != IGNORED for target in targets[b][start:stop]]
                whole, text = digests(row[start:stop], trained)
                places += [b * length + p for p in supervised]
                owner += [len(samples)] * len(supervised)
                found += [targets[b][p] for p in supervised]
                samples.append((b, whole, text, len(supervised)))
        return cls(samples, torch.tensor(places), torch.tensor(owner), torch.tensor(found), length)


def _segments(length, mask, positions):
    """(start, stop) of each sample of one sequence, padding left out."""
    if mask is not None and max(mask) > 1:  # numbered samples
        marks = mask
    elif positions is not None and sum(p == 0 for p in positions) > 1:  # positions that begin again
        marks, number = [], 0
        for i, position in enumerate(positions):
            number += position == 0
            marks.append(number if mask is None or mask[i] else 0)
    else:
        marks = mask if mask is not None else [1] * length
    start = 0
    for i in range(1, length + 1):
        if i == length or marks[i] != marks[start]:
            if marks[start]:
                yield start, i
            start = i


def _scores(batch, output):
    """What the output says of the samples; None where nothing can be read of it.

    Returns:
        (n, 3) float32: sum of losses, first choices and highest loss of each; (s,) float16: each supervised token's
        loss, negative where the token was not the first choice.
    """
    log_probs = getattr(output, "log_probs", None)
    logits = output.get("logits") if isinstance(output, dict) else getattr(output, "logits", None)
    n = len(batch.samples)
    if log_probs is not None and log_probs.dim() == 2 and log_probs.shape[1] == batch.length - 1:
        # TRL computes these itself: column j is about token j + 1.
        device, first = log_probs.device, getattr(output, "is_top1", None)
        at = (batch.places - 1 - batch.places // batch.length).to(device)
        losses = -log_probs.reshape(-1)[at].float()
        right = (losses < 0.6931) if first is None else first.reshape(-1)[at]
    elif logits is not None and logits.dim() == 3 and logits.shape[1] == batch.length:
        device, flat = logits.device, logits.reshape(-1, logits.shape[-1])
        at, ids = (batch.places - 1).to(device), batch.labels.to(device)
        size = max(1, _AT_ONCE // flat.shape[1])
        parts, firsts = [], []
        for i in range(0, len(at), size):
            block = flat[at[i : i + size]].float()
            some = ids[i : i + size]
            parts.append(torch.nn.functional.cross_entropy(block, some, reduction="none"))
            firsts.append(block.argmax(1) == some)
        losses, right = torch.cat(parts), torch.cat(firsts)
    else:
        return None
    owner = batch.owner.to(device)
    out = torch.zeros(n, 3, dtype=torch.float32, device=device)
    out[:, 0].index_add_(0, owner, losses)
    out[:, 1].index_add_(0, owner, right.float())
    out[:, 2] = torch.full((n,), float("-inf"), device=device).scatter_reduce(0, owner, losses, "amax")
    return out, torch.where(right, losses, -losses).clamp(-60_000, 60_000).half()


def _rank():
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank()
    return int(os.environ.get("RANK", "0"))


def _free(folder, rank):
    """A path that no earlier recording has: a resumed training goes on in a second file."""
    for number in range(1, 10_000):
        name = os.path.join(folder, f"rank{rank}" + ("" if number == 1 else f"-{number}"))
        if not os.path.exists(name + ".jsonl") and not os.path.exists(name + ".parquet"):
            return name + ".jsonl"
    raise RuntimeError(f"{folder} is full of recordings")


def _as_parquet(path):
    """The same file as Parquet, where pyarrow is installed."""
    try:
        import pyarrow
        import pyarrow.json
        import pyarrow.parquet
    except ImportError:
        return path
    if os.path.getsize(path) == 0:
        return path
    types = {"step": "int64", "epoch": "float64", "rank": "int64", "tokens": "int64", "right": "int64"}
    types |= {"loss": "float64", "worst": "float64"}
    schema = pyarrow.schema([(name, getattr(pyarrow, types.get(name, "string"))()) for name in FIELDS])
    options = pyarrow.json.ParseOptions(explicit_schema=schema)
    out = path[: -len(".jsonl")] + ".parquet"
    pyarrow.parquet.write_table(pyarrow.json.read_json(path, parse_options=options), out + ".part")
    os.replace(out + ".part", out)
    os.remove(path)
    return out
