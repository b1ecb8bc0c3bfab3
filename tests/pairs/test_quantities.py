"""Numbers, measures and dates that are equal however they are written."""

import pytest

from core.pairs.quantities import apart, evened, numbers


def clash(a, b):
    return all(all(apart(numbers(a, m), numbers(b, m))) for m in (False, True))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("2 million", "2,000,000"), ("1.5 km", "1500 metres"), ("two hours: 2 h", "120 minutes"), ("250 g", "0.25 kg"),
        ("3 May 1990", "1990-05-03"), ("May 3rd, 1990", "on 3 May 1990"), ("the 4th of July", "July 4"),
        ("78 degrees", "78.37 degrees"), ("25.13 cm", "25.12 cm"), ("40 cm^2", "40 square cm"), ("twelve", "12"),
    ],
)  # fmt: skip
def test_equal_however_written(a, b):
    assert not clash(a, b) and not clash(b, a)


@pytest.mark.parametrize(
    ("a", "b"),
    [("1672", "1673"), ("7", "7.5"), ("$3900", "$3700"), ("2 million", "2 billion"), ("1.5 km", "1.6 km"),
     ("3 May 1990", "4 May 1990"), ("0.2", "0.1")],
)  # fmt: skip
def test_two_values(a, b):
    assert clash(a, b) and clash(b, a)


def test_marks_of_a_list_are_no_numbers():
    assert numbers("1. salt\n2. wool") == frozenset()
    assert evened("It is 5 km.", measures=False) == "It is 5 km."
