"""The site: every page can be reached, opens in a browser, and reads on a telephone.

It needs the extra ``site``. What opens a browser also needs ``pip install -c constraints.txt
playwright`` and a Chromium: the system's, or that of ``playwright install chromium``.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytest.importorskip("myst_nb", reason="the extra `site` is not installed")
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PHONE = {"width": 390, "height": 844}
CUT_OFF = """() => {
    document.querySelectorAll("details").forEach(each => { each.open = true })
    const scrolls = each => ["auto", "scroll"].includes(getComputedStyle(each).overflowX)
    const cut = each => {
        if (each.getBoundingClientRect().right <= innerWidth + 1) return false
        while ((each = each.parentElement).tagName != "ARTICLE") if (scrolls(each)) return false
        return true
    }
    const found = [...document.querySelectorAll("article *")].filter(cut)
    if (document.documentElement.scrollWidth > innerWidth) found.unshift(document.body)
    return found.map(each => each.tagName + " " + each.textContent.trim().slice(0, 60))
}"""  # the theme hides what is too wide, so a page without a scroll bar may still lack words


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = ["make", "-C", str(ROOT), "site", f"PY={sys.executable}", f"SITE={folder}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, BeautifulSoup]:
    paths = [p for p in sorted(site.rglob("*.html")) if "_static" not in p.parts]
    return {path: BeautifulSoup(path.read_text(), "html.parser") for path in paths}


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with api.sync_playwright() as playwright:
        found = shutil.which("chromium") or playwright.chromium.executable_path
        if not Path(found).exists():
            pytest.skip("there is no Chromium; `playwright install chromium` gets one")
        yield playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])


def test_everything_is_in_the_navigation(site: Path, pages: dict[Path, BeautifulSoup]) -> None:
    tree = pages[site / "index.html"].select_one(".sidebar-tree")
    sources = [ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")]
    sources += (ROOT / "notebooks").glob("*.ipynb")
    wanted = {source.relative_to(ROOT).with_suffix(".html").as_posix() for source in sources}
    links = [link["href"] for link in tree.select("a")]
    assert set(links) == wanted and len(links) == len(wanted)
    headings = [heading.get_text() for heading in tree.select(".caption")]
    papers = [name for name in ("XTC", "HiTTs", "RDC", "TPKR") if name in headings]
    assert headings == ["Start", *papers, "Teach", "Reference"] and len(papers) >= 3


def test_no_link_is_broken(pages: dict[Path, BeautifulSoup]) -> None:
    names = {path: {tag["id"] for tag in page.select("[id]")} for path, page in pages.items()}
    broken, seen = [], 0
    for path, page in pages.items():
        for tag in page.select("[href], [src]"):
            link = urlsplit(tag.get("href") or tag.get("src"))
            if link.scheme:
                continue
            target = (path.parent / unquote(link.path)).resolve() if link.path else path
            anchor = unquote(link.fragment)
            seen += 1
            if not target.is_file() or anchor and anchor not in names.get(target, ()):
                broken.append(f"{path.name}: {link.geturl()}")
    assert not broken and seen > 1000


def test_every_picture_is_told_in_words(pages: dict[Path, BeautifulSoup]) -> None:
    pictures = [(path, each) for path, page in pages.items() for each in page.select("img")]
    without = [path.name for path, each in pictures if len(each.get("alt", "").split()) < 3]
    assert not without and len(pictures) > 50


def test_formulas_are_written_without_a_script(pages: dict[Path, BeautifulSoup]) -> None:
    assert sum(len(page.select("math")) for page in pages.values()) > 100
    sources = [tag["src"] for page in pages.values() for tag in page.select("script[src]")]
    assert sources and not [source for source in sources if urlsplit(source).netloc]


def test_every_page_opens_and_fits_a_telephone(
    pages: dict[Path, BeautifulSoup], browser: "Browser"
) -> None:
    tab, faults = browser.new_page(viewport=PHONE), []
    tab.on("pageerror", lambda error: faults.append(f"{tab.url}: {error}"))
    tab.on("requestfailed", lambda request: faults.append(f"{tab.url}: {request.url}"))
    for path, page in pages.items():
        tab.goto(path.as_uri())
        assert tab.title() == page.title.get_text()
        faults += [f"{path.name}: {cut}" for cut in tab.evaluate(CUT_OFF)]
    assert not faults


def test_what_is_too_wide_is_found(browser: "Browser") -> None:
    tab = browser.new_page(viewport=PHONE)
    wide = "<p style='width: 500px'>wide</p>"
    tab.set_content(f"<article><div style='overflow-x: hidden'>{wide}</div></article>")
    assert tab.evaluate(CUT_OFF) == ["P wide"]
    tab.set_content(f"<article><div style='overflow-x: auto'>{wide}</div></article>")
    assert tab.evaluate(CUT_OFF) == []


def test_search_finds_a_word(site: Path, browser: "Browser") -> None:
    tab = browser.new_page()
    tab.goto(f"{(site / 'search.html').as_uri()}?q=Wasserstein")
    tab.wait_for_selector("ul.search a")
    found = tab.eval_on_selector_all("ul.search a", "links => links.map(link => link.href)")
    assert any("30_rdc_method.html" in link for link in found)
