"""Prints the lowest release that pyproject.toml allows of each package the light tests need, one a line.

Run as `python .ci/lowest.py pyproject.toml`; pip reads what it prints (see `make lowest`).
"""

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

# Gigabytes that the light tests only touch: these come from the main environment, at their newest.
LARGE = {"torch", "torchvision", "ray", "timm", "transformers"}
# These need newer releases than kdsearch without them does: their tests are skipped beside older ones.
NEWER = {"mcp", "schemathesis"}
# What only `make lint` and `make docs` run.
CHECKERS = {"furo", "import-linter", "mypy", "myst-parser", "ruff", "sphinx", "types-pyyaml"}
BOUND = re.compile(r"(?P<name>[\w.-]+)(?P<extras>\[[^]]*\])?>=(?P<lowest>[\d.]+)")


def lowest(project: dict) -> Iterator[str]:
    """Give `name==bound` for each dependency, those of the extras included."""
    extras = project["optional-dependencies"].values()
    for requirement in (*project["dependencies"], *(each for extra in extras for each in extra)):
        name = re.split(r"[^\w.-]", requirement)[0].lower()
        if name in LARGE | NEWER | CHECKERS | {project["name"]}:
            continue
        bound = BOUND.match(requirement)
        if bound is None:
            sys.exit(
                f"`{requirement}` in pyproject.toml must name its lowest release. Write it as NAME>=X.Y."
            )
        yield f"{bound['name']}{bound['extras'] or ''}=={bound['lowest']}"


def check_python(project: dict) -> None:
    """Stop where Python is newer than the lowest: old releases have no wheels for it."""
    oldest = project["requires-python"].removeprefix(">=")
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    if own != oldest:
        sys.exit(
            f"The lowest releases need Python {oldest}, this is {own}. "
            f"Run `make clean`, then `make PYTHON=python{oldest} lowest`."
        )


if __name__ == "__main__":
    told = tomllib.loads(Path(sys.argv[1]).read_text())["project"]
    check_python(told)
    print(*lowest(told), sep="\n")
