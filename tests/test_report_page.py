"""report.html: one page that loads nothing, escapes everything, and fits every screen."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from report_runs import published_run, write_run
from running import armada
from test_report_verdicts import arm

from armada_cli.reporting.report import report, write_reports

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


def run_of(root: Path, *, seeds: Sequence[int] = (0, 1, 2)) -> Path:
    entries = [
        *arm(root, "undistilled", 0.6, seeds=seeds),
        *arm(root, "kd", 0.75, seeds=seeds),
        *arm(root, "armada", 0.75, seeds=seeds),
        *arm(root, "armada control=shuffled", 0.7, seeds=seeds, method_name="armada"),
    ]
    for entry in entries:
        records = [{"step": step, "loss": 1 / (1 + step), "lr": 1e-4, "terms": {}} for step in range(0, 200, 2)]
        log = "".join(json.dumps(record) + "\n" for record in records)
        (root / "trials" / entry["id"] / "log.jsonl").write_text(log)
    return write_run(root, entries)


def test_it_begins_with_verdicts_and_draws_their_intervals(tmp_path: Path) -> None:
    page = report(run_of(tmp_path), "html")
    words = re.sub(r"<[^>]*>|\s+", " ", page)
    assert words.index("ahead") < words.index("Differences and their 95 % intervals") < words.index("All tables")
    assert "MRPC: difference from the undistilled student" in words
    assert "MRPC: difference from its control" in words
    places = [float(place) for place in re.findall(r"(?:left|width): ([\d.]+)%", page)]
    assert places
    assert all(0 <= place <= 100 for place in places)
    (zero,) = {float(place) for place in re.findall(r'class="zero" style="left: ([\d.]+)%', page)}
    assert zero == 0, "every difference of this run is above nothing"


def test_it_draws_the_trainings_and_says_their_last_values(tmp_path: Path) -> None:
    page = report(run_of(tmp_path), "html")
    lines = re.findall(r'<polyline class="l\d d\d" points="([^"]+)"><title>', page)
    assert len(lines) == 4
    assert all(len(line.split()) <= 61 for line in lines)
    assert "0 to 198 steps" in page
    assert re.search(r"</svg>kd 0[.]005", page)


def test_it_loads_nothing_and_has_no_address(tmp_path: Path) -> None:
    page = report(run_of(tmp_path), "html")
    assert "default-src 'none'" in page
    assert not re.search(r"(src|href|srcset|@import|url\()", page.replace("default-src", "").replace("-src", ""))
    assert "http" not in page.replace("http-equiv", "")


def test_what_strangers_wrote_is_text(tmp_path: Path) -> None:
    hostile = [entry | {"method": '<script>alert("x")</script>'} for entry in arm(tmp_path, "undistilled", 0.6)]
    folder = write_run(tmp_path, hostile, title="<b>bold</b>")
    page = report(folder, "html")
    assert "<b>bold" not in page
    assert page.count("<script>") == 1
    assert "&lt;script&gt;alert(" in page


def test_it_has_the_papers_rows_and_every_table(tmp_path: Path) -> None:
    page = report(published_run(tmp_path), "html")
    words = re.sub(r"<[^>]*>|\s+", " ", page)
    assert "paper, Table 7: teacher BERT-base" in words
    for title in ("GLUE, student bert-6l: difference from undistilled", "Provenance", "Timings"):
        assert title in words


def test_a_page_of_120_trials_is_small_and_the_same_each_time(tmp_path: Path) -> None:
    folder = run_of(tmp_path, seeds=range(30))
    page = report(folder, "html")
    assert len(page.encode()) < 2_000_000
    assert report(folder, "html") == page


def test_it_is_opened_in_a_browser_or_its_place_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = run_of(tmp_path)
    done = armada("report", "hand", "--runs", tmp_path, "--open")
    assert done.status == 0
    assert f"The page is {folder.resolve() / 'report.html'}" in "".join(done.out.splitlines()) or not done.out
    assert (folder / "report.html").read_text(encoding="utf-8") == report(folder, "html")


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here, which draws the page")
@pytest.mark.parametrize("width", [400, 900, 1600])
def test_nothing_is_wider_than_the_screen(tmp_path: Path, width: int) -> None:
    folder = run_of(tmp_path)
    write_reports(folder)
    measure = "<script>document.title = `${document.documentElement.scrollWidth} of ${innerWidth}`</script></body>"
    page = folder / "measured.html"
    page.write_text((folder / "report.html").read_text(encoding="utf-8").replace("</body>", measure), encoding="utf-8")
    assert CHROMIUM is not None
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--window-size={width},1000", "--dump-dom", page.as_uri()]
    done = subprocess.run([CHROMIUM, *options], capture_output=True, text=True, timeout=120, check=False)
    needed, there = re.findall(r"<title>(\d+) of (\d+)</title>", done.stdout)[0]
    assert int(needed) <= int(there)
