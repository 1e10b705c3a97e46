"""`python -m kdsearch.bench`: each benchmark is a command in a module of its own, loaded when asked for."""

from importlib import import_module

import click

from kdsearch.cli.options import Commands

COMMANDS = {
    "calibration": "kdsearch.bench.calibration.command:calibration_command",
    "engine": "kdsearch.bench.engine.command:engine_command",
    "faults": "kdsearch.bench.faults.command:faults_command",
    "gains": "kdsearch.bench.gains:gains_command",
    "gpu_check": "kdsearch.bench.gpu_check.command:gpu_check_command",
    "guidance": "kdsearch.bench.guidance.command:guidance_command",
    "overhead": "kdsearch.bench.study.overhead:overhead_command",
    "pruning": "kdsearch.bench.search.pruning:pruning_command",
    "scale": "kdsearch.bench.scale.command:scale_command",
    "search": "kdsearch.bench.search.command:search_command",
    "table": "kdsearch.bench.calibration.making:table_command",
    "study": "kdsearch.bench.study.command:study_command",
    "verdicts": "kdsearch.bench.verdicts.command:verdicts_command",
    "widening": "kdsearch.bench.search.widening:widening_command",
}


class LazyGroup(Commands):
    """Loads a command's module only when it is asked for.

    Its help asks for it, too.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the commands' names."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Return a command, or None where there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command


@click.group(cls=LazyGroup)
def bench() -> None:
    """Measure kdsearch."""


if __name__ == "__main__":
    bench(prog_name="python -m kdsearch.bench")
