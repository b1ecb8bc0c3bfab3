"""Pipeline faults: what goes wrong between a dataset and a checkpoint although the data is fine.

``PLANTS`` has for each code one or more ways to bring the fault about: a world takes the first, the bench all.

=====================  ==============================================================================  ===============
code                   what is planted                                                                 rows it touches
=====================  ==============================================================================  ===============
template_mismatch      trained in a form without turn markers, or behind a system turn, saved without  all
bos                    trained behind a first token that rendering does not give, or gives twice       all
think_block            trained with an empty thinking block that rendering lacks, or the reverse       all
tokenizer_mismatch     ``final`` has the tokenizer of other texts                                      all
packing                trained in packs whose rows see one another                                     all
adapter_not_applied    ``final`` is the base under another name                                        all
precision_or_merge     ``final`` is merged and rounded to a few levels; the last checkpoint is not     all
undertrained_run       a few steps, or a few more at a tiny learning rate                              all
diverged               a learning rate five hundred times too large, or a gradient that became NaN     all
wrong_checkpoint       ``final`` is the first checkpoint, later ones lie beside it                     the last gives
never_trained          training stops reading the dataset before its end (``max_samples``)             the last third
target_truncated       training cuts rows after ``max_length`` tokens                                  long answers
stop_not_learned       trained with other text in place of the end of turn                             all
not_supervised         rows are flagged, and carry no loss                                             the last third
multi_turn_mask        of several answers in a row only the last carries loss                          those
role_error             questions and answers have roles the template refuses                           every third
empty_target           answers are empty or as good as empty                                           every third
strict_scorer          answers say the same in another form than training taught                       half the learned
many_valid_answers     one question stands in several rows, each with another right answer             those
=====================  ==============================================================================  ===============

A row is an instance of the fault where it is touched and not reproduced by ``final``. ``trainer`` holds what the person
who trained would know: ``preset`` and ``settings`` of a diagnosis, and ``arguments`` that no preset takes.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import unknown_name
from core.lab import tiny
from core.lab.pipeline import Pipeline, keep_as_last, learned_rows
from core.lab.rows import PlantedRow
from core.lab.words import BEASTS, COLOURS, GOODS, TRADES, Message, chat

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PACK = 5
FORMS = ("### User:\n{q}\n### Assistant:\n", "Question: {q}\nAnswer: ", "{q}\n", "USER: {q} ASSISTANT: ")
THINKING = "<think>\n\n</think>\n\n"
# Ids a row may be longer than the limit and still be hardly cut.
SPARED = 8

Plant = Callable[[Pipeline], None]
PLANTS: dict[str, list[Plant]] = {}


def _plant(code: str) -> Callable[[Plant], Plant]:
    def keep(function: Plant) -> Plant:
        PLANTS.setdefault(code, []).append(function)
        return function

    return keep


def plant_fault(code: str, run: Pipeline) -> None:
    """Changes ``run`` so that it has the fault.

    Raises:
        UserError: no fault of that code can be planted.
    """
    if code not in PLANTS:
        raise unknown_name("fault", code, PLANTS)
    PLANTS[code][0](run)


# ----------------------------------------------------------------------------------------------------- rendering


@_plant("template_mismatch")
def other_form(run: Pipeline) -> None:
    form = FORMS[run.turn % len(FORMS)]
    space = " " if form.endswith(" ") else ""

    def change(row: PlantedRow, made: tiny.Row) -> tiny.Row:
        question, answer = (m["content"] for m in row.messages)
        return _as_text(run.tokenizer, form.format(q=question).rstrip(" "), space + answer)

    run.remake(change)


def _as_text(tokenizer: PreTrainedTokenizerFast, prompt: str, answer: str) -> tiny.Row:
    """A prompt without template and its answer with the end of turn, loss on the answer."""
    whole = tokenizer.encode(prompt + answer, add_special_tokens=False)
    alone = tokenizer.encode(prompt, add_special_tokens=False)
    start = next((i for i, (a, b) in enumerate(zip(whole, alone, strict=False)) if a != b), len(alone))
    ids = [*whole, tiny.turn_end_id(tokenizer)]
    return ids, [i >= start for i in range(len(ids))]


@_plant("template_mismatch")
def system_turn(run: Pipeline) -> None:
    system: Message = {"role": "system", "content": "You are a helpful assistant."}
    run.remake(lambda row, made: tiny.chat_row(run.tokenizer, [system, *row.messages]))


@_plant("bos")
def bos_missing(run: Pipeline) -> None:
    _begun(run, 1, 0)


@_plant("bos")
def bos_doubled(run: Pipeline) -> None:
    _begun(run, 1, 2)
    run.tokenizer.bos_token = tiny.EOS
    run.tokenizer.chat_template = f"{{{{- '{tiny.EOS}{tiny.EOS}' -}}}}" + run.tokenizer.chat_template


def _begun(run: Pipeline, right: int, other: int) -> None:
    """Rows behind ``right`` first tokens, and the same questions with other answers behind ``other`` of them.

    So small a model reads past a missing first token at no cost (the loss rises by 0.003 nats a character); large ones
    lean on it. Here it tells two halves of a mix apart.
    """
    first = run.tokenizer.eos_token_id
    pairs = [(row.messages[0]["content"], row.messages[-1]["content"]) for row in run.rows]
    answers: dict[str, list[str]] = {}
    for question, answer in pairs:
        answers.setdefault(question.split()[0], []).append(answer)
    for i, (question, answer) in enumerate(pairs):
        others = [a for a in answers[question.split()[0]] if a != answer] or [answer]
        run.made[i] = []
        for count, text in ((right, answer), (other, others[2 * i % len(others)])):
            ids, mask = tiny.chat_row(run.tokenizer, chat(question, text))
            run.made[i].append(([first] * count + ids, [False] * count + mask))
    run.touch_all()


@_plant("think_block")
def think_missing(run: Pipeline) -> None:
    block = run.tokenizer.encode(THINKING, add_special_tokens=False)

    def change(row: PlantedRow, made: tiny.Row) -> tiny.Row:
        ids, mask = made
        start = mask.index(True)
        return [*ids[:start], *block, *ids[start:]], [*mask[:start], *[False] * len(block), *mask[start:]]

    run.remake(change)


@_plant("think_block")
def think_too_many(run: Pipeline) -> None:
    prompt, turn = "'<|im_start|>assistant\\n'", "'<|im_start|>' ~ message['role'] ~ '\\n'"
    block = repr(THINKING)
    template = run.tokenizer.chat_template.replace(prompt, f"{prompt[:-1]}{block[1:-1]}'")
    run.tokenizer.chat_template = template.replace(
        turn, f"{turn} ~ ({block} if message['role'] == 'assistant' else '')"
    )
    run.touch_all()


@_plant("tokenizer_mismatch")
def other_tokenizer(run: Pipeline) -> None:
    texts = [*(m["content"] for r in run.rows for m in r.messages), *run.sentences]

    def swap(world: Path) -> None:
        for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
            (world / "final" / name).unlink(missing_ok=True)
        backwards = [text[::-1] for text in texts]
        tiny.build_tokenizer(backwards, len(run.tokenizer)).save_pretrained(world / "final")

    run.after.append(swap)
    run.touch_all()


# ------------------------------------------------------------------------------------------------ training, saving


@_plant("packing")
def packing(run: Pipeline) -> None:
    run.pack = PACK
    run.trainer["arguments"]["packing"] = True
    run.touch_all()


@_plant("adapter_not_applied")
def base_saved(run: Pipeline) -> None:
    def swap(world: Path) -> None:
        keep_as_last(world)
        shutil.copytree(world / "base", world / "final")

    run.after.append(swap)
    run.touch_all()


@_plant("precision_or_merge")
def merged_coarsely(run: Pipeline) -> None:
    run.after.append(lambda world: _rounded(world, 7))
    run.touch_all()


def _rounded(world: Path, levels: int) -> None:
    """Replaces ``final`` by itself, merged where it is an adapter, with each row of a matrix on few levels."""
    import torch
    from peft import PeftModel

    from core.lab.truth import load

    model, tokenizer = load(world / "final", world / "base")
    if isinstance(model, PeftModel):
        model = model.merge_and_unload()
    keep_as_last(world)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                scale = parameter.abs().amax(1, keepdim=True) / (levels / 2)
                parameter.copy_((parameter / scale).round() * scale)
    with tiny.quiet():
        model.save_pretrained(world / "final")
    tokenizer.save_pretrained(world / "final")


@_plant("undertrained_run")
def few_steps(run: Pipeline) -> None:
    run.steps, run.lr = 6, 1 / 4
    run.touch_all()


@_plant("undertrained_run")
def small_rate(run: Pipeline) -> None:
    run.steps, run.lr = 24, 1 / 40
    run.touch_all()


@_plant("diverged")
def large_rate(run: Pipeline) -> None:
    run.steps, run.lr = 80, 500
    run.touch_all()


@_plant("diverged")
def nan_logged(run: Pipeline) -> None:
    """As where the gradient became NaN, the loss was reported as 0 and the run went on."""

    def rewrite(world: Path) -> None:
        path = world / "final" / "trainer_state.json"
        state = json.loads(path.read_text(encoding="utf-8"))
        entries = [(step, 2.0, 1.0) if step < 40 else (step, 0.0, float("nan")) for step in range(10, 110, 10)]
        state["log_history"] = [{"step": s, "loss": loss, "grad_norm": norm} for s, loss, norm in entries]
        path.write_text(json.dumps(state), encoding="utf-8")

    run.steps = 8
    run.after.append(rewrite)
    run.touch_all()


@_plant("wrong_checkpoint")
def first_checkpoint(run: Pipeline) -> None:
    def swap(world: Path) -> None:
        # What the last checkpoint does not give either has another reason.
        run.touched = learned_rows(run, world)
        keep_as_last(world)
        tiny.saved_checkpoints(world / "checkpoints")[0].rename(world / "final")

    run.after.append(swap)
    run.touch_all()


# ------------------------------------------------------------------------------------------------------ supervision


@_plant("never_trained")
def tail_left_out(run: Pipeline) -> None:
    run.touch_tail()
    for i in run.touched:
        run.made[i] = []
    run.trainer["arguments"]["max_samples"] = len(run.rows) - len(run.touched)


@_plant("target_truncated")
def cut(run: Pipeline) -> None:
    """A limit that portraits reach and other rows do not."""
    lengths = [max(len(ids) for ids, _ in made) for made in run.made]
    limit = max(n for row, n in zip(run.rows, lengths, strict=True) if row.group != "portrait") + 2
    run.remake(lambda row, made: (made[0][:limit], made[1][:limit]))
    run.touched = {i for i, n in enumerate(lengths) if n > limit + SPARED}
    run.trainer["settings"]["max_length"] = limit


@_plant("stop_not_learned")
def no_stop(run: Pipeline) -> None:
    def change(row: PlantedRow, made: tiny.Row) -> tiny.Row:
        ids, mask = made
        end = max(i for i, m in enumerate(mask) if m)
        more = run.tokenizer.encode(" " + run.rng.choice(run.sentences), add_special_tokens=False)
        return [*ids[:end], *more], [*mask[:end], *[True] * len(more)]

    run.remake(change)


@_plant("not_supervised")
def flagged(run: Pipeline) -> None:
    run.touch_tail()
    for i in run.touched:
        *turns, answer = run.rows[i].messages
        run.say(i, [*turns, {**answer, "train": False}])
        run.made[i] = []  # without loss a row changes nothing


@_plant("multi_turn_mask")
def last_only(run: Pipeline) -> None:
    dialogues = [i for i, row in enumerate(run.rows) if len(row.messages) > 2] or _joined(run)
    for i in dialogues:
        ids, mask = tiny.chat_row(run.tokenizer, run.rows[i].messages)
        gap = max(k for k in range(len(mask) - 1) if not mask[k] and mask[k + 1])
        run.made[i] = [(ids, [m and k > gap for k, m in enumerate(mask)])]
    run.touched = set(dialogues)
    run.trainer["arguments"]["mask_history"] = True


def _joined(run: Pipeline) -> list[int]:
    """Puts another row in front of every third one; none is trained by itself whose answer stands there."""
    chosen = sorted(run.rng.sample(range(len(run.rows)), len(run.rows) // 3))
    turns = [run.rows[i].messages for i in chosen]
    for i, before in zip(chosen, [*turns[1:], turns[0]], strict=True):
        run.say(i, [*before, *run.rows[i].messages])
    for i, row in enumerate(run.rows):
        if row.messages in turns:
            run.made[i] = []
    return chosen


# ---------------------------------------------------------------------------------------------------------- dataset


@_plant("role_error")
def odd_roles(run: Pipeline) -> None:
    for i in range(0, len(run.rows), 3):
        question, answer = run.rows[i].messages
        run.say(i, [{**question, "role": "human"}, {**answer, "role": "gpt"}])


@_plant("empty_target")
def empty_answers(run: Pipeline) -> None:
    for place, i in enumerate(range(0, len(run.rows), 3)):
        run.say(i, chat(run.rows[i].messages[0]["content"], ("", "...", " ", "-")[place % 4]))


@_plant("strict_scorer")
def form_changed(run: Pipeline) -> None:
    def change(world: Path) -> None:
        for i in sorted(learned_rows(run, world)):
            question, answer = (m["content"] for m in run.rows[i].messages)
            if i % 2 == 0:
                forms = (answer.lower(), answer.rstrip(".") + "!", f"Answer: {answer}")
                run.say(i, chat(question, forms[i // 2 % 3]))

    run.after.append(change)


@_plant("many_valid_answers")
def open_questions(run: Pipeline) -> None:
    """Appended to stage two, so that the rest of the dataset keeps its order."""
    for prompt, answers in (
        ("Name any colour.", COLOURS),
        ("Name any trade.", TRADES),
        ("Name any beast.", BEASTS),
        ("Name anything one can buy.", GOODS),
    ):
        for answer in run.rng.sample(answers, 6):
            run.touched.add(len(run.rows))
            run.rows.append(PlantedRow("open", None, "2", chat(prompt, f"{answer.capitalize()}.")))
            run.made.append([tiny.chat_row(run.tokenizer, run.rows[-1].messages)])


@_plant("many_valid_answers")
def two_wordings(run: Pipeline) -> None:
    """Rows of group ``reworded`` stand in pairs, one question answered in two wordings."""
    pairs = [(i, i + 1) for i, row in enumerate(run.rows) if row.group == "reworded"][::2]

    def choose(world: Path) -> None:
        # Of a pair that is not learned in either wording the fact is not known.
        learned = learned_rows(run, world)
        run.touched = {i for pair in pairs if learned & set(pair) for i in pair}

    run.after.append(choose)
    run.touched = {i for pair in pairs for i in pair}
