"""What the load is made of: a bundle with random weights, pictures with a face in them, and sounds."""

import dataclasses
import pathlib
from typing import Any

import torch

from deepscan import bundle, config
from deepscan.bundle import Card
from deepscan.media.source import Media
from deepscan.models.catalog import load_builtin
from deepscan.pipeline import prepare


def fresh_bundle(folder: pathlib.Path, model: str, **changes: Any) -> pathlib.Path:
    """Write a bundle of a model with random weights: what it says means nothing, its cost is real."""
    spec = load_builtin().get(model)
    settings, prep = dataclasses.replace(spec.config(), **changes), spec.prep.resolved()
    torch.manual_seed(0)
    card = Card(
        name=model,
        model=spec.name,
        model_config=config.to_dict(settings),
        modality=spec.modality,
        prep=config.to_dict(prep),
        prep_digest=prep.digest,
        files={},
    )
    folder.mkdir(parents=True, exist_ok=True)
    return bundle.write(folder, card, spec.build(settings)).path


def usable(folder: pathlib.Path, model: str, count: int, suffix: str = ".jpg") -> tuple[str, ...]:
    """Return so many files of a folder in which the model's preparation finds one thing to judge.

    A file of several is a batch of its own.
    """
    prep, found = load_builtin().get(model).prep.resolved(), []
    for path in sorted(folder.rglob(f"*{suffix}")):
        prepared = prepare(prep, Media.from_path(path))
        if isinstance(prepared, list) and len(prepared) == 1:
            found.append(str(path.resolve()))
        if len(found) == count:
            return tuple(found)
    raise SystemExit(f"{folder} holds {len(found)} {suffix} files for {model}, and {count} are needed.")
