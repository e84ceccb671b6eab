"""Texts that strangers wrote into files, made fit to be shown, and what their declarations mean."""

from collections.abc import Iterable

LONGEST = 200
MOST_FACTS = 40

GENERATED = {
    "trainedAlgorithmicMedia": "made by a generative model",
    "trainedAlgorithmicData": "made by a generative model",
    "compositeWithTrainedAlgorithmicMedia": "composed with parts made by a generative model",
    "compositeSynthetic": "composed with synthetic parts",
    "algorithmicMedia": "made by an algorithm alone",
}
"""What IPTC's digital source types say that no camera took as it is, in words."""

CAPTURED = {
    "digitalCapture": "taken by a digital camera or recorder",
    "computationalCapture": "taken by a digital camera that computed it from several exposures or sensors",
    "compositeCapture": "composed of several takes of a camera",
    "negativeFilm": "digitised from negative film",
    "positiveFilm": "digitised from positive film",
    "print": "digitised from a print",
}
"""What they say that a camera or a scanner took."""


def code_of(declared: str) -> str:
    """Return the last part of a digital source type, be it given as an address or as a bare code."""
    return declared.strip().rstrip("/").rpartition("/")[2]


def clean(text: str, longest: int = LONGEST) -> str:
    """Return a text in one line without control characters, cut to ``longest`` characters."""
    line = " ".join(text[: 4 * longest].split())
    line = "".join(letter for letter in line if letter.isprintable())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def facts_of(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the first ``MOST_FACTS`` pairs that say something, cleaned; the first of each name counts."""
    facts: dict[str, str] = {}
    for name, text in pairs:
        if len(facts) == MOST_FACTS:
            break
        if (key := clean(name, 80)) and (value := clean(text)):
            facts.setdefault(key, value)
    return facts
