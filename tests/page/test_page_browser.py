"""The page in a headless browser, over a service without models."""

import base64
import itertools
import json
import time

import pytest
from standin import CLIP_S, KEY

pytestmark = pytest.mark.browser

PHONE = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
ESCAPE, TAB, ENTER, RIGHT, LEFT, END, SPACE = "\ue00c", "\ue004", "\ue007", "\ue014", "\ue012", "\ue010", " "


def rectangle(reader, selector):
    edges = "const r = document.querySelector(arguments[0]).getBoundingClientRect();"
    return reader.browser.execute_script(f"{edges} return [r.left, r.top, r.right, r.bottom]", selector)


def theme(reader, name):
    features = [{"name": "prefers-color-scheme", "value": name}]
    reader.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def overflow_px(reader):
    return reader.browser.execute_script("return document.documentElement.scrollWidth - innerWidth")


def saved(downloads, name):
    """A downloaded file, once the browser has finished it."""
    deadline_s = time.monotonic() + 20
    while not (downloads / name).exists() and time.monotonic() < deadline_s:
        time.sleep(0.05)
    return (downloads / name).read_text(encoding="utf-8")


def test_a_picture_gets_its_verdict_in_words_and_numbers(reader, service):
    reader.judged("photo.png")
    answer = reader.text(".answer")
    assert "Looks fake 87 % probability of a fake" in answer
    assert (
        "Of files that scored like this one in validation, 74 to 96 % were fakes (95 % interval, 120 files)."
        in answer
    )
    assert "not a proof" in answer
    scores = reader.text(".scores")
    assert (
        "faces looks at: image 87 %: looks fake. It calls a file fake from 70 %, genuine below 30 %" in scores
    )
    assert "where it is framed it does not decide. It examined 2 parts." in scores
    assert "test files its AUC was 0.93 (0.5 is chance, 1 is best, 95 % interval 0.90" in scores
    assert service[0].forms == [
        {"explain": "true", "name": "photo.png", "bytes": service[0].forms[0]["bytes"]}
    ]
    spoken = "return document.querySelector('#said').textContent"
    reader.until(
        lambda: reader.browser.execute_script(spoken).startswith("photo.png: looks fake, probability")
    )
    assert "1 of 1 finished, 1 looks fake" in reader.text("#tally")


def test_boxes_lie_over_the_faces_of_the_picture(reader):
    reader.judged("photo.png")
    reader.until(
        lambda: reader.browser.execute_script("return document.querySelector('.frame img').naturalWidth")
    )
    left, top, right, bottom = rectangle(reader, ".frame img")
    spots = rectangle(reader, ".spot")
    shares = [(spots[0] - left) / (right - left), (spots[1] - top) / (bottom - top),
              (spots[2] - left) / (right - left), (spots[3] - top) / (bottom - top)]  # fmt: skip
    assert shares == pytest.approx([0.275, 0.2, 0.725, 0.75], abs=0.01)
    assert [spot.get_attribute("class") for spot in reader.all(".spot")] == ["spot heat-4", "spot heat-0"]
    assert "A: very suspicious (faces 87 %) B: hardly suspicious (faces 12 %)" in reader.text(".regions")
    reader.one("figcaption input").click()
    assert not reader.one(".layer").is_displayed()


def test_evidence_tells_what_it_cannot_tell(reader):
    reader.judged("photo.png")
    reader.one(".unusual summary").click()
    evidence = reader.text(".part:has(.group)")
    assert "no vote" in evidence
    assert "Unusual: few genuine files have this" in evidence
    assert "pitch median 140 Hz shimmer, spread 2 %" in evidence
    assert "What this cannot tell: Rooms and microphones change all of these." in evidence


def test_what_is_declared_stands_above_the_verdict_and_is_text(reader):
    reader.judged("photo.png")
    shown = reader.text(".result")
    declared = (
        "What the file declares, with a valid signature Example Corp. says: <b>made</b> by a generator."
    )
    assert shown.index(declared) < shown.index("Looks fake")
    assert "signed by Example <i>Corp.</i>" in shown
    assert reader.all(".result b, .result i") == []


def test_evidence_comes_by_finding_then_by_group(reader):
    reader.judged("photo.png")
    titles = "return [...document.querySelectorAll('.group h5')].map((title) => title.textContent)"
    assert reader.browser.execute_script(titles) == ["Provenance", "Voice", "Where the detectors looked"]


def test_an_analyzer_that_could_not_measure_says_why(reader):
    reader.judged("photo.png")
    assert (
        "What could not be judged, and why blinks a measure without a vote No face was found. No eye was"
        in (reader.text(".result"))
    )


def test_a_curve_has_axes_gaps_and_what_stands_out(reader):
    reader.judged("photo.png")
    chart = reader.one(".curve svg")
    assert chart.get_attribute("aria-label") == "The pitch of the voice. From 120 to 150 Hz."
    assert reader.one(".curve path").get_attribute("d").count("M") == 2
    left, _, right, _ = rectangle(reader, ".curve .span")
    plot = rectangle(reader, ".curve line:nth-of-type(1)"), rectangle(reader, ".curve svg")
    assert 0 < right - left < (plot[1][2] - plot[1][0]) / 3, "a span ends where the chart does"
    assert "s Hz" in " ".join(text.text for text in reader.all(".curve text")[-2:])
    assert "What stands out is shaded." in reader.text(".curve")


MAP_VALUES = """
const canvas = document.querySelector(arguments[0]);
const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
const at = (x) => [...data.slice(4 * x, 4 * x + 4)];
return [at(0), at(canvas.width - 1)];
"""


def test_a_map_stands_alone_and_lies_over_its_place_where_it_is_asked_for(reader):
    reader.judged("photo.png")
    reader.until(lambda: reader.all(".plate canvas[data-painted]"))
    assert reader.browser.execute_script(MAP_VALUES, ".plate canvas") == [
        [0, 0, 0, 255],
        [255, 255, 255, 255],
    ]
    assert reader.one(".plate canvas").get_attribute("aria-label") == "Where the detector found its traces."
    assert reader.text(".scale") == "0 1"
    button = reader.one(".plate button")
    button.click()
    reader.until(lambda: reader.all(".frame .map[data-painted]"))
    low, high = reader.browser.execute_script(MAP_VALUES, ".frame .map")
    assert low[3] == 0, "what is low lets the picture through"
    assert (high[0], high[3]) == (255, 230)
    assert button.get_attribute("aria-pressed") == "true"
    frame, laid = rectangle(reader, ".frame img"), rectangle(reader, ".map")
    shares = [(edge - frame[n % 2]) / (frame[2 + n % 2] - frame[n % 2]) for n, edge in enumerate(laid)]
    assert shares == pytest.approx([0.275, 0.2, 0.725, 0.75], abs=0.01)
    slider = (
        "const s = document.querySelector('.fader input'); s.value = 30; s.dispatchEvent(new Event('input'))"
    )
    reader.browser.execute_script(slider)
    assert reader.one(".map").value_of_css_property("opacity") == "0.3"
    reader.one(".fader button").click()
    assert reader.all(".map") == []
    assert button.get_attribute("aria-pressed") == "false"
    assert not reader.one(".fader").is_displayed()


def test_a_map_of_a_moment_goes_there_and_lasts_no_longer(reader):
    reader.judged("clip.mkv")
    reader.one(".plate button").click()
    shown = "return document.querySelector('video').currentTime"
    reader.until(lambda: reader.browser.execute_script(shown) == pytest.approx(1.25))
    assert reader.one(".map").is_displayed()
    reader.all(".moment")[-1].click()
    reader.until(lambda: reader.browser.execute_script(shown) > 1.5)
    reader.until(lambda: not reader.one(".map").is_displayed())


def test_without_evidence_none_is_asked_for(reader, service):
    reader.one("#explain").click()
    reader.judged("photo.png")
    assert "explain" not in service[0].forms[0]
    assert "Evidence" not in reader.text("#cards")


def test_a_clip_has_a_timeline_thumbnails_and_its_sound(reader):
    reader.judged("clip.mkv")
    bars = reader.all(".bar")
    assert len(bars) == 8 + 2
    assert bars[3].get_attribute("aria-label") == "0:01.5 to 0:02.0, faces: 93\u00a0%, very suspicious"
    places = reader.browser.execute_script(
        "const b = document.querySelectorAll('.bar')[3]; const t = b.parentElement;"
        "return [b.offsetLeft / t.clientWidth, b.offsetHeight / t.clientHeight]"
    )
    assert places == pytest.approx([1.5 / CLIP_S, 0.93], abs=0.03)
    reader.until(lambda: len(reader.all(".moment [data-painted]")) == len(reader.all(".moments canvas")) >= 3)
    inks = reader.browser.execute_script(
        "return [...document.querySelectorAll('.moments canvas')].map((c) =>"
        " new Set(c.getContext('2d').getImageData(0, 0, c.width, c.height).data).size)"
    )
    assert min(inks) > 20
    assert reader.one(".wave path").get_attribute("d").count("M") == 600
    assert "At 0:01.8: A: very suspicious (faces 93 %)" in reader.text("figcaption")


def test_a_moment_is_reached_by_keys_and_by_pointer(reader):
    reader.judged("clip.mkv")
    shown = "return document.querySelector('video').currentTime"
    reader.until(lambda: reader.browser.execute_script(shown) == pytest.approx(1.75))
    reader.browser.execute_script("document.querySelector('.bar').focus()")
    reader.press(RIGHT, RIGHT, LEFT, ENTER)
    reader.until(lambda: reader.browser.execute_script(shown) == pytest.approx(0.75))
    assert reader.text(".readout") == "0:00.5 to 0:01.0, faces: 30 %, little suspicious"
    assert "little suspicious (faces 30 %)" in reader.text("figcaption")
    head = rectangle(reader, ".playhead")[0] - rectangle(reader, ".track")[0]
    width = rectangle(reader, ".track")[2] - rectangle(reader, ".track")[0]
    reader.press(END)
    assert reader.focused.get_attribute("aria-label").startswith("0:03.5 to 0:04.0")
    assert (
        reader.browser.execute_script(
            "return document.querySelectorAll('.track')[0].querySelectorAll('[tabindex=\"0\"]').length"
        )
        == 1
    )
    reader.until(lambda: 0 < head < width)
    reader.all(".moment")[-1].click()
    reader.until(lambda: reader.browser.execute_script(shown) > 2)


def test_a_recording_has_bars_and_a_wave_without_pictures(reader):
    reader.judged("clip-sound.wav")
    reader.one("audio")
    reader.until(lambda: reader.all(".wave path"))
    assert reader.all("canvas") == []
    assert reader.one(".moment").text.startswith("0:00")


def test_a_broken_file_shows_the_message_and_can_be_tried_again(reader):
    reader.judged("broken.png")
    assert reader.text(".notice") == "'broken.png' is truncated. Get a complete copy. (request r-1)"
    assert "Not judged" in reader.text(".card")
    reader.one(".actions button").click()
    reader.until(lambda: reader.all(".badge.error"))
    assert "1 not judged" in reader.text("#tally")


def test_no_face_is_inconclusive_and_says_why(reader):
    reader.judged("noface.png")
    text = reader.text(".card")
    assert "Inconclusive" in text
    assert "That says nothing about whether it is genuine." in text
    assert (
        "What could not be judged, and why faces looks at: image No face was found. No face of 32 px or more."
        in text
    )
    assert "probability of a fake" not in text


def test_a_band_in_which_nobody_decides_is_explained(reader):
    reader.judged("undecided.png")
    assert "wrong too often in either direction" in reader.text(".answer")


def test_a_file_that_the_browser_cannot_show_is_judged_all_the_same(reader):
    reader.judged("text.png")
    reader.until(lambda: reader.all(".blank"))
    assert "This browser cannot show files of this format." in reader.text(".stage")
    assert len(reader.all(".spot")) == 2
    assert "Looks fake" in reader.text(".answer")


def test_files_are_judged_two_at_a_time_and_one_error_stops_no_other(reader, service):
    reader.give("broken.png", "slow-1.png", "slow-2.png", "slow-3.png", "photo.png")
    reader.until(lambda: service[0].working == 2 and reader.all(".badge.error"))
    assert [badge.text for badge in reader.all(".badge")] == [
        "Not judged",
        "Working",
        "Working",
        "Waiting",
        "Waiting",
    ]
    service[0].gate.set()
    reader.until(lambda: "5 of 5 finished, 4 looks fake, 1 not judged" in reader.text("#tally"))
    assert service[0].most_working == 2


def test_a_file_can_be_cancelled_while_others_go_on(reader, service):
    reader.give("slow-1.png", "slow-2.png", "slow-3.png")
    reader.until(lambda: service[0].working == 2)
    reader.all(".actions button")[0].click()
    reader.all(".actions button")[-1].click()
    reader.until(lambda: [badge.text for badge in reader.all(".badge")].count("Cancelled") == 1 + 1)
    service[0].gate.set()
    reader.until(lambda: "3 of 3 finished" in reader.text("#tally"))
    assert [badge.text for badge in reader.all(".badge")].count("Looks fake") == 1


def test_a_busy_service_is_asked_again_and_the_reader_is_told(reader, service):
    reader.give("busy.png")
    reader.until(
        lambda: "The service is busy. Trying again in 1 s (attempt 2 of 5)." in reader.text("#cards")
    )
    reader.until(lambda: reader.all(".badge.fake"))
    assert service[0].refused == {"busy.png"}


def test_a_job_that_failed_says_why(reader):
    reader.judged("clip-lost.mp4")
    assert "The machine that judged it is gone." in reader.text(".notice")


def test_the_key_is_asked_for_once_and_kept_for_this_tab_only(reader, service):
    service[0].key = KEY
    reader.give("photo.png", "noface.png")
    reader.until(lambda: reader.one("#ask-key").is_displayed())
    assert reader.focused.get_attribute("id") == "key"
    reader.press("wrong", ENTER)
    reader.until(lambda: "did not accept" in reader.text("#ask-key-why"))
    reader.press(KEY, ENTER)
    reader.until(lambda: "2 of 2 finished" in reader.text("#tally"))
    assert not reader.one("#ask-key").is_displayed()
    kept = reader.browser.execute_script(
        "return [sessionStorage.length, localStorage.length, document.cookie]"
    )
    assert kept == [1, 0, ""]


def test_without_a_key_the_refusal_is_shown(reader, service):
    service[0].key = KEY
    reader.give("photo.png")
    reader.until(lambda: reader.one("#ask-key").is_displayed())
    reader.press(ESCAPE)
    reader.until(lambda: "wants a key" in reader.text(".notice"))


def test_the_keyboard_alone_suffices(reader):
    reader.browser.execute_script("document.activeElement.blur()")
    reader.press(TAB)
    assert reader.focused.text == "Skip to the files"
    reader.press(TAB)
    assert reader.focused.get_attribute("id") == "chosen"
    outline = "return getComputedStyle(document.querySelector('.drop')).outlineStyle"
    assert reader.browser.execute_script(outline) == "solid"
    reader.press(TAB, SPACE)
    assert not reader.one("#explain").is_selected()
    reader.judged("photo.png")
    reached = []
    for _ in range(5):
        reader.press(TAB)
        reached.append(reader.focused.text)
    assert reached == ["Remove all", "Download report", "Download JSON", "Remove", ""]
    assert reader.focused.get_attribute("type") == "checkbox"


def test_the_focus_stays_where_the_reader_is(reader, service):
    reader.give("slow-1.png", "slow-2.png")
    reader.until(lambda: service[0].working == 2)
    reader.browser.execute_script("document.querySelector('.actions button').focus()")
    service[0].gate.set()
    reader.until(lambda: "2 of 2 finished" in reader.text("#tally"))
    assert reader.focused.text == "slow-1.png"
    reader.browser.execute_script("document.querySelectorAll('.actions button')[2].focus()")
    reader.press(ENTER)
    assert reader.focused.text == "slow-2.png"
    reader.one("#clear").click()
    assert reader.focused.get_attribute("id") == "chosen"
    assert not reader.one("#files").is_displayed()


def test_dropped_and_pasted_files_are_judged(reader):
    reader.browser.execute_script(
        """for (const kind of ["drop", "paste"]) {
          const data = new DataTransfer();
          data.items.add(new File(["x"], `${kind}.png`, { type: "image/png" }));
          const given = { dataTransfer: data, clipboardData: data, bubbles: true };
          const Kind = kind === "drop" ? DragEvent : ClipboardEvent;
          document.body.dispatchEvent(new Kind(kind, given));
        }"""
    )
    reader.until(lambda: "2 of 2 finished" in reader.text("#tally"))
    assert {title.text for title in reader.all("h3")} == {"drop.png", "paste.png"}


def test_everything_that_can_be_reached_has_a_name(reader):
    reader.judged("clip.mkv", "photo.png")
    nodes = reader.browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    named = {
        "button",
        "link",
        "checkbox",
        "image",
        "toolbar",
        "dialog",
        "Video",
        "Audio",
        "region",
        "progressbar",
    }
    nameless = [
        node["role"]["value"] for node in nodes
        if not node["ignored"] and node["role"]["value"] in named and not node.get("name", {}).get("value")
    ]  # fmt: skip
    assert nameless == []
    roles = [node["role"]["value"] for node in nodes]
    assert {"main", "banner", "contentinfo", "heading"} <= set(roles)
    labelled = "return [...document.querySelectorAll('img')].every((i) => i.hasAttribute('alt'))"
    assert reader.browser.execute_script(labelled)


def test_headings_leave_out_no_level(reader):
    reader.judged("clip.mkv")
    levels = reader.browser.execute_script(
        "return [...document.querySelectorAll('main :is(h1,h2,h3,h4)')].map((h) => Number(h.tagName[1]))"
    )
    assert levels[0] == 1
    assert max(after - before for before, after in itertools.pairwise(levels)) == 1


def test_the_dark_theme_follows_the_reader(reader):
    ground = "return getComputedStyle(document.body).backgroundColor"
    theme(reader, "light")
    light = reader.browser.execute_script(ground)
    theme(reader, "dark")
    assert (light, reader.browser.execute_script(ground)) == ("rgb(246, 247, 249)", "rgb(15, 20, 26)")


def test_nothing_moves_for_those_who_want_it_so(reader):
    features = [{"name": "prefers-reduced-motion", "value": "reduce"}]
    reader.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    reader.judged("photo.png")
    animation = "return getComputedStyle(document.querySelector('.card')).animationName"
    assert reader.browser.execute_script(animation) == "none"


@pytest.mark.parametrize("name", ["clip.mkv", "photo.png", "broken.png", "noface.png"])
def test_a_narrow_phone_shows_all_without_scrolling_sideways(reader, name):
    reader.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    reader.judged(name)
    reader.browser.execute_script("for (const one of document.querySelectorAll('details')) one.open = true")
    assert overflow_px(reader) == 0
    assert reader.one(".card").size["width"] <= PHONE["width"]


def test_nothing_is_loaded_from_another_host(reader):
    reader.judged("clip.mkv", "photo.png")
    names = reader.browser.execute_script(
        "return performance.getEntriesByType('resource').map((entry) => entry.name)"
    )
    assert len(names) > 8
    assert [name for name in names if not name.startswith((reader.address, f"blob:{reader.address}"))] == []


def test_the_report_stands_alone(reader, downloads):
    reader.judged("clip.mkv")
    reader.until(lambda: len(reader.all("canvas[data-painted]")) == len(reader.all("canvas")) > 1)
    buttons = reader.all(".actions button")
    buttons[0].click()
    report = saved(downloads, "deepscan-clip.mkv.html")
    buttons[1].click()
    verdict = json.loads(saved(downloads, "deepscan-clip.mkv.json"))
    assert verdict["media"]["name"] == "clip.mkv"
    assert verdict["probability"] == 0.78
    assert "<script" not in report
    assert "<button" not in report
    assert report.count("data:image/jpeg") == 1 + len(reader.all(".moments canvas"))
    assert report.count("data:image/png") == 1
    reader.browser.get("data:text/html;base64," + base64.b64encode(report.encode()).decode())
    assert "Of files that scored like this one" in reader.text(".answer")
    assert "0:01.5" in reader.text(".moments")
    assert len(reader.all(".spot")) == 1
    assert reader.one("dl").is_displayed()
