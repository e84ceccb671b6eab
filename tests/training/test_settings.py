import json

import pytest

from deepscan.errors import ConfigError
from deepscan.training.settings import keep_or_compare


def test_what_is_resumed_depends_on_what_was_written_down(tmp_path):
    out = tmp_path / "run"
    keep_or_compare(out, {"seed": 1, "data": "d"}, resume=False, otherwise="begin anew")
    assert json.loads((out / "settings.json").read_text(encoding="utf-8")) == {"seed": 1, "data": "d"}
    keep_or_compare(out, {"seed": 1, "data": "d"}, resume=True, otherwise="begin anew")
    with pytest.raises(
        ConfigError, match=r"run holds was begun with other settings \(data, seed differ\).*anew"
    ):
        keep_or_compare(out, {"seed": 2, "data": "e"}, resume=True, otherwise="begin anew")
    assert json.loads((out / "settings.json").read_text(encoding="utf-8"))["seed"] == 1
