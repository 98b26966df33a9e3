"""Every page of the built book in headless Chromium, with the network blocked.

Skipped when there is no built book or no Chromium, unless FSFT_REQUIRE_BOOK=1, as `make check-book` sets it.
"""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import threading
from pathlib import Path

import pytest

pytest.importorskip("papermill", reason="the book needs the extra `book`")

from bs4 import BeautifulSoup
from builder.staging import toc_pages

pytestmark = pytest.mark.book

ROOT = Path(__file__).resolve().parents[2]
BUILT = Path(os.environ.get("FSFT_BOOK", ROOT / "_build" / "book"))
WIDTHS = (360, 1280)
PAPER = 718  # pixels, what the usual margins leave of A4
THEMES = ("light", "dark")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
# axe-core rules that the pages may break, each with its reason. None is needed.
KNOWN_VIOLATIONS: dict[str, str] = {}


def absent() -> str | None:
    """Why the pages cannot be opened here, or None."""
    if not (BUILT / "_build" / "html" / "index.html").is_file():
        return "there is no built book: run `make book` first"
    if shutil.which("chromium") is None:
        return "there is no chromium on the PATH: install the system's package"
    return None


def pages() -> list[str]:
    """The pages of the contents and the search page; one stand-in where there is no built book."""
    if absent():
        return ["book"]
    return [*toc_pages(BUILT), "search"]


def require_book() -> None:
    """Skip, or fail when the caller asked for the book to be there."""
    if reason := absent():
        if os.environ.get("FSFT_REQUIRE_BOOK") == "1":
            pytest.fail(reason)
        pytest.skip(reason)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="session")
def address():
    require_book()
    handler = functools.partial(_Quiet, directory=str(BUILT / "_build" / "html"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="session")
def chromium():
    require_book()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium, address):
    """Open a page in a window; gives the page and what went wrong while it loaded."""
    contexts = []

    def open_page(name, width=1280, javascript=True):
        context = chromium.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="light",
            java_script_enabled=javascript,
            reduced_motion="reduce",  # what is half faded in has little contrast
        )
        context.set_default_timeout(180_000)  # for a busy machine
        contexts.append(context)
        page, faults = context.new_page(), []

        def route(call):
            if call.request.url.startswith(address):
                call.continue_()
            else:
                faults.append(f"asked the network for {call.request.url}")
                call.abort()

        page.route("**/*", route)
        page.on("console", lambda m: faults.append(f"console: {m.text}") if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: faults.append(f"script error: {error}"))
        page.on("requestfailed", lambda request: faults.append(f"failed: {request.url}"))
        page.on("response", lambda r: faults.append(f"status {r.status}: {r.url}") if r.status >= 400 else None)
        page.goto(f"{address}{name}.html")
        page.wait_for_load_state("networkidle")
        if javascript and page.locator(".math").count():
            page.wait_for_function("window.MathJax?.startup?.promise")
            page.evaluate("async () => { await MathJax.startup.promise }")
            page.wait_for_load_state("networkidle")
        return page, faults

    yield open_page
    for context in contexts:
        context.close()


# What a phone shows of a page. A word ends at a blank, a dash or a slash, where a line may break.
NARROW_CAPTIONS = """[...document.querySelectorAll('article caption')].filter(e => e.checkVisibility()
    && e.getBoundingClientRect().width < 0.45 * e.closest('.fsft-table').clientWidth).map(e => e.innerText)"""
WIDE_FORMULAS = """[...document.querySelectorAll('mjx-container[display="true"]')].filter(e =>
    Math.max(e.scrollWidth, e.parentElement.scrollWidth) > e.parentElement.clientWidth + 1).map(e =>
    e.closest('section').querySelector('h1, h2, h3').innerText)"""
CUT_TABLES = """[...document.querySelectorAll('.fsft-table, .pst-scrollable-table-container')].filter(e =>
    e.scrollWidth > e.clientWidth + 1).map(e => e.innerText.slice(0, 80))"""
BROKEN_WORDS = r"""() => {
    const broken = [], range = document.createRange();
    for (const cell of document.querySelectorAll('article :is(td, th, caption)')) {
        if (getComputedStyle(cell.closest('thead') ?? cell).position === 'absolute') continue;
        const texts = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
        while (texts.nextNode()) for (const word of texts.currentNode.data.matchAll(/[^\s\-/–—,]+/g)) {
            range.setStart(texts.currentNode, word.index);
            range.setEnd(texts.currentNode, word.index + word[0].length);
            const lines = [...range.getClientRects()].filter(box => box.width > 0.5).map(box => Math.round(box.top));
            if (new Set(lines).size > 1) broken.push(word[0]);
        }
    }
    return broken;
}"""


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", pages())
def test_a_page_loads_whole_and_is_accessible(visit, name, width):
    page, faults = visit(name, width)
    assert page.locator(".math").count() == page.locator(".math > mjx-container").count()
    assert page.locator("mjx-merror").count() == 0
    overflow = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    assert overflow <= 0, f"the page scrolls sideways by {overflow} px"
    page.evaluate("document.querySelectorAll('details').forEach(e => e.open = true)")
    # Only a table on a wide screen, which has scroll bars, and a formula may scroll inside its own box.
    boxes = "pre" if width > 768 else "pre, .fsft-table"
    cut = f"[...document.querySelectorAll('{boxes}')].filter(e => e.scrollWidth > e.clientWidth + 1)"
    assert page.evaluate(f"{cut}.map(e => e.innerText.slice(0, 200))") == []
    broken = page.evaluate("[...document.images].filter(i => !i.complete || !i.naturalWidth).map(i => i.src)")
    assert broken == []
    assert faults == []
    from axe_playwright_python.sync_playwright import Axe

    # axe itself fetches style sheets again, some by a wrong address, so what it loads is not counted above.
    for theme in THEMES:
        page.emulate_media(color_scheme=theme)
        page.wait_for_function("theme => document.documentElement.dataset.theme === theme", arg=theme)
        found = [
            f"{violation['id']} ({violation['impact']}): {node['target']} {node['html'][:200]}"
            for violation in Axe().run(page).response["violations"]
            if violation["id"] not in KNOWN_VIOLATIONS
            for node in violation["nodes"]
        ]
        assert found == [], theme
    if width < 768:
        page.set_viewport_size({"width": 390, "height": 844})  # the usual phone
        for fault in (NARROW_CAPTIONS, WIDE_FORMULAS, CUT_TABLES, BROKEN_WORDS):
            assert page.evaluate(fault) == []


@pytest.mark.parametrize("name", pages())
def test_a_page_prints_whole(visit, name):
    page, _ = visit(name, PAPER)
    page.evaluate("document.documentElement.dataset.theme = 'dark'")  # what is read on a dark screen prints black
    page.emulate_media(media="print", color_scheme="dark")
    cut = """e => e.getClientRects().length && !e.closest('.math')
        && (e.getBoundingClientRect().right > innerWidth + 1 || e.scrollWidth > e.clientWidth + 1
            && getComputedStyle(e).overflowX !== 'visible')"""
    wide = page.evaluate(
        f"[...document.querySelectorAll('article *')].filter({cut}).map(e => e.outerHTML.slice(0, 200))"
    )
    assert wide == []
    folded = "[...document.querySelectorAll('article details > :not(summary)')].filter(e => !e.checkVisibility())"
    assert page.evaluate(f"{folded}.map(e => e.outerHTML.slice(0, 200))") == []
    luminance = (
        """e => getComputedStyle(e).color.match(/[\\d.]+/g).slice(0, 3).reduce((sum, part) => sum + +part, 0) / 3"""
    )
    texts = "[...document.querySelectorAll('article :is(p, li, td, th, h1, h2, pre, span)')]"
    assert page.evaluate(f"{texts}.filter(e => ({luminance})(e) > 140).map(e => e.outerHTML.slice(0, 200))") == []


def test_every_page_has_a_description_and_a_picture_for_links():
    require_book()
    described = {}
    for name in toc_pages(BUILT):
        page = BUILT / "_build" / "html" / f"{name}.html"
        soup = BeautifulSoup(page.read_bytes(), "html.parser")
        found = {tag.get("name") or tag.get("property"): tag["content"] for tag in soup.find_all("meta", content=True)}
        assert found["og:title"] and found["og:title"] == soup.h1.text.removesuffix("#"), name
        assert len(found["description"]) > 20 and found["og:description"][:40] == found["description"][:40], name
        assert (page.parent / found["og:image"]).is_file() or found["og:image"].startswith("https://"), name
        described[found["description"]] = name
    assert len(described) == len(toc_pages(BUILT))


def test_choices_work_by_keyboard_and_without_scripts(visit):
    if "notebooks/04_first_run" not in pages():
        pytest.skip("this book has no chapter 4")
    page, _ = visit("notebooks/04_first_run", javascript=False)
    shown = page.locator(".fsft-choices section:visible")
    before = shown.inner_text()
    page.get_by_role("radio", name="no upper left").focus()
    page.keyboard.press("ArrowRight")
    assert page.get_by_role("radio", name="no upper right").is_checked()
    assert shown.count() == 1 and shown.inner_text() != before


def test_the_first_screen_has_the_method_and_the_answer(visit):
    page, _ = visit("book/index")
    answer = page.get_by_text("Does FSFT raise accuracy, and when?").bounding_box()
    assert answer["y"] + 100 < 900  # the question, and three lines of the answer
    assert page.locator(".fsft-steps").bounding_box()["y"] < answer["y"]


def test_the_search_finds_a_word_offline(visit):
    page, faults = visit("search")
    page.goto(page.url + "?q=masks")
    page.wait_for_selector("ul.search li")
    # Sphinx's own script warns about anchors that it looks for and does not find.
    assert [fault for fault in faults if not fault.startswith("console:")] == []


def test_wide_tables_scroll_inside_themselves_by_keyboard(visit):
    for name in pages():
        page, _ = visit(name, width=800)
        boxes = page.locator(".fsft-table, .pst-scrollable-table-container")
        for number in range(boxes.count()):
            box = boxes.nth(number)
            if not box.is_visible() or not box.evaluate("e => e.scrollWidth > e.clientWidth + 1"):
                continue
            box.focus()
            page.keyboard.press("ArrowRight")
            page.wait_for_function("e => e.scrollLeft > 0", arg=box.element_handle())
            return
    pytest.skip("no table of this book is wider than its column")


def test_the_pages_read_without_scripts(visit):
    for name in [page for page in pages() if page.startswith("notebooks/")]:
        page, _ = visit(name, javascript=False)
        assert page.locator("article h1").is_visible()
        assert page.locator("article .cell_output").count() > 0
