"""Runs the service on a port of this machine."""

import errno
import ipaddress
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

import uvicorn
from starlette.applications import Starlette

from kdsearch.errors import RequestError
from kdsearch.service.app import build_app
from kdsearch.service.guard import LOOPBACK_NAMES

TOKEN_VARIABLE = "KDSEARCH_TOKEN"  # noqa: S105 - a variable's name


def run(
    storage_url: str,
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    announce: Callable[[str], None] = print,
) -> None:
    """Serve a database's studies until interrupted.

    On loopback anyone on this machine may read. Beyond it, requests must carry the token in
    `KDSEARCH_TOKEN`, as a bearer token or as the password that a browser asks for; where that is
    set, it is asked for on loopback too.

    Args:
        storage_url: The database's URL; it need not exist yet.
        host: The address to listen on.
        port: The port, by custom 8080; 0 for any free one.
        announce: Is told the service's address once it listens.

    Raises:
        RequestError: The port is taken, the address is not this machine's, or a token is missing.
    """
    token = os.environ.get(TOKEN_VARIABLE) or None
    is_local = _is_loopback(host)
    if not is_local and token is None:
        raise RequestError(
            f"`--host` must be a loopback address without a token, got {host}. Set {TOKEN_VARIABLE} to a "
            "long secret; the connection itself is not encrypted."
        )
    app = build_app(storage_url, hosts=LOOPBACK_NAMES if is_local else None, token=token)
    with _listen(host, port) as listener:
        config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False)
        announce(f"http://{_shown(host)}:{listener.getsockname()[1]}/")
        with suppress(KeyboardInterrupt):  # how a service ends
            _Server(config).run(sockets=[listener])


class _Server(uvicorn.Server):
    """Ends the streams of open pages first. The server waits for what is still being answered."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        app = self.config.app
        assert isinstance(app, Starlette)  # noqa: S101 - as `run` builds it
        app.state.is_closing = True
        super().handle_exit(sig, frame)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise RequestError(f"`--port` must be free, got {port}, which is taken. Try --port 0.") from error
        raise RequestError(f"`--host {host}` `--port {port}` can't be used: {error.strerror}.") from error
    return listener


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
