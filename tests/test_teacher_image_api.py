"""The image-api teacher against a server that misbehaves: nothing paid for is lost or paid twice, no budget is exceeded."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import multiprocessing
import os
import signal
import sqlite3
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_from_bytes

import numpy as np
import pytest
from armada_teacher_image_api.answers import decode_picture, retry_after
from armada_teacher_image_api.ledger import Ledger, key_of
from armada_teacher_image_api.options import SMOKE, ImageApiOptions
from armada_teacher_image_api.teacher import ImageApi
from image_server import FAULTS, SLOW, ImageServer, paint
from running import armada, train

from armada_cli import Environment, Teacher, Unanswered, UserError
from armada_cli.corpora.prompts import shorten
from armada_cli.credentials import is_variable
from armada_cli.features.extract import extract
from armada_cli.features.store import FeatureStore
from armada_cli.models.tiny import SENTENCES
from armada_cli.registry.catalog import Catalog

KEY = "sk-very-secret-0123456789"
CARD = Catalog.load(warn=False).find("teacher", "image-api").component


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return ImageApiOptions().smoke(tmp_path_factory.mktemp("smoke")).encoder


Make = Callable[..., ImageApi]


@pytest.fixture
def make(encoder: str, tmp_path: Path) -> Iterator[Make]:
    """Teachers of a server, with little patience; keywords are options."""
    made = []

    def new(server: ImageServer, folder: Path = tmp_path, **changes: Any) -> ImageApi:
        values = {"base_url": server.base_url, "encoder": encoder, "key_variable": None, "backoff": 0.001, "timeout": 10}
        values |= {"max_picture_bytes": 100_000} | changes
        made.append(ImageApi(ImageApiOptions(**values), Environment(runs=folder / "runs", threads=1, offline=True)))
        return made[-1]

    yield new
    for teacher in made:
        teacher.close()


def failures(teacher: ImageApi) -> list[dict[str, Any]]:
    path = teacher.ledger.failures_file
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


# -------------------------------------------------------------------------------------------------------- one answer


def test_a_text_is_the_features_of_its_picture(make: Make) -> None:
    with ImageServer() as server:
        teacher = make(server, size="256x256", model="painter-1")
        vectors = teacher.represent(SENTENCES[:3])
    assert vectors.shape == (3, 24)
    assert vectors.dtype == np.float32
    from armada_cli.models.pictures import read_picture

    wanted, _ = teacher.encoder.encode([lambda: read_picture(paint(SENTENCES[1]))])
    assert wanted is not None
    np.testing.assert_array_equal(vectors[1], wanted[0])
    request = next(item for item in server.requests if item["prompt"] == SENTENCES[1])
    assert request["path"] == "/v1/images/generations"
    asked = {name: request[name] for name in ("model", "size", "n", "response_format")}
    assert asked == {"model": "painter-1", "size": "256x256", "n": 1, "response_format": "b64_json"}


def test_a_vector_depends_on_its_text_alone(make: Make, tmp_path: Path) -> None:
    with ImageServer() as server:
        together = make(server).represent(SENTENCES[:5])
        other = make(server, tmp_path / "other", concurrency=1)
        alone = np.concatenate([other.represent([text]) for text in SENTENCES[4::-1]])[::-1]
    np.testing.assert_array_equal(together, alone)


def test_what_is_here_is_not_asked_for_again_by_another_process_or_for_another_encoder(make: Make, tmp_path: Path) -> None:
    with ImageServer() as server:
        make(server).represent(["one", "two", "one"])
        again = make(server, encoder=ImageApiOptions().smoke(tmp_path / "another").encoder)
        again.represent(["two", "one", "three"])
        assert server.asked == {"one": 1, "two": 1, "three": 1}
    assert again.ledger.used() == 3


def test_another_size_or_model_is_another_picture(make: Make) -> None:
    with ImageServer() as server:
        make(server).represent(["one"])
        make(server, size="512x512").represent(["one"])
        make(server, model="dall-e-3").represent(["one"])
        assert server.calls == 3


@pytest.mark.parametrize("text", ["", "   ", "\n"])
def test_a_text_with_nothing_in_it_is_grey_and_not_asked_for(make: Make, text: str) -> None:
    with ImageServer() as server:
        vectors = make(server).represent([text, "one"])
        assert server.asked == {"one": 1}
    assert np.isfinite(vectors).all()


def test_the_prompt_is_made_of_the_text_cut_at_a_word(make: Make) -> None:
    with ImageServer() as server:
        make(server, prompt="A photo: {text}", max_prompt=12).represent(["two boys carry a kite", "\ud800 odd"])
        assert set(server.asked) == {"A photo: two boys", "A photo: ? odd"}
    assert shorten("x" * 20, 12) == "x" * 12


def test_a_setting_that_a_model_does_not_know_can_be_left_out(make: Make) -> None:
    with ImageServer() as server:
        make(server, response_format=None).represent(["one"])
        assert "response_format" not in server.requests[0]


@pytest.mark.parametrize("concurrency", [1, 4])
@pytest.mark.parametrize("response_format", ["b64_json", "url"])
def test_a_setting_that_the_service_does_not_know_is_sent_once_and_named(
    make: Make, capsys: pytest.CaptureFixture[str], response_format: str, concurrency: int
) -> None:
    with ImageServer(knows_format=False) as server:
        teacher = make(server, response_format=response_format, concurrency=concurrency, retries=0)
        teacher.represent(SENTENCES[:6])
        teacher.represent(SENTENCES[6:9])
        assert [("response_format" in request) for request in server.requests] == [True] + [False] * 9
        assert set(server.paid.values()) == {1}
    lines = [line for line in capsys.readouterr().err.splitlines() if "response_format" in line]
    assert len(lines) == 1
    assert "Write response_format: null into the recipe" in lines[0]
    assert not failures(teacher)


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


SPELLINGS: dict[str, Callable[[bytes], dict[str, str]]] = {
    "lines of 76 (MIME)": lambda content: {"b64_json": base64.encodebytes(content).decode()},
    "lines that end in CR LF": lambda content: {"b64_json": base64.encodebytes(content).decode().replace("\n", "\r\n")},
    "no padding": lambda content: {"b64_json": _base64(content).rstrip("=")},
    "URL-safe": lambda content: {"b64_json": base64.urlsafe_b64encode(content).decode()},
    "URL-safe without padding": lambda content: {"b64_json": base64.urlsafe_b64encode(content).decode().rstrip("=")},
    "blanks around": lambda content: {"b64_json": f"  {_base64(content)}\n"},
    "percent escapes": lambda content: {"b64_json": quote(_base64(content), safe="")},
    "data URL": lambda content: {"b64_json": f"data:image/png;base64,{_base64(content)}"},
    "data URL without its word base64": lambda content: {"b64_json": f"data:image/png,{_base64(content)}"},
    "data URL, upper case, with parameters": lambda content: {
        "b64_json": f"DATA:image/png;charset=utf-8;name=a.png;BASE64,{_base64(content)}"
    },
    "data URL as url": lambda content: {"url": f"data:image/png;base64,{_base64(content)}"},
    "data URL as url beside null": lambda content: {"b64_json": None, "url": f"data:;base64,{_base64(content)}"},  # type: ignore[dict-item]
    "data URL with percent escapes in base64": lambda content: {
        "url": f"data:image/png;base64,{quote(_base64(content), safe='')}"
    },
    "data URL of percent-encoded bytes": lambda content: {"url": f"data:image/png,{quote_from_bytes(content, safe='')}"},
    "data URL of lines, no padding": lambda content: {
        "url": "data:image/png;base64,\n" + base64.encodebytes(content).decode().rstrip("=\n")
    },
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_picture_is_read_in_every_spelling_and_paid_once(make: Make, spelling: str) -> None:
    with ImageServer(spell=SPELLINGS[spelling]) as server:
        teacher = make(server, retries=0)
        teacher.represent(SENTENCES[:3])
        assert server.calls == 3
    for text in SENTENCES[:3]:
        path = teacher.ledger.picture(key_of(text))
        assert path is not None
        assert path.read_bytes() == paint(text)


@pytest.mark.parametrize("text", ["", "A", "*AAA", "AA=A", "data:image/png;base64", "data:image/png;base64,*", "data:,"])
def test_what_is_no_picture_in_any_spelling_is_not_guessed_at(text: str) -> None:
    assert decode_picture(text) is None


# --------------------------------------------------------------------------------------------------------- addresses


def test_a_picture_behind_an_address_is_fetched_without_the_key(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", KEY)
    with ImageServer(urls=True, key=KEY) as server:
        vectors = make(server, key_variable="A_KEY", response_format="url").represent(["one"])
        fetch = next(item for item in server.requests if item["path"].startswith("/pictures"))
    assert "Authorization" not in fetch["headers"]
    with ImageServer() as server:
        np.testing.assert_array_equal(make(server).represent(["one"]), vectors)


@pytest.mark.parametrize("fault", ["broken", "cut body", "elsewhere"])
def test_a_fetch_that_fails_is_repeated_and_no_new_call(make: Make, fault: str) -> None:
    name = b"one".hex()
    with ImageServer(urls=True, plan={f"fetch {name}": [fault]}) as server:
        make(server).represent(["one"])
        assert (server.calls, server.fetched[name]) == (1, 2)


def test_what_was_paid_for_and_not_fetched_is_fetched_by_the_next_run(make: Make) -> None:
    name = b"one".hex()
    with ImageServer(urls=True, plan={f"fetch {name}": ["broken"] * 3}) as server:
        with pytest.raises(Unanswered, match=r"its address at 127\.0\.0\.1 answers with status 503"):
            make(server, retries=1).represent(["one"])
        make(server, retries=1).represent(["one"])
        assert (server.calls, server.fetched[name]) == (1, 4)


def test_a_picture_that_is_gone_is_listed_and_asked_for_by_the_next_run(make: Make) -> None:
    with ImageServer(urls=True) as server:
        server.gone.add(b"one".hex())
        with pytest.raises(Unanswered, match="status 404"):
            make(server).represent(["one"])
        assert server.calls == 1
        server.gone.clear()
        make(server).represent(["one"])
        assert server.calls == 2


def test_only_http_addresses_are_followed(make: Make) -> None:
    with ImageServer(plan={"one": ["file"] * 9}) as server, pytest.raises(Unanswered, match="its answer holds no picture"):
        make(server, retries=0).represent(["one"])
    plan = {f"fetch {b'one'.hex()}": ["to a file"]}
    with ImageServer(urls=True, plan=plan) as server, pytest.raises(Unanswered, match="leads to no http address"):
        make(server).represent(["one"])


# ------------------------------------------------------------------------------------------------------ each fault


def patience(fault: str) -> float:
    """Seconds to wait for an answer; short where none will come."""
    return 0.5 if fault in SLOW else 10.0


@pytest.mark.parametrize("fault", FAULTS)
def test_a_call_that_fails_is_repeated(make: Make, fault: str) -> None:
    with ImageServer(plan={"one": [fault, fault]}, slow=3) as server:
        vectors = make(server, timeout=patience(fault)).represent(["one", "two"])
        assert server.asked == {"one": 3, "two": 1}
        lost = 2 if fault in ("lost answer", "lost body") else 0  # this service does not honour the key of a call
        assert server.paid == {"one": 1 + lost, "two": 1}
    assert vectors.shape == (2, 24)


REASONS = {
    "busy": "status 429: Slow down",
    "broken": "status 500: Something went wrong",
    "overloaded": "status 503",
    "no json": "its answer is not the JSON of the protocol",
    "no base64": "not base64",
    "cut body": "the connection broke",
    "cut picture": "its picture cannot be used: it is damaged or cut short",
    "not a picture": "its picture cannot be used: it is no picture",
    "huge body": "its answer is too large (1,000,000,000,000 bytes; 365,536 are allowed)",
    "endless body": "its answer is too large (over 365,536 bytes)",
    "bomb": "its picture cannot be used: it has",
    "silence": "no whole answer in 0.5 s",
    "drip": "no whole answer in 0.5 s",
    "dripping headers": "no whole answer in 0.5 s",
    "endless continue": "no whole answer in 0.5 s",
    "hang up": "the connection broke",
    "refused": "status 400: Your request was rejected by the safety system",
}


@pytest.mark.parametrize("fault", REASONS)
def test_a_call_that_fails_for_good_is_listed_with_its_reason_and_the_others_go_on(make: Make, fault: str) -> None:
    with ImageServer(plan={"one": [fault] * 9}, slow=3) as server:
        teacher = make(server, retries=1, timeout=patience(fault))
        with pytest.raises(Unanswered) as caught:
            teacher.represent(["two", "one", "three"])
        assert list(caught.value.reasons) == [1]
        assert REASONS[fault] in caught.value.reasons[1]
        assert caught.value.vectors is not None
        whole = make(server).represent(["two", "three"])
        np.testing.assert_array_equal(caught.value.vectors[[0, 2]], whole)
        once = fault in ("refused", "no base64", "bomb")  # another call would bring the same
        assert server.asked == {"one": 1 if once else 2, "two": 1, "three": 1}
    (line,) = failures(teacher)
    assert (line["prompt"], line["calls"]) == ("one", server.asked["one"])
    assert REASONS[fault] in line["reason"]
    assert "\n" not in line["reason"]


def test_the_next_run_tries_what_failed_and_the_list_is_gone(make: Make) -> None:
    with ImageServer(plan={"one": ["broken"] * 2}) as server:
        teacher = make(server, retries=1)
        with pytest.raises(Unanswered):
            teacher.represent(["one"])
        assert len(failures(teacher)) == 1
        again = make(server, retries=1)
        again.represent(["one"])
        assert failures(again) == []


def test_the_service_is_given_the_time_it_asks_for_by_all_threads(make: Make) -> None:
    texts = [f"text {number}" for number in range(6)]
    with ImageServer(retry_after="1", plan={texts[0]: ["busy"]}) as server:
        make(server, concurrency=1).represent(texts[:3])
        assert np.diff(server.times)[0] >= 0.95
        assert [request["prompt"] for request in server.requests[:3]] == [texts[0], texts[0], texts[1]]
    # A thread that was not turned away itself waits as well: what it asked before the pause may end, nothing new begins.
    with ImageServer(retry_after="1", delay=0.05, plan={texts[0]: ["busy"]}) as server:
        make(server, concurrency=2).represent(texts)
        assert {request["prompt"] for request in server.requests[:2]} == set(texts[:2])
        begun = [moment - server.times[0] for moment in server.times]
        assert sum(moment < 0.9 for moment in begun) <= 3, "two at once, and perhaps one between the answer and its reading"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:05 GMT", "Date": "Wed, 21 Oct 2026 07:28:00 GMT"}, 5),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-3"}, None),
        ({}, None),
    ],
)
def test_the_time_to_wait_is_read_as_seconds_or_as_a_date_of_the_services_clock(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert retry_after(headers) == seconds


def test_a_service_that_asks_for_too_long_a_pause_is_left_to_the_next_run(make: Make) -> None:
    with ImageServer(retry_after="3600", plan={"one": ["busy"]}) as server:
        start = time.monotonic()
        with pytest.raises(Unanswered, match="429"):
            make(server).represent(["one"])
        assert time.monotonic() - start < 5
        assert server.calls == 1


def test_further_calls_wait_longer_each_time(make: Make) -> None:
    with ImageServer(plan={"one": ["broken"] * 4}) as server:
        make(server, backoff=0.1).represent(["one"])
        gaps = np.diff(server.times)
    for gap, base in zip(gaps, [0.1, 0.2, 0.4, 0.8], strict=True):
        assert gap >= base / 2


def test_no_more_calls_are_under_way_than_allowed(make: Make) -> None:
    with ImageServer(delay=0.05) as server:
        make(server, concurrency=3).represent([f"text {number}" for number in range(15)])
        assert server.most_under_way == 3


# ------------------------------------------------------------------------------------------------- what ends a run


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("no credit", "answers status 429: You exceeded your current quota. There is no credit left"),
        ("unknown model", "answers status 404: The model does not exist. Check base_url and model"),
        ("moved", "a redirection. Set base_url to the address of the service itself"),
    ],
)
def test_what_no_text_will_survive_ends_the_run_at_once(make: Make, fault: str, message: str) -> None:
    with ImageServer(always=fault) as server:
        with pytest.raises(UserError, match=message) as caught:
            make(server, concurrency=2).represent([f"text {number}" for number in range(50)])
        assert server.calls <= 2
    assert "\n" not in str(caught.value)


def test_a_wrong_key_ends_the_run_and_is_never_shown(
    make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: Any
) -> None:
    monkeypatch.setenv("A_KEY", KEY)
    caplog.set_level("DEBUG")
    with ImageServer(key="another") as server:
        teacher = make(server, key_variable="A_KEY")
        with pytest.raises(UserError, match=r"status 401: Incorrect API key provided: \*\*\*\. Check the key") as caught:
            teacher.represent(["one"])
        assert server.requests[0]["headers"]["Authorization"] == f"Bearer {KEY}"
    shown = [str(caught.value), repr(teacher.options), repr(teacher._endpoint), repr(vars(teacher)), caplog.text]
    shown += [str(CARD.identity(teacher.options, teacher.environment)), *capfd.readouterr()]
    files = [path for path in tmp_path.rglob("*") if path.is_file() and "smoke" not in str(path)]
    assert files
    assert all(KEY not in text for text in shown)
    assert all(KEY.encode() not in path.read_bytes() for path in files)


@pytest.mark.parametrize(("value", "message"), [(None, "is not set"), ("  ", "is not set"), ("sk-a\nb", "holds no key")])
def test_a_key_that_is_missing_or_none_is_said_before_anything_is_sent(
    make: Make, monkeypatch: pytest.MonkeyPatch, value: str | None, message: str
) -> None:
    if value is None:
        monkeypatch.delenv("A_KEY", raising=False)
    else:
        monkeypatch.setenv("A_KEY", value)
    with ImageServer() as server:
        with pytest.raises(UserError, match=message) as caught:
            make(server, key_variable="A_KEY").represent(["one"])
        assert server.calls == 0
    assert "A_KEY" in str(caught.value)
    assert "sk-a" not in str(caught.value)


def test_no_key_is_needed_when_every_picture_is_here(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("A_KEY", raising=False)
    with ImageServer() as server:
        make(server).represent(["one"])
        assert make(server, key_variable="A_KEY").represent(["one"]).shape == (1, 24)


def test_a_service_that_answers_nothing_ends_the_run_after_a_few_texts(make: Make) -> None:
    with ImageServer(always="broken") as server:
        teacher = make(server, retries=1, concurrency=2)
        with pytest.raises(UserError, match=r"the first 4 texts got no picture.*status 500.*failures\.jsonl") as caught:
            teacher.represent([f"text {number}" for number in range(60)])
        assert server.calls <= 12
    assert "\n" not in str(caught.value)
    assert len(failures(teacher)) >= 4


def test_calls_that_never_left_cost_nothing_of_the_budget(make: Make) -> None:
    with ImageServer() as server:
        teacher = make(server, retries=1)
    with pytest.raises(Unanswered, match="it cannot be reached"):
        teacher.represent(["one"])
    assert teacher.ledger.used() == 0


# -------------------------------------------------------------------------------------------------------- refusals


def test_a_refused_text_may_be_grey_and_is_not_asked_for_again(make: Make) -> None:
    with ImageServer(plan={"one": ["refused"] * 9}) as server:
        vectors = make(server, refused="grey").represent(["one", "two", ""])
        np.testing.assert_array_equal(vectors[0], vectors[2])
        np.testing.assert_array_equal(make(server, refused="grey").represent(["one", "two", ""]), vectors)
        assert server.asked == {"one": 1, "two": 1}


def test_a_request_that_is_wrong_is_no_refusal(make: Make) -> None:
    with ImageServer(plan={"one": ["bad request"] * 9}) as server, pytest.raises(Unanswered, match="The size is not supported"):
        make(server, refused="grey").represent(["one"])


# ----------------------------------------------------------------------------------------------------------- budget


def test_the_budget_holds_over_runs_and_counts_failed_calls(make: Make) -> None:
    texts = [f"text {number}" for number in range(8)]
    with ImageServer(plan={text: ["broken"] for text in texts[:2]}) as server:
        for _ in range(3):
            with pytest.raises(UserError, match="max_calls is 7, and so many calls have been made") as caught:
                make(server, max_calls=7, concurrency=3).represent(texts)
        assert server.calls == 7
        assert "\n" not in str(caught.value)
        paid = sum(server.paid.values())
        make(server, max_calls=20).represent(texts)
        assert server.calls == 8 + 7 - paid
        assert set(server.paid.values()) == {1}


def test_processes_share_one_budget_and_no_text_is_asked_for_by_two(encoder: str, tmp_path: Path) -> None:
    texts = [f"text {number}" for number in range(30)]
    with ImageServer(delay=0.02) as server:
        runs = [Run(tmp_path, server, encoder, texts, max_calls=20) for _ in range(3)]
        for run in runs:
            assert "max_calls is 20" in run.wait()
        assert server.calls == 20
        assert set(server.paid.values()) == {1}


# ------------------------------------------------------------------------------------------------------- the host


def run_host(server: ImageServer, encoder: str, folder: Path, texts: list[str], **changes: Any) -> Any:
    values: dict[str, Any] = {"base_url": server.base_url, "encoder": encoder, "key_variable": None, "backoff": 0.001}
    options = ImageApiOptions(**(values | changes))
    environment = Environment(runs=folder / "runs", threads=1, offline=True)
    with FeatureStore.of(environment) as store:
        return extract(CARD, options, environment, texts, store, progress=False)


def test_extraction_goes_on_past_failures_and_names_them_at_the_end(encoder: str, tmp_path: Path) -> None:
    texts = [f"text {number:03}" for number in range(70)]
    plan = {texts[5]: ["refused"], texts[30]: ["broken"], texts[68]: ["refused"]}
    with ImageServer(plan=plan) as server:
        with pytest.raises(UserError, match=r"has no vector for 3 of 70 inputs\. The first is 'text \d+': status") as caught:
            run_host(server, encoder, tmp_path, texts, retries=0)
        assert "failures.jsonl" in str(caught.value)
        assert "\n" not in str(caught.value)
        assert server.calls == 70
        report = run_host(server, encoder, tmp_path, texts)
        assert (report.new, report.reused) == (3, 67)
        assert server.calls == 73


def test_no_file_and_no_line_of_a_run_holds_the_key(
    encoder: str, recipe: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole run from recipe to report, through a refusal that quotes the key and a run that goes on behind it."""
    monkeypatch.setenv("A_KEY", KEY)
    runs = tmp_path / "runs"
    said = ""
    for accepted, status in (("another", 2), (KEY, 0)):
        with ImageServer(key=accepted, urls=True) as server:
            settings = f"base_url: '{server.base_url}', key_variable: A_KEY, encoder: {encoder}, backoff: 0.001"
            path = recipe(teacher=f"{{name: image-api, {settings}}}", train="{epochs: 1, batch_size: 32, max_length: 32}")
            ended = train(path, runs)
            assert ended.status == status, ended.err
            assert server.requests[0]["headers"]["Authorization"] == f"Bearer {KEY}"
        said += ended.out + ended.err
    for form in ("txt", "json", "md"):
        said += armada("report", "tiny", "--runs", runs, "--format", form).out
    said += armada("check", path, "--runs", runs).out
    armada("report", "tiny", "--runs", runs, "--output", tmp_path / "report.txt")
    assert KEY not in said
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert {"run.json", "spec.json", "result.json", "calls.db", "report.txt"} <= {file.name for file in files}
    assert [file for file in files if KEY.encode() in file.read_bytes()] == []


class Shy(Teacher):
    """Answers half of what it is asked, or nothing."""

    def represent(self, inputs: Any) -> np.ndarray:
        silent = {row: "no\nword" for row, text in enumerate(inputs) if "bad" in text}
        if len(silent) == len(inputs):
            raise Unanswered(None, silent)
        raise Unanswered(np.full((len(inputs), 3), np.nan if "worse" in inputs[0] else 1.0, np.float32), silent)


def test_the_host_checks_the_vectors_that_come_with_failures(tmp_path: Path) -> None:
    card = dataclasses.replace(CARD, target=f"{__name__}:Shy")
    environment = Environment(runs=tmp_path)
    with FeatureStore.of(environment) as store:
        with pytest.raises(UserError, match="not finite"):
            extract(card, ImageApiOptions(), environment, ["worse", "bad text"], store)
        with pytest.raises(UserError, match="has no vector for 1 of 1 inputs"):
            extract(card, ImageApiOptions(), environment, ["bad"], store)
        with pytest.raises(UserError, match="has no vector for 1 of 2 inputs"):
            extract(card, ImageApiOptions(), environment, ["bad", "good"], store)
        assert store.entries()[0].rows == 1


# ----------------------------------------------------------------------------------------------- many calls, and death


class Run:
    """Represents texts in a process of its own, in batches of 64. It is forked: importing the libraries takes longer than all
    that it does."""

    def __init__(self, folder: Path, server: ImageServer, encoder: str, texts: list[str], **changes: Any) -> None:
        values: dict[str, Any] = {"base_url": server.base_url, "encoder": encoder, "key_variable": None}
        options = ImageApiOptions(**values | {"backoff": 0.001, "timeout": 10.0} | changes)
        environment = Environment(runs=folder / "runs", threads=1, offline=True)
        self.log = folder / f"log{len(list(folder.glob('log*')))}"
        self.process = multiprocessing.get_context("fork").Process(
            target=represent_all, args=(options, environment, texts, self.log), daemon=True
        )
        self.process.start()

    def wait(self, seconds: float = 60.0) -> str:
        """Wait for its end; what it said."""
        self.process.join(seconds)
        assert not self.process.is_alive(), "it should have ended by now"
        return self.log.read_text()

    def wait_for(self, pictures: int, folder: Path) -> None:
        """Wait until so many pictures are kept."""
        end = time.monotonic() + 60
        while len(kept(folder)) < pictures:
            assert self.process.is_alive(), self.log.read_text()
            assert time.monotonic() < end
            time.sleep(0.01)

    def send(self, signal_: signal.Signals) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, signal_)


def represent_all(options: ImageApiOptions, environment: Environment, texts: list[str], log: Path) -> None:
    """What a `Run` does; ``done`` is the last line when it all went well."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with log.open("w", buffering=1) as stream:
        sys.stderr = stream
        teacher = ImageApi(options, environment)
        try:
            for begin in range(0, len(texts), 64):
                teacher.represent(texts[begin : begin + 64])
            print("done", file=stream)
        except UserError as error:
            print(error, file=stream)
        except KeyboardInterrupt:
            print("interrupted", file=stream)


QUICK = tuple(fault for fault in FAULTS if fault not in (*SLOW, "busy until a date", "lost answer", "lost body"))
"""What spoils a call without taking its time, and without a charge."""


def kept(folder: Path) -> list[Path]:
    return list((folder / "runs").rglob("pictures/*/*.png"))


@pytest.mark.parametrize("texts", [160, pytest.param(1700, marks=pytest.mark.slow)])
def test_with_a_fifth_of_the_calls_spoiled_nothing_is_lost_or_paid_twice(make: Make, tmp_path: Path, texts: int) -> None:
    """Acceptance: 1,700 texts take over 2,000 calls."""
    asked = [f"{SENTENCES[number % 16]} {number}" for number in range(texts)]
    with ImageServer(rate=0.2, seed=3, faults=QUICK) as server:
        teacher = make(server, concurrency=8, retries=12)
        for begin in range(0, texts, 64):
            assert teacher.represent(asked[begin : begin + 64]).shape[1] == 24
        assert server.calls == teacher.ledger.used()
        assert server.calls >= 1.1 * texts
        assert set(server.paid.values()) == {1}
        assert len(server.paid) == len(kept(tmp_path)) == texts
        assert server.calls >= 2000 or texts == 160


@pytest.mark.parametrize("idempotent", [False, True], ids=["plain", "idempotent"])
def test_a_process_that_is_killed_again_and_again_loses_nothing_it_had(encoder: str, tmp_path: Path, idempotent: bool) -> None:
    """SIGKILL in the middle, three times. Only calls under way at that moment are in doubt; with a service that honours
    ``Idempotency-Key`` not even those are paid twice."""
    texts = [f"text {number}" for number in range(100)]
    concurrency, limit = 4, 300
    with ImageServer(rate=0.2, seed=5, faults=QUICK, idempotent=idempotent, delay=0.01) as server:
        doubtful: set[str] = set()
        for stop_at in (20, 45, 70):
            run = Run(tmp_path, server, encoder, texts, concurrency=concurrency, retries=12, max_calls=limit)
            run.wait_for(stop_at, tmp_path)
            run.send(signal.SIGKILL)
            run.wait()
            time.sleep(0.2)  # the server ends what it was about to say
            had = {path.stem for path in kept(tmp_path)}
            assert len(had) >= stop_at
            under_way = {text for text in server.paid if key_of(text).hex() not in had}
            assert len(under_way) <= concurrency
            doubtful |= under_way
        assert Run(tmp_path, server, encoder, texts, concurrency=concurrency, retries=12, max_calls=limit).wait() == "done\n"
        assert len(kept(tmp_path)) == 100
        twice = {text for text, count in server.paid.items() if count > 1}
        assert twice <= (set() if idempotent else doubtful)
        assert server.calls <= limit


def test_a_budget_is_not_exceeded_by_runs_that_are_killed(encoder: str, tmp_path: Path) -> None:
    texts = [f"text {number}" for number in range(100)]
    with ImageServer(rate=0.2, seed=7, faults=QUICK, delay=0.01) as server:
        for stop_at in (15, 30):
            run = Run(tmp_path, server, encoder, texts, max_calls=70, retries=12)
            run.wait_for(stop_at, tmp_path)
            run.send(signal.SIGKILL)
            run.wait()
        assert "max_calls is 70" in Run(tmp_path, server, encoder, texts, max_calls=70, retries=12).wait()
        assert 60 <= server.calls <= 70


def test_ctrl_c_leaves_and_keeps_what_arrives_within_a_second(encoder: str, tmp_path: Path) -> None:
    with ImageServer(delay=0.2) as server:
        run = Run(tmp_path, server, encoder, [f"text {number}" for number in range(40)], concurrency=4)
        run.wait_for(4, tmp_path)
        time.sleep(0.05)
        run.send(signal.SIGINT)
        assert "leaving; calls that are under way may be paid for" in run.wait(30)
        assert run.log.read_text().endswith("interrupted\n")
        assert len(kept(tmp_path)) == sum(server.paid.values()) == server.calls
        assert server.calls < 40


# ----------------------------------------------------------------------------------------------------------- options


def test_smoke_paints_by_itself_the_same_pictures_every_time(tmp_path: Path) -> None:
    vectors = []
    for name in ("first", "second"):
        options = ImageApiOptions(model="anything", key_variable="NOT_SET").smoke(tmp_path / name)
        assert not list(options.problems(Environment()))
        teacher = ImageApi(options, Environment(runs=tmp_path / name, threads=1, offline=True))
        vectors.append(teacher.represent(SENTENCES[:4]))
        assert teacher.ledger.used() == 4
        teacher.close()
    np.testing.assert_array_equal(*vectors)
    assert np.linalg.norm(vectors[0][0] - vectors[0][1]) > 1e-3


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"base_url": "api.example.org/v1"}, "no http or https address"),
        ({"base_url": "http://[::1"}, "that is no address"),
        ({"base_url": f"https://me:{KEY}@example.org/v1"}, "more than an address"),
        ({"prompt": "a picture"}, "does not contain {text}"),
        ({"key_variable": KEY}, "that is no name of an environment variable"),
        ({"encoder": "/no/such/folder"}, "there is no folder"),
    ],
)
def test_options_that_cannot_be_meant_are_problems(changes: dict[str, Any], what: str) -> None:
    found = list(dataclasses.replace(ImageApiOptions(), **changes).problems(Environment()))
    assert len(found) == 1
    assert what in found[0]
    assert KEY not in found[0]


def test_only_what_decides_a_vector_is_its_identity(encoder: str) -> None:
    def identity(**changes: Any) -> str:
        return json.dumps(CARD.identity(ImageApiOptions(encoder=encoder, **changes), Environment()), sort_keys=True)

    same = [{"max_calls": 3}, {"concurrency": 9}, {"timeout": 1.0}, {"key_variable": "X"}, {"response_format": "url"}]
    same.append({"base_url": "https://api.openai.com/v1/"})
    assert {identity(**changes) for changes in same} == {identity()}
    others = [{"size": "512x512"}, {"model": "m"}, {"base_url": "http://localhost/v1"}, {"prompt": "a {text}"}]
    assert len({identity(), *(identity(**changes) for changes in others)}) == 5
    assert SMOKE not in identity()


# ------------------------------------------------------------------------------------------- nothing is paid for twice


@pytest.mark.parametrize(
    "course",
    [
        ["lost answer", "broken"],
        ["lost answer", "broken", "broken", "broken"],
        ["lost body", "overloaded", "broken", "busy", "broken"],
        ["broken", "lost answer", "broken", "broken", "hang up"],
        ["broken", "broken", "broken", "lost answer", "broken"],
    ],
    ids=" then ".join,
)
def test_a_lost_answer_is_charged_once_whatever_is_answered_after_it(make: Make, course: list[str]) -> None:
    with ImageServer(plan={"one": course}, idempotent=True) as server:
        make(server, retries=len(course)).represent(["one"])
        tokens = [request["headers"]["Idempotency-Key"] for request in server.requests]
        assert server.paid == {"one": 1}
    lost = next(place for place, fault in enumerate(course) if fault.startswith("lost"))
    assert len(set(tokens[lost:])) == 1, "no new token while it is not known what became of a call"


def test_the_next_run_asks_with_the_token_of_a_call_that_was_under_way_at_the_end(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, {})
    key = key_of("one")
    _, first = ledger.reserve(key, None)  # the process dies before it knows
    ledger.close()
    again = Ledger(tmp_path, {})
    for fate in ("failed", "declined", "unknown", "failed", "unsent"):
        number, token = again.reserve(key, None)
        assert token == first
        again.settle(number, fate)
    number, token = again.reserve(key, None)
    assert token == first
    again.settle(number, "replayed")  # the service told what it had noted: no call with this token is in doubt
    assert again.reserve(key, None)[1] != first
    again.close()


@pytest.mark.parametrize("fate", ["answered", "useless", "address"])
def test_an_answer_ends_its_token_also_for_calls_that_were_in_doubt(tmp_path: Path, fate: str) -> None:
    ledger = Ledger(tmp_path, {})
    key = key_of("one")
    _, first = ledger.reserve(key, None)
    number, _ = ledger.reserve(key, None)
    ledger.settle(number, fate)
    assert ledger.reserve(key, None)[1] != first
    ledger.close()


def test_a_ledger_of_an_older_version_is_read_on(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    connection = sqlite3.connect(tmp_path / "calls.db")
    connection.execute("CREATE TABLE budget (id INTEGER PRIMARY KEY CHECK (id = 1), used INTEGER NOT NULL)")
    connection.execute("INSERT INTO budget VALUES (1, 3)")
    columns = "number INTEGER PRIMARY KEY AUTOINCREMENT, input BLOB NOT NULL, sent REAL NOT NULL, fate TEXT"
    connection.execute(f"CREATE TABLE calls ({columns})")
    key = key_of("one")
    rows = [(key, 0.0, "failed"), (key, 1.0, None), (key, 2.0, "declined")]
    connection.executemany("INSERT INTO calls (input, sent, fate) VALUES (?, ?, ?)", rows)
    connection.commit()
    connection.close()
    ledger = Ledger(tmp_path, {})
    assert ledger.used() == 3
    second = hashlib.sha256(tmp_path.name.encode() + key + b"1").hexdigest()
    assert ledger.reserve(key, None)[1] == second, "the token of the call in doubt"
    ledger.close()


@pytest.mark.parametrize("fault", ["no base64", "bomb", "other form"])
def test_an_answer_that_was_paid_for_and_cannot_be_read_is_kept_and_named(make: Make, fault: str) -> None:
    with ImageServer(plan={"one": [fault]}) as server:
        teacher = make(server)
        with pytest.raises(Unanswered, match="it is kept in") as caught:
            teacher.represent(["one", "two"])
        assert server.asked == {"one": 1, "two": 1}, "the next answer would be the same, and be paid for"
        reason = caught.value.reasons[0]
        (path,) = (teacher.ledger.folder / "unread").iterdir()
        assert str(path) in reason
        assert ("Raise max_pixels" if fault == "bomb" else "Set response_format to url or null") in reason
        with pytest.raises(Unanswered, match="it is kept in"):
            make(server).represent(["one", "two"])
        assert server.calls == 2, "not asked again while the answer waits"
        path.unlink()
        make(server).represent(["one", "two"])
        assert server.calls == 3


def test_a_picture_over_the_limit_of_pixels_is_used_when_the_limit_is_raised(make: Make) -> None:
    with ImageServer() as server:
        with pytest.raises(Unanswered, match="more than 10"):
            make(server, max_pixels=10).represent(["one", "two"])
        make(server).represent(["one", "two"])
        assert server.calls == 2


# ------------------------------------------------------------------------------------------------ one reason for all


@pytest.mark.parametrize(
    ("fault", "most", "status"),
    [
        ("refused", 20, "status 400"),
        ("bad request", 20, "status 400"),
        ("other form", 8, "not the JSON"),
        ("overloaded", 8, "503"),
    ],
)
def test_a_batch_that_fails_for_one_reason_stops_early(make: Make, fault: str, most: int, status: str) -> None:
    with ImageServer(always=fault) as server:
        with pytest.raises(UserError, match=f"for one reason: .*{status}") as caught:
            make(server, retries=0, concurrency=4).represent([f"text {number}" for number in range(64)])
        assert server.calls <= most
    assert "\n" not in str(caught.value)


def test_a_certificate_that_fails_is_no_call_and_ends_the_run(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(self: Any) -> None:
        raise ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed")

    monkeypatch.setattr("urllib3.connection.HTTPConnection.connect", connect)
    with ImageServer() as server:
        teacher = make(server)
        with pytest.raises(UserError, match=r"its certificate fails verification.*SSL_CERT_FILE"):
            teacher.represent([f"text {number}" for number in range(64)])
        assert server.calls == teacher.ledger.used() == 0


HEAD = b"HTTP/1.1 200 OK\r\n"
ODD = {
    "length of two": HEAD + "Content-Length: ²\r\n\r\n{}".encode("latin-1"),
    "length of 5,000 digits": HEAD + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n{}",
    "negative length": HEAD + b"Content-Length: -5\r\n\r\n{}",
    "two lengths": HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n{}",
    "length with underscores": HEAD + b"Content-Length: 1_0\r\n\r\n{}",
    "odd chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nabc\r\n0\r\n\r\n",
    "no status": b"HTTP/1.1 abc def\r\n\r\n",
    "garbage": b"\x00\xff\xfe" * 100,
    "long header": HEAD + b"X: " + b"a" * 70_000 + b"\r\n\r\n",
    "many headers": HEAD + b"X: a\r\n" * 200 + b"\r\n",
    "early hints": b"HTTP/1.1 103 Early Hints\r\n\r\n",
    "lone surrogate": b'HTTP/1.1 400 No\r\nContent-Length: 38\r\n\r\n{"error": {"message": "a\\ud800\\u001bb"}}'[:-2] + b"}}",
    "surrogate as an address": HEAD + b'Content-Length: 43\r\n\r\n{"data": [{"url": "http://a/\\ud800\\udfff.x"}]}',
    "retry in 9999": b"HTTP/1.1 429 No\r\nRetry-After: Fri, 31 Dec 9999 23:59:59 -2359\r\nContent-Length: 0\r\n\r\n",
    "retry in a huge year": b"HTTP/1.1 429 No\r\nRetry-After: Fri, 31 Dec 99999999999999999999 23:59:59 GMT\r\n\r\n",
    "retry NaN": b"HTTP/1.1 429 No\r\nRetry-After: NaN\r\n\r\n",
    "retry 1e400": b"HTTP/1.1 429 No\r\nRetry-After: " + b"9" * 400 + b"\r\n\r\n",
}


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_answer_is_a_failed_call_and_no_error_of_ours(make: Make, odd: str) -> None:
    with ImageServer(plan={"one": [odd]}, raw=ODD) as server:
        teacher = make(server, retries=0, timeout=2)
        with pytest.raises(Unanswered) as caught:
            teacher.represent(["one", "two"])
        assert list(caught.value.reasons) == [0]
        caught.value.reasons[0].encode()
        assert caught.value.reasons[0].isprintable()
        make(server).represent(["one", "two"])
        assert server.asked == {"one": 2, "two": 1}


@pytest.mark.parametrize("fault", ["silence", "dripping headers", "endless continue"])
def test_one_ctrl_c_leaves_whatever_the_service_does(encoder: str, tmp_path: Path, fault: str) -> None:
    with ImageServer(always=fault, slow=60) as server:
        run = Run(tmp_path, server, encoder, ["one", "two"], timeout=600.0)
        while server.calls < 1:
            time.sleep(0.01)
        run.send(signal.SIGINT)
        assert run.wait(20).endswith("interrupted\n")


# ------------------------------------------------------------------------------------------------- keys in the wrong place

KEYS = (
    "sk-very-secret-0123456789",
    "sk_live_51H8xQ2eZvKYlo2C",
    "0123456789abcdef0123456789abcdef",
    "a1b2c3d4e5f60718293a4b5c6d7e8f90",
    "AKIAIOSFODNN7EXAMPLE",
    "hf_AbCdEfGhIjKlMnOpQrSt",
    "qWeRtYuIoPaSdFgH",
    "eyJhbGciOiJIUzI1NiJ9.e30.x",
    "550e8400-e29b-41d4-a716-446655440000",
)


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "openai_api_key", "hf_token", "MY_KEY_V2_2024", "OpenAiKey", "X"])
def test_names_of_variables_are_names(name: str) -> None:
    assert is_variable(name)


@pytest.mark.parametrize("text", [*KEYS, "a b", "$OPENAI_API_KEY", "", "9KEY", "KEY\n", "K" * 65])
def test_what_looks_like_a_key_or_is_no_name_is_none(text: str) -> None:
    assert not is_variable(text)


@pytest.mark.parametrize("key", [KEYS[0], KEYS[2], KEYS[6]])
def test_a_key_in_the_place_of_a_name_is_refused_and_shown_nowhere(
    key: str, recipe: Callable[..., Path], tmp_path: Path, make: Make
) -> None:
    said = ""
    for value in (f"'{key}'", f"[A_KEY, '{key}']", f"{{'{key}': 1}}"):
        path = recipe(teacher=f"{{name: image-api, key_variable: {value}}}")
        for command in (["run", path, "--smoke"], ["check", path, "--json"]):
            ended = armada(*command, "--runs", tmp_path / "runs")
            assert ended.status == 2
            said += ended.out + ended.err
    path = recipe(teacher="image-api")
    for override in (f"teacher.key_variable={key}", f"teacher={{name: image-api, key_variable: {key}, concurrency: 0}}"):
        ended = armada("check", path, "--set", override)
        assert ended.status == 2
        said += ended.out + ended.err
    with ImageServer() as server:
        teacher = make(server, key_variable=key)
        with pytest.raises(UserError, match="that is no name of an environment variable") as caught:
            teacher.represent(["one"])
    said += str(caught.value) + repr(teacher.options)
    assert key not in said
    assert not [file for file in (tmp_path / "runs").rglob("*.json") if key in file.read_text()]
