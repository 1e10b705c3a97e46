"""Answers of an app inside ours, changed once they are whole."""

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope

_CONDITIONS = (b"if-modified-since", b"if-none-match", b"if-range", b"range")
_OF_THE_BODY = (
    *("accept-ranges", "content-length", "date", "etag", "last-modified"),
    "transfer-encoding",
)


async def whole_answer(app: ASGIApp, scope: Scope, receive: Receive) -> Response:
    """Return an app's answer, without headers that fit only its body.

    Args:
        app: The app.
        scope: The request; its conditions and its range are not passed on, since they are about the answer
            after its change.
        receive: Gives the request's body.
    """
    start: Message = {}
    parts: list[bytes] = []

    async def keep(message: Message) -> None:
        if message["type"] == "http.response.start":
            start.update(message)
        else:
            parts.append(message.get("body", b""))

    asked = [(name, value) for name, value in scope["headers"] if name.lower() not in _CONDITIONS]
    await app({**scope, "headers": asked}, receive, keep)
    return changed(b"".join(parts), start["status"], Headers(raw=start["headers"]))


def changed(body: bytes, status: int, headers: Headers) -> Response:
    """Return an answer with another body."""
    kept = {name: value for name, value in headers.items() if name not in _OF_THE_BODY}
    return Response(body, status, kept)
