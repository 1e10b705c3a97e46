"""Forks Python processes from one with their imports, whose memory they share.

So many more of Ray's workers fit on a machine, at a tenth of their time to start. This module is the process
that forks; it is run by `forking_python`, and takes who asks it over a socket.
"""

import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]  # has no stubs of its own

_MOST_WAITING = 1024  # by hand: far more than the workers that ask at once
_MESSAGE_BYTES = 2**20  # of one read; longer wishes take several
# Asks for a process that runs a script in this one's folder and environment, with its output.
_ASK = """
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as template:
    template.connect(sys.argv[1])
    wish = {"argv": sys.argv[2:], "environment": dict(os.environ), "folder": os.getcwd()}
    socket.send_fds(template, [json.dumps(wish).encode()], [1, 2])
    template.shutdown(socket.SHUT_WR)
    template.recv(1)
"""


@contextmanager
def forking_python(folder: Path, modules: Sequence[str]) -> Iterator[str]:
    """Give a command that runs a script as `python` does.

    It does not wait for the script's end.

    Args:
        folder: Where the command's script and its socket go; a short path.
        modules: What is imported once, in the environment of the first that asks.
    """
    (folder / "ask.py").write_text(_ASK)
    address = folder / "template.sock"
    command = [sys.executable, "-m", __name__, str(address), *modules]
    with psutil.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as template:
        template.stdout.readline()
        try:
            yield f"{sys.executable} -I -S {folder / 'ask.py'} {address}"
        finally:
            for process in (*template.children(), template):
                with suppress(psutil.NoSuchProcess):
                    process.kill()


def serve(address: str, modules: Sequence[str]) -> None:
    """Fork a process for each request, until standard input is closed."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    is_ready = False
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen(_MOST_WAITING)
        print("listening", flush=True)
        while listening in select.select([listening, sys.stdin], [], [])[0]:
            asking, _ = listening.accept()
            with asking:
                wish, outputs = _received(asking)
                if not is_ready:
                    _import(modules, wish["environment"])
                    is_ready = True
                if os.fork() == 0:
                    listening.close()
                    asking.close()
                    _become(wish, outputs)
                for output in outputs:
                    os.close(output)


def _received(asking: socket.socket) -> tuple[dict[str, Any], list[int]]:
    text, outputs, _, _ = socket.recv_fds(asking, _MESSAGE_BYTES, 2)
    while part := asking.recv(_MESSAGE_BYTES):
        text += part
    return json.loads(text), outputs


def _import(modules: Sequence[str], environment: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    for module in modules:
        import_module(module)
    gc.collect()
    gc.freeze()  # else the collector would write to what is shared


def _become(wish: Mapping[str, Any], outputs: Sequence[int]) -> None:
    """Run the script that is asked for; this never returns."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()  # Ray ends a worker with its group
    for output, number in zip(outputs, (1, 2), strict=True):
        os.dup2(output, number)
        os.close(output)
    os.chdir(wish["folder"])
    os.environ.clear()
    os.environ.update(wish["environment"])
    sys.argv = wish["argv"]
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except Exception:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2:])
