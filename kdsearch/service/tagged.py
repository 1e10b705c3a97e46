"""Entity tags. A client that has an answer already is told so instead of being sent it again."""

import hashlib

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_MOST_BYTES = 64 * 2**20
"""By hand: a digest takes a second of a gigabyte; larger answers are sent each time."""


class Tagged:
    """Gives whole answers an ETag, and 304 to clients that have it. Streams pass as they are."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        known = Headers(scope=scope).get("if-none-match", "")
        begun: list[Message] = []

        async def tagged(message: Message) -> None:
            if message["type"] == "http.response.start":
                begun.append(message)
                return
            if begun:
                start = begun.pop()
                message = _tag(start, message, known)
                await send(start)
            await send(message)

        await self._app(scope, receive, tagged)


def _tag(start: Message, message: Message, known: str) -> Message:
    """Add the tag to an answer's start, and return its body. It is empty where the client knows it."""
    headers, body = MutableHeaders(scope=start), message.get("body", b"")
    headers.setdefault("Cache-Control", "no-cache")
    is_whole = start["status"] == 200 and body and not message.get("more_body") and len(body) <= _MOST_BYTES
    if is_whole and "etag" not in headers:
        headers["ETag"] = f'W/"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    tag = headers.get("etag", "")
    if start["status"] != 200 or not tag or tag.removeprefix("W/") not in _tags(known) or not is_whole:
        return message
    start["status"] = 304
    for name in ("content-length", "content-type"):
        del headers[name]
    return {"type": "http.response.body", "body": b""}


def _tags(text: str) -> set[str]:
    return {tag.strip().removeprefix("W/") for tag in text.split(",")}
