"""Signed manifests of content credentials (C2PA) in files: finding them, and validating them offline.

Finding needs nothing; validating needs the optional package ``c2pa`` (extra ``provenance``). It reads bytes
from memory and is told to fetch nothing: no manifests from elsewhere, no revocation lists, no hosts at all.
"""

import dataclasses
import io
import json
from collections.abc import Mapping
from typing import Any, Literal

from deepscan.errors import NotInstalledError
from deepscan.media.assets import places

State = Literal["valid", "trusted", "invalid", "unreadable"]

TRUST_LIST = "c2pa-trust-list.pem"
"""File of certificates that are trusted, in ``DEEPSCAN_ASSETS`` or in the cache of assets; nobody is trusted
without it."""

_STORE = b"jumd" + bytes.fromhex("63327061 0011 0010 8000 00aa00389b71")
"""Every format embeds the store whole, and it begins with this description (C2PA 2.2, 11.1.4.2)."""

_FORMATS = {
    "jpeg": "jpg",
    "png": "png",
    "webp": "webp",
    "gif": "gif",
    "tiff": "tif",
    "avif": "avif",
    "mp4": "mp4",
    "avi": "avi",
    "wav": "wav",
    "mp3": "mp3",
    "flac": "flac",
}
"""What the package calls the containers that it reads."""

_SETTINGS: Mapping[str, Any] = {
    "version": 1,
    "core": {"allowed_network_hosts": []},
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False, "verify_trust": True},
}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Manifests:
    """What the credentials of a file say, the active manifest and those of its ingredients.

    Attributes:
        state: Whether signature and hashes hold, and whether the signer is in the trust list.
        failures: Codes of what does not hold, without that the signer is not in the list.
        active: The manifest that speaks for the file, as the package gives it; empty where none was read.
        others: Those of its ingredients.
    """

    state: State
    failures: tuple[str, ...] = ()
    active: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    others: tuple[Mapping[str, Any], ...] = ()


def holds_manifests(data: bytes) -> bool:
    """Tell whether there is a store of manifests in a file."""
    return _STORE in data


def trust_anchors() -> str:
    """Return the certificates of signers that are trusted, in PEM; "" where nobody put any.

    Raises:
        NotInstalledError: The file of them cannot be read.
    """
    found = places()
    for folder in filter(None, (found.mirror, found.cache)):
        path = folder / TRUST_LIST
        try:
            if path.is_file():
                return path.read_text(encoding="ascii")
        except (OSError, ValueError) as error:
            msg = (
                f"The trust list {str(path)!r} cannot be read ({error}); give PEM certificates, or remove it."
            )
            raise NotInstalledError(msg) from error
    return ""


def read_manifests(data: bytes, container: str, anchors: str) -> Manifests | None:
    """Validate the manifests of a file; None where they are not the file's own, but of something inside.

    Args:
        data: The whole file.
        container: Its format, as in ``MediaFacts``.
        anchors: Certificates that are trusted, in PEM; "" = none.

    Raises:
        NotInstalledError: The package that validates is not installed.
    """
    try:
        import c2pa
    except ImportError as error:
        msg = (
            "The file holds content credentials, and the package that validates them is not installed. Run "
            "`pip install 'deepscan[provenance]'`."
        )
        raise NotInstalledError(msg) from error
    if container not in _FORMATS:
        return None
    settings = {**_SETTINGS, **({"trust": {"trust_anchors": anchors}} if anchors else {})}
    try:
        with c2pa.Context.from_dict(settings) as context:
            reader = c2pa.Reader.try_create(_FORMATS[container], io.BytesIO(data), context=context)
            if reader is None:
                return None
            with reader:
                return _manifests(json.loads(reader.json()))
    except (c2pa.C2paError, ValueError) as error:
        return Manifests(state="unreadable", failures=(str(error),))


def _manifests(store: Mapping[str, Any]) -> Manifests:
    states: dict[str, State] = {"Valid": "valid", "Trusted": "trusted"}
    everything = store.get("manifests", {})
    label = store.get("active_manifest", "")
    return Manifests(
        state=states.get(store.get("validation_state", ""), "invalid"),
        failures=_failures(store),
        active=everything.get(label, {}),
        others=tuple(each for key, each in everything.items() if key != label),
    )


def _failures(store: Mapping[str, Any]) -> tuple[str, ...]:
    codes = [each.get("code", "") for each in store.get("validation_status", ())]
    return tuple(dict.fromkeys(code for code in codes if code != "signingCredential.untrusted"))
