"""docs/figures.md names the figures that there are, with the numbers of the code."""

import json
import pathlib
import re

from deepscan import config
from deepscan.calibration import OperatingPoint
from deepscan.datasets import judged, seen
from deepscan.metrics import costs, decisions, fairness
from deepscan.metrics.figures import ECE_BINS

PAGE = (pathlib.Path(__file__).parents[2] / "docs" / "figures.md").read_text(encoding="utf-8")
WORDS = " ".join(PAGE.split())


def test_the_rates_of_a_verifier_are_read_and_its_costs_are_the_defaults():
    (text,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    found = config.from_dict(costs.Verifier, json.loads(text))
    assert found.costs == costs.TandemCosts()


def test_the_numbers_are_those_of_the_code():
    usual = costs.DetectionCosts()
    assert f"C_miss = {usual.miss:g}, C_fa = {usual.false_alarm:g}, π = {usual.p_fake:g}" in WORDS
    assert f"mean over {ECE_BINS} bins of equal width" in WORDS
    assert f"the {decisions.SHOWN_SOURCES} sources of lowest coverage" in WORDS
    assert (
        f"fewer than {fairness.MIN_FILES} files of a class, or of fewer than {fairness.MIN_SOURCES} sources"
        in WORDS
    )
    assert f"into 2 to {judged.MAX_GROUP_VALUES} groups" in WORDS
    assert f"at least {1 - OperatingPoint().max_error_rate:.0%} of each class".replace("%", " %") in WORDS
    assert f"{seen.BLOCK_BYTES // 1024} KiB" in WORDS


def test_every_section_says_when_not_to_trust_it():
    sections = re.split(r"\n## ", PAGE)[2:]
    assert len(sections) == 8
    for section in sections:
        assert re.search(r"[Dd]o not|too sure|by chance|change with|another file", section), section[:40]
