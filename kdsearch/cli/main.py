"""`kdsearch`: the commands, and what each error means for the exit code."""

import sys

import click
from sqlalchemy.exc import OperationalError

from kdsearch.cli import administer, ask, launch
from kdsearch.errors import KDSearchError, LiveDriverError, RequestError

FAILED, WRONG_REQUEST, LIVE_DRIVER, INTERRUPTED = 1, 2, 3, 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="kdsearch-hpo", prog_name="kdsearch")
def cli() -> None:
    """Find the best distillation temperature for each training setup.

    Start with `kdsearch launch studies/quickstart.yaml`.
    """


for command in (*launch.COMMANDS, *ask.COMMANDS, *administer.COMMANDS):
    cli.add_command(command)


def main() -> None:
    """Run the command line and exit with its code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code; errors are told on stderr, without a traceback."""
    try:
        cli.main(arguments, prog_name="kdsearch", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return WRONG_REQUEST
    except (KeyboardInterrupt, click.Abort):
        click.echo("Interrupted. The same command goes on where it stopped.", err=True)
        return INTERRUPTED
    except RequestError as error:
        return _told(error, WRONG_REQUEST)
    except LiveDriverError as error:
        return _told(error, LIVE_DRIVER)
    except (KDSearchError, OperationalError) as error:
        return _told(getattr(error, "orig", None) or error, FAILED)
    except BrokenPipeError:  # the reader of our output has seen enough, as in `kdsearch trials | head`
        sys.stderr.close()
        return 0
    return 0


def _told(error: BaseException, code: int) -> int:
    click.echo(f"kdsearch: {error}", err=True)
    return code
