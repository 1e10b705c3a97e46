"""What a study was run with: package versions and the source's git commit."""

import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("kdsearch-hpo", "torch", "torchvision", "optuna", "ray", "numpy", "scipy", "sqlalchemy")


def package_versions() -> dict[str, str]:
    """Return the versions of Python and the packages that decide results."""
    return dict(_installed())


@cache  # they are read from the packages' files, and a process keeps the code that it has loaded
def _installed() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def git_commit(directory: Path) -> str | None:
    """Return the commit of a git checkout, with `+changes` if files differ. None elsewhere."""
    commit = _git(directory, "rev-parse", "HEAD")
    if not commit:
        return None
    return f"{commit}+changes" if _git(directory, "status", "--porcelain", "--untracked-files=no") else commit


def _git(directory: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments
            ["git", *arguments],  # noqa: S607 - the user's git
            cwd=directory,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
