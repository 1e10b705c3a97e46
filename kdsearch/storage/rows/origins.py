"""What a trial was trained with, against what is here now."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from sqlalchemy import select

from kdsearch.errors import RequestError
from kdsearch.storage.rows.provenance import git_commit, package_versions
from kdsearch.storage.rows.queries import read_progress, study_id
from kdsearch.storage.sql.database import Database
from kdsearch.storage.sql.tables import StudyTable, TrialTable


@dataclass(frozen=True)
class Origin:
    """The code and the data that a study was launched with.

    It is the package versions, the git commit of the folder it was launched from, and the digests of data
    sets and files, and of a user's code, by their names.
    """

    versions: Mapping[str, str]
    git_commit: str | None
    data: Mapping[str, str] = field(default_factory=dict)
    code: Mapping[str, str] = field(default_factory=dict)

    def differences(self, folder: Path, data: Mapping[str, str], code: Mapping[str, str]) -> list[str]:
        """Return in words what has changed here since.

        Args:
            folder: The one whose git commit is compared.
            data: The digests of the data that are here.
            code: Those of a user's code.
        """
        here = package_versions()
        found = [
            f"{package} was {self.versions.get(package, 'absent')}, is {here.get(package, 'absent')}"
            for package in sorted(self.versions.keys() | here.keys())
            if self.versions.get(package) != here.get(package)
        ]
        commit = git_commit(folder)
        if commit != self.git_commit:
            found.append(f"the git commit was {self.git_commit or 'none'}, is {commit or 'none'}")
        elif commit and commit.endswith("+changes"):
            found.append(f"the files of {commit} may have been changed otherwise")
        edited = [*_edited(data, self.data), *_edited(code, self.code)]
        return [*found, *(f"{name} was edited since" for name in edited)]


def load_origin(database: Database, study: str, number: int) -> Origin:
    """Return the origin of the driver that ran a trial.

    It is the last driver that began before the trial did.

    Raises:
        RequestError: There is no such study, or no such trial in it.
    """
    with database.read() as connection:
        row = study_id(connection, study)
        runs = connection.scalars(select(StudyTable.versions).where(StudyTable.id == row)).one()
        query = select(TrialTable.number, TrialTable.started)
        trial = connection.execute(
            query.where(TrialTable.study_id == row, TrialTable.number == number)
        ).first()
    if trial is None:
        raise RequestError(f"`number` must be a trial of {study}, got {number}. See: kdsearch trials {study}")
    before = [run for run in runs if trial.started and datetime.fromisoformat(run["since"]) <= trial.started]
    run = before[-1] if before else runs[0]
    return Origin(run["versions"], run["git_commit"], run.get("data", {}), run.get("code", {}))


def edited_code(database: Database, study: str, code: Mapping[str, str]) -> list[str]:
    """Return what of a user's code was edited since the last launch of a study with finished trials."""
    with database.read() as connection:
        row = connection.execute(
            select(StudyTable.id, StudyTable.versions).where(StudyTable.name == study)
        ).first()
        if row is None or not read_progress(connection, row.id).finished:
            return []
    return _edited(code, row.versions[-1].get("code", {}))


def _edited(now: Mapping[str, str], before: Mapping[str, str]) -> list[str]:
    return [name for name, digest in now.items() if before.get(name, digest) != digest]
