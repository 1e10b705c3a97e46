"""A study as a Ray job, its log followed from here."""

import hashlib
import os
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any, TypeVar

from kdsearch.errors import RequestError, RunError
from kdsearch.schedule.cluster.authentication import send_token_if_any
from kdsearch.schedule.submission_notes import note_failed_start, note_submission
from kdsearch.spec import StudySpec
from kdsearch.storage import parse_url, shown_url

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

_T = TypeVar("_T")

POLL_S = 1.0
"""A person waits for it; a second is soon."""

START_S = 20.0
"""A job that lacks its folder or its command has died by then; who detaches waits no longer for it."""
PATIENCE_S = 60.0
"""A network or a proxy that is restarted is back by then; a person who waits longer should know."""

MOST_CHARACTERS = 600  # by hand, of a cluster's answer: some lines of a terminal


@dataclass(frozen=True)
class Submission:
    """A study's job on a cluster.

    `is_new` where this call submitted it.
    """

    job: str
    is_new: bool


def submit_study(
    study: StudySpec,
    spec: Path,
    overrides: Sequence[str],
    storage: str,
    address: str,
    *,
    takeover: bool = False,
) -> Submission:
    """Submit a study to a cluster, unless a job runs it already.

    The job's id follows from the study, its database and the number of jobs it had: of two that submit
    at once, both get the same job. The working directory travels along, so the spec and a user's trainer
    must lie below it. The database's URL goes as an environment variable, which Ray keeps in the job's
    record: it must hold no password. The study's row is made here, so that `kdsearch studies` shows it even
    if the job never starts.

    Args:
        study: The checked spec.
        spec: Its file.
        overrides: What replaces values of the file, as `PATH=VALUE`.
        storage: The database's URL, as the cluster reaches it.
        address: `http://HEAD:8265`.
        takeover: Submit it even so; the new job takes the study from the one that runs.

    Raises:
        RequestError: The cluster can't be reached, or it can't reach the database or the spec, or a job
            runs the study by another command.
    """
    if storage.startswith("sqlite"):
        raise RequestError(
            "`--storage` must be a database that the cluster reaches, got a SQLite file of this machine. "
            "Use PostgreSQL: --storage postgresql://USER@HOST/NAME."
        )
    _refuse_password(storage)
    command = _command(spec, [*overrides], takeover=takeover)
    client = _connect(address)
    prefix = _prefix(study.name, storage)
    jobs = [job for job in client.list_jobs() if (job.submission_id or "").startswith(prefix)]
    running = [job for job in jobs if not job.status.is_terminal()]
    if running and not takeover:
        return Submission(_same_command(study.name, running[-1], command), is_new=False)
    chosen = f"{prefix}{len(jobs) + 1}"
    try:
        client.submit_job(
            entrypoint=command,
            submission_id=chosen,
            runtime_env={"working_dir": str(Path.cwd()), "env_vars": {"KDSEARCH_STORAGE": storage}},
        )
    except (RuntimeError, ValueError) as error:
        if "already exists" in str(error):  # another terminal was quicker
            return Submission(_same_command(study.name, client.get_job_info(chosen), command), is_new=False)
        raise RequestError(
            f"The working directory {Path.cwd()} could not be submitted: {_clause(error)}. It travels to the "
            "cluster, up to 100 MiB: list folders of data in a file .rayignore in it (as in .gitignore), or "
            "keep them elsewhere and name that place in `dataset.root`."
        ) from error
    note_submission(study, storage, f"submitted as the job {chosen}; see {log_command(chosen, address)}")
    _await_start(_Job(client, chosen, address), study.name, storage)
    return Submission(chosen, is_new=True)


def log_command(job: str, address: str) -> str:
    """Return the shell command that shows a job's log.

    It sets `RAY_AUTH_MODE` where the cluster asks for a token.
    """
    mode = "RAY_AUTH_MODE=token " if os.environ.get("RAY_AUTH_MODE", "").lower() == "token" else ""
    return f"{mode}ray job logs --follow {job} --address {address}"


def _refuse_password(storage: str) -> None:
    url = parse_url(storage)
    if url.password or any("password" in option for option in url.query):
        raise RequestError(
            "`--storage` must hold no password for a Ray job, whose record everyone at the dashboard can "
            f"read, got {shown_url(url)}. Leave it out, here and there: set "
            "PGPASSWORD, or PGPASSFILE with a file of mode 0600, where `ray start` runs, and in this shell."
        )


class _Job:
    """A submitted job, as its head tells of it. A head that does not answer is asked again for a while.

    Each question raises RunError where it stays without an answer. The job goes on even so.
    """

    def __init__(self, client: "JobSubmissionClient", name: str, address: str) -> None:
        self.name = name
        self._client = client
        self._address = address

    def status(self) -> Any:
        return self._answered(partial(self._client.get_job_status, self.name))

    def logs(self) -> str:
        return self._answered(partial(self._client.get_job_logs, self.name))

    def message(self) -> str:
        """Return why it ended, in one line."""
        return _one_line(self._answered(partial(self._client.get_job_info, self.name)).message or "")

    def _answered(self, ask: Callable[[], _T]) -> _T:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                return ask()
            except (OSError, RuntimeError) as error:  # of the network, and of a head that answers otherwise
                if time.monotonic() >= deadline:
                    raise RunError(
                        f"The head at {self._address} has not answered for {PATIENCE_S:g} s: "
                        f"{_clause(error)}. The job {self.name} does not depend on this terminal and goes "
                        f"on while its head does. Look: {log_command(self.name, self._address)}"
                    ) from error
            time.sleep(POLL_S)


def _await_start(job: _Job, study: str, storage: str) -> None:
    """Wait a moment for a job to begin; note why it failed."""
    from ray.job_submission import JobStatus

    deadline = time.monotonic() + START_S
    while (status := job.status()) == JobStatus.PENDING and time.monotonic() < deadline:
        time.sleep(POLL_S)
    if status == JobStatus.FAILED:
        note_failed_start(study, storage, f"its job {job.name} could not start: {job.message()}")


def follow_job(job: str, study: str, storage: str, address: str, *, echo: Callable[[str], None]) -> None:
    """Pass a job's log on until it ends.

    Raises:
        RunError: The job failed, or its head does not answer any more.
    """
    from ray.job_submission import JobStatus

    followed = _Job(_connect(address), job, address)
    status = _follow(followed, echo)
    if status != JobStatus.SUCCEEDED:
        note_failed_start(study, storage, f"its job {job} ended as {status}: {followed.message()}")
        raise RunError(f"The job {job} ended as {status}. Its log is above.")


def _connect(address: str) -> "JobSubmissionClient":
    send_token_if_any()
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    try:
        return JobSubmissionClient(address)
    except (AuthenticationError, ConnectionError, RuntimeError) as error:
        raise RequestError(f"`--address` must be a running Ray head, got {address!r}: {error}.") from error


def _clause(error: Exception) -> str:
    return _one_line(str(error)).rstrip(".")


def _one_line(text: str) -> str:
    return shorten(" ".join(text.split()), MOST_CHARACTERS, placeholder=" …")


def _command(spec: Path, overrides: Sequence[str], *, takeover: bool) -> str:
    try:
        relative = spec.resolve().relative_to(Path.cwd())
    except ValueError as error:
        raise RequestError(
            f"The spec must lie below the working directory, which travels to the cluster, got {spec}."
        ) from error
    options = [word for override in overrides for word in ("--set", override)]
    forced = ["--takeover"] if takeover else []
    return shlex.join(["kdsearch", "launch", str(relative), "--address", "auto", *forced, *options])


def _prefix(study: str, storage: str) -> str:
    """Return how the ids of a study's jobs begin. Others may have a study of the name in their database."""
    place = shown_url(parse_url(storage))
    return f"kdsearch-{study}-{hashlib.sha256(place.encode()).hexdigest()[:8]}-"


def _same_command(study: str, job: Any, command: str) -> str:
    if job.entrypoint != command:
        raise RequestError(
            f"The study {study!r} is run by the job {job.submission_id} as `{job.entrypoint}`. "
            f"Launch it with the same options to follow it, or stop it first: kdsearch stop {study}."
        )
    return str(job.submission_id)


def _follow(job: _Job, echo: Callable[[str], None]) -> Any:
    shown = 0
    while True:
        status, log = job.status(), job.logs()
        if len(log) > shown:
            echo(log[shown:].rstrip("\n"))
            shown = len(log)
        if status.is_terminal():
            return status
        time.sleep(POLL_S)
