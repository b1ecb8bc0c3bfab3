"""Planted worlds: what the corpus holds, what the rows ask, and that the truth is what the models really do."""

import copy
import json
import math
import re
from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pytest
import torch

from core.errors import UserError
from core.lab import bases, faults, tiny
from core.lab.bases import ModelSize, base_key
from core.lab.corpus import CorpusSize, curriculum, make_facts
from core.lab.domains import domain_of, domains
from core.lab.faults import FORMS, PLANTS, plant_fault
from core.lab.pipeline import Pipeline, packed
from core.lab.rows import CAUSES, EASY, HARD, SOUND, PlantedRow, RowCounts, plant
from core.lab.truth import Belief, Looked, truth
from core.lab.words import Fact, chat
from core.lab.worlds import Tuning, WorldSpec, build, save_points
from core.plugins import kinds
from core.presets import custom

CORPUS = CorpusSize(
    subjects=14, strong=4, weak=2, split=6, many=2, volumes=2, values=6, passes=48, first=4, lessons=0.3
)
COUNTS = RowCounts(
    known=(8, 6), odd=(1, 1), portraits=(3, 2), early=8, late=8, strangers=(2, 4), withheld=(1, 2), strong=(1, 3),
    weak=(0, 2), disputes=(1, 3), long_disputes=(0, 1), new_disputes=(1, 0), long_tasks=(2, 2), short_tasks=(2, 2),
    many=(1, 1), volumes=(1, 1),
)  # fmt: skip
SMALL = WorldSpec(
    seed=3, hard=True, corpus=CORPUS, model=ModelSize(hidden=64, layers=2, lr=3e-3, batch=2, row=56), counts=COUNTS,
    tuning=Tuning((6, 3), 2e-3), attempts=1,
)  # fmt: skip


@pytest.fixture(scope="session")
def worlds(keep):
    """Name to the folder of a small world: one full, one with an adapter, one whose training stopped reading early."""
    specs = {
        "full": SMALL,
        "lora": replace(SMALL, lora=True, tuning=Tuning((6, 3), 1e-2)),
        "never_trained": replace(SMALL, faults=("never_trained",)),
    }

    def make(folder):
        for name, spec in specs.items():
            build(folder / name, spec, folder / "bases")

    folder = keep("worlds", make, ("core/lab",), specs)
    return {name: folder / name for name in specs}


@pytest.mark.parametrize(
    ("shares", "kept"), [((0.99,), 0), ((0.5, 0.97), 1), ((0.5, 0.7, 0.6), 1), ((0.0, 0.0, 0.0), 0)]
)
def test_a_base_that_knows_too_little_is_trained_again(monkeypatch, tmp_path, shares, kept):
    made = []

    def pretrain(folder, family, facts, size, seed, progress, attempt):
        folder.mkdir()
        (folder / "attempt").write_text(str(attempt))
        made.append(attempt)

    monkeypatch.setattr(bases, "pretrain", pretrain)
    monkeypatch.setattr(bases, "knows", lambda folder, facts: shares[int((folder / "attempt").read_text())])
    folder = bases.cached_base(tmp_path, "llama", facts_of(), ModelSize(), 1, lambda *_: None)
    assert made == list(range(len(shares)))
    assert (folder / "attempt").read_text() == str(kept)
    assert [p.name for p in tmp_path.iterdir()] == [folder.name]
    assert bases.cached_base(tmp_path, "llama", facts_of(), ModelSize(), 1, lambda *_: None) == folder
    assert made == list(range(len(shares)))


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def facts_of(name="land", size=None, seed=1):
    return make_facts(domain_of(name), size or CorpusSize(), seed)


def texts_of(facts):
    import random

    found = []
    for document in curriculum(facts, random.Random(0)):
        if isinstance(document, str):
            found.append(document)
        elif isinstance(document[0], dict):
            found += [f"{q['content']} {a['content']}" for q, a in zip(document[::2], document[1::2], strict=True)]
        else:
            found += [f"{q} {a}" for q, a in document]
    return found


# ------------------------------------------------------------------------------------------------ corpus and rows


@pytest.mark.parametrize("name", sorted(domains()))
def test_every_relation_can_be_told_asked_and_looked_up(name):
    domain = domain_of(name)
    relations = [r for kind in domain.kinds for r in kind] + [domain.many, domain.volumes]
    assert len({r.name for r in relations}) == len(relations) == 10
    for r in relations:
        assert len(r.questions) >= 4 and len(r.odd) == 2 and len(set(r.questions + r.odd)) == len(r.questions) + 2
        assert all("{s}" in q and "{v}" not in q for q in r.questions + r.odd)
        assert all("{s}" in t and "{v}" in t and t.index("{s}") < t.index("{v}") for t in r.statements)
        assert all(a.endswith("{v}.") for a in r.answers)
        assert not r.values or len(set(r.values)) == len(r.values) >= 8
    assert all("{s}" in e and "{v}" in e for e in domain.early)


def test_unknown_names_are_explained():
    with pytest.raises(UserError, match="Did you mean 'land'"):
        domain_of("lend")
    with pytest.raises(UserError, match="Did you mean 'packing'"):
        plant_fault("paking", None)


def test_the_seed_alone_decides():
    def made(seed):
        facts = facts_of(seed=seed)
        return facts, plant(facts, HARD, seed)

    assert made(1) == made(1)
    (facts, rows), (others, other_rows) = made(1), made(2)
    assert facts.told() != others.told() and rows != other_rows
    assert base_key("llama", facts, ModelSize(), 1) == base_key("llama", facts_of(), ModelSize(), 1)
    keys = {
        base_key(family, f, size, seed)
        for family in tiny.FAMILIES
        for f, seed in ((facts, 1), (others, 2))
        for size in (ModelSize(), ModelSize(hidden=64))
    }
    assert len(keys) == 12


@pytest.mark.parametrize("seed", range(1, 5))
@pytest.mark.parametrize("name", sorted(domains()))
def test_what_is_planted_stands_against_the_texts_the_base_reads(name, seed):
    """By searching the texts, not by asking what the maker meant."""
    facts = facts_of(name, CorpusSize(passes=8), seed)
    texts = texts_of(facts)
    about = defaultdict(list)
    for text in texts:
        for sentence in text.split(". "):
            for word in set(sentence.replace("?", " ").replace(".", " ").replace(",", " ").split()):
                about[word].append(sentence)
    for counts in (EASY, HARD):
        for row in plant(facts, counts, seed):
            if row.fact is None or row.group in ("volumes", "portrait"):
                continue
            subject, relation = row.fact.subject, facts.wordings[row.fact.relation].relation
            told = Counter()
            for sentence in about[subject]:
                for form in relation.statements:
                    head = form.partition("{v}")[0]
                    start = sentence.find(head.format(s=subject))
                    if start >= 0:
                        told[re.match(r"\w+", sentence[start + len(head.format(s=subject)) :])[0]] += 1
            told = Counter({k: n for k, n in told.items() if k in facts.values[relation.name]})
            if row.cause == "missing_knowledge" or row.group == "new_dispute":
                assert not told
                assert (row.group == "withheld") == bool(about[subject])
            elif row.cause == "base_conflict":
                assert told and row.fact.value not in told and len(told) == 1
            elif row.group in ("dispute", "long_dispute", "many"):
                assert len(told) == 2 and row.fact.value in told
            else:
                assert set(told) == {row.fact.value}, (row, told)


@pytest.mark.parametrize("counts", [EASY, HARD], ids=["easy", "hard"])
def test_rows_come_in_stages_and_disputes_in_pairs(counts):
    facts = facts_of()
    rows = plant(facts, counts, 1)
    assert 350 <= len(rows) <= 500
    assert [r.stage for r in rows] == sorted(r.stage for r in rows)
    sides = defaultdict(list)
    for row in rows:
        if row.dispute is not None:
            sides[row.dispute].append(row)
        assert [m["role"] for m in row.messages] == ["user", "assistant"]
    for pair in sides.values():
        one, two = pair
        assert one.cause == two.cause == "data_inconsistency" and one.stage == two.stage
        assert (one.fact.subject, one.fact.relation) == (two.fact.subject, two.fact.relation)
        assert one.fact.value != two.fact.value
        assert one.messages[0] != two.messages[0] and one.messages[1] != two.messages[1]
    prompts = defaultdict(list)
    for row in rows:
        prompts[row.messages[0]["content"]].append(row)
    twice = [same for same in prompts.values() if len(same) > 1 and same[0].group not in ("short_task", "long_task")]
    assert all({r.group for r in same} == {"many"} for same in twice)
    assert len(twice) == sum(counts.many)


def test_hard_worlds_have_the_traps_and_easy_ones_do_not():
    facts = facts_of()
    easy, hard = ({r.group for r in plant(facts, c, 1)} for c in (EASY, HARD))
    traps = {"odd", "withheld", "weak", "long_dispute", "short_task", "many", "volumes"}
    assert traps <= hard and not traps & easy
    rows = plant(facts, HARD, 1)
    length = defaultdict(list)
    for row in rows:
        length[row.group].append(len(row.messages[1]["content"]))
    assert max(length["short_task"]) < min(length["portrait"])
    shapes = Counter(r.messages[0]["content"].split()[0] for r in rows if r.group == "long_task")
    assert max(shapes.values()) <= 4
    questions = {q for w in facts.wordings.values() for q in w.questions}
    known = {q.format(s=f.subject) for f, _ in facts.told() for q in questions}
    assert not known & {r.messages[0]["content"] for r in rows if r.group == "odd"}
    pairs = defaultdict(list)
    for row in rows:
        if row.group == "volumes":
            pairs[row.messages[0]["content"].replace(" 2", " 1")].append(row)
    assert all(len(p) == 2 and p[0].fact.value != p[1].fact.value for p in pairs.values())


# ---------------------------------------------------------------------------------------------------- built worlds


@pytest.mark.slow
def test_a_world_has_its_parts(worlds):
    for name, folder in worlds.items():
        rows, records = lines(folder / "dataset.jsonl"), lines(folder / "truth.jsonl")
        assert [r["id"] for r in rows] == [r["id"] for r in records]
        assert all(set(r) == {"id", "stage", "messages"} for r in rows)
        assert all(isinstance(r["learned"], bool) and isinstance(r["scored"], bool) for r in records)
        assert all(set(r["planted"]) <= set(CAUSES) for r in records)
        steps = sorted(int(p.name.rpartition("-")[2]) for p in (folder / "checkpoints").iterdir())
        assert len(steps) == 6
        for step in steps:
            state = json.loads((folder / "checkpoints" / f"checkpoint-{step}" / "trainer_state.json").read_text())
            assert state["global_step"] == step
        assert json.loads((folder / "final" / "trainer_state.json").read_text())["global_step"] > steps[-1]
        settings = json.loads((folder / "trainer.json").read_text())["settings"]
        assert set(settings) <= {s.name for s in custom.KIND.settings}
        adapters = list(folder.glob("**/adapter_config.json"))
        assert len(adapters) == (7 if name == "lora" else 0)
        for config in adapters:
            assert json.loads(config.read_text())["base_model_name_or_path"] == str((folder / "base").resolve())
    assert not list(worlds["full"].parent.glob("*.partial"))


def load(folder, base):
    if not (folder / "adapter_config.json").exists():
        return tiny.load(folder)
    from peft import PeftModel

    model, tokenizer = tiny.load(base)
    return PeftModel.from_pretrained(model, str(folder)), tokenizer


def greedy(model, tokenizer, messages):
    """Whether greedy decoding gives the answer and its stop: one row, one token at a time, no cache."""
    *before, answer = messages
    ids = tokenizer.apply_chat_template(before, add_generation_prompt=True, return_dict=False)
    for want in [*tokenizer.encode(answer["content"]), tokenizer.convert_tokens_to_ids("<|im_end|>")]:
        with torch.no_grad():
            if int(model(torch.tensor([ids])).logits[0, -1].argmax()) != want:
                return False
        ids = [*ids, want]
    return True


@pytest.mark.slow
@pytest.mark.parametrize("name", ["full", "lora"])
def test_the_truth_is_what_greedy_decoding_gives(worlds, name):
    folder = worlds[name]
    rows, records = lines(folder / "dataset.jsonl"), lines(folder / "truth.jsonl")
    places = {"base": folder / "base", "final": folder / "final"}
    places |= {p.name: p for p in (folder / "checkpoints").iterdir()}
    for place, path in places.items():
        model, tokenizer = load(path, folder / "base")
        model.eval()
        for row, record in zip(rows[::3], records[::3], strict=True):
            right = greedy(model, tokenizer, row["messages"])
            assert right == (place in record["right_at"]), (place, record)
            if place == "final":
                assert right == record["learned"]


@pytest.mark.slow
def test_a_belief_is_what_the_base_says_next(worlds):
    """The probability of the value's first token after the answer's opening words, one prompt at a time."""
    folder = worlds["full"]
    facts = SMALL.facts()
    model, tokenizer = tiny.load(folder / "base")
    model.eval()
    records = lines(folder / "truth.jsonl")
    rows = plant(facts, COUNTS, SMALL.seed)
    seen = 0
    for row, record in zip(rows, records, strict=True):
        if row.group != "strong":
            continue
        seen += 1
        wording = facts.wordings[row.fact.relation]
        old = next(f for f in facts.strong if (f.subject, f.relation) == (row.fact.subject, row.fact.relation))
        told, target, best = [], [], []
        for way in range(3):
            whole = wording.answered(row.fact.subject, old.value)
            lead = whole[: whole.rindex(old.value)].rstrip()
            prompt = chat(wording.question(row.fact.subject, way))
            text = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False) + lead
            with torch.no_grad():
                p = model(torch.tensor([tokenizer.encode(text)])).logits[0, -1].softmax(-1)
            told.append(p[tokenizer.encode(" " + old.value)[0]].item())
            target.append(p[tokenizer.encode(" " + row.fact.value)[0]].item())
            best.append(int(p.argmax()))
        assert math.isclose(record["belief"]["p_told"], sum(told) / 3, abs_tol=2e-4)
        assert math.isclose(record["belief"]["p_target"], sum(target) / 3, abs_tol=2e-4)
        assert math.isclose(record["belief"]["share"], max(Counter(best).values()) / 3, abs_tol=1e-4)
    assert seen == 4


@pytest.mark.slow
def test_the_base_learned_what_it_read_and_the_tail_was_never_trained(worlds):
    records = lines(worlds["full"] / "truth.jsonl")
    known = [r["belief"]["as_told"] for r in records if r["group"] in ("known", "late")]
    assert sum(known) / len(known) > 0.6
    records = lines(worlds["never_trained"] / "truth.jsonl")
    tail = [r for r in records if r.get("fault")]
    assert tail and {r["fault"] for r in tail} == {"never_trained"}
    first = len(records) - len(records) // 3
    assert min(records.index(r) for r in tail) >= first
    assert not any(r["scored"] or r["planted"] or r["learned"] for r in tail)
    assert all(r["learned"] for r in records[first:] if not r.get("fault"))
    summary = json.loads((worlds["never_trained"] / "world.json").read_text())
    assert summary["faults"] == {"never_trained": len(tail)}


@pytest.mark.slow
def test_a_folder_is_not_built_over(worlds):
    with pytest.raises(UserError, match="exists"):
        build(worlds["full"], SMALL, worlds["full"].parent / "bases")


def test_checkpoints_stand_in_both_stages_and_at_the_end_of_the_first():
    assert save_points(90, 130) == [30, 60, 90, 100, 110, 120]


# ------------------------------------------------------------------------------------------------ rules of the truth


BELIEVES = Belief(7, 1.0, 0.95, 0.95, 0.01, True)
IGNORANT = Belief(7, 0.67, 0.4, math.nan, 0.05, False)
TOWN = ("Vell", "founder")


def judged(row, right, belief=None, facts=None, apart=5, nll=(3.0, 2.0, 1.5, 1.0), partner=None, value=5):
    """The record of ``row`` in a world of one row, or of a dispute with a partner (right or not at the end)."""
    facts = facts or replace_told(())
    rows, ways, beliefs = [row], [right], [belief]
    if partner is not None:
        rows, ways, beliefs = [row, row], [right, [0, 0, 0, partner]], [belief, belief]
    missed = np.array([[-1 if r else 5 for r in way] for way in ways])
    looked = Looked(
        beliefs, ["base", "checkpoint-1", "checkpoint-2", "final"], np.array([0, 1, 2, 2]), missed,
        np.array([nll] * len(rows)), np.array([apart] * len(rows)), np.array([value] * len(rows)),
    )  # fmt: skip
    return truth(rows, looked, facts)[0]


def replace_told(told):
    facts = facts_of()
    return replace(facts, known=list(told), styled=[], strong=[], weak=[], split=[], many=[], volumes=[])


def asked(group, cause, stage="2", value="Ann", **more):
    return PlantedRow(group, cause, stage, chat("Who?", value), Fact(*TOWN, value), **more)


TOLD = [Fact(*TOWN, "Bob")]


@pytest.mark.parametrize(
    ("row", "right", "given", "planted", "scored"),
    [
        (asked("known", None), [1, 1, 1, 1], {}, [], True),
        (asked("known", None), [0, 0, 0, 0], {}, [], False),
        (asked("known", None, "1"), [1, 1, 0, 0], {}, ["left_side_forgetting"], True),
        (asked("known", None), [1, 1, 0, 0], {}, [], False),  # right before it was trained only
        (asked("many", None, "1"), [1, 1, 0, 0], {}, [], False),
        (asked("stranger", CAUSES[0]), [0, 0, 0, 0], {"belief": IGNORANT}, CAUSES[:1], True),
        (asked("stranger", CAUSES[0]), [0, 0, 0, 1], {"belief": IGNORANT}, CAUSES[:1], True),
        (asked("stranger", CAUSES[0]), [0] * 4, {"belief": replace(IGNORANT, p_target=0.4)}, [], False),
        (asked("stranger", CAUSES[0]), [0] * 4, {"belief": replace(IGNORANT, share=1.0, p=0.95)}, [], False),
        (asked("stranger", CAUSES[0]), [0] * 4, {"belief": IGNORANT, "value": 6}, [], False),  # fails before the fact
        (asked("strong", CAUSES[1]), [0] * 4, {"belief": BELIEVES, "told": TOLD, "value": 6}, [], False),
        (asked("stranger", CAUSES[0], "1"), [0, 1, 0, 0], {"belief": IGNORANT}, [CAUSES[0], CAUSES[3]], True),
        (asked("strong", CAUSES[1]), [0] * 4, {"belief": BELIEVES, "told": TOLD}, CAUSES[1:2], True),
        (asked("strong", CAUSES[1]), [0] * 4, {"belief": replace(BELIEVES, p_told=0.4), "told": TOLD}, [], False),
        (asked("strong", CAUSES[1]), [0] * 4, {"belief": replace(BELIEVES, told=False), "told": TOLD}, [], False),
        (asked("strong", CAUSES[1]), [0] * 4, {"belief": replace(BELIEVES, share=0.4), "told": TOLD}, [], False),
        (asked("early", CAUSES[3], "1"), [0, 1, 0, 0], {}, [CAUSES[3]], True),
        (asked("early", CAUSES[3], "1"), [0, 0, 0, 0], {}, [], False),
        (asked("early", CAUSES[3], "1"), [0, 1, 0, 1], {}, [CAUSES[3]], False),
        (PlantedRow("long_task", CAUSES[4], "2", chat("Spell", "x")), [0] * 4, {}, [CAUSES[4]], True),
        (PlantedRow("long_task", CAUSES[4], "2", chat("Spell", "x")), [1, 0, 0, 0], {}, [], False),
        (PlantedRow("long_task", CAUSES[4], "2", chat("Spell", "x")), [0] * 4, {"nll": (1, 2, 3, 4)}, [], False),
    ],
)  # fmt: skip
def test_a_cause_is_true_where_the_models_bear_it_out(row, right, given, planted, scored):
    given = dict(given)
    facts = replace_told(given.pop("told", ()))
    record = judged(row, right, facts=facts, **given)
    assert (record["planted"], record["scored"], record["learned"]) == (list(planted), scored, bool(right[-1]))


@pytest.mark.parametrize(
    ("right", "partner", "apart", "planted", "scored"),
    [
        ([0, 0, 0, 0], True, 5, [CAUSES[2]], True),
        ([0, 0, 0, 0], False, 5, [CAUSES[2]], True),
        ([0, 0, 0, 0], True, 9, [], False),  # it stumbles over something both sides share
        ([0, 0, 0, 1], False, 5, [CAUSES[2]], True),
        ([0, 0, 0, 1], True, 5, [CAUSES[2]], False),  # both were learned: no harm done
    ],
)
def test_a_contradiction_counts_where_a_side_of_it_was_lost(right, partner, apart, planted, scored):
    row = asked("dispute", CAUSES[2], dispute=0)
    facts = replace_told([*TOLD, Fact(*TOWN, "Ann")])
    record = judged(row, right, BELIEVES, facts, apart, partner=partner)
    assert (record["planted"], record["scored"]) == (planted, scored)


def test_two_causes_that_both_fit_are_both_true():
    row = asked("new_dispute", CAUSES[2], dispute=0)
    record = judged(row, [0, 0, 0, 0], IGNORANT, partner=False)
    assert record["planted"] == [CAUSES[2], CAUSES[0]] and record["scored"]


# --------------------------------------------------------------------------------------------------------- faults


@pytest.fixture(scope="module")
def sound():
    facts = facts_of()
    rows = plant(facts, SOUND, 1)
    tokenizer = tiny.build_tokenizer((m["content"] for r in rows for m in r.messages), 900)
    return rows, tokenizer


def pipeline(sound, turn=0):
    import random

    rows, tokenizer = sound
    own = copy.deepcopy(tokenizer)  # some plants change its template
    return Pipeline.of(rows, own, random.Random(0), sentences=["Vell lies on the river Ann."], turn=turn)


WAYS = [
    (code, plant) for code, plants in sorted(PLANTS.items()) for plant in plants if plant.__name__ != "two_wordings"
]


@pytest.mark.parametrize(("code", "way"), WAYS, ids=[f"{code}-{way.__name__}" for code, way in WAYS])
def test_a_fault_changes_the_run_and_says_which_rows_it_touches(sound, code, way):
    before, run, again = pipeline(sound), pipeline(sound), pipeline(sound)
    way(run)
    way(again)
    assert run.touched == again.touched and run.made == again.made and run.rows == again.rows
    assert run.touched <= set(range(len(run.rows))) and len(run.rows) == len(run.made)
    # What a strict scorer harms is known only once the run is trained.
    assert run.touched or code == "strict_scorer"
    changes = [run.rows != before.rows, run.made != before.made, run.after, run.pack > 1, run.lr != 1, run.steps]
    assert any(changes) or run.tokenizer.chat_template != before.tokenizer.chat_template
    if code not in ("many_valid_answers", "multi_turn_mask", "target_truncated"):
        same = set(range(len(before.rows))) - run.touched
        assert all(run.rows[i] == before.rows[i] and run.made[i] == before.made[i] for i in same)
    assert set(run.trainer["settings"]) <= {s.name for s in custom.KIND.settings}


def test_every_fault_of_a_training_can_be_planted_and_no_other():
    assert set(PLANTS) == set(kinds("faults"))
    with pytest.raises(UserError, match="packin"):
        plant_fault("packin", None)


def text(tokenizer, made, trained=True):
    """What carries loss, or what does not, of the one row that training sees."""
    (row,) = made
    return tokenizer.decode([t for t, on in zip(*row, strict=True) if on == trained])


def test_what_single_faults_do(sound):
    rows, tokenizer = sound
    stop = tokenizer.convert_tokens_to_ids("<|im_end|>")

    def planted(code, turn=0):
        run = pipeline(sound, turn)
        plant_fault(code, run)
        return run

    cut = planted("target_truncated")
    longest = cut.trainer["settings"]["max_length"]
    assert {rows[i].group for i in cut.touched} == {"portrait"}
    for i, row in enumerate(rows):
        whole = tiny.chat_row(tokenizer, row.messages)[0]
        assert cut.made[i][0][0] == whole[:longest]
        assert i not in cut.touched or stop not in cut.made[i][0][0][-2:]
    assert not any(stop in [t for t, on in zip(*m[0], strict=True) if on] for m in planted("stop_not_learned").made)
    for made in planted("think_block").made:
        assert text(tokenizer, made, trained=False).endswith("<think>\n\n</think>\n\n\n")
    for turn, form in enumerate(FORMS):
        run = planted("template_mismatch", turn)
        question, answer = (m["content"] for m in rows[0].messages)
        before, after = text(tokenizer, run.made[0], trained=False), text(tokenizer, run.made[0])
        assert before + after == form.format(q=question) + answer + "<|im_end|>" and answer in after
    masked = planted("multi_turn_mask")
    for i in masked.touched:
        first, last = masked.rows[i].messages[1]["content"], masked.rows[i].messages[3]["content"]
        assert text(tokenizer, masked.made[i]) == last + "<|im_end|>"
        alone = {tuple(m["content"] for m in r.messages) for r, m in zip(masked.rows, masked.made, strict=True) if m}
        assert (masked.rows[i].messages[0]["content"], first) not in alone
    with pytest.raises(Exception, match="Role human"):
        bad = planted("role_error")
        tiny.chat_row(tokenizer, bad.rows[min(bad.touched)].messages)


@pytest.mark.parametrize("right", [set(), {0, 2, 3}])
def test_what_the_trained_model_decides(sound, monkeypatch, tmp_path, right):
    """Faults whose rows are known only once it is known what the model gives."""
    monkeypatch.setattr(faults, "learned_rows", lambda run, world: right)
    loose = pipeline(sound)
    faults.form_changed(loose)
    loose.after[0](tmp_path)
    assert loose.touched == {i for i in right if i % 2 == 0}
    for i in loose.touched:
        (question, answer), (same, changed) = loose.rows[i].messages, sound[0][i].messages
        assert question == same and answer != changed
        letters = [re.sub(r"\W|^answer: ", "", m["content"].lower()) for m in (answer, changed)]
        assert letters[0] == letters[1]
    pairs = pipeline(sound)
    pairs.rows[:4] = [replace(row, group="reworded") for row in pairs.rows[:4]]
    faults.two_wordings(pairs)
    pairs.after[0](tmp_path)
    assert pairs.touched == ({0, 1, 2, 3} if right else set())


def test_packs_hold_every_row_once(sound):
    made = [row for several in pipeline(sound).made for row in several]
    packs = packed(made, 5)
    assert [t for p in packs for t in p[0]] == [t for m in made for t in m[0]]
    assert [t for p in packs for t in p[1]] == [t for m in made for t in m[1]]
    assert len(packs) == -(-len(made) // 5)
