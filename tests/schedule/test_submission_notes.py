"""A submitted study is seen in its database before its driver.

It is seen without one, too.
"""

from pathlib import Path

import pytest

from kdsearch.errors import RunError
from kdsearch.schedule.submission_notes import note_failed_start, note_submission
from kdsearch.spec import load_spec
from kdsearch.storage import StudyRecord, hold_lease, list_studies, open_database

SPEC = {"name": "sent", "tune": {"objective.temperature": {"low": 1, "high": 40}}}


def studies(url: str) -> list[tuple[str, str | None]]:
    with open_database(url) as database:
        return [(study.state, study.reason) for study in list_studies(database)]


def test_a_job_that_dies_at_its_start_is_a_row_with_its_reason(tmp_path: Path) -> None:
    url, spec = f"sqlite:///{tmp_path}/s.db", load_spec(SPEC)
    note_submission(spec, url, "submitted as the job j")
    assert studies(url) == [("new", "submitted as the job j")]
    note_failed_start("sent", url, "its folder is gone")
    assert studies(url) == [("failed", "its folder is gone")]
    note_failed_start("sent", url, "again")  # a study that began has its own reason
    assert studies(url) == [("failed", "its folder is gone")]
    note_submission(load_spec({**SPEC, "training": {"epochs": 3}}), url, "submitted as the job k")
    assert studies(url) == [("new", "submitted as the job k")], (
        "nothing was finished: the spec may be corrected"
    )


def test_a_study_with_a_driver_and_a_database_out_of_reach_stay_as_they_are(tmp_path: Path) -> None:
    url, spec = f"sqlite:///{tmp_path}/s.db", load_spec(SPEC)
    with open_database(url, create=True) as database, hold_lease(database, "sent") as lease:
        StudyRecord.open(database, spec, lease=lease)
        note_submission(spec, url, "submitted as the job j")
        note_failed_start("sent", url, "no")
        assert studies(url) == [("new", None)]
    note_submission(spec, f"sqlite:///{tmp_path}/none/s.db", "submitted as the job j")
    note_failed_start("sent", f"sqlite:///{tmp_path}/none/s.db", "no")


def test_a_note_that_fails_on_the_way_hides_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RunError("The database could not be used for 120 seconds")

    url, spec = f"sqlite:///{tmp_path}/s.db", load_spec(SPEC)
    monkeypatch.setattr(StudyRecord, "set_state", fail)
    note_submission(spec, url, "submitted as the job j")
    note_failed_start("sent", url, "its folder is gone")
    assert studies(url) == [("new", None)]
