"""The Optuna dashboard over the same database. Its links are absolute, so it is mounted at the root."""

import json
import re
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any

from a2wsgi import WSGIMiddleware
from sqlalchemy import inspect
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from kdsearch.errors import KDSearchError
from kdsearch.service.answering.dashboard_notes import StudyNote, annotated, plain_note
from kdsearch.service.reader import FIRST_ANSWER_S, DatabaseReader, Latest
from kdsearch.service.rewriting import changed, whole_answer
from kdsearch.storage import Database
from kdsearch.storage.mirror.store import STUDY_ATTRIBUTE, open_optuna_storage

_ADDRESS = "/dashboard"
_STUDY = re.compile(r"/api/studies/\d+/*")
_ITS_OWN = (_ADDRESS, "/api/", "/static/", "/csv/", "/artifacts/", "/favicon.ico")
_MOST_BYTES = 64 * 2**20
"""Of some 30,000 trials; more is passed on as it is: the note comes with the next look, which is short."""

_STYLE = (Path(__file__).parent / "static" / "dashboard.css").read_text()


class Dashboard:
    """An ASGI app that starts the dashboard on a database of Optuna's.

    It waits until the database has Optuna's tables. Its storage is a cached one: finished trials are read
    once, not at every refresh. What it answers about our studies gets our notes and figures on the way out:
    none of them is written to the database.
    """

    def __init__(self, reader: DatabaseReader) -> None:
        self._reader = reader
        self._starting = Lock()
        self._database: Database | None = None
        self._storage: Any = None
        self._app: Any = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer through the dashboard, started at the first request. What is not its own is not found."""
        if scope["type"] == "http" and not scope["path"].startswith(_ITS_OWN):
            raise HTTPException(404, "There is no such page.")
        await run_in_threadpool(self._start)
        asked = _with_accept_encoding(scope)
        is_read = scope["type"] == "http" and scope["method"] == "GET"
        if is_read and scope["path"].startswith(_ADDRESS):
            answer = _styled(await whole_answer(self._app, asked, receive))
        elif is_read and _STUDY.fullmatch(scope["path"]):
            answer = await self._noted(await whole_answer(self._app, asked, receive))
        else:
            answer = self._app
        await answer(asked, receive, send)

    def address_of(self, study: str) -> str:
        """Return the address of a study in the dashboard.

        It is the dashboard's own where the study is not there.
        """
        try:
            self._start()
            return f"{_ADDRESS}/studies/{self._storage.get_study_id_from_name(study)}"
        except (HTTPException, KeyError):
            return _ADDRESS

    async def _noted(self, answer: Response) -> Response:
        """Return the dashboard's answer about a study, with our notes added.

        Answers about studies that are not ours stay as they are.
        """
        if answer.status_code != 200 or len(answer.body) > _MOST_BYTES:
            return answer
        document = await run_in_threadpool(json.loads, bytes(answer.body))
        name = await run_in_threadpool(self._name_of, document)
        if name is None:
            return answer
        note, factors = await self._note(name)

        def rewritten() -> bytes:
            return json.dumps(annotated(document, name, note, factors)).encode()

        return changed(await run_in_threadpool(rewritten), 200, answer.headers)

    def _name_of(self, document: dict[str, Any]) -> str | None:
        uid = next((a["value"] for a in document["user_attrs"] if a["key"] == STUDY_ATTRIBUTE), None)
        return None if uid is None else self._reader.name_of(uid)

    async def _note(self, study: str) -> tuple[StudyNote, Collection[str]]:
        """Return a study's note, and its factors. One that can't be read is shown all the same."""
        try:
            latest = await self._reader.latest("dashboard", study, patience_s=FIRST_ANSWER_S)
            spec = await run_in_threadpool(self._reader.spec, study)
        except (HTTPException, KDSearchError) as error:
            return _unanswered(error), ()
        return _latest_note(latest), spec.setup

    def _start(self) -> None:
        database = self._reader.database()
        with self._starting:
            if database is self._database:
                return
            if not inspect(database.engine).has_table("studies"):
                raise HTTPException(503, "The database has no Optuna study yet.")
            self._storage = _cached_storage(database)
            self._app = WSGIMiddleware(_dashboard(self._storage))
            self._database = database


def _latest_note(latest: Latest) -> StudyNote:
    if latest.kept is None:
        return plain_note("The answer is being computed. Look again in a moment.")
    if latest.kept.error is not None:
        return _unanswered(latest.kept.error)
    note: StudyNote = latest.kept.answer
    return note if latest.is_current else replace(note, text=f"{note.text}\n\n{latest.age()}")


def _unanswered(error: Exception) -> StudyNote:
    return plain_note(error.detail if isinstance(error, HTTPException) else str(error))


def _styled(page: Response) -> Response:
    """Return a dashboard page without the controls that can't work here."""
    body = bytes(page.body).replace(b"</head>", f"<style>{_STYLE}</style></head>".encode(), 1)
    return changed(body, page.status_code, page.headers)


def _with_accept_encoding(scope: Scope) -> Scope:
    """Return a request that says which encodings it takes: the dashboard fails on one that doesn't."""
    if scope["type"] != "http" or "accept-encoding" in Headers(scope=scope):
        return scope
    return {**scope, "headers": [*scope["headers"], (b"accept-encoding", b"identity")]}


def _cached_storage(database: Database) -> Any:
    from optuna.storages import get_storage

    return get_storage(open_optuna_storage(database))


def _dashboard(storage: Any) -> Any:
    from optuna_dashboard import wsgi

    return wsgi(storage)
