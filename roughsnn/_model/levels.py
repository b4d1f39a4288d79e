"""In which order populations may be advanced within a cell."""

from .network import SpikingNetwork


def levels_of(network: SpikingNetwork) -> dict[str, int]:
    """The level of each population: projections without a delay lead upwards, or stay among
    populations that reach one another."""
    names = list(network.simulated)
    after: dict[str, set[str]] = {name: set() for name in names}
    for p in network.projections:
        if p.pre in after and p.delay is None:
            after[p.pre].add(p.post)
    reach = {name: _reached(name, after) for name in names}
    loop = {a: {b for b in names if a == b or (b in reach[a] and a in reach[b])} for a in names}
    levels = dict.fromkeys(names, 0)
    # As many rounds as the longest way can have steps.
    for _ in names:
        for a in names:
            for b in after[a]:
                if b not in loop[a]:
                    least = levels[a] + 1
                    for c in loop[b]:
                        levels[c] = max(levels[c], least)
    return levels


def _reached(start: str, after: dict[str, set[str]]) -> set[str]:
    found: set[str] = set()
    front = set(after[start])
    while front:
        found |= front
        front = set().union(*(after[name] for name in front)) - found
    return found
