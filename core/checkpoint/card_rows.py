"""The checks of the sanity card that need the user's rows: tokenizer, template, context, stop tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from core.backends._base import ScoreRow, scoring
from core.checkpoint.facts import FolderFacts
from core.checkpoint.folder_guards import some
from core.errors import UserError
from core.plugins import kind
from core.presets._tokenised import supervision_of
from core.rendering.tokenizers import chat_template, compare_tokenizers, open_tokenizer
from core.types import Check, Checkpoint, DtypeName, Sample, Supervision

# If two tokenizers disagree, this many rows are scored under each.
MAX_SCORED = 32

Variant = Literal["auto", "file"]


@dataclass(frozen=True, slots=True)
class Rows:
    """What the checks look at.

    Attributes:
        facts: facts of the checkpoint's folder.
        model: facts of the folder with the configuration; for an adapter that of its base.
        n_embeddings: rows of the input embedding; None if unknown.
    """

    checkpoint: Checkpoint
    facts: FolderFacts
    model: FolderFacts
    n_embeddings: int | None
    samples: Sequence[Sample]
    preset: str
    preset_settings: Mapping[str, Any]
    dtype: DtypeName
    device: str
    backend: str

    @property
    def tokenizer_folder(self) -> str:
        """The checkpoint's folder, or the base's for an adapter without a tokenizer."""
        has_own = {"tokenizer.json", "tokenizer.model", "vocab.json"} & set(self.facts.tokenizer_files)
        return str(self.facts.path if has_own else self.model.path)

    def supervise(self, tokenizer: Any) -> tuple[list[Supervision | None], list[UserError]]:
        """The supervision of each sample at full length, None for a refused row; and the errors of refused rows."""
        supervisions: list[Supervision | None] = []
        refused = []
        for sample in self.samples:
            try:
                supervisions.append(supervision_of(self.preset, sample, tokenizer, self.preset_settings, None))
            except UserError as error:
                supervisions.append(None)
                refused.append(error)
        return supervisions, refused


def row_checks(rows: Rows, scorable: bool) -> tuple[list[Check], Variant]:
    """The checks, and the tokenizer variant that fits the weights.

    Args:
        scorable: whether the model can be opened to score rows.
    """
    check, variant = _tokenizer(rows, scorable)
    if variant is None:
        unknown = "Not checked: there is no tokenizer to render rows with."
        codes = ("vocabulary", "template", "context", "stop_tokens")
        return [check, *(Check(code, "unknown", unknown) for code in codes)], "auto"
    tokenizer = open_tokenizer(rows.tokenizer_folder, variant)
    seen, refused = rows.supervise(tokenizer)
    whole = [supervision for supervision in seen if supervision is not None]
    checks = [
        check,
        _vocabulary(rows, tokenizer, whole),
        _template(rows, tokenizer),
        _context(rows, whole),
        _stop_tokens(rows, tokenizer, whole),
    ]
    if refused:
        text = f"{len(refused)} of {len(seen)} rows are refused by the template or the preset."
        checks.append(Check("rows_refused", "warn", text, refused[0].what + " " + refused[0].why, refused[0].todo))
    return checks, variant


# -------------------------------------------------------------------------------------------------- tokenizers


def _tokenizer(rows: Rows, scorable: bool) -> tuple[Check, Variant | None]:
    """Whether AutoTokenizer gives the ids of the folder's own tokenizer.json, and which of the two fits."""
    folder = rows.tokenizer_folder
    opened: dict[Variant, UserError | None] = {"auto": None, "file": None}
    for variant in opened:
        try:
            open_tokenizer(folder, variant)
        except UserError as error:
            opened[variant] = error
    if opened["auto"] and opened["file"]:
        return Check("tokenizer", "fail", opened["auto"].what, opened["auto"].why, opened["auto"].todo), None
    if opened["auto"]:
        text = "AutoTokenizer does not open this folder; its own tokenizer.json is used."
        return Check("tokenizer", "warn", text, opened["auto"].why), "file"
    if opened["file"]:
        text = "There is no tokenizer.json to compare AutoTokenizer with."
        return Check("tokenizer", "unknown", text, opened["file"].why), "auto"
    if not rows.samples:
        return Check("tokenizer", "unknown", "AutoTokenizer was not compared with tokenizer.json: no rows."), "auto"
    texts = ["\n".join(m.content for m in sample.messages) for sample in rows.samples if sample.tokens is None]
    if not texts:
        return Check("tokenizer", "pass", "The rows come as token ids, so no tokenizer makes them."), "auto"
    comparison = compare_tokenizers(folder, texts)
    if not comparison.n_differ:
        text = "AutoTokenizer gives the ids of the folder's own tokenizer.json."
        return Check("tokenizer", "pass", text, f"on {comparison.n_texts} rows"), "auto"
    differ = f"on {comparison.n_differ} of {comparison.n_texts} rows AutoTokenizer gives other ids than tokenizer.json"
    if first := comparison.first_difference:
        one, other = (
            " ".join(open_tokenizer(folder, variant).convert_ids_to_tokens(list(getattr(first, variant)))[:6])
            for variant in ("auto", "file")
        )
        differ += f", first at {first.text!r}: {one} against {other}"
    return _which_fits(rows, scorable, differ)


def _which_fits(rows: Rows, scorable: bool, differ: str) -> tuple[Check, Variant]:
    """Scores rows under each tokenizer. The checkpoint was trained with the one under which they are more likely.

    Token counts differ, so likelihoods are compared per character of the target text, which is the same for both.
    """
    todo = "Give the folder the tokenizer it was trained with if this choice is wrong."
    pairs = _pairs(rows)
    if not scorable or not pairs:
        reason = "the model does not open" if not scorable else "no row has a target that differs and fits the context"
        text = "Two tokenizers are possible and which one fits is unknown; AutoTokenizer's ids are used."
        return Check("tokenizer", "warn", text, f"{differ}; {reason}", todo), "auto"
    try:
        auto, file = _nll_per_character(rows, pairs)
    except UserError as error:
        text = "Two tokenizers are possible and rows could not be scored; AutoTokenizer's ids are used."
        return Check("tokenizer", "warn", text, f"{differ}; {error}", todo), "auto"
    chosen: Variant = "file" if file < auto else "auto"
    name = "The folder's own tokenizer.json" if chosen == "file" else "AutoTokenizer"
    measured = (
        f"{differ}; on {len(pairs)} rows the target text costs {auto:.4f} nats per character with AutoTokenizer, "
        f"{file:.4f} with tokenizer.json"
    )
    return Check("tokenizer", "warn", f"{name} fits the checkpoint better and is used.", measured, todo), chosen


@dataclass(frozen=True, slots=True)
class _Pair:
    """One row under both tokenizers. ``n_characters``: length of its target text."""

    auto: Supervision
    file: Supervision
    n_characters: int


def _pairs(rows: Rows) -> list[_Pair]:
    """Rows whose ids differ and that are whole under both tokenizers, spread over the dataset."""
    both = [rows.supervise(open_tokenizer(rows.tokenizer_folder, variant))[0] for variant in ("auto", "file")]
    limit = rows.model.context_length or float("inf")
    pairs = []
    for sample, auto, file in zip(rows.samples, *both, strict=True):
        if auto is None or file is None or np.array_equal(auto.ids, file.ids):
            continue
        whole = not auto.cut_target and not file.cut_target and max(len(auto.ids), len(file.ids)) <= limit
        n_characters = sum(len(m.content) for m in sample.messages if m.role in ("assistant", "text"))
        if whole and n_characters and auto.target[1:].any() and file.target[1:].any():
            pairs.append(_Pair(auto, file, n_characters))
    return pairs[:: -(-len(pairs) // MAX_SCORED)] if pairs else []


def _nll_per_character(rows: Rows, pairs: Sequence[_Pair]) -> tuple[float, float]:
    """The negative log-likelihood of the target text in nats per character, under the ids of each tokenizer."""
    backend_kind = kind("backends", rows.backend)
    backend = backend_kind.open(rows.checkpoint, dtype=rows.dtype, device=rows.device)
    try:
        scorer, costs = scoring(backend_kind, backend), []
        for variant in ("auto", "file"):
            supervisions = [getattr(pair, variant) for pair in pairs]
            scored = scorer.score([ScoreRow(s.ids, np.flatnonzero(s.target[1:]) + 1) for s in supervisions])
            costs.append(-float(sum(scores.logprobs.sum(dtype=np.float64) for scores in scored)))
    finally:
        backend.close()
    n_characters = sum(pair.n_characters for pair in pairs)
    return costs[0] / n_characters, costs[1] / n_characters


# ----------------------------------------------------------------------------------------------- the other checks


def _vocabulary(rows: Rows, tokenizer: Any, seen: Sequence[Supervision]) -> Check:
    """Whether every id that the tokenizer can give has a row in the embedding."""
    n_rows = rows.n_embeddings
    if n_rows is None:
        return Check("vocabulary", "unknown", "The size of the embedding is unknown.")
    ids = tokenizer.get_vocab()
    largest = max(ids.values(), default=-1)
    measured = f"largest token id {largest:,}, {n_rows:,} embedding rows"
    if largest < 0:
        return Check("vocabulary", "fail", "The tokenizer has no tokens.", measured, "Give the folder its tokenizer.")
    if largest < n_rows:
        spare = n_rows - largest - 1
        text = "Every token has an embedding" + (f"; {spare:,} rows are padding." if spare else ".")
        return Check("vocabulary", "pass", text, measured)
    beyond = sorted((token for token, i in ids.items() if i >= n_rows), key=ids.get)
    hit = sum(bool((s.ids >= n_rows).any()) for s in seen)
    todo = "Use the tokenizer that was saved with this checkpoint, or the base model's."
    if rows.facts.adapter:
        todo = (
            "Tokens were added, and the adapter brings no embedding for them: save it with save_embedding_layers=True."
        )
    text = f"{len(beyond)} tokens have no embedding: {some([repr(token) for token in beyond], 5)}."
    if hit:
        return Check("vocabulary", "fail", f"{text} {hit} of {len(seen)} rows use them.", measured, todo)
    return Check("vocabulary", "warn", f"{text} None of {len(seen)} rows uses them.", measured, todo)


def _template(rows: Rows, tokenizer: Any) -> Check:
    held = _attempt(lambda: chat_template(tokenizer))
    if isinstance(held, UserError):
        return Check("template", "fail", held.what, held.why, held.todo)
    if held:
        return Check("template", "pass", "The tokenizer has a chat template.", rows.facts.chat_template)
    if rows.samples and not any(sample.shape == "chat" for sample in rows.samples):
        return Check("template", "pass", "There is no chat template, and no row needs one.")
    text = f"The tokenizer has no chat template; the preset “{kind('presets', rows.preset).label}” supplies one."
    todo = "If the training used another one, put it into the folder as chat_template.jinja."
    return Check("template", "warn", text, "", todo)


def _attempt(function: Callable[[], Any]) -> Any:
    try:
        return function()
    except UserError as error:
        return error


def _context(rows: Rows, seen: Sequence[Supervision]) -> Check:
    limit = rows.model.context_length
    if limit is None or not seen:
        return Check("context", "unknown", "Whether rows fit the model's context is unknown.")
    lengths = [len(supervision.ids) for supervision in seen]
    measured = f"longest row {max(lengths):,} tokens, context {limit:,}"
    over = sum(length > limit for length in lengths)
    if over:
        text = f"{over} of {len(lengths)} rows are longer than the model's context and are measured up to there."
        return Check("context", "warn", text, measured, "No verdict covers their ends. Split such rows.")
    return Check("context", "pass", "Every row fits the model's context.", measured)


def _stop_tokens(rows: Rows, tokenizer: Any, seen: Sequence[Supervision]) -> Check:
    """Whether the token that ends an assistant's turn in training also ends generation."""
    stops = rows.model.eos_ids  # as in the backend, an adapter stops where its base does
    ends = Counter(int(s.ids[turn.stop - 1]) for s in seen for turn in s.turns if turn.has_stop_token)
    bare = sum(not turn.has_stop_token for s in seen for turn in s.turns)
    named = ", ".join(repr(token) for token in tokenizer.convert_ids_to_tokens(list(stops))) or "nothing"
    if not ends:
        if not bare:
            return Check("stop_tokens", "unknown", "No assistant turn was seen.")
        text = "No answer ends with a stop token, so the model was never taught to stop."
        return Check("stop_tokens", "warn", text, f"generation stops at {named}", "Check template and EOS of training.")
    others = {i: n for i, n in ends.items() if i not in stops}
    measured = f"{sum(ends.values())} of {sum(ends.values()) + bare} turns end with a stop token"
    if others:
        names = ", ".join(repr(token) for token in tokenizer.convert_ids_to_tokens(list(others)))
        text = f"Answers end with {names}, but generation stops at {named}: the model would not stop."
        todo = "Add it to eos_token_id in generation_config.json; Lacuna stops at it in any case."
        return Check("stop_tokens", "warn", text, measured, todo)
    if bare:
        text = f"{bare} answers end without a stop token; the others end where generation stops, at {named}."
        return Check("stop_tokens", "warn", text, measured, "Check template and truncation of training.")
    return Check("stop_tokens", "pass", f"Answers end where generation stops, at {named}.", measured)
