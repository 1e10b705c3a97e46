"""Options that several benchmarks share."""

from pathlib import Path

import click

spec_argument = click.argument(
    "spec", type=click.Path(path_type=Path), default=Path("studies/quickstart.yaml")
)
jobs_option = click.option(
    "--jobs", default=1, type=click.IntRange(1), help="Studies at a time, a process each."
)
results_option = click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file that gets a line of JSON for each study. What is in it is not run again, and all that is "
    "in it is summarised.",
)
rounds_option = click.option("--rounds", default=1, show_default=True, help="Turns of each way.")
