"""Options that several benchmarks share."""

from pathlib import Path

import click

spec_argument = click.argument(
    "spec", type=click.Path(path_type=Path), default=Path("studies/quickstart.yaml")
)
rounds_option = click.option("--rounds", default=1, show_default=True, help="Turns of each way.")
