"""`kdsearch`: the commands, and what each error means for the exit code."""

import io
import os
import sys
from contextlib import suppress
from typing import Any

import click

from kdsearch.cli import administer, answer, ask, data, import_, launch, verdict
from kdsearch.cli.options import Commands
from kdsearch.errors import LiveDriverError, RequestError

FAILED, WRONG_REQUEST, LIVE_DRIVER, INTERRUPTED = 1, 2, 3, 130  # exit codes; 130 is a shell's for SIGINT


class _ReaderGoneError(Exception):
    """Raised when the reader of our output has gone.

    So it is with `kdsearch trials STUDY | head`.
    """


class _Commands(Commands):
    """The commands. A closed pipe is told to `run`, of which click would make exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that the context names."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise _ReaderGoneError from error


@click.group(
    cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(package_name="kdsearch-hpo", prog_name="kdsearch")
def cli() -> None:
    """Find the best distillation temperature for each training setup.

    Start with `kdsearch launch studies/quickstart.yaml`.
    """


for command in (
    *launch.COMMANDS,
    *data.COMMANDS,
    *ask.COMMANDS,
    *verdict.COMMANDS,
    *answer.COMMANDS,
    *import_.COMMANDS,
    *administer.COMMANDS,
):
    cli.add_command(command)


def main() -> None:
    """Run the command line and exit with its code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a locale without `…` is no reason to fail
    code = run(sys.argv[1:])
    if code == INTERRUPTED and "ray" in sys.modules:
        _end_at_once(code)
    sys.exit(code)


def _end_at_once(code: int) -> None:
    """End without what C++ does at a process's end. A Ray whose start was interrupted may crash in it."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code. Errors are told on stderr, without a traceback."""
    try:
        cli.main(arguments, prog_name="kdsearch", standalone_mode=False)
        sys.stdout.flush()  # here, where a full disk has words
    except click.ClickException as error:
        error.show()
        return WRONG_REQUEST
    except (KeyboardInterrupt, click.Abort):
        click.echo("Interrupted. The same command goes on where it stopped.", err=True)
        return INTERRUPTED
    except (_ReaderGoneError, BrokenPipeError):
        _drop_output()
    except Exception as error:
        return _report_error(error)
    return 0


def _drop_output() -> None:
    """Send what Python still flushes at its end where it can't fail."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _report_error(error: Exception) -> int:
    """Report what went wrong in words and return its exit code. Raise what is a mistake of ours again."""
    from kdsearch.storage.sql.failures import explained

    if isinstance(error, OSError) and error.filename is None:  # it may be of the output itself
        _drop_output()
    told = explained(error)
    if told is None:
        raise error
    with suppress(OSError):  # where it would be told may be full as well
        click.echo(f"kdsearch: {told}", err=True)
    kinds = ((RequestError, WRONG_REQUEST), (LiveDriverError, LIVE_DRIVER))
    return next((code for kind, code in kinds if isinstance(told, kind)), FAILED)
