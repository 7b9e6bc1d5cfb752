"""Runs of earlier versions are reported as those of today."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from report_runs import full_run, trials, write_run

from armada_cli.reporting.folder import read_run
from armada_cli.reporting.report import report

FITS = {"aligner": "aligner_fit", "aligner auxiliary": "aligner_auxiliary_fit"}


def make_earlier(folder: Path) -> None:
    """Give a run folder the keys that the first versions wrote."""
    run = json.loads((folder / "run.json").read_text())
    for entry in run["trials"]:
        entry["manifold"] = entry.pop("components").get("manifold")
        if entry["control"]:
            entry["options"]["control"] = entry["control"]
    (folder / "run.json").write_text(json.dumps(run))
    for path in folder.parent.glob("trials/*/result.json"):
        result = json.loads(path.read_text())
        fits, parameters = result.pop("fits", {}), result.pop("parameters", None)
        result |= {key: fits.get(role) for role, key in FITS.items()}
        if parameters:
            own = parameters.pop("own")
            result["parameters"] = {**parameters, "extra": parameters.pop("heads"), **own}
        path.write_text(json.dumps(result))


@pytest.mark.parametrize("format", ["txt", "md", "latex", "csv", "json"])
def test_a_run_of_the_first_versions_has_the_same_report(tmp_path: Path, format: str) -> None:
    today, earlier = full_run(tmp_path / "today"), full_run(tmp_path / "earlier")
    make_earlier(earlier)
    written = (earlier / "run.json").read_text()
    assert "manifold" in written
    assert "components" not in written
    assert report(earlier, format) == report(today, format)


def test_the_very_first_name_of_a_fit_is_read_too(tmp_path: Path) -> None:
    result = {"aligner": {"mcc": 50.0}, "aligner_auxiliary": {"mcc": 40.0}}
    folder = write_run(tmp_path, trials("cola", "armada", [20.0], result=result))
    assert read_run(folder).trials[0].fits == {"aligner": {"mcc": 50.0}, "aligner auxiliary": {"mcc": 40.0}}


def test_a_loss_that_was_chosen_with_options_goes_by_its_name(tmp_path: Path) -> None:
    (entry,) = trials("cola", "armada", [20.0])
    entry = {**entry, "manifold": {"name": "cosine", "eps": 0.1}}
    del entry["components"]
    assert read_run(write_run(tmp_path, [entry])).trials[0].components == {"manifold": "cosine"}
