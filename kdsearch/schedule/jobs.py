"""A study as a Ray job: submitted to a cluster's head, its log followed from here."""

import os
import shlex
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kdsearch.errors import RequestError, RunError

POLL_S = 1.0


def submit_study(
    spec: Path,
    overrides: Sequence[str],
    storage: str,
    address: str,
    *,
    echo: Callable[[str], None],
) -> None:
    """Submit a study to the cluster whose dashboard is at `address` and follow it to its end.

    The working directory travels along, so the spec and a user's trainer must lie below it. The
    database's URL goes as an environment variable, not in the command that the dashboard shows.

    Raises:
        RequestError: The cluster can't be reached, or it can't reach the database or the spec.
        RunError: The job failed.
    """
    if storage.startswith("sqlite"):
        raise RequestError(
            "`--storage` must be a database that the cluster reaches, got a SQLite file of this machine. "
            "Use PostgreSQL: --storage postgresql://USER@HOST/NAME."
        )
    command = _command(spec, overrides)
    # Ray's jobs client sends a token only in this mode, and a head without authentication ignores it.
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobStatus, JobSubmissionClient

    try:
        client = JobSubmissionClient(address)
    except (AuthenticationError, ConnectionError, RuntimeError) as error:
        raise RequestError(f"`--address` must be a running Ray head, got {address!r}: {error}.") from error
    try:
        job = client.submit_job(
            entrypoint=command,
            submission_id=f"kdsearch-{spec.stem}-{uuid.uuid4().hex[:8]}",
            runtime_env={"working_dir": str(Path.cwd()), "env_vars": {"KDSEARCH_STORAGE": storage}},
        )
    except (RuntimeError, ValueError) as error:  # most often: the folder is too large to travel
        raise RequestError(f"The working directory {Path.cwd()} could not be submitted: {error}") from error
    echo(f"Submitted as {job}. It goes on without this terminal.")
    status = _follow(client, job, echo)
    if status != JobStatus.SUCCEEDED:
        raise RunError(f"The job {job} ended as {status}. Its log is above.")


def _command(spec: Path, overrides: Sequence[str]) -> str:
    try:
        relative = spec.resolve().relative_to(Path.cwd())
    except ValueError as error:
        raise RequestError(
            f"The spec must lie below the working directory, which travels to the cluster, got {spec}."
        ) from error
    options = [word for override in overrides for word in ("--set", override)]
    return shlex.join(["kdsearch", "launch", str(relative), "--address", "auto", *options])


def _follow(client: Any, job: str, echo: Callable[[str], None]) -> Any:
    shown = 0
    while True:
        status = client.get_job_status(job)
        log = client.get_job_logs(job)
        if len(log) > shown:
            echo(log[shown:].rstrip("\n"))
            shown = len(log)
        if status.is_terminal():
            return status
        time.sleep(POLL_S)
