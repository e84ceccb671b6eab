"""Judging a folder of any size on Ray Data, one verdict a line of JSON.

Every task finishes a file of verdicts and puts it in place by a rename; a run that is started again
judges only what has no verdict yet.
"""

import dataclasses
import json
import os
import pathlib
import uuid
from collections import Counter
from collections.abc import Iterator
from typing import Any

import ray.data
import torch

from deepscan.datasets.store import file_id
from deepscan.detector import Detector
from deepscan.ensemble import Selection
from deepscan.errors import DataError, MediaError
from deepscan.evaluation import Judging
from deepscan.media.source import Media
from deepscan.models.catalog import load_plugin
from deepscan.pipeline import analyze
from deepscan.verdict import to_dict
from deepscan.watch import Watch

FILES_PER_TASK = 64
ERROR = "error"


class _Analyst:
    """All detectors in one actor; judges files and writes their verdicts."""

    def __init__(self, chosen: Selection, out: str, judging: Judging) -> None:
        """Load the detectors."""
        torch.set_num_threads(os.cpu_count() or 1)
        if judging.plugin:
            load_plugin(judging.plugin)
        self.detectors = [Detector.load(path, judging.device) for path in chosen.bundles]
        self.policy = chosen.policy
        self.out = pathlib.Path(out)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Judge the files of a row; return how many there were of each label."""
        lines = [self.judge(path) for path in row["paths"]]
        draft = self.out / f"verdicts-{uuid.uuid4().hex}.draft"
        draft.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        os.replace(draft, draft.with_suffix(".jsonl"))
        return {"files": len(lines)}

    def judge(self, path: str) -> dict[str, Any]:
        """Return the verdict on a file, or the error that stands in its way."""
        known = {"file": path, "file_id": file_id(path)}
        try:
            media = Media.from_path(pathlib.Path(path))
            return known | to_dict(analyze(media, self.detectors, self.policy))
        except MediaError as error:
            return known | {"label": ERROR, "error": type(error).__name__, "message": str(error)}


def score_folder(
    data: pathlib.Path, chosen: Selection, out: pathlib.Path, judging: Judging, watch: Watch
) -> dict[str, int]:
    """Judge every file under a folder; return how many there are of each label, ``error`` included.

    Args:
        data: The folder; hidden files are left out.
        chosen: The detectors, and how their votes become one answer.
        out: Folder of ``verdicts-*.jsonl``: the Verdict of each file with ``file`` and ``file_id``.
        judging: Device and plug-in.
        watch: Follows the work.

    Raises:
        DataError: There are no files.
    """
    paths = sorted(str(path.resolve()) for path in _files(data))
    if not paths:
        msg = f"{data} holds no files; give a folder of media."
        raise DataError(msg)
    out.mkdir(parents=True, exist_ok=True)
    ids = {file_id(path): path for path in paths}
    done = {line["file_id"] for line in read_verdicts(out)}
    pending = [path for key, path in ids.items() if key not in done]
    watch.stage("Judging files")
    finished = len(paths) - len(pending)
    watch.advance(finished, len(paths))
    for files in _judged(pending, chosen, out, judging):
        finished += files
        watch.advance(finished, len(paths))
    return dict(Counter(line["label"] for line in read_verdicts(out) if line["file_id"] in ids))


def read_verdicts(out: pathlib.Path) -> Iterator[dict[str, Any]]:
    """Yield every line of the finished verdict files in a folder."""
    for path in sorted(out.glob("verdicts-*.jsonl")):
        with path.open(encoding="utf-8") as file:
            yield from map(json.loads, file)


def _judged(pending: list[str], chosen: Selection, out: pathlib.Path, judging: Judging) -> Iterator[int]:
    """Judge files on Ray Data; yield the number of files of every task that ends."""
    if not pending:
        return
    size = max(1, min(FILES_PER_TASK, -(-len(pending) // 8)))
    pieces = [{"paths": pending[start : start + size]} for start in range(0, len(pending), size)]
    absolute = dataclasses.replace(chosen, bundles=tuple(path.resolve() for path in chosen.bundles))
    analyst: Any = _Analyst  # Ray takes the class and makes the object in the actor
    judged = ray.data.from_items(pieces, override_num_blocks=len(pieces)).map(
        analyst,
        fn_constructor_args=(absolute, str(out.resolve()), judging),
        num_cpus=judging.cpus,
        num_gpus=judging.gpus,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=judging.actors),
    )
    for row in judged.iter_rows():
        yield row["files"]


def _files(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    return (p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))
