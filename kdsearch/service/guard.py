"""What every request must pass. It only reads, it is meant for this service, it may come in."""

import base64
import binascii
import hmac
from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})

MOST_CHARACTERS = 8_192
"""Of an address with its query; browsers and proxies take no more either."""

MOST_AT_ONCE = 500
"""Requests; those behind them are told so at once instead of waiting for ever."""

_SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Guard:
    """Refuses requests that write, name another host, or lack the token.

    Args:
        app: What the accepted requests go to.
        hosts: The names under which the service may be asked; None for any. It keeps pages of other
            sites from reading a service on loopback through a name that they point at it.
        token: Must come as a bearer token, or as the password of basic authentication.
    """

    def __init__(self, app: ASGIApp, *, hosts: Collection[str] | None, token: str | None) -> None:
        self._app = app
        self._hosts = hosts
        self._token = token
        self._n_now = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request or pass it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_SECURITY_HEADERS)
            await send(message)

        answer = self._refusal(scope["method"], Headers(scope=scope)) or self._bound(scope) or self._app
        self._n_now += 1
        try:
            await answer(scope, receive, send_with_headers)
        finally:
            self._n_now -= 1

    def _bound(self, scope: Scope) -> Response | None:
        """Return the refusal of what is too long or one too many."""
        length = len(scope.get("raw_path") or b"") + len(scope["query_string"])
        if length > MOST_CHARACTERS:
            message = f"The address must have at most {MOST_CHARACTERS:,} characters, got {length:,}."
            return _refuse(414, message)
        if self._n_now >= MOST_AT_ONCE:
            message = "Too many requests at once. Ask again in a moment."
            return _refuse(503, message, {"Retry-After": "5"})
        return None

    def _refusal(self, method: str, headers: Headers) -> Response | None:
        if self._hosts is not None and _host_name(headers) not in self._hosts:
            names = ", ".join(sorted(self._hosts))
            return _refuse(400, f"The host must be one of {names}, got {headers.get('host', '')!r}.")
        if self._token is not None and not _has_token(headers, self._token):
            challenge = {"WWW-Authenticate": 'Basic realm="kdsearch", charset="UTF-8"'}
            return _refuse(
                401, "The token is missing or wrong: send it as a bearer token, or as password.", challenge
            )
        if method not in ("GET", "HEAD"):
            message = "This service only reads: studies are changed by the kdsearch command alone."
            told = {"error": message, "reason": message}  # the dashboard shows a `reason`
            return JSONResponse(told, 405, headers={"Allow": "GET, HEAD"})
        return None


def _refuse(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": message}, status_code=status, headers=headers)


def _host_name(headers: Headers) -> str:
    host = headers.get("host", "").lower()
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host


def _has_token(headers: Headers, token: str) -> bool:
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            _, _, credentials = base64.b64decode(credentials, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return False
    elif scheme.lower() != "bearer":
        return False
    return hmac.compare_digest(credentials.encode(), token.encode())
