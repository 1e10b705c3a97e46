"""Whether a Ray cluster is there and asks for a token. To be called before Ray is imported.

Ray's client must be told beforehand whether to authenticate: with a wrong setting it retries for
minutes, or joins and loses every worker. `ray start` asks for a token as soon as its user has one, and
an embedded Ray makes one, so either may be met.
"""

import os
import secrets
from contextlib import suppress
from pathlib import Path

import grpc

from kdsearch.errors import RequestError
from kdsearch.schedule.cluster.ray_internals import CLUSTER_ID_METHOD, CURRENT_CLUSTER

TIMEOUT_S = 5.0
"""By hand: an address that does not answer by then is reported as such."""


def agree_on_token(address: str) -> None:
    """Set `RAY_AUTH_MODE` as the cluster at an address needs it.

    What the user has set stays.

    Raises:
        RequestError: No cluster answers there, or it asks for a token that this user lacks.
    """
    head = _head_of(address)
    if head is None or "RAY_AUTH_MODE" in os.environ or os.environ.get("RAY_USE_TLS") == "1":
        return
    asks_for_token = _asks_for_token(head)
    if asks_for_token and not _has_token():
        raise RequestError(
            f"The Ray cluster at {head} asks for a token. Copy ~/.ray/auth_token from its head, or set "
            "RAY_AUTH_TOKEN."
        )
    if asks_for_token is not None:
        os.environ["RAY_AUTH_MODE"] = "token" if asks_for_token else "disabled"


def give_token() -> None:
    """Let an embedded Ray ask for a token. The user's, or one of this process alone, kept in no file."""
    if os.environ.get("RAY_AUTH_MODE", "token").lower() != "token":
        return
    if not _has_token():
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    elif (path := _token_path()).is_file() and path.stat().st_mode & 0o077:  # as Ray itself makes it
        with suppress(OSError):
            path.chmod(0o600)


def send_token_if_any() -> None:
    """Let Ray's jobs client send the user's token, if there is one. A head that asks for none ignores it."""
    if _has_token():
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def _head_of(address: str) -> str | None:
    if address != "auto":
        return address.removeprefix("ray://")
    if noted := os.environ.get("RAY_ADDRESS"):
        return noted
    return CURRENT_CLUSTER.read_text().strip() if CURRENT_CLUSTER.is_file() else None


def _asks_for_token(head: str) -> bool | None:
    """Return whether a cluster asks for a token. None where its Ray has no such question any more."""
    with grpc.insecure_channel(head) as channel:
        cluster_id = channel.unary_unary(CLUSTER_ID_METHOD)
        try:
            cluster_id(b"", timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNAUTHENTICATED:
                return True
            if error.code() == grpc.StatusCode.UNIMPLEMENTED:
                return None
            raise RequestError(
                f"`--address` must be a running Ray cluster, and none answers at {head}. "
                "Start one with `ray start --head`, or leave --address out."
            ) from error
    return False


def _has_token() -> bool:
    return "RAY_AUTH_TOKEN" in os.environ or _token_path().is_file()


def _token_path() -> Path:
    return Path(os.environ.get("RAY_AUTH_TOKEN_PATH", "~/.ray/auth_token")).expanduser()
