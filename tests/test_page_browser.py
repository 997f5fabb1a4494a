"""The page in a real browser: by mouse, by keyboard alone, in light and dark; nothing from afar."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from pipelines import page_examples
from steps.core.files import write_rows
from tests import paged
from tests.browser import Page, absent, chromium
from tests.serving import running
from tests.test_attribution import planted

pytestmark = pytest.mark.skipif(bool(absent()), reason=absent() or "Chromium is here")
TEXT = "the field crash with a view"
MARK = "document.querySelector('#answer-tokens mark')"
# Of every text that is seen the contrast with what is behind it, by WCAG 2.1; the least first.
CONTRAST = """(() => {
  const shade = ([r, g, b]) => { const c = [r, g, b].map(v => v / 255)
    .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * c[0] + 0.7152 * c[1] + 0.0722 * c[2]; };
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgba = colour => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1); const d = canvas.getImageData(0, 0, 1, 1).data;
    return [d[0], d[1], d[2], d[3] / 255]; };
  const over = (top, below) => [0, 1, 2].map(n => top[n] * top[3] + below[n] * (1 - top[3]));
  const behind = one => { const layers = [];
    for (let at = one; at; at = at.parentElement)
      layers.push(rgba(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255]); };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
  const seen = {opacityProperty: true, visibilityProperty: true};
  for (let node; node = texts.nextNode();) { const one = node.parentElement;
    if (!node.data.trim() || !one.checkVisibility(seen)) continue;
    if (['SCRIPT', 'STYLE'].includes(one.tagName)) continue;
    if (one.getBoundingClientRect().width < 2) continue;
    const below = behind(one), ink = over(rgba(getComputedStyle(one).color), below);
    const [a, b] = [shade(ink), shade(below)].sort((x, y) => y - x);
    found.push([(a + 0.05) / (b + 0.05), node.data.trim().slice(0, 40)]); }
  return found.sort((x, y) => x[0] - y[0]).slice(0, 5); })()"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    room = tmp_path_factory.mktemp("page")
    schema = pa.schema([("id", pa.string()), ("text", pa.string())])
    rows = [{"id": row["id"], "text": row["text"]} for row in planted(4)]
    write_rows(room / page_examples.SPLITS / "tokens" / "test.parquet", rows, schema)
    asked = paged.made("question_answering", room / "asked")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(room)
        with paged.served(paged.tiny(room), asked) as found:
            yield f"{found}/page/"


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    with chromium() as page:
        yield page


@pytest.fixture
def page(browser: Page, address: str) -> Page:
    """The page, opened anew, once its scripts have drawn it."""
    open_page(browser, address)
    return browser


def open_page(page: Page, address: str, dark: bool = False) -> None:
    page.visit("about:blank")
    page.heard.clear()
    page.visit(address, dark)
    page.until("document.body?.innerText.includes('is answered by version 3')")


def test_an_entity_is_marked_and_explained(page: Page, address: str) -> None:
    page.write("#text-tokens textarea", TEXT)
    page.click("#ask-tokens")
    page.until(MARK)
    assert page.evaluate(f"{MARK}.firstChild.data") == "crash"
    assert page.evaluate(f"{MARK}.querySelector('small').innerText").startswith("fix ")
    assert "champion: version 3, recipe full" in page.text()
    page.click("#weigh-tokens")
    page.until("document.querySelector('#reasons-tokens .s5')")
    assert page.evaluate("document.querySelector('#reasons-tokens .s5').innerText") == "crash"
    page.click("#look-tokens")
    page.until("document.querySelector('#reasons-tokens details')")
    assert "does not prove" in page.text()
    assert page.errors() == []
    assert [url for url in page.asked() if not url.startswith((address[:-5], "data:"))] == []


def test_the_api_is_described_without_a_network(browser: Page, tmp_path: Path) -> None:
    with running([paged.made("tokens", tmp_path)]) as (url, _):
        browser.visit("about:blank")
        browser.heard.clear()
        browser.visit(f"{url}/docs")
        browser.until("document.body?.innerText.includes('/v1/tokens/predict')")
    assert browser.errors() == []
    assert [one for one in browser.asked() if not one.startswith((url, "data:"))] == []


def test_the_keyboard_alone_is_enough(page: Page) -> None:
    def go_to(selector: str) -> None:
        for _ in range(20):
            page.press("Tab")
            if page.evaluate(f"document.activeElement.matches({selector!r})"):
                return
        pytest.fail(f"{selector} is not reached")

    go_to("#text-tokens textarea")
    page.type(TEXT)
    page.press("Enter", "\r")
    page.until(MARK)
    page.until("document.querySelector('#weigh-tokens')?.checkVisibility()")
    go_to("#weigh-tokens")
    page.press("Space", " ")
    page.until("document.querySelector('#reasons-tokens .s5')")
    assert nameless(page) == []
    assert page.errors() == []


def test_an_example_of_the_test_set_is_chosen_by_keys(page: Page) -> None:
    page.evaluate("document.querySelector('input[aria-label*=example]').focus()")
    page.press("ArrowDown")
    page.press("Enter", "\r")
    page.until("document.querySelector('#text-tokens textarea').value")
    text = page.evaluate("document.querySelector('#text-tokens textarea').value")
    assert text in [row["text"] for row in planted(4)]
    page.click("#ask-tokens")
    page.until(MARK)
    assert page.evaluate(f"{MARK}.firstChild.data") in text
    assert page.errors() == []


def nameless(page: Page) -> list[str]:
    """What can have the focus and has no name that a screen reader could say."""
    nodes = page.tell("Accessibility.getFullAXTree")["nodes"]
    return [
        node["role"]["value"]
        for node in nodes
        if {"name": "focusable", "value": True}
        in [
            {"name": p["name"], "value": p["value"].get("value")}
            for p in node.get("properties", [])
        ]
        and node["role"]["value"] not in ("RootWebArea", "generic")  # a text that scrolls
        and not node.get("name", {}).get("value")
    ]


def test_a_sentence_tells_what_is_wrong(page: Page) -> None:
    page.write("#text-tokens textarea", " ")
    page.press("Enter", "\r")
    page.until("document.querySelector('#answer-tokens [role=alert]')")
    said = page.evaluate("document.querySelector('#answer-tokens').innerText")
    assert said.strip() == "There is no text yet; type one, or choose an example."
    assert page.errors() == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_text_can_be_read(browser: Page, address: str, dark: bool) -> None:
    """A contrast of 4.5, as WCAG 2.1 asks for; light is light, and dark dark."""
    open_page(browser, address, dark)
    browser.write("#text-tokens textarea", TEXT)
    browser.press("Enter", "\r")
    browser.until(MARK)
    browser.click("#weigh-tokens")
    browser.until("document.querySelector('#reasons-tokens .s5')")
    browser.until(f"{CONTRAST}[0][0] >= 4.5 || performance.now() > 20000")
    least = browser.evaluate(CONTRAST)
    assert least[0][0] >= 4.5, least
    paper = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    red = int(paper.split("(")[1].split(",")[0])
    assert (red < 60) if dark else (red > 230)
