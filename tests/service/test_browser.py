"""What a real browser makes of the pages.

The tests are skipped where there is no Chromium.
"""

import base64
import io
import math
import shutil
import threading
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
import uvicorn

import kdsearch
from kdsearch.analysis.report.file import write_report
from kdsearch.service import build_app
from kdsearch.spec import TEMPERATURE
from kdsearch.storage import StudyRecord, load_spec_of, open_database
from kdsearch.trial import TrialResult

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
pypdf = pytest.importorskip("pypdf", reason="needs pypdf")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PHONE = {"width": 390, "height": 844}  # pixels of a common phone
PATIENCE_MS = 120_000  # a busy machine draws late; only a hanging page waits so long
PAGES = (
    "/",
    "/studies/demo",
    "/studies/demo?level=0.8&where=optimizer.name%3Dsgd",
    "/studies/demo/trials",
    "/studies/demo/trials?state=failed",
    "/studies/demo/trials/0",
    "/studies/demo/trials/3",
    "/studies/demo/what-if?optimizer.name=adam",
    "/studies/demo/spec",
    "/studies/other",
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
]


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def serve(answers) -> Iterator[Callable[..., str]]:
    """Serve a database, and return where."""
    running = []

    def start(url: str, **options) -> str:
        app = build_app(url, answers=answers, **options)
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            thread.join(0.05)
        running.append((app, server, thread))
        return f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"

    yield start
    for app, server, thread in running:
        app.state.is_closing = True
        server.should_exit = True
        thread.join(30)


@pytest.fixture
def open_page(browser) -> Iterator[Callable[..., object]]:
    """Open a page that must complain about nothing."""
    contexts = []
    complaints: list[str] = []

    def visit(address: str, **options):
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on(
            "console", lambda message: complaints.append(message.text) if message.type != "info" else None
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(address)
        return page

    yield visit
    for context in contexts:
        context.close()
    assert complaints == []


def wait_for_answer(page) -> None:
    page.wait_for_function("!document.body.textContent.includes('being computed')")


def runs_over(page) -> int:
    """Return how many pixels a page is wider than its window."""
    return page.evaluate("document.documentElement.scrollWidth - innerWidth")


def add_trial(url: str, temperature: float) -> int:
    with open_database(url) as database:
        spec = load_spec_of(database, "demo")
        record = StudyRecord.open(database, spec)
        (trial,) = record.start(spec.setups()[0], [{TEMPERATURE: temperature}], "pack-new")
        accuracy = 0.9 - 0.01 * math.log(temperature / 6) ** 2
        record.finish(TrialResult(trial.number, "complete", 20, {"val_accuracy": accuracy}))
    return trial.number


def test_an_open_page_follows_its_study_without_a_reload(tmp_path, store, serve, open_page):
    url = f"sqlite:///{tmp_path}/live.db"
    store(url)
    page = open_page(f"{serve(url)}/studies/demo", viewport={"width": 1280, "height": 600})
    page.wait_for_selector(".card svg.chart .mean")
    page.evaluate("window.isTheSame = true")
    page.get_by_role("button", name="best T").focus()
    page.evaluate("scrollTo(0, 900)")
    before = page.locator(".card path.mean").first.get_attribute("d")
    number = add_trial(url, 20.0)
    page.wait_for_selector(f"[data-trial='{number}']", state="attached")
    page.wait_for_function(
        "old => document.querySelector('.card path.mean').getAttribute('d') !== old", arg=before
    )
    page.wait_for_function("document.getElementById('standing').textContent.includes('17 of 16 trials')")
    assert page.evaluate("[window.isTheSame, document.activeElement.textContent, scrollY]") == [
        True,
        "best T",
        900,
    ]


def test_the_list_of_studies_follows_too_and_finds_by_name(tmp_path, store, serve, open_page):
    url = f"sqlite:///{tmp_path}/list.db"
    store(url, "first")
    page = open_page(serve(url))
    page.get_by_role("searchbox").fill("sec")
    assert not page.get_by_role("link", name="first").is_visible()
    store(url, "second", per_setup=0)
    page.get_by_role("link", name="second").wait_for()
    assert page.get_by_role("searchbox").input_value() == "sec"
    assert not page.get_by_role("link", name="first").is_visible()


def test_tables_are_sorted_by_the_keyboard_and_a_dot_leads_to_its_trial(storage_url, serve, open_page):
    page = open_page(f"{serve(storage_url)}/studies/demo")
    page.wait_for_selector("table.sortable")
    column = "[...document.querySelectorAll('table.sortable tbody tr')].map(row => row.cells[0].textContent)"
    assert page.evaluate(column) == ["sgd", "adamw"]
    page.get_by_role("button", name="optimizer name").press("Enter")
    assert page.evaluate(column) == ["adamw", "sgd"]
    page.locator("circle[data-trial='3']").click(force=True)
    page.get_by_role("heading", name="Trial 3 of demo").wait_for()
    assert "kdsearch reproduce demo 3" in page.locator("main").inner_text()
    assert page.locator("svg.chart circle").count() == 4


def test_a_form_asks_only_for_what_was_filled_in(storage_url, serve, open_page):
    page = open_page(f"{serve(storage_url)}/studies/demo/trials")
    page.locator("select[name=state]").select_option("failed")
    page.get_by_role("button", name="Show").click()
    page.wait_for_url("**/trials?state=failed&sort=number&order=up")
    assert page.get_by_role("heading", name="2 trials").is_visible()


@pytest.mark.parametrize("look", [{"color_scheme": "light"}, {"color_scheme": "dark", "viewport": PHONE}])
def test_every_page_is_accessible_and_fits_its_window(storage_url, serve, browser, look):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe").Axe()
    address = serve(storage_url)
    context = browser.new_context(
        bypass_csp=True, reduced_motion="reduce", **look
    )  # axe is a script of its own
    page = context.new_page()
    for path in PAGES:
        page.goto(f"{address}{path}")
        wait_for_answer(page)
        found = axe.run(page)
        assert found.violations_count == 0, (path, found.generate_report())
        assert runs_over(page) <= 0, path
    context.close()


def test_a_page_asks_for_the_token_and_works_with_it(storage_url, serve, open_page):
    address = serve(storage_url, token="secret")
    page = open_page(f"{address}/studies/demo", http_credentials={"username": "", "password": "secret"})
    page.wait_for_selector(".card svg.chart .mean")


def test_a_report_opens_offline_and_is_printed_whole(storage_url, tmp_path, open_page):
    with open_database(storage_url) as database:
        path = write_report(database, "demo", tmp_path / "report.html")
    assert path.stat().st_size < 10**6
    page = open_page(path.as_uri(), offline=True, viewport=PHONE)
    assert page.locator("svg.chart").count() == 6
    assert runs_over(page) <= 0
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 688, "height": 1000})  # A4 between its margins
    assert runs_over(page) <= 0
    ends = page.evaluate(
        "[...document.querySelectorAll('svg, table')].map(e => e.getBoundingClientRect().right)"
    )
    assert max(ends) <= 688
    session = page.context.new_cdp_session(page)
    printed = base64.b64decode(session.send("Page.printToPDF", {"preferCSSPageSize": True})["data"])
    figures = kdsearch.open_study("demo", storage=storage_url).figures()
    assert_every_panel_is_printed(printed, list(figures.values()))


def assert_every_panel_is_printed(pdf: bytes, figures) -> None:
    """Count in a PDF itself: its pages are A4, and every panel's title and words are on them."""
    pages = pypdf.PdfReader(io.BytesIO(pdf)).pages
    assert {(round(page.mediabox.width), round(page.mediabox.height)) for page in pages} == {(595, 842)}
    texts = [" ".join(unicodedata.normalize("NFKC", page.extract_text()).split()) for page in pages]
    panels = Counter(f"{part.title} {part.words}".strip() for figure in figures for part in figure.parts)
    assert sum(panels.values()) == sum(len(figure.parts) for figure in figures) > 15
    for panel, count in panels.items():
        assert sum(text.count(panel) for text in texts) == count, panel
    for figure in figures:
        (page,) = (text for text in texts if figure.title in text)
        assert figure.parts[0].title in page.split(figure.title)[1], "no heading ends a page"


def test_the_dashboard_shows_our_note_and_curves_and_hides_what_would_write(tmp_path, store, serve, browser):
    url = f"sqlite:///{tmp_path}/dashboard.db"
    store(url)
    with open_database(url) as database:
        spec = load_spec_of(database, "demo")
        (running,) = StudyRecord.open(database, spec).start(spec.setups()[0], [{TEMPERATURE: 3.0}], "pack")
    address, page, failed = serve(url), browser.new_page(), []
    page.set_default_timeout(PATIENCE_MS)
    page.on("requestfailed", lambda request: failed.append(request.url))
    page.on("response", lambda response: failed.append(response.url) if response.status >= 400 else None)
    page.on("pageerror", lambda error: failed.append(str(error)))
    while "being computed" in page.request.get(f"{address}/api/studies/1").text():
        page.wait_for_timeout(100)

    page.goto(f"{address}/studies/demo/dashboard")
    page.get_by_text("demo (id=1)").first.wait_for()
    page.get_by_text("Hyperparameter Importance").first.wait_for()
    for number, name in ((1, "sgd"), (2, "adamw")):
        figure = page.locator(f"[id='user-defined-plot:kdsearch-{number}']")
        figure.get_by_text(name, exact=True).wait_for()
        assert figure.locator(".scatterlayer path.js-fill").count() == 1
    would_write = {
        "/dashboard": ["AddBoxIcon", "DriveFileRenameOutlineIcon", "DeleteIcon"],
        "/dashboard/studies/1/note": ["EditIcon"],
        f"/dashboard/studies/1/trials?numbers={running.number}": ["EditIcon", "StopCircleIcon"],
    }
    for path, icons in would_write.items():
        page.goto(f"{address}{path}")
        for icon in icons:
            found = page.get_by_test_id(icon)
            found.wait_for(state="attached")
            assert not found.is_visible(), (path, icon)
    page.goto(f"{address}/dashboard/studies/1/note")
    page.get_by_text("The recommended temperatures go from").wait_for()
    page.get_by_role("link", name="All that is known of demo").click()
    page.get_by_role("heading", name="demo").wait_for()
    assert failed == []
    page.close()
