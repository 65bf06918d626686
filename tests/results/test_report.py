"""The report: what it says is what the frame says, and a real browser shows and filters it without a network."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from html.parser import HTMLParser

import pytest
from frame_rows import record, row, unfit

from results.answer import answer
from results.report import MOST_ROWS, page_text, report, toml_of
from results.schema import frame

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


@pytest.fixture(scope="module")
def rows():
    points = [
        row(time / count, chip=chip, launch=launch, count=count, strategy=strategy, batch=batch)
        for chip, launch, faster in (("h100", "graph", 1.6), ("sn40l", "hardware", 4.0))
        for count in (1, 2, 8)
        for batch in (1, 64)
        for strategy, time in (("per_operator", 8.0), ("kernel_loop", 8.0 / faster if batch == 1 else 8.0))
    ]
    return frame([*points, unfit(count=16, reason="it is <too> large & heavy")])


class Page(HTMLParser):
    """Counts of tags, and what would reach out of the page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.reached, self.unlabelled = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.tags.append(tag)
        self.reached += [
            value
            for name, value in attributes
            if name in ("src", "href", "xlink:href") and not value.startswith(("#", "data:"))
        ]
        if tag == "svg" and not {"aria-label", "aria-hidden"} & values.keys():
            self.unlabelled.append(values)


def test_the_answer_has_the_numbers_of_the_frame(rows):
    told = answer(rows)
    assert "4.00 times as fast on 1 sn40l at batch 1 (8.00 s to 2.00 s a token)" in told[0]
    assert "1.60 times as fast on 1 h100" in told[0]
    assert told[0].index("sn40l") < told[0].index("h100")
    assert any("250 ms, on 8 sn40l" in sentence for sentence in told)
    assert any("looping stops paying" in sentence and "6 of 6 curves" in sentence for sentence in told)
    assert any("with its best strategy, sn40l is 2.50 times as fast as h100 on" in sentence for sentence in told)
    assert told[-1] == "1 of 25 points do not fit."


def test_the_answer_says_what_all_reduce_and_differing_chips_cost():
    one, two = (
        record((60, 0, 0, 40, 0, 0, 0, 0), count=8),
        record((90, 0, 0, 10, 0, 0, 0, 0), count=2, variation="straggler=0.1@1"),
    )
    told = answer(frame([one, two | {"alike_s": 80e-12}]))
    assert "AllReduce that nothing hides takes at most 40% of the time: on 8 h100 with kernel loop." in told
    assert "Chips that differ (straggler=0.1@1) make it at most 25% longer: on 2 h100 with kernel loop." in told


def test_the_answer_says_so_where_nothing_fits_or_nothing_is_looped():
    assert answer(frame([unfit()])) == ["None of the 1 points fits: too large."]
    assert answer(frame([row(2.0)]))[0].startswith("The shortest time a token is 2.00 s")


def test_a_page_stands_alone_is_escaped_and_describes_its_pictures(rows):
    text = page_text(rows, "rows.csv")
    page = Page(text)
    assert page.reached == []
    assert page.unlabelled == []
    assert page.tags.count("figure") == 4 + 3  # of time, of joules
    assert {"h1", "main", "caption", "label", "legend"} <= set(page.tags)
    assert "it is &lt;too&gt; large &amp; heavy" in text
    assert "<too>" not in text
    assert "<td>4.00 s</td><td>2.50 s</td><td>1.60 times as fast</td>" in text
    assert "loopline compare m --chips h100 sn40l --count 1 2 8 16 --strategy per_operator kernel_loop" in text
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))


SCENARIO = {
    "model": "m",
    "chips": ["h100"],
    "batch": {"from": 1, "to": 8, "times": 2},
    "together": [["model", "count"]],
}


def test_a_scenario_in_a_page_is_the_file_that_a_sweep_reads():
    assert tomllib.loads(toml_of(SCENARIO)) == SCENARIO


def test_a_sweeps_question_scenario_and_version_are_in_its_page(rows):
    sweep = rows.copy()
    sweep.attrs["manifest"] = {"question": "Does <it> pay?", "scenario": SCENARIO, "version": "9.9+abc"}
    text = page_text(sweep)
    assert "<h1>Does &lt;it&gt; pay?</h1>" in text
    assert "9.9+abc" in text
    assert "model = &#34;m&#34;" in text
    assert "loopline sweep scenario.toml" in text
    assert "loopline compare" not in text


def test_a_large_sweep_stays_a_small_page_and_says_so():
    many = frame(
        [
            row(seconds, context=context, count=count, strategy=strategy)
            for context in range(1, 601)
            for count in (1, 8)
            for strategy, seconds in (("per_operator", 2.0), ("kernel_loop", 1.0))
        ]
    )
    text = page_text(many)
    assert "2,400" in text
    assert "Only context 1." in text
    data = json.loads(re.search(r'id="data">(.*?)</script>', text).group(1))
    assert MOST_ROWS / 2 < len(data["limiter"]) <= MOST_ROWS


def test_nothing_that_fits_is_still_a_page():
    assert "None of the 1 points fits" in page_text(frame([unfit()]))


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("no Chromium in PATH (chromium, chromium-browser, google-chrome): apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def written(rows, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    report(rows, path, "rows.csv")
    return path


@pytest.fixture
def page(browser, written):
    opened = browser.new_page(viewport={"width": 1200, "height": 900})
    opened.problems = []
    opened.on("console", lambda message: opened.problems.append(message.text))
    opened.on("pageerror", lambda error: opened.problems.append(str(error)))
    opened.on("request", lambda request: opened.problems.append(request.url) if "file:" not in request.url else None)
    opened.goto(written.as_uri())
    yield opened
    assert opened.problems == []
    opened.close()


def shown_rows(page):
    return page.locator("#rows tbody tr:visible").count()


def test_a_browser_renders_the_chart_the_pictures_and_all_rows(page, rows):
    assert page.locator("#chart circle.point").count() == int(rows["fits"].sum())
    assert shown_rows(page) == len(rows)
    for figure in page.locator("figure svg").all():
        box = figure.bounding_box()
        assert box["width"] > 300
        assert box["height"] > 100
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_the_filter_leaves_its_rows_in_chart_and_table_and_gives_them_back(page, rows):
    page.get_by_label("sn40l", exact=True).uncheck()
    left = rows.loc[rows["chip"] == "h100"]
    assert shown_rows(page) == len(left)
    assert page.locator("#count").text_content() == str(len(left))
    assert page.locator("#chart circle.point").count() == int(left["fits"].sum())
    page.get_by_label("h100", exact=True).uncheck()
    assert shown_rows(page) == 0
    assert "No point is left" in page.locator("#chart").text_content()
    page.get_by_role("button", name="All").click()
    page.wait_for_function("document.querySelectorAll('#chart circle.point').length > 0")
    assert shown_rows(page) == len(rows)


def test_hovering_and_arrow_keys_tell_a_points_numbers(page):
    point = page.locator("#chart circle.point").first
    point.scroll_into_view_if_needed()
    box = point.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert "limited by HBM" in page.locator("#tip").text_content()
    page.mouse.move(5, 5)
    assert page.locator("#tip").is_hidden()
    page.locator("#chart").focus()
    page.keyboard.press("End")
    assert "chips 8" in page.locator("#said").text_content()
    page.keyboard.press("Escape")
    assert page.locator("#tip").is_hidden()


def test_everything_is_reached_by_the_keyboard_alone(page):
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate("document.activeElement.id || document.activeElement.name || document.activeElement.tagName")
        )
    assert {"across", "up", "logarithmic", "chip", "strategy", "chart", "SUMMARY"} <= reached


def test_other_axes_draw_other_places(page):
    before = page.locator("#chart circle.point").first.get_attribute("cy")
    page.locator("#up").select_option("seconds")
    assert page.locator("#chart circle.point").first.get_attribute("cy") != before
    page.locator("#across").select_option("batch")
    assert "64" in page.locator("#chart").text_content()
    page.get_by_label("logarithmic").uncheck()
    assert page.locator("#chart circle.point").count() == 24
