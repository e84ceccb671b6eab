"""A bundle: a directory that holds a detector and explains it.

``bundle.json`` names the model and its settings, the Prep, the calibration, the operating point,
the data and the figures; the weights lie beside it, ``trainer.pt`` too while training goes on. It
is the Ray checkpoint of training and what Serve loads. Nothing in it is ever unpickled.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Self

from deepscan import config, formats
from deepscan.calibration import Calibration, OperatingPoint, Reliability
from deepscan.domain.gate import Gate
from deepscan.errors import BundleError, ConfigError
from deepscan.formats import FLOAT32, Format
from deepscan.modalities import Prep
from deepscan.modalities.catalog import load_builtin as load_modalities
from deepscan.monitor.drift import Reference

if TYPE_CHECKING:
    from torch import nn

MANIFEST = "bundle.json"
SCHEMA = 1


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """The contents of ``bundle.json``.

    Attributes:
        name: Name of the detector.
        model: Name of its ModelSpec.
        model_config: Settings of the architecture.
        modality: Name of the modality.
        prep: Settings of the Prep.
        prep_digest: Digest of the Prep that the weights were trained with.
        files: SHA-256 of every weights file by name.
        weights_format: Name of the weights format.
        precision: The numbers in which it is computed, as they were when it was checked.
        calibration: From logits to probabilities, fitted on validation data.
        operating: Where real ends and fake begins, fitted on validation data.
        reliability: What validation files that scored alike turned out to be.
        gate: Tells files that are unlike those of validation and not judged; None = every file is judged.
        reference: How validation files scored and were prepared, to see whether served ones do alike; empty
            = nobody wrote it down.
        recipe: Training settings.
        training: How the run went: its ``time_s``, ``workers``, ``epochs``, whether it was ``resumed``, and
            the ``way`` in which its steps were computed: precision, layout, whether compiled.
        data: Digest and counts of the training data.
        seen: Fingerprints of the files and sources that trained or chose it; see ``deepscan.datasets.seen``.
        metrics: Figures by split, each with the split's size.
        parent: Id of the bundle that this one derives from; empty = from scratch.
        change: What was done to the parent to get this one: ``step`` and its settings; empty = training.
        structure: Changes that lead from what the settings build to the network of these weights; see
            ``deepscan.nn.structure``.
        teachers: Ids of the bundles that it learnt to follow.
        software: Versions that made it.
        plugin: File name of the plug-in that defines the model; empty = a built-in model.
        schema: Version of this layout.
    """

    name: str
    model: str
    model_config: dict[str, Any]
    modality: str
    prep: dict[str, Any]
    prep_digest: str
    files: dict[str, str]
    weights_format: str = "eager"
    precision: str = FLOAT32
    calibration: Calibration = Calibration()
    operating: OperatingPoint = OperatingPoint()
    reliability: Reliability | None = None
    gate: Gate | None = None
    reference: Reference = ()
    recipe: dict[str, Any] = dataclasses.field(default_factory=dict)
    training: dict[str, Any] = dataclasses.field(default_factory=dict)
    data: dict[str, Any] = dataclasses.field(default_factory=dict)
    seen: dict[str, str] = dataclasses.field(default_factory=dict)
    metrics: dict[str, Any] = dataclasses.field(default_factory=dict)
    parent: str = ""
    change: dict[str, Any] = dataclasses.field(default_factory=dict)
    structure: tuple[dict[str, Any], ...] = ()
    teachers: tuple[str, ...] = ()
    software: dict[str, str] = dataclasses.field(default_factory=dict)
    plugin: str = ""
    schema: int = SCHEMA

    @property
    def id(self) -> str:
        """Name and 12 hex digits of everything that a verdict depends on."""
        operating = config.to_dict(self.operating)
        del operating["groups"]  # tells how the band was found; no verdict depends on it
        facts: list[Any] = [
            self.model,
            self.model_config,
            self.prep_digest,
            self.weights_format,
            self.files,
            config.to_dict(self.calibration),
            operating,
            config.to_dict(self.reliability) if self.reliability else None,
        ]
        if self.precision != FLOAT32:
            facts.append(self.precision)
        if self.gate:
            facts.append(config.to_dict(self.gate))
        if self.structure:
            facts.append(list(self.structure))
        body = json.dumps(facts, sort_keys=True).encode()
        return f"{self.name}-{hashlib.sha256(body).hexdigest()[:12]}"


@dataclasses.dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle's directory and its card."""

    path: pathlib.Path
    card: Card

    @classmethod
    def read(cls, path: pathlib.Path) -> Self:
        """Read the card and check that the weights are the ones it names.

        Raises:
            BundleError: The directory is no bundle, incomplete, altered or of another version.
        """
        card = _read_card(path)
        for name, sha256 in card.files.items():
            file = path / name
            if not file.is_file():
                msg = f"Bundle {path} is incomplete: {name} is missing. Copy the whole directory."
                raise BundleError(msg)
            if _sha256(file) != sha256:
                msg = f"Bundle {path} was altered: {name} is not the file that {MANIFEST} names."
                raise BundleError(msg)
        return cls(path, card)

    def prep(self) -> Prep:
        """Build the Prep that the weights were trained with.

        Raises:
            BundleError: This installation would prepare media differently.
        """
        with self._blamed():
            modality = load_modalities().get(self.card.modality)
            prep: Prep = config.from_dict(modality.prep, self.card.prep)
        if prep.digest != self.card.prep_digest:
            msg = (
                f"Bundle {self.path} was trained with preparation {self.card.prep_digest}; this version "
                f"of deepscan prepares as {prep.digest}. Train it again, or use the version in its card."
            )
            raise BundleError(msg)
        return prep

    def module(self) -> "nn.Module":
        """Build the model with fresh weights, in the structure that it was left with when it was shrunk.

        Raises:
            BundleError: The model is not registered here (a plug-in has to be named), has other settings, or
                not the layers that were changed.
        """
        # Here and not above: a bundle whose graph is run has no use for the module, nor for PyTorch.
        from deepscan.models.catalog import load_builtin as load_models
        from deepscan.nn.structure import restructure

        plugin = self.card.plugin
        with self._blamed(f" It comes from the plug-in {plugin}: add --plugin." if plugin else ""):
            spec = load_models().get(self.card.model)
        with self._blamed():
            settings = config.from_dict(spec.config, self.card.model_config)
        module: nn.Module = spec.build(settings)
        with self._blamed():
            return restructure(module, self.card.structure)

    def weights_format(self) -> Format:
        """Return the format that its weights are in.

        Raises:
            BundleError: This version does not know it.
        """
        with self._blamed():
            return formats.get(self.card.weights_format)

    def amend(self, **changes: Any) -> "Bundle":
        """Return the bundle with fields of its card replaced, on disk too."""
        card = dataclasses.replace(self.card, **changes)
        _write_card(self.path, card)
        return Bundle(self.path, card)

    @contextlib.contextmanager
    def _blamed(self, hint: str = "") -> Iterator[None]:
        """Say of a name or setting that is unknown here that it is the bundle's, not the user's."""
        try:
            yield
        except ConfigError as error:
            msg = f"Bundle {self.path}: {error}{hint}"
            raise BundleError(msg) from error


def write(directory: pathlib.Path, card: Card, module: "nn.Module") -> Bundle:
    """Write a module and its card into ``directory``; ``card.files`` is filled in.

    Raises:
        FormatError: The module cannot be written in the card's format and precision.
    """
    directory.mkdir(parents=True, exist_ok=True)
    modality = load_modalities().get(card.modality)
    inputs = config.from_dict(modality.prep, card.prep).inputs
    form = formats.get(card.weights_format)
    form.tolerance(card.precision)
    return seal(directory, card, form.write(module, directory, inputs, card.precision))


def seal(directory: pathlib.Path, card: Card, names: Sequence[str]) -> Bundle:
    """Write the card of weights files that lie in ``directory`` already; ``card.files`` is filled in."""
    card = dataclasses.replace(card, files={name: _sha256(directory / name) for name in names})
    _write_card(directory, card)
    return Bundle(directory, card)


def _read_card(path: pathlib.Path) -> Card:
    try:
        values = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"{path} is no bundle: {MANIFEST} cannot be read ({error}). Give the directory that holds it."
        raise BundleError(msg) from error
    if not isinstance(values, dict) or values.get("schema") != SCHEMA:
        msg = f"{path / MANIFEST} is not of schema {SCHEMA}, the only one that this version reads."
        raise BundleError(msg)
    try:
        return config.from_dict(Card, values)
    except ConfigError as error:
        msg = f"{path / MANIFEST} is malformed: {error}"
        raise BundleError(msg) from error


def _write_card(path: pathlib.Path, card: Card) -> None:
    draft = path / (MANIFEST + ".tmp")
    draft.write_text(json.dumps(config.to_dict(card), indent=1) + "\n", encoding="utf-8")
    os.replace(draft, path / MANIFEST)


def _sha256(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
