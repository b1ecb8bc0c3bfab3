"""Fits the rule that says whether two prompts are the same question, and says how well it does on pairs left out.

    .venv/bin/python bench/fit_same_question.py --data FOLDER [--write]

Pairs come from people (Quora question pairs; SemEval STS questions, graded 4.6 or more against 3.4 or less) and from
forms filled here with real names (EntityQuestions), coined names and numbers: two wordings about one thing against one
wording about two things, and two questions about one thing. A third of the sources' pairs, chosen by hash, is left out
of the fit. ``FOLDER`` holds continual/QQP, neardup/semeval_sts and knowledge/entityquestions.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from core.causes._fit import logistic  # noqa: E402
from core.pairs import same_question  # noqa: E402
from core.pairs.wording import Rarity, form, words  # noqa: E402

Pair = tuple[str, str, int]
# Ways to ask about [X], one list a relation. Official wordings of EntityQuestions stand first.
WAYS = {
    "P17": ["Which country is [X] located in?", "In which country can [X] be found?", "[X] lies in what country?"],
    "P19": ["Where was [X] born?", "What is the birthplace of [X]?", "In which town did [X] come into the world?"],
    "P20": ["Where did [X] die?", "What is the place of death of [X]?", "In what city did the life of [X] end?"],
    "P26": ["Who is [X] married to?", "Name the spouse of [X].", "To whom is [X] wed?"],
    "P36": ["What is the capital of [X]?", "[X] has which capital city?", "Tell me the capital of [X]."],
    "P40": ["Who is [X]'s child?", "What is the name of the child of [X]?", "Please name [X]'s offspring."],
    "P50": ["Who is the author of [X]?", "Who wrote [X]?", "By whom was [X] written?"],
    "P69": ["Where was [X] educated?", "Which school did [X] attend?", "At which university did [X] study?"],
    "P106": ["What kind of work does [X] do?", "What is the profession of [X]?", "How does [X] earn a living?"],
    "P112": ["Who founded [X]?", "Who was the founder of [X]?", "[X] was established by whom?"],
    "P127": ["Who owns [X]?", "Who is the owner of [X]?", "To whom does [X] belong?"],
    "P136": ["What type of music does [X] play?", "What is the musical genre of [X]?", "[X] performs which style?"],
    "P159": ["Where is the headquarter of [X]?", "Where is [X] headquartered?", "In which city is [X] based?"],
    "P170": ["Who was [X] created by?", "Who is the creator of [X]?", "Who made [X]?"],
    "P175": ["Who performed [X]?", "Which artist recorded [X]?", "Who is the performer of [X]?"],
    "P407": ["Which language was [X] written in?", "What is the original language of [X]?"],
    "P413": ["What position does [X] play?", "In which position is [X] on the field?"],
    "P740": ["Where was [X] founded?", "What is the founding place of [X]?", "In which city did [X] form?"],
}
# Requests for everything about [X]: no wording of a question for one thing.
WHOLE = ["Tell me about [X].", "Describe [X].", "Give a short account of [X].", "What do you know about [X]?"]
# Long ways to begin: two of them with one other name inside are nearer in meaning than two wordings of one question.
LEADS = [
    "Use the archive of the harbour office, where every entry has a card of its own, and answer in one sentence: ",
    "I am writing a short article for a local paper and need to check one fact before I send it off. ",
    "Please look this up carefully and answer as briefly as you can, without any explanation. ",
]
# Things with numbers, and the same asked otherwise. [N] is a number.
NUMBERED = [
    ("How many pages has volume [N] of [X]?", "What is the page count of [X], volume [N]?"),
    ("What is the title of chapter [N] of [X]?", "How is the [N]. chapter of [X] called?"),
    ("Who lives in room [N] of [X]?", "Name the person in [X], room [N]."),
    ("What happened in [X] in the year [N]?", "Which event took place at [X] in [N]?"),
    ("What does part [N] of the [X] handbook cover?", "Which subject is treated in [X] handbook part [N]?"),
]


def quora(folder: Path) -> Iterator[Pair]:
    for row in json.loads((folder / "continual/QQP/train.json").read_text())[:800]:
        found = re.match(r"first sentence: (.*)\nsecond sentence: (.*)", row["sentence"], re.DOTALL)
        if found:
            yield found[1].strip('"'), found[2].strip('"'), int(row["label"] == "True")


def graded(folder: Path, names: Sequence[str]) -> Iterator[Pair]:
    for name in names:
        for line in (folder / "neardup/semeval_sts" / name).read_text(encoding="utf-8").splitlines():
            parts = line.split("\t")
            if len(parts) < 3 or not parts[0]:
                continue
            grade = float(parts[0])
            if grade >= 4.6 or grade <= 3.4:
                yield parts[1], parts[2], int(grade >= 4.6)


def forms(names: dict[str, list[str]], rng: random.Random, lower: bool) -> Iterator[Pair]:
    """Of each name: two wordings of one relation, two relations, and another name in the same wording."""

    def say(text: str, name: str) -> str:
        filled = text.replace("[X]", name)
        return filled.lower() if lower else filled

    relations = list(WAYS)
    for relation, known in names.items():
        for i, name in enumerate(known):
            one, two = rng.sample(WAYS[relation], 2)
            other = rng.choice([r for r in relations if r != relation])
            yield say(one, name), say(two, name), 1
            yield say(one, name), say(rng.choice(WAYS[other]), name), 0
            yield say(one, name), say(one, known[i - 1]), 0
            yield say(one, name), say(two, known[i - 1]), 0
            yield say(one, name), say(rng.choice(WHOLE), name), 0


def led(names: dict[str, list[str]], rng: random.Random) -> Iterator[Pair]:
    """The same behind long beginnings."""
    relations = list(WAYS)
    for relation, known in names.items():
        for i, name in enumerate(known[:8]):
            lead = rng.choice(LEADS)
            one, two = rng.sample(WAYS[relation], 2)
            other = rng.choice(WAYS[rng.choice([r for r in relations if r != relation])])
            yield lead + one.replace("[X]", name), lead + two.replace("[X]", name), 1
            yield lead + one.replace("[X]", name), lead + one.replace("[X]", known[i - 1]), 0
            yield lead + one.replace("[X]", name), lead + other.replace("[X]", name), 0


def numbered(names: Sequence[str], rng: random.Random) -> Iterator[Pair]:
    for name in names:
        one, two = rng.choice(NUMBERED)
        a, b = rng.sample(range(1, 40), 2)

        def say(text: str, n: int, name: str = name) -> str:
            return text.replace("[X]", name).replace("[N]", str(n))

        yield say(one, a), say(two, a), 1
        yield say(one, a), say(one, b), 0
        yield say(one, a), say(two, b), 0


def sources(folder: Path) -> dict[str, list[Pair]]:
    from core.lab.words import coin

    rng = random.Random(7)
    real = {}
    for relation in WAYS:
        rows = json.loads((folder / f"knowledge/entityquestions/test/{relation}.test.json").read_text())
        before, after = WAYS[relation][0].split("[X]")
        found = [r["question"][len(before) : len(r["question"]) - len(after)] for r in rows]
        real[relation] = rng.sample(sorted(set(found)), 16)
    taken: set[str] = set()
    coined = {relation: coin(rng, 16, taken) for relation in WAYS}
    few = {relation: coin(rng, 4, taken) for relation in list(WAYS)[:6]}
    return {
        "quora": list(quora(folder)),
        "sts questions": list(graded(folder, ["2016.question-question.test.tsv"])),
        "real names": list(forms(real, rng, False)),
        "real names in small letters": list(forms(real, rng, True)),
        "coined names": list(forms(coined, rng, False)),
        "few coined names": list(forms(few, rng, False)),
        "behind long beginnings": list(led(real, rng)),
        "numbers": list(numbered([n for known in real.values() for n in known[:12]], rng)),
    }


def measured(pairs: Sequence[Pair], encoder: object) -> tuple[np.ndarray, np.ndarray]:
    """(n, evidence) and (n,) labels; rarity is that of the source's own texts."""
    texts = sorted({t for a, b, _ in pairs for t in (a, b)})
    vectors = dict(zip(texts, encoder.encode(texts), strict=True))
    read = {t: words(t) for t in texts}
    rarity = Rarity(read.values())
    forms = {t: form(t, rarity) for t in texts}
    asked = sorted(set(forms.values()))
    of_form = dict(zip(asked, encoder.encode(asked), strict=True))
    found = [
        same_question.evidence(
            read[a], read[b], float(vectors[a] @ vectors[b]), float(of_form[forms[a]] @ of_form[forms[b]]), rarity
        )[0]
        for a, b, _ in pairs
    ]
    return np.array(found), np.array([y for _, _, y in pairs])


def left_out(pair: Pair) -> bool:
    return hashlib.sha256("\n".join(sorted(pair[:2])).encode()).digest()[0] % 3 == 0


def fit(x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> tuple[float, np.ndarray]:
    """Logistic regression with the sign of every weight given."""
    most = same_question.AT_MOST
    bounds = [(0, None) if sign > 0 else (None, most.get(n, 0.0)) for n, sign in same_question.EVIDENCE.items()]
    return logistic(x, y, weight, 1e-3, bounds, np.array([most.get(n, 0.0) for n in same_question.EVIDENCE]))


def report(p: np.ndarray, y: np.ndarray, cut: float = 0.5) -> dict[str, float]:
    said = p >= cut
    hit = int((said & (y == 1)).sum())
    return {
        "pairs": len(y),
        "same": int(y.sum()),
        "precision": round(hit / max(1, int(said.sum())), 3),
        "recall": round(hit / max(1, int(y.sum())), 3),
    }


def best_cosine(cosine: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Plain cosine at the threshold that suits it best (F1), for comparison."""
    scored = [(2 * int(((cosine >= c) & (y == 1)).sum()) / max(1, int((cosine >= c).sum() + y.sum())), c)
              for c in np.arange(0.5, 1.0, 0.01)]  # fmt: skip
    return {"cut": round(float(max(scored)[1]), 2), **report(cosine, y, max(scored)[1])}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    from core.plugins import kind
    from core.settings import quiet_libraries

    quiet_libraries()
    encoder = kind("encoders", "sentence_transformer").open("")
    found = {name: (pairs, *measured(pairs, encoder)) for name, pairs in sources(args.data).items()}
    xs, ys, ws = [], [], []
    for pairs, x, y in found.values():
        kept = np.array([not left_out(p) for p in pairs])
        xs.append(x[kept])
        ys.append(y[kept])
        # Every source weighs the same. Among candidates most pairs are not the same question, and a false one accuses.
        share = np.where(y[kept] == 1, 0.4 / max(1, (y[kept] == 1).sum()), 0.6 / max(1, (y[kept] == 0).sum()))
        ws.append(share)
    intercept, weights = fit(np.concatenate(xs), np.concatenate(ys), np.concatenate(ws))
    fitted = {
        "intercept": round(intercept, 3),
        "weights": {n: round(float(w), 3) for n, w in zip(same_question.EVIDENCE, weights, strict=True)},
    }
    out = {}
    for name, (pairs, x, y) in found.items():
        test = np.array([left_out(p) for p in pairs])
        p = np.array([same_question.probability(v, fitted) for v in x[test]])
        out[name] = {**report(p, y[test]), "plain cosine": best_cosine(x[test][:, 0], y[test])}
    fitted |= {
        "made_by": "bench/fit_same_question.py --write",
        "data": {name: len(pairs) for name, (pairs, _, _) in found.items()},
        "encoder": "all-MiniLM-L6-v2",
        "left_out": out,
    }
    print(json.dumps(fitted, indent=2))
    if args.write:
        same_question.FILE.write_text(json.dumps(fitted, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
