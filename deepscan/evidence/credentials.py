"""Content credentials (C2PA): who signed the file, whether the signature holds, and what it declares."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from deepscan.evidence import ANALYZERS, Analyzer
from deepscan.evidence.wording import CAPTURED, GENERATED, clean, code_of, facts_of
from deepscan.media.embedded import embedded
from deepscan.media.manifests import Manifests, holds_manifests, read_manifests, trust_anchors
from deepscan.media.source import Media
from deepscan.verdict import Evidence, Finding

MEASURES = ("manifests", "holds", "trusted", "actions", "ingredients", "failures")
LIMITS = (
    "A signature says who vouches for the file and that nothing was changed since, and not that its content "
    "is true. Whoever is not in the trust list may have made the certificate alone. Most files carry no "
    "credentials, and they are easily removed."
)
_CHANGED = frozenset(
    {"assertion.dataHash.mismatch", "assertion.bmffHash.mismatch", "assertion.boxesHash.mismatch"}
)
MOST_NAMED = 10


class Declared(NamedTuple):
    """What a manifest declares of how the file was made.

    Attributes:
        code: A digital source type of IPTC.
        inherited: Whether an ingredient declares it and not the file's own manifest.
    """

    code: str
    inherited: bool


def testify(media: Media) -> Evidence:
    """Validate the file's manifests offline; a declaration is made of one that holds only.

    Measurements: how many ``manifests`` there are; whether signature and hashes of the active one ``holds``
    and its signer is ``trusted`` (1 or 0); how many actions and ingredients it lists, and how many failures
    there were.

    Raises:
        NotInstalledError: There are credentials, and the package that validates them, or a trust list that
            can be read, is absent.
        MediaError: The file does not open.
    """
    read = None
    if holds_manifests(media.data):
        read = read_manifests(media.data, media.facts.container, trust_anchors())
    if read is None:
        return _absent(media)
    holds, trusted = read.state in ("valid", "trusted"), read.state == "trusted"
    declared = _declared(read)
    measured = (
        bool(read.active) + len(read.others),
        holds,
        trusted,
        len(_actions(read.active)),
        len(read.active.get("ingredients", ())),
        len(read.failures),
    )
    return Evidence(
        analyzer="credentials",
        summary=_in_words(read),
        measurements=dict(zip(MEASURES, map(float, measured), strict=True)),
        limits=LIMITS,
        finding=_finding(holds=holds, trusted=trusted, declared=declared),
        declaration=_declaration(read, declared) if holds and declared else "",
        facts=facts_of(_facts(read, declared)),
    )


def _absent(media: Media) -> Evidence:
    elsewhere = embedded(media).xmp.get("dcterms:provenance", ())
    summary = "The file carries no content credentials, as most files do not."
    if elsewhere:
        summary = "The file carries no content credentials; it names a place for them, which was not visited."
    return Evidence(
        analyzer="credentials",
        summary=summary,
        measurements=dict.fromkeys(MEASURES, 0.0),
        limits=LIMITS,
        facts=facts_of([("state", "absent"), ("named place", " ".join(elsewhere))]),
    )


def _finding(*, holds: bool, trusted: bool, declared: Declared | None) -> Finding:
    """Return how much it matters: who lies signs that a file is genuine, and not that it was generated."""
    if not holds:
        return "unusual"
    settles = declared is not None and (declared.code in GENERATED or trusted)
    return "telling" if settles else "ordinary"


def _declared(read: Manifests) -> Declared | None:
    """Return what the file's own manifest declares, else what an ingredient's does; generated first."""
    for inherited, manifests in ((False, (read.active,)), (True, read.others)):
        codes = [code for manifest in manifests for code in _codes(manifest)]
        for known in (GENERATED, CAPTURED):
            if code := next((code for code in codes if code in known), ""):
                return Declared(code, inherited)
    return None


def _codes(manifest: Mapping[str, Any]) -> Iterator[str]:
    yield from (code_of(str(action.get("digitalSourceType", ""))) for action in _actions(manifest))


def _actions(manifest: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    data = [each.get("data") for each in manifest.get("assertions", ()) if _is_actions(each.get("label"))]
    listed = [action for each in data if isinstance(each, dict) for action in each.get("actions") or ()]
    return [action for action in listed if isinstance(action, dict)]


def _is_actions(label: object) -> bool:
    return isinstance(label, str) and label.startswith("c2pa.actions")


def _declaration(read: Manifests, declared: Declared) -> str:
    words = (GENERATED | CAPTURED)[declared.code]
    what = (
        f"that an ingredient of the file was {words}" if declared.inherited else f"that the file was {words}"
    )
    signer = _signer(read)
    if read.state == "trusted":
        return f"A signature that holds, by {signer}, who is in the trust list, declares {what}."
    return f"A signature that holds, by {signer}, who is in no trust list and may be anyone, declares {what}."


def _in_words(read: Manifests) -> str:
    if read.state == "unreadable":
        return "The file holds content credentials that are damaged and cannot be read."
    signer = _signer(read)
    if read.state == "trusted":
        return f"The content credentials hold; {signer}, who is in the trust list, signed them."
    if read.state == "valid":
        return f"The content credentials hold; {signer}, who is in no trust list, signed them."
    if _CHANGED & set(read.failures):
        return f"The content credentials do not hold: the file was changed after {signer} signed it."
    return f"The content credentials do not hold ({clean(', '.join(read.failures[:3]))}); {signer} is named."


def _signer(read: Manifests) -> str:
    signed = read.active.get("signature_info") or {}
    named = [signed.get("common_name"), signed.get("issuer")]
    words = " of ".join(dict.fromkeys(clean(str(name), 60) for name in named if name))
    return words or "an unnamed signer"


def _facts(read: Manifests, declared: Declared | None) -> Iterator[tuple[str, str]]:
    signed = read.active.get("signature_info") or {}
    yield "state", read.state
    yield "failures", ", ".join(read.failures)
    yield "signer", str(signed.get("common_name") or "")
    yield "issuer", str(signed.get("issuer") or "")
    yield "signed at", str(signed.get("time") or "")
    yield "claim generator", _generators(read.active)
    yield "declared source", declared.code if declared else ""
    yield "assertions", ", ".join(str(each.get("label")) for each in read.active.get("assertions", ()))
    for number, action in enumerate(_actions(read.active)[:MOST_NAMED], 1):
        yield f"action {number}", " ".join(filter(None, map(str, _of_action(action))))
    for number, each in enumerate(read.active.get("ingredients", ())[:MOST_NAMED], 1):
        yield f"ingredient {number}", f"{each.get('title') or 'untitled'} ({each.get('relationship') or '?'})"


def _of_action(action: Mapping[str, Any]) -> tuple[object, ...]:
    agent = action.get("softwareAgent") or ""
    name = agent.get("name", "") if isinstance(agent, dict) else agent
    return (
        action.get("action", ""),
        name,
        code_of(str(action.get("digitalSourceType", ""))),
        action.get("when", ""),
    )


def _generators(manifest: Mapping[str, Any]) -> str:
    listed = manifest.get("claim_generator_info") or ()
    named = (f"{each.get('name', '')} {each.get('version') or ''}".strip() for each in listed)
    return ", ".join(named) or str(manifest.get("claim_generator") or "")


ANALYZERS.register(
    "credentials",
    Analyzer(
        name="credentials",
        group="provenance",
        summary="Content credentials (C2PA): signer, whether the signature holds, what it declares",
        measures=MEASURES,
        accepts=lambda media: True,
        testify=testify,
    ),
)
