"""A user's own objects, named `package.module:name`."""

import inspect
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager, redirect_stdout
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any

from kdsearch.errors import KDSearchError, RequestError

MOST_CHARACTERS = 1000
"""A reason is read by people and kept for each trial: more of an error's text helps nobody."""

_LIBRARIES = tuple(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))
_OURS = str(Path(__file__).parents[1])


def load_factory(name: str, setting: str) -> Callable[..., Any]:
    """Return the callable that `package.module:name` names.

    Args:
        name: The module and the callable in it.
        setting: The spec's path that holds the name, for the error message.

    Raises:
        RequestError: There is no such module or callable, or the module can't be imported; in one line.
    """
    module_name, _, attribute = name.partition(":")
    try:
        with neutral_command_line(module_name), undisturbed():
            module = import_module(module_name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a module may do anything when it is imported
        raise RequestError(
            f"`{setting}` must be importable, got {name!r}: {_import_problem(error, module_name)}"
        ) from error
    if not hasattr(module, attribute):
        raise RequestError(
            f"`{setting}` must be importable, got {name!r}: {module_name!r} has no {attribute!r}. "
            f"Check its spelling, and that {getattr(module, '__file__', None)} is what was meant."
        )
    factory = getattr(module, attribute)
    if not callable(factory):
        raise RequestError(
            f"`{setting}` must name a function or class, got {name!r}, a {type(factory).__name__}."
        )
    return factory  # type: ignore[no-any-return]  # of a module that only the user knows


@contextmanager
def neutral_command_line(name: str) -> Iterator[None]:
    """Hide the program's command line from a module that reads it. It is kdsearch's own or a Ray worker's."""
    before = sys.argv
    sys.argv = [name]
    try:
        yield
    finally:
        sys.argv = before


@contextmanager
def undisturbed() -> Iterator[None]:
    """Keep the working directory and standard output from a user's code.

    The folder decides which database is opened and what relative paths mean; what is printed would be in the
    midst of an answer's JSON, and goes to standard error.
    """
    with chdir("."), redirect_stdout(sys.stderr):
        yield


def check_call(function: Callable[..., Any], name: str, setting: str, *arguments: str) -> None:
    """Check that a user's function takes some arguments by position.

    Raises:
        RequestError: It takes others, or it is a class, a coroutine or a generator.
    """
    asked = f"a function of ({', '.join(arguments)})"
    kind = _other_kind(function)
    if kind is not None:
        raise RequestError(f"`{setting}` must name {asked}, got {name!r}, {kind}.")
    signature = signature_of(function)
    if signature is None:
        return
    try:
        signature.bind(*arguments)
    except TypeError as error:
        raise RequestError(
            f"`{setting}` must name {asked}, got {name!r}, which takes {signature}: {error}."
        ) from error


def signature_of(function: Callable[..., Any]) -> inspect.Signature | None:
    """Return what a function takes. None of a builtin, which does not tell.

    A wrapper that takes anything takes what it wraps does; one that names its arguments takes these.
    """
    try:
        own = inspect.signature(function, follow_wrapped=False)
        takes_any = any(
            own.parameters[name].kind is inspect.Parameter.VAR_POSITIONAL for name in own.parameters
        )
        return inspect.signature(function) if takes_any else own
    except ValueError:
        return None


def words_of(error: BaseException) -> str:
    """Return what an error says, in a bounded text. Every database takes it and every terminal shows it."""
    if isinstance(error, SystemExit):
        text = f"it ended the program: {_exit_words(error)}"
    else:
        words = "out of memory: " if isinstance(error, MemoryError) else ""
        text = f"{words}{type(error).__name__}: {_said_by(error)}"
    return bounded("".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text))


def first_words_of(error: BaseException) -> str:
    """Return an error's kind and the first line of what it says."""
    return f"{type(error).__name__}: {(_said_by(error) or '?').splitlines()[0]}"


def _said_by(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as other:  # a user's error, which can't be written out itself
        return f"(its text raises {type(other).__name__})"


def reason_of(error: BaseException) -> str:
    """Return why a training failed, with the place in a user's code. Our own errors say all themselves."""
    if isinstance(error, KDSearchError):
        return bounded(str(error))
    where = place_of(error.__traceback__)
    return bounded(f"{words_of(error)} ({where})" if where else words_of(error))


def bounded(text: str) -> str:
    """Return a text of at most `MOST_CHARACTERS`: its beginning and its end."""
    if len(text) <= MOST_CHARACTERS:
        return text
    half = (MOST_CHARACTERS - 3) // 2
    return f"{text[:half]} … {text[-half:]}"


def place_of(trace: TracebackType | None) -> str | None:
    """Return the file and line where an error arose.

    It is the last line of a user's code, or the last of any where none is the user's.
    """
    frames = [frame for frame in traceback.extract_tb(trace) if not frame.filename.startswith("<")]
    own = [f for f in frames if not f.filename.startswith((*_LIBRARIES, _OURS))]
    if not frames:
        return None
    frame = (own or frames)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno}"


def _other_kind(function: Callable[..., Any]) -> str | None:
    if inspect.isclass(function):
        return "a class"
    if inspect.iscoroutinefunction(function):
        return "a coroutine"
    return "a generator" if inspect.isgeneratorfunction(function) else None


def _import_problem(error: BaseException, module_name: str) -> str:
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg} ({Path(error.filename or '?').name}:{error.lineno})."
    where = place_of(error.__traceback__)
    at = f" ({where})" if where else ""
    if isinstance(error, SystemExit):
        return (
            f"importing it ends the program: {_exit_words(error)}{at}. "
            "Put what parses a command line or trains under `if __name__ == '__main__':`."
        )
    said = " ".join(words_of(error).split())
    if isinstance(error, ModuleNotFoundError) and module_name.startswith(str(error.name)):
        return f"{error}. Run from the folder that holds it, put that on PYTHONPATH, or install its package."
    return f"{said}{at}."


def _exit_words(error: SystemExit) -> str:
    return f"SystemExit: {error.code}"
