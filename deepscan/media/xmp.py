"""XMP: properties that programs wrote into a file as RDF in XML (ISO 16684-1).

The packet comes from a stranger: a document type, and with it every entity, is refused; depth, values and
their lengths have limits. Nothing outside the packet is ever looked up.
"""

import contextlib
import dataclasses
from xml.parsers import expat

from deepscan.media.chunks import LONGEST_TEXT

_MOST_BYTES = 2**22
_MOST_VALUES = 1000
_DEEPEST = 64
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_PREFIXES = {
    "http://ns.adobe.com/tiff/1.0/": "tiff",
    "http://ns.adobe.com/exif/1.0/": "exif",
    "http://cipa.jp/exif/1.0/": "exifEX",
    "http://ns.adobe.com/exif/1.0/aux/": "aux",
    "http://ns.adobe.com/xap/1.0/": "xmp",
    "http://ns.adobe.com/xap/1.0/mm/": "xmpMM",
    "http://ns.adobe.com/xap/1.0/sType/ResourceEvent#": "stEvt",
    "http://ns.adobe.com/xap/1.0/sType/ResourceRef#": "stRef",
    "http://ns.adobe.com/xap/1.0/rights/": "xmpRights",
    "http://ns.adobe.com/xmp/1.0/DynamicMedia/": "xmpDM",
    "http://ns.adobe.com/photoshop/1.0/": "photoshop",
    "http://ns.adobe.com/camera-raw-settings/1.0/": "crs",
    "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/": "Iptc4xmpCore",
    "http://iptc.org/std/Iptc4xmpExt/2008-02-29/": "Iptc4xmpExt",
    "http://purl.org/dc/elements/1.1/": "dc",
    "http://purl.org/dc/terms/": "dcterms",
    "http://www.gimp.org/xmp/": "GIMP",
    "http://www.tc260.org.cn/ns/AIGC/1.0/": "TC260",
}
"""Usual prefixes; a file may use others, but names its namespaces by these addresses."""

Properties = dict[str, tuple[str, ...]]
"""Values in their order by property, such as ``xmp:CreatorTool``; those of lists and structures too."""


def read_xmp(packet: bytes) -> Properties:
    """Read the properties of a packet, those before the damage where it is damaged; nothing is raised."""
    reader = _Reader()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = reader.begin
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = _refuse
    parser.EntityDeclHandler = _refuse
    with contextlib.suppress(expat.ExpatError, ValueError):
        parser.Parse(packet[:_MOST_BYTES].strip(b"\0 \t\r\n"), True)
    return {name: tuple(values) for name, values in reader.found.items()}


@dataclasses.dataclass
class _Reader:
    """Gathers values while the parser goes through the packet.

    Attributes:
        found: Values by property.
        path: Names of the elements around; "" for those of RDF itself, which only hold others.
        pending: Text of the element that was begun last.
        count: How many values there are.
    """

    found: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    path: list[str] = dataclasses.field(default_factory=list)
    pending: list[str] = dataclasses.field(default_factory=list)
    count: int = 0

    def begin(self, name: str, attributes: dict[str, str]) -> None:
        if len(self.path) >= _DEEPEST:
            msg = f"An XMP packet nests deeper than {_DEEPEST} elements."
            raise ValueError(msg)
        self.path.append(_short(name))
        self.pending.clear()
        for key, value in attributes.items():
            self.keep(_short(key), value)
        # A property may point at its value instead of holding it.
        if resource := attributes.get(f"{_RDF} resource"):
            self.keep(self.path[-1], resource)

    def text(self, text: str) -> None:
        self.pending.append(text)

    def end(self, name: str) -> None:
        value = "".join(self.pending).strip()
        self.pending.clear()
        if value:
            self.keep(next((each for each in reversed(self.path) if each), ""), value)
        self.path.pop()

    def keep(self, name: str, value: str) -> None:
        if name and self.count < _MOST_VALUES:
            self.count += 1
            self.found.setdefault(name, []).append(value[:LONGEST_TEXT])


def _short(name: str) -> str:
    """Return a name with its usual prefix; "" for what belongs to RDF, XML or to no namespace."""
    space, _, local = name.rpartition(" ")
    if space in ("", _RDF, "adobe:ns:meta/", "http://www.w3.org/XML/1998/namespace"):
        return ""
    return f"{_PREFIXES.get(space, space.strip('/#').rpartition('/')[2])}:{local}"


def _refuse(*_: object) -> None:
    msg = "An XMP packet declares a document type, which XMP has no use for and bombs are made of."
    raise ValueError(msg)
