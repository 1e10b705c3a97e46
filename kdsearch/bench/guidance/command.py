"""`python -m kdsearch.bench guidance`: writes docs/guidance.md from the results of studies."""

from pathlib import Path

import click

from kdsearch.bench.guidance.evidence import evidence_in
from kdsearch.bench.guidance.page import guidance_page

_folder = click.Path(path_type=Path, exists=True, file_okay=False)


@click.command("guidance")
@click.option("--results", type=_folder, default=Path("docs/results"), show_default=True)
@click.option("--studies", type=_folder, default=Path("studies/paper"), show_default=True)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), default=Path("docs/guidance.md"))
def guidance_command(results: Path, studies: Path, out: Path) -> None:
    """Compute guidance on temperatures from the results of studies.

    It says where to start, how wide to search and what T = 4 costs.
    """
    out.write_text(guidance_page(evidence_in(results, studies)), encoding="utf-8")
    click.echo(f"Wrote {out}.")
