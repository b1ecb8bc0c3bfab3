"""Counts in sentences."""


def counted(n: int, noun: str, plural: str = "") -> str:
    """``n`` with its noun in the right number: "1 sample", "2 samples", "3,000 entries"."""
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"
