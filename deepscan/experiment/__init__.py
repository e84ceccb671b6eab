"""Experiments on a running service: who is answered by which variant, and what is kept of every answer.

A *variant* is a choice of bundles. Those with weights share the callers among them (an A/B test); a
*shadow* gets a copy of what another one answers, and its own answer is only kept. ``compare`` and
``sequential`` beside this module say what the answers tell. Everything here is a pure function.
"""

import dataclasses
import hashlib
import hmac
import json
import math
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from deepscan.errors import ConfigError
from deepscan.verdict import Label, Verdict

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
SHA256 = re.compile(r"[0-9a-f]{64}")
KEY_HASH_DIGITS = 16


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """One way of answering.

    Attributes:
        name: Its name in the log: letters, digits, ``.``, ``_`` and ``-``; at most 64 of them.
        weight: Share of the callers that it answers, relative to the other weights; 0 = none for now.
        shadow: It gets a copy of every request and never answers; its weight stays 1.
        bundles: Ids of the bundles that vote; None = all that are loaded.
    """

    name: str
    weight: float = 1.0
    shadow: bool = False
    bundles: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Check the fields.

        Raises:
            ConfigError: The name or the weight is not allowed, a shadow has a weight, or no bundle is left.
        """
        if not NAME.fullmatch(self.name):
            msg = (
                f"A variant cannot be called {self.name!r}; take 1 to 64 letters, digits, '.', '_' and '-', "
                "a letter or digit first."
            )
            raise ConfigError(msg)
        if not 0 <= self.weight < math.inf:
            msg = f"Variant {self.name!r} has weight {self.weight}; give a number of 0 or more."
            raise ConfigError(msg)
        if self.shadow and self.weight != 1:
            msg = f"Shadow {self.name!r} has weight {self.weight}; it gets every request, so leave it out."
            raise ConfigError(msg)
        if self.bundles is not None and (not self.bundles or len(set(self.bundles)) < len(self.bundles)):
            msg = f"Variant {self.name!r} has bundles {self.bundles}; name each once, or leave them out."
            raise ConfigError(msg)


def check(variants: Sequence[Variant], salt: str) -> None:
    """Check that an experiment can be run; called once, when a service starts.

    Raises:
        ConfigError: Two variants share a name, none can answer, or the salt is empty.
    """
    twice = [name for name, times in Counter(variant.name for variant in variants).items() if times > 1]
    if twice:
        msg = f"Variants are told apart by their names, and {', '.join(twice)} occurs twice; rename one."
        raise ConfigError(msg)
    if not _answering(variants):
        msg = "No variant can answer; at least one needs a weight above 0 and must be no shadow."
        raise ConfigError(msg)
    if not salt:
        msg = "The salt of the experiment is empty; give any text that callers do not know, and keep it."
        raise ConfigError(msg)


def assign(variants: Sequence[Variant], key: str | None, salt: str, rng: np.random.Generator) -> Variant:
    """Choose the variant that answers a caller; never a shadow.

    With a key the choice depends on the key, the salt, and names and weights only, so a caller stays with
    a variant, whatever process asks. It is weighted rendezvous hashing (Thaler & Ravishankar, 1998;
    weights after Schindelhauer & Schomaker, SPAA 2005): the variant with the largest ``-weight / ln u``
    wins, where u in (0, 1) is the hash of key and name. Since the others' numbers stay what they were, a
    new weight or a new variant moves callers to or from that variant only, and no more than it must.

    Args:
        variants: As ``check`` allows them; their order does not matter for callers with a key.
        key: What tells callers apart; None or "" = draw at random.
        salt: Makes the assignment of this experiment independent of other experiments'.
        rng: Draws for callers without a key.
    """
    able = _answering(variants)
    if not key:
        weights = np.array([variant.weight for variant in able])
        return able[int(rng.choice(len(able), p=weights / weights.sum()))]
    return max(able, key=lambda variant: -variant.weight / math.log(_uniform(salt, key, variant.name)))


def hash_key(key: str | None, salt: str) -> str | None:
    """Return 16 hex digits that stand for a caller's key in the log; None where there is no key.

    It is HMAC-SHA-256 (RFC 2104) under the salt: who does not know the salt cannot test guesses of the key.
    """
    return _digest(salt, "caller", key).hex()[:KEY_HASH_DIGITS] if key else None


def _answering(variants: Sequence[Variant]) -> list[Variant]:
    return [variant for variant in variants if variant.weight > 0 and not variant.shadow]


def _uniform(salt: str, key: str, name: str) -> float:
    """Return a number strictly between 0 and 1, with the 53 bits that a float holds."""
    bits = int.from_bytes(_digest(salt, "variant", key, name)[:8], "big") >> 12
    return (bits + 0.5) / 2**52


def _digest(salt: str, *parts: str) -> bytes:
    # JSON keeps the parts apart: ("ab", "c") and ("a", "bc") must not be the same caller.
    return hmac.new(salt.encode(), json.dumps(parts).encode(), hashlib.sha256).digest()


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """What the log keeps of one answer of one variant: neither the file, nor its name, nor the caller's key.

    Attributes:
        time_s: When it was given, in seconds since 1970.
        request_id: The request; a shadow's entry has that of the answer which the caller got.
        sha256: Digest of the content, 64 hex digits.
        variant: Name of the variant.
        shadow: Whether the answer was only kept.
        label: The answer.
        probability: P(fake) in [0, 1]; None where there was none.
        scores: P(fake) in [0, 1] of each bundle that voted.
        abstentions: The reason of each bundle that could not.
        elapsed_ms: Time to the answer, in milliseconds.
        cached: Whether the answer was remembered; its time says nothing about the variant then.
        key_hash: What ``hash_key`` made of the caller's key; None where there was none.
    """

    time_s: float
    request_id: str
    sha256: str
    variant: str
    shadow: bool
    label: Label
    probability: float | None
    scores: dict[str, float]
    abstentions: dict[str, str]
    elapsed_ms: float
    cached: bool
    key_hash: str | None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Circumstances:
    """What an Entry says beside the verdict; the fields are those of ``Entry``."""

    time_s: float
    request_id: str
    cached: bool = False
    key_hash: str | None = None


def entry_of(verdict: Verdict, variant: Variant, circumstances: Circumstances) -> Entry:
    """Return what the log keeps of a verdict."""
    return Entry(
        time_s=circumstances.time_s,
        request_id=circumstances.request_id,
        sha256=verdict.media.sha256,
        variant=variant.name,
        shadow=variant.shadow,
        label=verdict.label,
        probability=verdict.probability,
        scores={score.bundle: score.probability for score in verdict.scores},
        abstentions={abstention.bundle: abstention.reason for abstention in verdict.abstentions},
        elapsed_ms=verdict.elapsed_ms,
        cached=circumstances.cached,
        key_hash=circumstances.key_hash,
    )


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Feedback:
    """The truth about a file, as somebody has found it out after the answer.

    Attributes:
        label: 1 = fake, 0 = real.
        time_s: When it came in, in seconds since 1970.
        source: Who says so, e.g. ``review``; at most 64 characters.
        request_id: The request whose file it was; None where ``sha256`` tells.
        sha256: Digest of the content, 64 hex digits in lower case; None where ``request_id`` tells.
    """

    label: int
    time_s: float
    source: str = ""
    request_id: str | None = None
    sha256: str | None = None

    def __post_init__(self) -> None:
        """Check the fields.

        Raises:
            ConfigError: Not exactly one of request and digest is given, or a field is out of range.
        """
        if self.label not in (0, 1):
            msg = f"The label of a feedback cannot be {self.label!r}; give 1 for fake or 0 for real."
            raise ConfigError(msg)
        if bool(self.request_id) == bool(self.sha256):
            msg = "A feedback needs either request_id or sha256, both as the answer had them; give one."
            raise ConfigError(msg)
        if self.sha256 and not SHA256.fullmatch(self.sha256):
            msg = f"{self.sha256!r} is no sha256; give 64 hex digits in lower case, as the answer had them."
            raise ConfigError(msg)
        if len(self.source) > 64 or len(self.request_id or "") > 64:
            msg = "The source and the request_id of a feedback have at most 64 characters; shorten them."
            raise ConfigError(msg)
