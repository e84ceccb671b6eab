"""An ensemble: a file that names bundles and says how their votes become one answer.

Wherever a bundle is taken, an ensemble file may stand in its place: ``select`` turns what was given
into bundles and a FusionPolicy.
"""

import dataclasses
import importlib.resources
import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any, Self

from deepscan import config
from deepscan.bundle import Bundle
from deepscan.errors import BundleError, ConfigError
from deepscan.fusion import FusionPolicy

SCHEMA = 1
SHIPPED = "zoo/ensemble.json"
"""Where the package has the ensemble that judges where nobody was named."""

FREE = ("min_models", "threshold")
"""What may be set of a policy that was fitted; all else belongs to what it has learnt."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A bundle of an ensemble: its directory as seen from the ensemble file, and the id that it had."""

    path: str
    bundle: str


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Ensemble:
    """The contents of an ensemble file (JSON).

    Attributes:
        entries: The bundles.
        policy: How their votes become one answer.
        data: Digest of the data set that it was fitted on, counts of its files and, as ``warnings``,
            sentences about what makes the figures doubtful.
        metrics: Figures on the test split: those of each bundle by its id, and those of the ``ensemble``.
        schema: Version of this layout.
    """

    entries: tuple[Entry, ...]
    policy: FusionPolicy
    data: dict[str, Any] = dataclasses.field(default_factory=dict)
    metrics: dict[str, Any] = dataclasses.field(default_factory=dict)
    schema: int = SCHEMA

    @classmethod
    def load(cls, path: pathlib.Path) -> Self:
        """Read an ensemble file; its bundles are not looked at.

        Raises:
            BundleError: The file is absent, malformed or of another version.
        """
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            msg = f"{path} is no ensemble: it cannot be read ({error}). `deepscan ensemble fit` makes one."
            raise BundleError(msg) from error
        if not isinstance(values, dict) or values.get("schema") != SCHEMA:
            msg = f"{path} is no ensemble of schema {SCHEMA}, the only one that this version reads."
            raise BundleError(msg)
        try:
            return config.from_dict(cls, values)
        except ConfigError as error:
            msg = f"{path} is malformed: {error}"
            raise BundleError(msg) from error

    def save(self, path: pathlib.Path) -> None:
        """Write the file, in one step, so that nobody reads half of it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(path.name + ".tmp")
        draft.write_text(json.dumps(config.to_dict(self), indent=1) + "\n", encoding="utf-8")
        os.replace(draft, path)

    def bundles(self, path: pathlib.Path) -> tuple[pathlib.Path, ...]:
        """Return the directories of the bundles; ``path`` is that of the ensemble file.

        Raises:
            BundleError: A bundle cannot be used, or is not the one that the ensemble was fitted with.
        """
        folders = tuple(path.parent / entry.path for entry in self.entries)
        for folder, entry in zip(folders, self.entries, strict=True):
            found = Bundle.read(folder).card.id
            if found != entry.bundle:
                msg = (
                    f"{path} was fitted with bundle {entry.bundle}, but {folder} now holds {found}. Put the "
                    "former back, or fit the ensemble again."
                )
                raise BundleError(msg)
        return folders


def shipped_path() -> pathlib.Path:
    """Return where the package has the ensemble that ships with deepscan."""
    return pathlib.Path(str(importlib.resources.files("deepscan"))) / SHIPPED


def shipped() -> pathlib.Path:
    """Return the file of the ensemble that ships with deepscan.

    Raises:
        BundleError: This installation has none.
    """
    path = shipped_path()
    if not path.is_file():
        msg = "This installation of deepscan comes without detectors; name a bundle with --bundle."
        raise BundleError(msg)
    return path


def entry(bundle: Bundle, ensemble: pathlib.Path) -> Entry:
    """Name a bundle in an ensemble file that is going to be at ``ensemble``."""
    relative = os.path.relpath(bundle.path.resolve(), ensemble.resolve().parent)
    return Entry(path=pathlib.Path(relative).as_posix(), bundle=bundle.card.id)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Who judges, and how the votes become one answer."""

    bundles: tuple[pathlib.Path, ...]
    policy: FusionPolicy


def select(paths: Sequence[pathlib.Path], settings: Sequence[str] = ()) -> Selection:
    """Return the bundles and the policy that some paths stand for.

    Args:
        paths: Bundle directories, or one ensemble file; none = the ensemble that ships with deepscan.
        settings: Assignments to fields of the FusionPolicy, e.g. ``method=mean`` or ``weights={"cnn": 2}``.

    Raises:
        BundleError: An ensemble file, or one of its bundles, cannot be used.
        ConfigError: Files and directories are mixed, or a setting is unknown or cannot be changed.
    """
    paths = paths or (shipped(),)
    files = [path for path in paths if path.is_file()]
    if not files:
        return Selection(bundles=tuple(paths), policy=config.override(FusionPolicy(), settings))
    if len(paths) > 1:
        msg = f"{files[0]} is an ensemble of its own; give one ensemble file, or directories of bundles."
        raise ConfigError(msg)
    ensemble = Ensemble.load(files[0])
    policy = config.override(ensemble.policy, settings)
    kept = {name: getattr(policy, name) for name in FREE}
    if policy != dataclasses.replace(ensemble.policy, **kept):
        msg = f"{files[0]} was fitted; of its fusion only {' and '.join(FREE)} can be set."
        raise ConfigError(msg)
    return Selection(bundles=ensemble.bundles(files[0]), policy=policy)
