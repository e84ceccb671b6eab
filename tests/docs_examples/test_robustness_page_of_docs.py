"""docs/robustness.md lists the deliveries as they are."""

import pathlib
import re

from deepscan.media.deliveries.catalog import load_builtin

TEXT = (pathlib.Path(__file__).parents[2] / "docs" / "robustness.md").read_text(encoding="utf-8")
TABLE = TEXT.split("## Deliveries")[1].split("\n## ")[0]
ROWS = re.findall(r"^\| `([\w-]+)` \| (\w+) \| (.+) \|$", TABLE, re.MULTILINE)
KINDS = {"pictures": "image", "clips": "video", "sound": "audio"}


def test_every_family_has_its_row_with_its_deliveries_in_order():
    told = {family: (KINDS[kind], re.findall(r"`([\w.-]+)`", names)) for family, kind, names in ROWS}
    known = {}
    for each in load_builtin():
        known.setdefault(each.family, (each.kinds[0], []))[1].append(each.name)
    assert told == known


def test_quick_and_mild_ones_are_marked():
    names = " ".join(names for _, _, names in ROWS)
    for mark, field in (("q", "quick"), ("m", "mild")):
        marked = set(re.findall(rf"`([\w.-]+)` \*\*{mark}\*\*", names))
        assert marked == {each.name for each in load_builtin() if getattr(each, field)}
