"""What the folder scan finds, also in a folder of the user's own."""

import pytest

from core.errors import UserError
from core.plugins import REGISTERS, kind, kinds
from tests.contract.conftest import put


@pytest.mark.parametrize("register", REGISTERS)
def test_every_register_has_kinds_in_alphabetical_order(register):
    names = list(kinds(register))
    assert names and names == sorted(names)
    assert all(kind(register, name).label for name in names)


def test_a_file_in_the_users_folder_is_a_kind(own_kinds):
    put(own_kinds, "scorers", "reversed_text", """
        class Reversed:
            name, label = "reversed_text", "Reversed"
        KIND = Reversed()
    """)  # fmt: skip
    put(own_kinds, "scorers", "_shared", "raise RuntimeError('a shared part is no kind')")
    assert kind("scorers", "reversed_text").label == "Reversed"
    assert "exact" in kinds("scorers")


def test_a_name_that_is_taken_is_refused(own_kinds):
    put(own_kinds, "scorers", "exact", "KIND = None")
    with pytest.raises(UserError, match="has the name of a scorer that comes with Lacuna"):
        kinds("scorers")


def test_an_unknown_name_lists_the_choices():
    with pytest.raises(UserError, match=r"There is no cause named 'forgeting'.*left_side_forgetting"):
        kind("causes", "forgeting")
