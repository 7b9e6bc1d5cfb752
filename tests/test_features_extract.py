"""Extraction: each text once, nothing lost, and every failure of a teacher one line."""

from __future__ import annotations

import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from parrot import Parrot, parrot_fixture  # noqa: F401 - the fixture `parrot`

from armada_cli import MissingPackage, UserError
from armada_cli.features import extract as extraction
from armada_cli.features import progress
from armada_cli.features.extract import ExtractionReport, extract
from armada_cli.features.identity import identity_key, input_hashes, teacher_identity
from armada_cli.features.store import FeatureStore

TEXTS = [f"sentence number {number} " + "and more" * (number % 5) for number in range(10)]


def run(bird: Parrot, texts: list[Any] = TEXTS, **options: Any) -> ExtractionReport:
    with FeatureStore.of(bird.environment) as store:
        return extract(bird.teacher, bird.options(**options), bird.environment, texts, store)


def key_of(bird: Parrot) -> str:
    return identity_key(teacher_identity(bird.teacher, bird.options(), bird.environment))


def count_missing(bird: Parrot, texts: list[Any] = TEXTS) -> int:
    with FeatureStore.of(bird.environment) as store:
        return store.count_missing(key_of(bird), texts)


def test_each_different_text_is_represented_once(parrot: Parrot) -> None:
    report = run(parrot, [*TEXTS, *TEXTS[:5], TEXTS[0]])
    assert (report.inputs, report.new, report.reused) == (10, 10, 0)
    assert sorted(text for call in parrot.calls() for text in call) == sorted(TEXTS)


def test_a_batch_holds_texts_of_like_length_and_at_most_batch_size(parrot: Parrot) -> None:
    run(parrot)
    lengths = [[len(text) for text in call] for call in parrot.calls()]
    assert [len(call) for call in lengths] == [4, 4, 2]
    flat = [length for call in lengths for length in call]
    assert flat == sorted(flat)


def test_a_second_run_does_not_even_import_the_teacher(parrot: Parrot) -> None:
    run(parrot)
    del sys.modules["parrot_teacher"]
    report = run(parrot)
    assert (report.new, report.reused, report.seconds) == (0, 10, 0.0)
    assert parrot.made() == 1
    assert "parrot_teacher" not in sys.modules


def test_only_new_texts_are_asked_for(parrot: Parrot) -> None:
    run(parrot, TEXTS[:7])
    assert run(parrot).new == 3
    assert sorted(text for call in parrot.calls()[2:] for text in call) == sorted(TEXTS[7:])


def test_a_damaged_vector_is_computed_again(parrot: Parrot) -> None:
    run(parrot)
    path = parrot.environment.runs / "features.db"
    connection = sqlite3.connect(path)
    connection.execute("UPDATE vectors SET vector = zeroblob(24) WHERE input = ?", (input_hashes(TEXTS)[3],))
    connection.commit()
    connection.close()
    report = run(parrot)
    assert (report.damaged, report.new) == (1, 1)
    assert parrot.calls()[-1] == [TEXTS[3]]
    with FeatureStore(path) as store:
        vectors, found = store.get(key_of(parrot), input_hashes(TEXTS))
    assert found.all()
    assert vectors[3].any()


@pytest.mark.parametrize(
    ("mood", "says"),
    [
        ("nan", "returned a vector that is not finite (NaN or infinity) for 'a bad long text"),
        ("inf", "returned a vector that is not finite (NaN or infinity) for 'a bad long text"),
        ("rows", "returned shape [1, 6] for 2 inputs, for the batch that begins with"),
        ("wide", "returned width 12, before it was 6"),
        ("flat", "returned shape [2] for 2 inputs"),
        ("double", "returned float64, not float32"),
        ("list", "returned list, not a numpy array"),
        ("raises", "fails on 'a bad long text"),
    ],
)
def test_a_teacher_that_breaks_its_contract_is_named_with_the_text(parrot: Parrot, mood: str, says: str) -> None:
    texts = ["one", "two", "six", "ten", "a good long text", "a bad long text\nwith two lines"]
    with pytest.raises(UserError) as error:
        run(parrot, texts, mood=mood)
    message = str(error.value)
    assert message.startswith("teacher 'parrot' (plugin armada-parrot 1.0) ")
    assert says in message
    assert "\n" not in message
    assert count_missing(parrot, texts) == 2, "the batch before the bad one is kept, the bad one is not"


def test_a_teacher_that_cannot_be_made_is_one_line(parrot: Parrot) -> None:
    with pytest.raises(UserError) as error:
        run(parrot, mood="unmakeable")
    assert str(error.value).startswith(
        "teacher 'parrot' (plugin armada-parrot 1.0) cannot be made: RuntimeError: no cage for me."
    )


def test_a_teacher_whose_module_is_broken_is_one_line(parrot: Parrot) -> None:
    (parrot.folder / "site" / "parrot_teacher.py").write_text("import a_package_nobody_has\n")
    with pytest.raises(UserError, match=r"'parrot' .* cannot be made: ModuleNotFoundError: .*a_package_nobody_has"):
        run(parrot)


def test_a_missing_package_says_how_to_install_it(parrot: Parrot) -> None:
    card = parrot.folder / "site" / "armada_parrot.py"
    card.write_text(card.read_text().replace('{"text"})', '{"text"}, requires=("a-missing-one==3",))'))
    with pytest.raises(MissingPackage, match="pip install 'a-missing-one==3'"):
        run(parrot)


def test_a_stored_width_is_kept_by_later_runs(parrot: Parrot) -> None:
    run(parrot)
    with pytest.raises(UserError, match="returned width 9, before it was 6"):
        run(parrot, ["something new"], width=9)


def test_a_lost_connection_is_tried_again(parrot: Parrot, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(extraction.time, "sleep", waits.append)
    assert run(parrot, mood="unreachable").new == 10
    assert [wait for wait in waits if wait] == [2.0, 4.0]


def test_without_a_terminal_progress_is_lines_with_rate_and_remaining_time(
    parrot: Parrot, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    run(parrot)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("parrot: representing 4/10, ")
    assert lines[1].endswith("s left")
    assert "/s" in lines[2]


SCRIPT = """
import sys
from pathlib import Path
from armada_cli import Environment
from armada_cli.registry.catalog import Catalog
from armada_cli.features.extract import extract
from armada_cli.features.store import FeatureStore
runs, log, delay, count = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
teacher = Catalog.load().find("teacher", "parrot")
environment = Environment(runs=runs)
texts = [f"text {number:04d}" for number in range(count)]
report = extract(teacher, teacher.component.options(log=log, delay=delay), environment, texts, FeatureStore.of(environment))
print(report.new)
"""


def start(bird: Parrot, delay: float, count: int, **variables: str) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(bird.folder / "site"), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(bird.environment.runs), str(bird.log), str(delay), str(count)],
        env={**os.environ, "PYTHONPATH": path, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_calls(bird: Parrot, count: int) -> None:
    limit = time.monotonic() + 20
    while len(bird.calls()) < count:
        assert time.monotonic() < limit, "the extraction does not come forward"
        time.sleep(0.01)


def names(count: int) -> list[str]:
    return [f"text {number:04d}" for number in range(count)]


def test_kill_9_loses_at_most_the_batch_in_flight(parrot: Parrot) -> None:
    process = start(parrot, 0.05, 400)
    wait_for_calls(parrot, 8)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    asked = len(parrot.calls())
    stored = 400 - count_missing(parrot, names(400))
    assert 8 <= asked < 100
    assert stored in (4 * (asked - 1), 4 * asked)
    calls = len(parrot.calls())
    assert run(parrot, names(400)).new == 400 - stored
    again = {text for call in parrot.calls()[calls:] for text in call}
    assert len(again) == 400 - stored


def test_two_processes_share_the_work_without_doing_any_of_it_twice(parrot: Parrot) -> None:
    both = [start(parrot, 0.02, 160) for _ in range(2)]
    outputs = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert sum(int(out) for out, _ in outputs) == 160
    asked = [text for call in parrot.calls() for text in call]
    assert sorted(asked) == names(160)
    assert count_missing(parrot, names(160)) == 0


def test_what_a_killed_process_had_claimed_is_done_by_the_other(parrot: Parrot) -> None:
    first = start(parrot, 30, 8)
    wait_for_calls(parrot, 1)
    second = start(parrot, 0, 8)
    wait_for_calls(parrot, 2)
    time.sleep(0.3)
    assert second.poll() is None, "it waits for the batch that the first one has in hand"
    first.kill()
    first.communicate()
    out, err = second.communicate(timeout=30)
    assert (second.returncode, int(out)) == (0, 8), err


def test_ctrl_c_says_what_is_kept(parrot: Parrot) -> None:
    process = start(parrot, 0.05, 400)
    wait_for_calls(parrot, 5)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    stored = 400 - count_missing(parrot, names(400))
    assert stored >= 16
    assert f"armada: stopped; {stored} of 400 representations of teacher 'parrot' are kept" in err


def test_each_rank_begins_with_its_own_share(parrot: Parrot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    texts = ["a" * (number + 1) for number in range(16)]
    assert run(parrot, texts).new == 16
    assert parrot.calls()[0] == texts[8:12]
    assert parrot.calls()[2] == texts[:4]


def test_a_batch_is_the_same_whoever_computes_it_and_whenever(parrot: Parrot, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network may round one text differently beside other texts; shares begin and runs go on between batches."""
    texts = ["a" * (number + 1) for number in range(18)]
    batches = [texts[start : start + 4] for start in range(0, 18, 4)]
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    run(parrot, texts)
    assert sorted(parrot.calls()) == batches
    with FeatureStore.of(parrot.environment) as store:
        store.remove(key_of(parrot), input_hashes([*batches[1], *batches[4]]))
    monkeypatch.delenv("RANK")
    run(parrot, texts)
    assert parrot.calls()[5:] == [batches[1], batches[4]]


def test_texts_between_those_that_are_there_are_asked_for_in_full_batches(parrot: Parrot) -> None:
    texts = ["a" * (number + 1) for number in range(16)]
    run(parrot, texts[::2])
    run(parrot, texts)
    assert parrot.calls()[2:] == [texts[1::2][:4], texts[1::2][4:]]


def test_media_are_handed_over_as_paths(parrot: Parrot, tmp_path: Path) -> None:
    files = [tmp_path / f"{name}.png" for name in "ab"]
    for file in files:
        file.write_bytes(file.name.encode() * 3)
    assert run(parrot, files).new == 2
    assert sorted(parrot.calls()[0]) == [str(file) for file in files]


def test_vectors_are_stored_as_the_teacher_gave_them(parrot: Parrot) -> None:
    run(parrot)
    from parrot_teacher import Parrot as Bird  # type: ignore[import-not-found]

    expected = Bird(parrot.options(), parrot.environment).represent(TEXTS)
    with FeatureStore.of(parrot.environment) as store:
        vectors, _ = store.get(key_of(parrot), input_hashes(TEXTS))
    np.testing.assert_array_equal(vectors, expected)


def test_what_a_teacher_leaves_out_shifts_no_other_texts_vector(parrot: Parrot) -> None:
    """The batch's vectors are those of its other texts, in their places: the next run asks for the gaps alone."""
    texts = ["a bad one", "one that is good", "bad", "another", "a third"]
    with pytest.raises(UserError, match=r"has no vector for 2 of 5 inputs"):
        run(parrot, texts, mood="silent", batch=5)
    assert count_missing(parrot, texts) == 2
    assert run(parrot, texts, batch=5).new == 2
    with FeatureStore.of(parrot.environment) as store:
        vectors, found = store.get(key_of(parrot), input_hashes(texts))
    assert found.all()
    expected = [np.frombuffer(hashlib.sha512(text.encode()).digest(), np.uint8)[:6] for text in texts]
    np.testing.assert_array_equal(vectors, np.array(expected, np.float32))
