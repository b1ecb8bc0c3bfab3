"""Text to token ids, and which token covers which character."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from core.rendering.turns import Marks

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True, slots=True)
class Encoded:
    """A text as tokens.

    Attributes:
        ids: (l,) int64.
        offsets: (l, 2) int64, half-open character ranges.
        batch: the encoding that transformers made of the text.
        notes: remarks on characters that have no token.
    """

    ids: np.ndarray
    offsets: np.ndarray
    batch: Any
    notes: tuple[str, ...]

    def tokens(self, start: int, stop: int) -> tuple[int, int] | None:
        """Half-open range of the tokens that cover characters ``start`` to ``stop``; None if there are none.

        A token across the boundary belongs to the range, because without it the text could not be produced. Some
        tokenizers trim offsets, so that a token of blanks has no width. It covers at least the character before it.
        """
        a, b = self.offsets[:, 0], self.offsets[:, 1]
        a = np.where(a == b, a - 1, a)
        inside = np.flatnonzero((b > start) & (a < stop))
        return (int(inside[0]), int(inside[-1]) + 1) if len(inside) else None

    def mask(self, ranges: Sequence[tuple[int, int]]) -> np.ndarray:
        """(l,) bool: the assistant mask exactly as transformers' ``apply_chat_template`` computes it.

        A range whose first character no token covers ends the search. A range whose last character no token covers, or
        whose last character the first token covers, runs to the end of the row.
        """
        out = np.zeros(len(self.ids), dtype=bool)
        for start, stop in ranges:
            first, last = self.batch.char_to_token(0, start), self.batch.char_to_token(0, stop - 1)
            if first is None:
                break
            out[first : last + 1 if last else len(out)] = True
        return out


def encode(tokenizer: PreTrainedTokenizerFast, text: str, marks: Marks, add_special_tokens: bool) -> Encoded:
    """The ids that the tokenizer gives the whole text, each with the characters it covers.

    A BPE model without an unknown token leaves out characters that it has no token for. From there on the tokenizers
    library reports offsets too far to the left. In that case the offsets are taken from the text without those
    characters, which has the same ids.
    """
    batch = tokenizer(text, add_special_tokens=add_special_tokens, return_offsets_mapping=True, verbose=False)
    ids, offsets = _arrays(batch)
    unknown = tokenizer.unk_token
    # A token that the post-processor adds at an end covers no character. It can have the id of the unknown token.
    in_text = offsets[:, 1] > offsets[:, 0]
    if unknown is not None and unknown not in text and (in_text & (ids == tokenizer.unk_token_id)).any():
        note = f"The tokenizer has no token for some characters: they became {unknown}."
        return Encoded(ids, offsets, batch, (note,))
    lost = {c for c in set(text) if not _has_token(tokenizer, c)}
    kept, left_out = _split(text, lost, marks) if lost else ([], set())
    if not left_out:
        return Encoded(ids, offsets, batch, ())
    notes = [f"The tokenizer has no token for {' '.join(map(repr, sorted(left_out)[:10]))} and leaves them out."]
    places = _places(tokenizer, text, kept, ids, add_special_tokens)
    if places is None:
        notes.append("Where the answer begins and ends is uncertain by as many characters as were left out.")
    return Encoded(ids, offsets if places is None else places, batch, tuple(notes))


def _arrays(batch: Any) -> tuple[np.ndarray, np.ndarray]:
    ids = np.asarray(batch["input_ids"], dtype=np.int64)
    return ids, np.asarray(batch["offset_mapping"], dtype=np.int64).reshape(-1, 2)


_HAS_TOKEN: WeakKeyDictionary[Any, dict[str, bool]] = WeakKeyDictionary()


def _has_token(tokenizer: PreTrainedTokenizerFast, character: str) -> bool:
    """Whether the character leaves a trace when it is encoded between two letters."""
    outcomes = _HAS_TOKEN.setdefault(tokenizer, {})
    if character not in outcomes:
        ids = [tokenizer(f"a{c}a", add_special_tokens=False)["input_ids"] for c in ("", character)]
        outcomes[character] = ids[0] != ids[1]
    return outcomes[character]


def _split(text: str, lost: set[str], marks: Marks) -> tuple[list[int], set[str]]:
    """Positions of the characters that stay, including those of added tokens, and the characters that are lost."""
    inside = np.zeros(len(text), dtype=bool)
    for token in marks.added.finditer(text):
        inside[token.start() : token.end()] = True
    kept = [i for i, c in enumerate(text) if inside[i] or c not in lost]
    return kept, {c for i, c in enumerate(text) if c in lost and not inside[i]}


def _places(
    tokenizer: PreTrainedTokenizerFast, text: str, kept: list[int], ids: np.ndarray, add_special_tokens: bool
) -> np.ndarray | None:
    """(l, 2) offsets in ``text``, from encoding only the kept characters; None if that gives other ids."""
    shorter = "".join(text[i] for i in kept)
    for lead in ("", " "):  # some tokenizers put a blank before a text that does not begin with one
        characters = np.asarray([*([0] * len(lead)), *kept, len(text)], dtype=np.int64)
        again, places = _arrays(
            tokenizer(lead + shorter, add_special_tokens=add_special_tokens, return_offsets_mapping=True, verbose=False)
        )
        if np.array_equal(again, ids):
            a, b = places[:, 0], places[:, 1]
            starts = characters[a]
            return np.stack([starts, np.where(b > a, characters[b - 1] + 1, starts)], axis=1)
    return None
