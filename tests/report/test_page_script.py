"""The page in a browser: clicks and keys sort and slide, light and dark, narrow windows, paper; nothing in the console."""

from __future__ import annotations

import base64
import re

import numpy as np
import pytest

from physdiff.plots.style import new_axes
from physdiff.report.html import Section, Slides, Table, to_picture, write_report
from tests.report.browser import complaints, opened

EVIL = "<script>alert(1)</script>"


def picture(k=0):
    axes = new_axes(1, 2)
    axes[0, 0].plot([0, 1], [0, k])
    return to_picture(axes, caption="", alt=f"A line from 0 to {k}.")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    rows = (("b", 0.2, 10.0, "x"), ("a", 1e-9, float("inf"), EVIL), (EVIL, None, -3.0, "y"), ("c", 12.0, float("nan"), "x"))
    table = Table("Scores", ("Forecast", "1 h", "2 h", "Kind"), rows, below={(0, 1): "0.1 to 0.3"}, marks={(0, 1): " *"})
    wide = Table("Wide", ("Forecast", *(f"{k} hours" for k in range(30))), (("a", *np.arange(30.0)), ("b", *np.arange(30.0))))
    slides = Slides(f"Maps of {EVIL}", "Lead time", tuple((f"+{k} h {EVIL}", picture(k)) for k in range(5)))
    sections = [Section(f"Scores of {EVIL}", (EVIL,), (picture(), slides), (table, wide))]
    folder = tmp_path_factory.mktemp("page")
    return write_report(folder, EVIL, sections, facts={EVIL: EVIL}, timings={EVIL: 1.0}, summary=EVIL)


def firsts(driver):
    return [row.text for row in driver.find_elements("css selector", "table.sortable:first-of-type tbody th")][:4]


def sorts(driver):
    return [head.get_attribute("aria-sort") for head in driver.find_elements("css selector", "thead th")][:4]


def shown(driver):
    """Alternative texts of the frames that are seen."""
    return [i.get_attribute("alt") for i in driver.find_elements("css selector", ".frame img") if i.is_displayed()]


def test_a_click_sorts_and_says_so(chromium, page):
    driver = opened(chromium, page)
    buttons = driver.find_elements("css selector", "thead th button")
    assert [b.text for b in buttons[:4]] == ["Forecast", "1 h", "2 h", "Kind"] and sorts(driver) == [None] * 4
    buttons[1].click()
    # by size and not by letters, an entry without a value last
    assert firsts(driver) == ["a", "b", "c", EVIL] and sorts(driver) == [None, "ascending", None, None]
    buttons[1].click()
    assert firsts(driver) == ["c", "b", "a", EVIL] and sorts(driver) == [None, "descending", None, None]
    buttons[2].click()
    assert firsts(driver) == [EVIL, "b", "a", "c"] and sorts(driver) == [None, None, "ascending", None]
    buttons[3].click()
    assert sorts(driver)[3] == "ascending" and firsts(driver)[1:3] == ["b", "c"], "equal entries keep their order"
    assert complaints(driver) == []


def test_the_keyboard_alone_sorts_and_slides(chromium, page):
    from selenium.webdriver import ActionChains, Keys

    driver = opened(chromium, page)
    reached = []
    for _ in range(40):
        ActionChains(driver).send_keys(Keys.TAB).perform()
        at = driver.switch_to.active_element
        reached.append(at.tag_name)
        if at.tag_name == "a" and "skip" in at.get_attribute("class"):
            assert at.is_displayed() and at.rect["x"] >= 0, "the link past the head is seen when it has the focus"
        if at.tag_name == "input":
            assert shown(driver) == ["A line from 0 to 0."]
            at.send_keys(Keys.ARROW_RIGHT)
            assert shown(driver) == ["A line from 0 to 1."] and at.get_attribute("aria-valuetext") == f"+1 h {EVIL}"
            at.send_keys(Keys.END)
            assert shown(driver) == ["A line from 0 to 4."]
        if at.tag_name == "button" and at.text == "1 h":
            assert driver.execute_script("return getComputedStyle(arguments[0]).outlineStyle", at) == "solid", "the focus is seen"
            at.send_keys(Keys.ENTER)
            assert firsts(driver) == ["a", "b", "c", EVIL]
            at.send_keys(Keys.SPACE)
            assert firsts(driver) == ["c", "b", "a", EVIL]
            break
    assert reached[0] == "a" and "input" in reached and reached[-1] == "button"
    assert complaints(driver) == []


def test_a_click_on_the_slider_moves_the_map_and_its_words(chromium, page):
    from selenium.webdriver import ActionChains

    driver = opened(chromium, page)
    slider = driver.find_element("css selector", "input[type=range]")
    assert slider.accessible_name == "Lead time" and slider.aria_role == "slider"
    ActionChains(driver).move_to_element_with_offset(slider, slider.size["width"] // 2 - 2, 0).click().perform()
    assert shown(driver) == ["A line from 0 to 4."]
    assert driver.find_element("css selector", "output").text == f"+4 h {EVIL}"


def test_a_screen_reader_has_a_name_for_everything(chromium, page):
    driver = opened(chromium, page)
    chromium.execute_cdp_cmd("Accessibility.enable", {})
    try:
        nodes = driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    finally:
        chromium.execute_cdp_cmd("Accessibility.disable", {})
    named = {}
    for node in (n for n in nodes if not n.get("ignored")):
        named.setdefault(node["role"]["value"], []).append(node.get("name", {}).get("value", "").strip())
    for role in ("button", "slider", "link", "image", "table", "region"):
        assert named[role] and all(named[role]), (role, named[role])
    # the picture without a caption has its alternative text alone
    assert named["figure"] == ["", f"Maps of {EVIL}"]
    assert "Scores (a button in a column heading sorts by it)" in named["table"]


def test_a_script_in_a_name_is_text(chromium, page):
    driver = opened(chromium, page)
    assert driver.title == EVIL and driver.find_element("css selector", "h1").text == EVIL
    assert len(driver.find_elements("css selector", "script")) == 1
    # nor would the policy run another script, or fetch anything
    driver.execute_script("const s = document.createElement('script'); s.textContent = 'window.evil = 1'; document.body.append(s)")
    assert driver.execute_script("return window.evil") is None
    assert any("Content Security Policy" in said for said in complaints(driver))


@pytest.mark.parametrize("dark", [False, True])
def test_light_and_dark_have_contrast(chromium, page, dark):
    driver = opened(chromium, page, dark=dark)
    for what in ("body", ".summary", "figcaption", "td strong, td", "td small", "a", "thead button"):
        ink = driver.execute_script("return getComputedStyle(document.querySelector(arguments[0])).color", what)
        paper = driver.execute_script("return getComputedStyle(document.body).backgroundColor")
        # WCAG 2.2, 1.4.3: 4.5 to 1 for text
        assert contrast(ink, paper) >= 4.5, (what, ink, paper)
    assert (luminance(paper) < 0.05) == dark
    picture_paper = driver.execute_script("return getComputedStyle(document.querySelector('figure img')).backgroundColor")
    assert luminance(picture_paper) > 0.9, "pictures are drawn for white paper and keep it"


def test_a_narrow_window_does_not_scroll_sideways(chromium, page):
    driver = opened(chromium, page, width=400)
    assert driver.execute_script("return document.documentElement.scrollWidth") == 400
    scroller = driver.find_element("css selector", ".scroll:last-of-type")
    wide = driver.execute_script("return arguments[0].scrollWidth > arguments[0].clientWidth", scroller)
    assert wide and scroller.get_attribute("tabindex") == "0", "a wide table scrolls inside its frame, by keys too"
    views = driver.find_elements("css selector", ".view")
    assert views[0].get_attribute("tabindex") == "0"
    assert opened(chromium, page).find_elements("css selector", ".view")[0].get_attribute("tabindex") is None


def test_paper_has_three_frames_and_no_controls(chromium, page):
    driver = opened(chromium, page)
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert shown(driver) == ["A line from 0 to 0.", "A line from 0 to 2.", "A line from 0 to 4."]
    assert not any(e.is_displayed() for e in driver.find_elements("css selector", "input, nav, .skip, .hint, output"))
    # a head without boxes of buttons that may not break is repeated on every page of its table (seen in the text of a printed page)
    for what, name, wanted in (("thead", "breakInside", "avoid"), ("thead button", "display", "contents")):
        assert driver.execute_script("return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]", what, name) == wanted
    pdf = base64.b64decode(driver.execute_cdp_cmd("Page.printToPDF", {})["data"])
    assert pdf.startswith(b"%PDF")


def test_without_scripts_all_is_there_but_the_controls(chromium, page):
    chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        driver = opened(chromium, page)
        assert len(shown(driver)) == 3 and not driver.find_element("css selector", ".control").is_displayed()
        assert not driver.find_elements("css selector", "thead button") and firsts(driver) == ["b", "a", EVIL, "c"]
    finally:
        chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def luminance(colour):
    rgb = np.array([float(v) for v in re.findall(r"[\d.]+", colour)[:3]]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one, other):
    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)
