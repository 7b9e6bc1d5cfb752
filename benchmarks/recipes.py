"""Run `armada check` on 5,000 recipes changed at random, and name each that is neither a plan nor a line with a place.

    python benchmarks/recipes.py [FIRST LAST]

The seed of a recipe is its number, so that one can be looked at again. Seconds are those of the processor: a recipe that takes
more than one is named too. Exit status 1 when something was named. It takes ten minutes of one core.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import mutated_recipes

LONGEST = 1.0
"""Seconds of the processor for one recipe."""


def main(first: int, last: int) -> int:
    os.environ["HF_HUB_OFFLINE"] = "1"
    texts = mutated_recipes.originals()
    ended: Counter[int] = Counter()
    named, slowest = 0, (0.0, first)
    with tempfile.TemporaryDirectory() as place:
        os.environ["XDG_CACHE_HOME"] = str(Path(place) / "cache")
        os.chdir(place)
        mutated_recipes.prepare(Path(place))
        mutated_recipes.check(mutated_recipes.Mutant(-1, texts[0].encode(), (), b"r.yaml"), Path(place))  # loads the plugins
        for number in range(first, last):
            mutant = mutated_recipes.mutate(number, texts)
            outcome = mutated_recipes.check(mutant, Path(place))
            ended[outcome.status] += 1
            slowest = max(slowest, (outcome.seconds, number))
            fault = mutated_recipes.fault(mutant, outcome)
            if fault or outcome.seconds > LONGEST:
                named += 1
                print(f"{number}: {outcome.seconds:.2f} s, {fault[-1_000:] or outcome.said[:200]!r}", flush=True)
        os.chdir("/")
    print(f"{last - first} recipes: {ended[0]} plans, {ended[2]} told what is wrong, {named} named above")
    print(f"slowest: number {slowest[1]}, {slowest[0]:.2f} s")
    return 1 if named else 0


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:3]]
    sys.exit(main(*(numbers if len(numbers) == 2 else (0, 5_000))))
