"""What a real browser makes of the pages; skipped where there is no Chromium."""

import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from kdsearch.analysis.report.file import write_report
from kdsearch.service import build_app
from kdsearch.storage import open_database

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--virtual-time-budget=20000"),
    *("--enable-logging=stderr", "--dump-dom"),
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
]


def browse(address: str, profile: Path) -> tuple[str, list[str]]:
    """Return a page's document once its scripts ran, and what the console complained about."""
    done = subprocess.run(
        [str(CHROMIUM), *OPTIONS, f"--user-data-dir={profile}", address],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    complaints = [
        line
        for line in done.stderr.splitlines()
        if "CONSOLE" in line and re.search(r"refused|violat|error|failed|warn", line, re.IGNORECASE)
    ]
    return done.stdout, complaints


@pytest.fixture
def address(storage_url) -> Iterator[str]:
    server = uvicorn.Server(uvicorn.Config(build_app(storage_url), port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        thread.join(0.05)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(20)


def drawn_figures(document: str) -> int:
    return len(re.findall(r'class="figure js-plotly-plot"', document))


def test_a_report_draws_its_figures_offline_under_its_own_policy(storage_url, tmp_path):
    with open_database(storage_url) as database:
        path = write_report(database, "demo", tmp_path / "report.html")
    document, complaints = browse(path.as_uri(), tmp_path / "profile")
    assert complaints == []
    assert drawn_figures(document) == 6


def test_a_studys_page_draws_its_figures(address, tmp_path):
    document, complaints = browse(f"{address}/studies/demo", tmp_path / "profile")
    assert complaints == []
    assert drawn_figures(document) == 6


def test_the_dashboard_shows_the_study(address, tmp_path):
    document, complaints = browse(f"{address}/dashboard/studies/1", tmp_path / "profile")
    assert complaints == []
    assert "demo (id=1)" in document
    assert "Hyperparameter Importance" in document
