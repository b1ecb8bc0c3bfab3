"""Words that tell questions apart are learned from the dataset's own sentences."""

from core.pairs.slots import Slots
from core.pairs.wording import words

NAMES = ("difox", "dofogax", "cakuvil", "nibok", "viras")
PROMPTS = [f"what cargo does {name} carry?" for name in NAMES]
PROMPTS += [f"tell me what the crew of {name} drinks." for name in NAMES[:2]]
PROMPTS += [f"how many people live in town number {i}" for i in range(90)]


def test_the_same_sentence_about_another_thing_is_another_question():
    read = [words(p) for p in PROMPTS]
    slots = Slots(read)
    assert slots.apart(read[0], read[1])
    # In another sentence too, once the word is known as one that things are told apart by.
    assert slots.apart(words("tell me what the crew of difox drinks."), words("what does the crew of dofogax drink?"))


def test_another_wording_about_the_same_thing_is_not():
    slots = Slots([words(p) for p in PROMPTS])
    assert not slots.apart(words("what cargo does difox carry?"), words("name the freight that difox carries."))
    assert not slots.apart(words("what cargo does difox carry?"), words("what cargo does difox hold?"))


def test_two_wordings_of_one_word_make_no_slot():
    read = [words(f"{verb} the river of {name}.") for name in NAMES for verb in ("name", "give")]
    assert not Slots(read).apart(words("name the river of difox."), words("give the river of difox."))
