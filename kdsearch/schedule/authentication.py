"""Whether a Ray cluster is there and asks for a token. To be called before Ray is imported.

Ray's client must be told beforehand whether to authenticate: with a wrong setting it retries for
minutes, or joins and loses every worker. `ray start` asks for a token as soon as its user has one, and
an embedded Ray makes one, so either may be met.
"""

import os
from pathlib import Path

import grpc

from kdsearch.errors import RequestError

TIMEOUT_S = 5.0
_CURRENT_CLUSTER = Path("/tmp/ray/ray_current_cluster")  # noqa: S108 - where Ray notes what `auto` means


def agree_on_token(address: str) -> None:
    """Set `RAY_AUTH_MODE` as the cluster at an address needs it, unless the user has set it.

    Raises:
        RequestError: No cluster answers there, or it asks for a token that this user lacks.
    """
    head = _head_of(address)
    if head is None or "RAY_AUTH_MODE" in os.environ or os.environ.get("RAY_USE_TLS") == "1":
        return
    if not _asks_for_token(head):
        os.environ["RAY_AUTH_MODE"] = "disabled"
    elif _has_token():
        os.environ["RAY_AUTH_MODE"] = "token"
    else:
        raise RequestError(
            f"The Ray cluster at {head} asks for a token. Copy ~/.ray/auth_token from its head, or set "
            "RAY_AUTH_TOKEN."
        )


def _head_of(address: str) -> str | None:
    if address != "auto":
        return address.removeprefix("ray://")
    if noted := os.environ.get("RAY_ADDRESS"):
        return noted
    return _CURRENT_CLUSTER.read_text().strip() if _CURRENT_CLUSTER.is_file() else None


def _asks_for_token(head: str) -> bool:
    with grpc.insecure_channel(head) as channel:
        cluster_id = channel.unary_unary("/ray.rpc.NodeInfoGcsService/GetClusterId")
        try:
            cluster_id(b"", timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNAUTHENTICATED:
                return True
            raise RequestError(
                f"`--address` must be a running Ray cluster, and none answers at {head}. "
                "Start one with `ray start --head`, or leave --address out."
            ) from error
    return False


def _has_token() -> bool:
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", "~/.ray/auth_token")).expanduser()
    return "RAY_AUTH_TOKEN" in os.environ or path.is_file()
