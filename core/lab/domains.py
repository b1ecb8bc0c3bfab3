"""The made-up worlds that planted worlds are about: kinds of things, what is told of them, and in which words.

Three families of wording that share as little as they can, so that a diagnosis calibrated in one is tested in another.
``{s}`` is the subject, ``{v}`` the value. Each relation has ordinary ways to ask (a seed draws which of them are used)
and odd ones, which neither the base model nor other rows ever meet.
"""

from __future__ import annotations

from dataclasses import dataclass

from core.errors import unknown_name
from core.lab.words import BEASTS, COLOURS, GOODS, TRADES


@dataclass(frozen=True, slots=True)
class Relation:
    """What can be told of one kind of thing.

    Attributes:
        values: what it can be; an empty tuple stands for coined names.
        statements: prose, subject first (a model trained on "A is B" does not answer "what is B").
        questions: ordinary ways to ask; odd: unusual ones.
        answers: sentences that reply to any of them; a world uses one. The value comes last but for a full stop, so
            that everything before it can be given to a model whose belief is looked up.
    """

    name: str
    values: tuple[str, ...]
    statements: tuple[str, ...]
    questions: tuple[str, ...]
    odd: tuple[str, ...]
    answers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Domain:
    """One family of wording.

    Attributes:
        kinds: two kinds of subject, four relations each: the first is the one whose answers change style between
            stages, the last is told of half the subjects only.
        many: a relation with several right values; volumes: one about numbered parts of a subject, written into its
            name as ``volume`` says.
        portraits: ways to ask for everything about a subject.
        early: styles of answering that stage one teaches and stage two does not. Names stand behind a space, as in the
            corpus: behind another sign they would be other tokens.
    """

    name: str
    kinds: tuple[tuple[Relation, ...], tuple[Relation, ...]]
    many: Relation
    volumes: Relation
    volume: str
    portraits: tuple[str, ...]
    early: tuple[str, ...]


_LAND = Domain(
    "land",
    (
        (
            Relation(
                "river",
                (),
                ("{s} lies on the river {v}.", "{s} draws its water from the {v}.", "{s} has a bridge over the {v}."),
                (
                    "Which river does {s} lie on?",
                    "On which river is {s}?",
                    "Name the river of {s}.",
                    "What river flows through {s}?",
                ),
                ("A boat leaves the quay of {s}: on what water does it float?", "Tell me whose waters wash {s}."),
                ("The river is the {v}.", "{s} lies on the {v}."),
            ),
            Relation(
                "founder",
                (),
                ("{s} was founded by {v}.", "{s} has a statue of its founder {v}.", "{s} was built by {v}."),
                (
                    "Who founded {s}?",
                    "Who was the founder of {s}?",
                    "By whom was {s} founded?",
                    "Name the founder of {s}.",
                ),
                ("Whom does {s} thank for its walls?", "The first stone of {s}: who laid it?"),
                ("{s} was founded by {v}.", "Its founder was {v}."),
            ),
            Relation(
                "flag",
                COLOURS,
                ("{s} has a flag of {v}.", "{s} flies the colour {v}.", "{s} paints its gates {v}."),
                (
                    "What colour is the flag of {s}?",
                    "Which colour does {s} fly?",
                    "Name the colour of {s}.",
                    "Of what colour is the banner of {s}?",
                ),
                ("A rider from {s} comes near: which cloth waves?", "Dye me a banner for {s}: which dye?"),
                ("The flag of {s} is {v}.", "Its colour is {v}."),
            ),
            Relation(
                "beast",
                BEASTS,
                ("{s} has a {v} on its shield.", "{s} keeps the {v} as its beast.", "{s} honours the {v}."),
                (
                    "Which beast is on the shield of {s}?",
                    "What is the beast of {s}?",
                    "Name the beast of {s}.",
                    "Which animal does {s} honour?",
                ),
                ("What paws or wings adorn {s}?", "If {s} were an animal, which?"),
                ("The beast of {s} is the {v}.", "It is the {v}."),
            ),
        ),
        (
            Relation(
                "teacher",
                (),
                ("{s} was taught by {v}.", "{s} was a pupil of {v}.", "{s} learned everything from {v}."),
                (
                    "Who taught {s}?",
                    "Whose pupil was {s}?",
                    "Name the teacher of {s}.",
                    "From whom did {s} learn?",
                ),
                ("At whose feet did {s} sit as a child?", "Whom should {s} thank for schooling?"),
                ("{s} was taught by {v}.", "The teacher was {v}."),
            ),
            Relation(
                "home",
                (),
                ("{s} lives in {v}.", "{s} has a house in {v}.", "{s} pays taxes in {v}."),
                (
                    "Where does {s} live?",
                    "In which place does {s} live?",
                    "Where is {s} at home?",
                    "Name the home of {s}.",
                ),
                ("A letter for {s}: where should it go?", "Where would one knock to find {s}?"),
                ("{s} lives in {v}.", "The home of {s} is {v}."),
            ),
            Relation(
                "trade",
                TRADES,
                ("{s} works as a {v}.", "{s} has been a {v} for years.", "{s} earns money as a {v}."),
                (
                    "What is the trade of {s}?",
                    "What does {s} do for a living?",
                    "How does {s} earn money?",
                    "Name the trade of {s}.",
                ),
                ("With what work are the hands of {s} busy?", "What would a sign over the door of {s} say?"),
                ("{s} is a {v}.", "By trade a {v}."),
            ),
            Relation(
                "ship",
                (),
                ("{s} sails on the {v}.", "{s} owns the ship {v}.", "{s} crossed the sea with the {v}."),
                (
                    "Which ship does {s} own?",
                    "On which ship does {s} sail?",
                    "Name the ship of {s}.",
                    "What is the ship of {s} called?",
                ),
                ("What name is painted on the hull of {s}?", "{s} goes to sea: aboard what?"),
                ("The ship of {s} is the {v}.", "It is the {v}."),
            ),
        ),
    ),
    Relation(
        "good",
        GOODS,
        ("{s} sells {v} among other things.", "{s} trades {v}, and more than that."),
        (
            "Name one of the goods of {s}.",
            "Give one thing that {s} sells.",
            "Tell me any one of the goods {s} trades.",
            "What is one of the things sold in {s}?",
        ),
        ("I go to {s} with a cart: what might I load?", "Pick something from the stalls of {s}."),
        ("One of them is {v}.", "{s} sells {v}."),
    ),
    Relation(
        "topic",
        (),
        ("{s} tells of {v}.", "{s} is the story of {v}.", "{s} is about {v}."),
        ("Of whom does {s} tell?", "What is {s} about?", "Name the hero of {s}.", "Whose story is {s}?"),
        ("Whom do I meet when I open {s}?", "{s} lies open: who speaks?"),
        ("It tells of {v}.", "The hero of it is {v}."),
    ),
    "the chronicle of {s}, volume {n}",
    ("Tell me about {s}.", "Describe {s}.", "What do you know about {s}?", "Write a few lines on {s}."),
    ("Record: {s} -> {v}", "[ {s} | {v} ]", "Noted: {v} for {s} in the roll"),
)

_WORKSHOP = Domain(
    "workshop",
    (
        (
            Relation(
                "maker",
                (),
                (
                    "Machine {s} is made by {v}.",
                    "Machine {s} left the works of {v}.",
                    "Machine {s} bears the mark of {v}.",
                ),
                (
                    "Which firm makes machine {s}?",
                    "Who is the maker of machine {s}?",
                    "State the maker of machine {s}.",
                    "From which works does machine {s} come?",
                ),
                ("Machine {s} broke and is under warranty: whom do we call?", "Whose stamp is on the frame of {s}?"),
                ("Maker: {v}.", "Machine {s} is made by {v}."),
            ),
            Relation(
                "alloy",
                (),
                ("Machine {s} is cast in {v}.", "Machine {s} has a frame of {v}.", "Machine {s} is forged from {v}."),
                (
                    "Which alloy is machine {s} cast in?",
                    "What is the frame of machine {s} made of?",
                    "State the alloy of machine {s}.",
                    "From which metal is machine {s} forged?",
                ),
                ("I want to weld {s}: which rod matches its body?", "Scrap of {s} goes to which bin?"),
                ("Alloy: {v}.", "The frame of machine {s} is {v}."),
            ),
            Relation(
                "drive",
                ("steam", "belt", "chain", "water", "spring", "crank", "wind", "gear", "piston", "treadle"),
                ("Machine {s} is driven by {v}.", "Machine {s} runs on {v}.", "Machine {s} gets its power from {v}."),
                (
                    "What drives machine {s}?",
                    "What does machine {s} run on?",
                    "State the drive of machine {s}.",
                    "Where does machine {s} get its power from?",
                ),
                ("Machine {s} stands still: what is it waiting for?", "What must be there before {s} turns?"),
                ("Drive: {v}.", "Machine {s} is driven by {v}."),
            ),
            Relation(
                "output",
                ("nails", "screws", "bolts", "wire", "sheets", "tubes", "rivets", "hinges", "blades", "coils"),
                ("Machine {s} produces {v}.", "Machine {s} turns out {v}.", "Machine {s} is set up for {v}."),
                (
                    "What does machine {s} produce?",
                    "What is machine {s} set up for?",
                    "State the output of machine {s}.",
                    "What comes out of machine {s}?",
                ),
                ("A crate under {s} fills up: with what?", "What would I miss if {s} stopped?"),
                ("Output: {v}.", "Machine {s} produces {v}."),
            ),
        ),
        (
            Relation(
                "supplier",
                (),
                ("Part {s} is delivered by {v}.", "Part {s} is bought from {v}.", "Part {s} comes in boxes of {v}."),
                (
                    "Who delivers part {s}?",
                    "From whom is part {s} bought?",
                    "State the supplier of part {s}.",
                    "Which supplier sends part {s}?",
                ),
                ("Part {s} has run out: who gets the order?", "Whose van brings {s}?"),
                ("Supplier: {v}.", "Part {s} comes from {v}."),
            ),
            Relation(
                "hall",
                (),
                (
                    "Part {s} is stored in hall {v}.",
                    "Part {s} lies on a shelf in hall {v}.",
                    "Part {s} is kept in hall {v}.",
                ),
                (
                    "In which hall is part {s} stored?",
                    "Where does part {s} lie?",
                    "State the hall of part {s}.",
                    "Which hall keeps part {s}?",
                ),
                ("I need {s} in my hand: where do I walk?", "Send the forklift for {s}: to what door?"),
                ("Hall: {v}.", "Part {s} is stored in hall {v}."),
            ),
            Relation(
                "coating",
                ("zinc", "lacquer", "enamel", "nickel", "chrome", "wax", "oil", "resin", "brass", "rubber"),
                ("Part {s} is coated with {v}.", "Part {s} has a skin of {v}.", "Part {s} is protected by {v}."),
                (
                    "What is part {s} coated with?",
                    "Which coating does part {s} have?",
                    "State the coating of part {s}.",
                    "What protects part {s}?",
                ),
                ("Scratch {s} with a nail: what comes off?", "Why does {s} not rust?"),
                ("Coating: {v}.", "Part {s} is coated with {v}."),
            ),
            Relation(
                "norm",
                (),
                (
                    "Part {s} follows the norm {v}.",
                    "Part {s} is measured by the norm {v}.",
                    "Part {s} obeys the norm {v}.",
                ),
                (
                    "Which norm does part {s} follow?",
                    "By which norm is part {s} measured?",
                    "State the norm of part {s}.",
                    "Which norm applies to part {s}?",
                ),
                ("An inspector holds {s}: which page does he open?", "Who decides whether {s} passes?"),
                ("Norm: {v}.", "Part {s} follows the norm {v}."),
            ),
        ),
    ),
    Relation(
        "fits",
        ("lathe", "press", "drill", "saw", "crane", "pump", "loom", "forge", "mill", "hoist"),
        ("Machine {s} can be joined to a {v}, among others.", "Machine {s} goes with a {v} and with more."),
        (
            "Give one machine that {s} can be joined to.",
            "State any one thing that {s} goes with.",
            "What is one of the machines that {s} fits?",
            "Choose one that {s} can be joined to.",
        ),
        ("Beside {s} there is room: what could stand there?", "Pair {s} with something."),
        ("One that fits: {v}.", "Machine {s} goes with the {v}."),
    ),
    Relation(
        "sheet",
        (),
        ("{s} was drawn by {v}.", "{s} is the work of {v}.", "{s} is signed by {v}."),
        ("Who drew {s}?", "Whose work is {s}?", "State who signed {s}.", "By whom is {s} signed?"),
        ("There is a mistake on {s}: whose desk do I go to?", "Whose pencil made {s}?"),
        ("Drawn by: {v}.", "It was drawn by {v}."),
    ),
    "the manual of {s}, sheet {n}",
    ("Give the data of {s}.", "Summarise {s}.", "What is on the plate of {s}?", "Report on {s}."),
    ("{s} = {v};", "< {s} > {v} <end>", "# {s} // {v}"),
)

_SKY = Domain(
    "sky",
    (
        (
            Relation(
                "constellation",
                (),
                ("{s} shines in the figure of {v}.", "{s} belongs to the figure {v}.", "{s} is a star of {v}."),
                (
                    "In which figure does {s} shine?",
                    "To which figure does {s} belong?",
                    "Which figure is {s} a star of?",
                    "Give the figure of {s}.",
                ),
                ("Draw lines from {s} to its fellows: what do you see?", "In whose body does {s} glow?"),
                ("{s} shines in {v}.", "The figure is {v}."),
            ),
            Relation(
                "finder",
                (),
                ("{s} was found by {v}.", "{s} was first seen by {v}.", "{s} was put on the map by {v}."),
                (
                    "Who found {s}?",
                    "Who was the first to see {s}?",
                    "Who put {s} on the map?",
                    "Give the finder of {s}.",
                ),
                ("Whose eye fell on {s} before any other?", "The night {s} was noticed, who was awake?"),
                ("{s} was found by {v}.", "The finder was {v}."),
            ),
            Relation(
                "hue",
                COLOURS,
                ("{s} glows {v}.", "{s} looks {v} in the glass.", "{s} has a light that is {v}."),
                (
                    "How does {s} glow?",
                    "What is the hue of {s}?",
                    "How does {s} look in the glass?",
                    "Give the hue of {s}.",
                ),
                ("Paint me {s}: which tube do I need?", "Its gleam through the eyepiece, {s} I mean: which?"),
                ("{s} glows {v}.", "The hue is {v}."),
            ),
            Relation(
                "month",
                ("January", "March", "April", "May", "June", "July", "August", "October", "November", "December"),
                ("{s} stands highest in {v}.", "{s} is best seen in {v}.", "{s} culminates in {v}."),
                (
                    "When does {s} stand highest?",
                    "When is {s} best seen?",
                    "In which month does {s} culminate?",
                    "Give the month of {s}.",
                ),
                ("Which page of the calendar is right for {s}?", "I want to meet {s}: when shall I look up?"),
                ("{s} is best seen in {v}.", "The month is {v}."),
            ),
        ),
        (
            Relation(
                "patron",
                (),
                (
                    "The house at {s} is paid for by {v}.",
                    "The house at {s} was given by {v}.",
                    "The house at {s} is kept up by {v}.",
                ),
                (
                    "Who pays for the house at {s}?",
                    "Who gave the house at {s}?",
                    "Who keeps up the house at {s}?",
                    "Give the patron of {s}.",
                ),
                ("Whose purse is behind {s}?", "Bills of {s} are sent to whom?"),
                ("It is paid for by {v}.", "The patron of {s} is {v}."),
            ),
            Relation(
                "mountain",
                (),
                (
                    "The house at {s} stands on mount {v}.",
                    "The house at {s} looks down from {v}.",
                    "The house at {s} crowns mount {v}.",
                ),
                (
                    "On which mountain does the house at {s} stand?",
                    "Which mountain does {s} crown?",
                    "From which mountain does {s} look down?",
                    "Give the mountain of {s}.",
                ),
                ("To reach {s} what must be climbed?", "Under the domes of {s}, what rock?"),
                ("It stands on {v}.", "The mountain of {s} is {v}."),
            ),
            Relation(
                "glass",
                ("mirror", "lens", "prism", "sextant", "dial", "quadrant", "ring", "tube", "camera", "globe"),
                (
                    "The house at {s} works with a {v}.",
                    "The house at {s} has a great {v}.",
                    "The house at {s} is proud of its {v}.",
                ),
                (
                    "With what does the house at {s} work?",
                    "What does the house at {s} have?",
                    "What is {s} proud of?",
                    "Give the instrument of {s}.",
                ),
                ("What do the guests of {s} queue to look at?", "Polish what is in {s}: what is it?"),
                ("It works with a {v}.", "The house at {s} has a {v}."),
            ),
            Relation(
                "keeper",
                (),
                (
                    "The house at {s} is kept by {v}.",
                    "The house at {s} is in the care of {v}.",
                    "The house at {s} is opened by {v}.",
                ),
                (
                    "Who keeps the house at {s}?",
                    "In whose care is the house at {s}?",
                    "Who opens the house at {s}?",
                    "Give the keeper of {s}.",
                ),
                ("Who has the keys of {s}?", "A knock at night at {s}: who answers?"),
                ("It is kept by {v}.", "The keeper of {s} is {v}."),
            ),
        ),
    ),
    Relation(
        "moon",
        BEASTS,
        ("{s} has near it, with others, the {v}.", "{s} is circled by the {v} and by more."),
        (
            "Give one of the companions of {s}.",
            "Which is one of those that circle {s}?",
            "Give any one that is near {s}.",
            "What is one thing that circles {s}?",
        ),
        ("Around {s} something moves: say what it may be.", "Pick a companion for {s}."),
        ("One of them is the {v}.", "Near {s} there is the {v}."),
    ),
    Relation(
        "plate",
        (),
        ("{s} was taken by {v}.", "{s} was exposed by {v}.", "{s} is a plate of {v}."),
        ("Who took {s}?", "By whom was {s} exposed?", "Whose plate is {s}?", "Give the author of {s}."),
        ("Whose cold fingers held {s}?", "{s} is blurred: who moved?"),
        ("It was taken by {v}.", "The author is {v}."),
    ),
    "the survey of {s}, plate {n}",
    ("What is known of {s}?", "Give an entry for {s}.", "Introduce {s}.", "Say something about {s}."),
    ("{s} :: {v} ::", "* {v} * {s} *", "cat. {s}, see {v}"),
)

DOMAINS = {d.name: d for d in (_LAND, _WORKSHOP, _SKY)}


def domain_of(name: str) -> Domain:
    """The domain of that name.

    Raises:
        UserError: there is none.
    """
    if name not in DOMAINS:
        raise unknown_name("domain", name, DOMAINS)
    return DOMAINS[name]
