"""How positive a sentence is, by the mean of 20 people's ratings from -4 to 4: tweets, films, products and editorials.

The texts are in the source archive of vaderSentiment 3.3.2 (MIT) and not in its wheel. Cite C.J. Hutto and E. Gilbert, VADER: A
Parsimonious Rule-based Model for Sentiment Analysis of Social Media Text, ICWSM 2014.
"""

from __future__ import annotations

from armada_cli import Component, hookimpl
from armada_task_ratings.options import RatingsOptions


@hookimpl
def armada_tasks() -> list[Component]:
    return [
        Component(
            "ratings-offline",
            "How positive a sentence is, -4 to 4 (Pearson), or its sign (accuracy)",
            "armada_task_ratings.task:Ratings",
            RatingsOptions,
            provides={"classification", "regression"},
            defaults={"max_length": 64},
            light=True,
            reference="Hutto and Gilbert 2014, in the sdist of vaderSentiment 3.3.2 (MIT); not in the paper",
        )
    ]
