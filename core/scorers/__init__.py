"""Is this output right? One file is one scorer; ``suggest`` picks one that fits the data."""

from __future__ import annotations

from collections.abc import Sequence

from core.plugins import kinds


def suggest(targets: Sequence[str]) -> tuple[str, str]:
    """The scorer that fits these targets best, and why.

    Every scorer says which share of the targets it is made for; the most specific one that fits at least 90 % wins.
    """
    targets = [t for t in targets if t.strip()]
    if not targets:
        return "normalised", "there is no target to look at"
    specific = sorted((s for s in kinds("scorers").values() if s.specific), key=lambda s: -s.specific)
    for scorer in specific:
        share = sum(scorer.fits(t) for t in targets) / len(targets)
        if share >= 0.9:
            return scorer.name, f"{share:.0%} of {len(targets):,} targets {scorer.made_for}"
    return "token_f1", f"targets are long: {sum(len(t.split()) for t in targets) / len(targets):.0f} words on average"
