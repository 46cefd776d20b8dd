import base64
import itertools
import os
import re
import shutil
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest
from made_records import replace
from reporting.samples import build_report, cell, sample_records

from cqlbench.records.codec import to_json
from cqlbench.records.store import run_folder
from cqlbench.reporting.html import page as module
from cqlbench.reporting.html.page import DARK, page
from cqlbench.reporting.plots import style
from cqlbench.reporting.plots.report import plots_of
from cqlbench.reporting.tables.report import document

DATASETS = ["d4rl/hopper-medium-v2", "d4rl/walker2d-medium-v2", "d4rl/halfcheetah-medium-v2"]
PLOTS = 11
VOID = {"meta", "img", "input", "br", "wbr", "link", "hr"}


class Tree(HTMLParser):
    """Elements in order, with their attributes and text; refuses tags that are not closed in their order."""

    def __init__(self, text):
        super().__init__()
        self.elements, self._open = [], []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        element = {"tag": tag, "text": ""} | dict(attrs)
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_endtag(self, tag):
        assert self._open.pop()["tag"] == tag

    def handle_data(self, data):
        for element in self._open:
            element["text"] += data

    def all(self, *tags):
        return [element for element in self.elements if element["tag"] in tags]


@pytest.fixture(scope="module")
def records():
    made = sample_records(DATASETS, ("cql", "bc"), seeds=3, evaluations=8, episodes=2)
    return [replace(made[0], status="failed", reason="Diverged at <step> 7."), *made[1:]]


@pytest.fixture(scope="module")
def report(records):
    return build_report(records, samples=200)


@pytest.fixture(scope="module")
def text(report):
    return page(report)


def test_the_page_needs_nothing_else(text):
    tree = Tree(text)
    assert not tree.all("link", "iframe", "object", "base")
    for element in tree.elements:
        assert not element.get("src", "data:").startswith(("http", "/", ".")), element
        assert element.get("href", "#").startswith("#"), element
    without_names = text.replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"(url\(|@import|fetch\(|XMLHttpRequest|https?://)", without_names)
    (policy,) = (each for each in tree.all("meta") if each.get("http-equiv"))
    assert policy["content"].startswith("default-src 'none'")


def test_the_page_can_be_read_without_seeing_it(text):
    tree = Tree(text)
    assert [each["lang"] for each in tree.all("html")] == ["en"]
    assert [len(tree.all(tag)) for tag in ("main", "header", "footer", "nav")] == [1, 1, 1, 1]
    levels = [int(each["tag"][1]) for each in tree.all("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in itertools.pairwise(levels))
    assert len(tree.all("img")) == PLOTS
    assert all(len(each["alt"]) > 20 for each in tree.all("img"))
    assert len(tree.all("caption")) == len(tree.all("table")) > 3
    assert all(each.get("scope") in ("col", "row") for each in tree.all("th"))
    ids = [each["id"] for each in tree.elements if "id" in each]
    assert len(set(ids)) == len(ids)
    for each in tree.elements:
        assert each.get("aria-labelledby", ids[0]) in [*ids, "run-heading"]
        assert each.get("for", ids[0]) in ids


def test_what_is_asked_first_stands_first(report, text):
    tree = Tree(text)
    sections = [each["id"] for each in tree.all("section")]
    assert sections == ["summary", "tables", "curves", "diagnostics", "runs", "provenance"]
    assert [each["href"][1:] for each in tree.all("a")][1:7] == sections
    (answer,) = (each["text"] for each in tree.all("p") if each.get("class") == "answer")
    assert answer == document(report).answers[0]
    assert answer.startswith("cql is ahead on 3 datasets on average, with ")
    assert tree.all("caption")[0]["text"].startswith("Best by dataset")


def test_figures_have_colours_for_the_dark(text):
    sources = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', text)
    assert sources
    assert all(b"prefers-color-scheme: dark" in base64.b64decode(each) for each in sources)
    colours = re.findall(r"'([0-9A-F]{6})'", style.STYLE.read_text())
    assert {colour.lower() for colour in colours} <= DARK.keys()


def _address(report, *place):
    return module.run_id(run_folder(report.summaries[place].lead.key))


def test_tables_hold_the_reports_numbers_and_lead_to_the_runs(report, text):
    tree = Tree(text)
    found = cell(report, DATASETS[1], "cql")
    shown = f"{found.mean:.1f} ± {found.std:.1f}"
    links = {each["text"]: each["href"][1:] for each in tree.all("a")}
    assert links[shown] == _address(report, DATASETS[1], "cql")
    assert f'"id":"{links[shown]}"' in text
    bold = {each["text"] for each in tree.all("strong")}
    assert len(bold) == report.cells["best"].sum() > 0
    assert "seed 0 failed: Diverged at <step> 7." in " ".join(each["text"] for each in tree.all("li"))


AGAIN = """
import sys
from pathlib import Path
from cqlbench.records.codec import from_json
from cqlbench.reporting.html.page import page
from cqlbench.reporting.report import build_reports
records = [from_json(Path(p).read_text(encoding="utf-8"), p) for p in sys.argv[2:]]
Path(sys.argv[1]).write_bytes(page(*build_reports(records, samples=200)).encode())
"""


def test_another_process_makes_the_same_bytes_of_the_same_records(records, text, tmp_path):
    files = []
    for number, record in enumerate(reversed(records)):
        files.append(tmp_path / f"{number}.json")
        files[-1].write_text(to_json(record), encoding="utf-8")
    subprocess.run(
        [sys.executable, "-c", AGAIN, str(tmp_path / "page.html"), *map(str, files)],
        check=True,
        env=os.environ | {"PYTHONHASHSEED": "7"},
    )
    assert (tmp_path / "page.html").read_bytes() == text.encode()


def test_a_thousand_records_make_a_small_page_soon():
    datasets = [f"x/{n}-v0" for n in range(5)]
    records = sample_records(datasets, ("a", "b", "c", "d"), seeds=50, evaluations=100, episodes=1)
    assert len(records) == 1000
    report = build_report(records, samples=100)
    begin = time.process_time()
    size = len(page(report).encode())
    assert time.process_time() - begin < 30
    assert 1e6 < size < 8e6


def test_plots_that_find_no_room_are_named(report, monkeypatch):
    few = plots_of(report)[:3]
    monkeypatch.setattr(module, "plots_of", lambda _: few)
    monkeypatch.setattr(module, "PLOT_BYTES", 60_000)
    tree = Tree(page(report))
    left_out = [each["text"] for each in tree.all("p") if "only in the report's folder" in each["text"]]
    assert left_out
    assert len(left_out) + len(tree.all("img")) == len(few)


@pytest.fixture(scope="module")
def browser(text, tmp_path_factory):
    """Headless Chromium that shows the page from disk, with the other files of its folder out of reach."""
    binary = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("no Chromium with its chromedriver is installed")
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    folder = tmp_path_factory.mktemp("page")
    (folder / "page.html").write_text(text, encoding="utf-8")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in ("headless", "no-sandbox", "disable-gpu", "disable-background-networking"):
        options.add_argument(f"--{flag}")
    options.add_argument(f"--user-data-dir={folder / 'profile'}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    chrome.implicitly_wait(10)  # a run's page is drawn after the click has returned
    yield chrome, (folder / "page.html").as_uri()
    chrome.quit()


@pytest.fixture
def opened(browser):
    chrome, address = browser
    chrome.get("about:blank")
    chrome.get(address)
    yield chrome
    assert chrome.get_log("browser") == []


def _find(chrome, selector):
    return chrome.find_elements("css selector", selector)


def _width(chrome, pixels):
    size = {"width": pixels, "height": 800, "deviceScaleFactor": 1, "mobile": pixels < 500}
    chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def test_a_table_is_sorted_by_keyboard_and_says_so(opened, report):
    headings = _find(opened, "#tables table th[scope=col]")
    column = [each.text for each in headings].index("cql")
    headings[column].find_element("css selector", "button").send_keys("\n")

    def rows():
        lines = opened.find_element("css selector", "#tables tbody").find_elements("css selector", "tr")
        return [line.find_element("css selector", "th").text for line in lines]

    ascending = sorted(DATASETS, key=lambda dataset: cell(report, dataset, "cql").mean)
    assert rows() == ascending
    assert headings[column].get_attribute("aria-sort") == "ascending"
    assert _find(opened, "#said")[0].get_attribute("textContent") == "Sorted by cql, ascending."
    headings[column].find_element("css selector", "button").send_keys(" ")
    assert rows() == ascending[::-1]
    headings[0].find_element("css selector", "button").click()
    assert rows() == sorted(DATASETS)
    assert headings[column].get_attribute("aria-sort") is None


def test_a_score_leads_to_its_run_and_back(opened, report):
    link = _find(opened, "#tables td a")[0]
    shown = link.text
    link.send_keys("\n")
    heading = _find(opened, "#run-heading")[0]
    assert heading == opened.switch_to.active_element
    assert opened.title.startswith(heading.text)
    assert not _find(opened, "#overview")[0].is_displayed()
    assert shown.split(" (")[0] in _find(opened, "#run table")[0].text
    titles = [each.text for each in _find(opened, "#run .chart h4")]
    assert titles[0] == "Normalised score"
    for title in (
        "Q value against return", "CQL penalty", "Entropy temperature", "Gradient norm, critics",
    ):  # fmt: skip
        assert title in titles
    assert "cqlbench bench dataset=" in _find(opened, "#run pre")[0].text
    assert "algorithm.conservative_weight" in _find(opened, "#run")[0].text
    assert next(iter(report.summaries.values())).lead.git.commit in _find(opened, "#run")[0].text
    count = "return arguments[0].map((chart) => chart.querySelectorAll('.reference').length)"
    lines = opened.execute_script(count, _find(opened, "#run .chart"))
    assert lines == [1, 1] + [0] * (len(titles) - 2)
    assert "dataset mean" in _find(opened, "#run .legend")[0].text
    levels = [int(each.tag_name[1]) for each in _find(opened, "#run h2, #run h3, #run h4")]
    assert all(later - earlier <= 1 for earlier, later in itertools.pairwise(levels))
    opened.back()
    assert _find(opened, "#overview")[0].is_displayed()
    assert not _find(opened, "#run")[0].is_displayed()


def test_the_arrow_keys_read_a_curve(opened, records, report):
    run = _address(report, DATASETS[1], "cql")
    opened.execute_script(f"location.hash = '{run}'")
    chart = _find(opened, "#run .chart")[0]
    curve = chart.find_element("css selector", "svg")
    assert curve.get_attribute("aria-label").startswith(
        "Normalised score over gradient steps. At the end: seed 0 "
    )
    record = next(r for r in records if (r.dataset.id, r.algorithm) == (DATASETS[1], "cql"))
    for key, evaluation in (
        ("\ue011", record.evaluations[0]),
        ("\ue010", record.evaluations[-1]),
    ):  # Home, End
        curve.send_keys(key)
        words = chart.find_element("css selector", "output").text
        assert words.startswith(f"Step {evaluation.step:,}. seed 0: ")
        shown = float(re.search(r"seed 0: (-?[\d.]+)", words)[1])
        assert shown == pytest.approx(sum(evaluation.scores) / len(evaluation.scores), abs=0.08)


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_sticks_out_of_the_window(opened, report, width):
    _width(opened, width)
    for address in ("#summary", "#" + _address(report, *next(iter(report.summaries)))):
        opened.execute_script(f"location.hash = '{address}'")
        wide, visible = opened.execute_script(
            "const root = document.documentElement; return [root.scrollWidth, root.clientWidth]"
        )
        assert wide == visible <= width
        assert _find(opened, "h1")[0].is_displayed()


def test_plots_fill_the_window_and_what_is_wider_says_so(opened):
    _width(opened, 1280)
    boxes = [each.rect for each in _find(opened, "figure")]
    room = _find(opened, "#content")[0].rect["width"]
    assert all(0.3 < box["width"] / room < 1 for box in boxes)
    assert len({box["y"] for box in boxes}) < len(boxes), "a figure stands beside another"
    _width(opened, 360)
    boxes = _find(opened, ".scroll")
    state = "return arguments[0].map((box) => [box.scrollWidth - box.clientWidth > 1, box.className])"
    for _ in range(50):  # until the window's new width is noticed
        states = opened.execute_script(state, boxes)
        if all(("wider" in classes) is hidden for hidden, classes in states):
            break
        time.sleep(0.1)
    assert any(hidden for hidden, _ in states)
    assert all(("wider" in classes) is ("more" in classes) is hidden for hidden, classes in states)
    stops = [box.get_attribute("tabindex") == "0" for box in boxes]
    assert stops == [hidden for hidden, _ in states], "the tab key stops where there is something to scroll"
    wide = next(box for box, (hidden, _) in zip(boxes, states, strict=True) if hidden)
    opened.execute_script("arguments[0].scrollLeft = 9999", wide)
    for _ in range(50):
        if "more" not in wide.get_attribute("class"):
            break
        time.sleep(0.1)
    assert "more" not in wide.get_attribute("class")
    assert "wider" in wide.get_attribute("class")


def test_runs_can_be_filtered(opened):
    field = _find(opened, "#filter")[0]
    field.send_keys("walker2d")
    shown = [row for row in _find(opened, "#runs tbody tr") if row.is_displayed()]
    assert len(shown) == 2
    assert all("walker2d" in row.text for row in shown)


def test_the_style_and_script_are_in_the_package():
    assert {"page.css", "page.html", "page.js"} < {path.name for path in Path(module.FOLDER).iterdir()}
