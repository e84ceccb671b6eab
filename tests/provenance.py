"""Material for tests of provenance: pictures with EXIF, XMP, IPTC and previews, and a throwaway signer."""

import datetime
import functools
import io
import json
import struct
import zlib

import numpy as np
from PIL import Image

GENERATED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
CAPTURED = "http://c2pa.org/digitalsourcetype/computationalCapture"
CAMERA = {0x010F: "Canon", 0x0110: "Canon EOS 5D", 0x0131: "Firmware 1.1", 0x0132: "2024:05:02 10:00:00"}
TAKEN = {0x9003: "2024:05:02 10:00:00", 0x9004: "2024:05:02 10:00:00"}
MIME = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}

_XMP = """<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
 xmlns:xmpMM="http://ns.adobe.com/xap/1.0/mm/" xmlns:stEvt="http://ns.adobe.com/xap/1.0/sType/ResourceEvent#"
 xmlns:ext="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" xmlns:dcterms="http://purl.org/dc/terms/"
 xmlns:exif="http://ns.adobe.com/exif/1.0/" xmlns:TC260="http://www.tc260.org.cn/ns/AIGC/1.0/"
 xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" xmlns:tiff="http://ns.adobe.com/tiff/1.0/">%s
</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>"""


def noise(width_px=160, height_px=120, seed=0):
    """Return a picture that shrinks to something: smooth blobs with grain, RGB."""
    rng = np.random.default_rng(seed)
    blobs = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8)).resize((width_px, height_px), 3)
    grain = rng.integers(-6, 7, (height_px, width_px, 3))
    return Image.fromarray(np.clip(np.asarray(blobs).astype(int) + grain, 0, 255).astype(np.uint8))


def xmp(**values):
    """Return an XMP packet; ``xmp_CreatorTool="x"`` becomes the property ``xmp:CreatorTool``."""
    parts = (
        f"<{name.replace('_', ':', 1)}>{text}</{name.replace('_', ':', 1)}>" for name, text in values.items()
    )
    return (_XMP % "".join(parts)).encode()


def exif(main=None, camera=None, *, located=False):
    """Return EXIF as bytes of a TIFF structure, with its header for JPEG."""
    made = Image.Exif()
    for tag, value in (CAMERA if main is None else main).items():
        made[tag] = value
    for tag, value in (TAKEN if camera is None else camera).items():
        made.get_ifd(0x8769)[tag] = value
    if located:
        made.get_ifd(0x8825).update({1: "N", 2: (47.0, 22.0, 39.5), 3: "E", 4: (8.0, 32.0, 31.4)})
    return made.tobytes()


def user_comment(text):
    """Return a comment as the generators of pictures write it into EXIF."""
    return b"UNICODE\0" + text.encode("utf-16-be")


def saved(picture, container="JPEG", **options):
    """Return a picture as the bytes of a file."""
    stream = io.BytesIO()
    picture.save(stream, container, **options)
    return stream.getvalue()


def preview(picture, size_px=(160, 120), quality=75):
    """Return a picture as a small JPEG file."""
    return saved(picture.resize(size_px, Image.Resampling.BICUBIC), quality=quality)


def exif_with_preview(small, orientation=1):
    """Return EXIF that keeps a preview, little-endian, as a camera lays it out."""
    first = struct.pack("<HHHIHxx", 1, 0x0112, 3, 1, orientation)
    second_at = 8 + len(first) + 4
    second = struct.pack("<H", 2)
    data_at = second_at + 2 + 2 * 12 + 4
    second += struct.pack("<HHII", 0x0201, 4, 1, data_at) + struct.pack("<HHII", 0x0202, 4, 1, len(small))
    head = b"II*\0" + struct.pack("<I", 8) + first + struct.pack("<I", second_at)
    return b"Exif\0\0" + head + second + b"\0" * 4 + small


def with_segment(jpeg, marker, payload):
    """Return a JPEG with one more segment behind its begin."""
    return jpeg[:2] + bytes((0xFF, marker)) + struct.pack(">H", len(payload) + 2) + payload + jpeg[2:]


def photoshop(**iptc):
    """Return a Photoshop segment with texts of IPTC, by number such as ``d110="credit"``."""
    record = b"".join(
        struct.pack(">BBBH", 0x1C, 2, int(name[1:]), len(text)) + text.encode() for name, text in iptc.items()
    )
    blocks = ((0x0404, record), (0x03ED, b"\0" * 16))
    return b"Photoshop 3.0\0" + b"".join(
        b"8BIM" + struct.pack(">HxxI", number, len(raw)) + raw + b"\0" * (len(raw) % 2)
        for number, raw in blocks
    )


@functools.cache
def signer():
    """Return a chain of two throwaway certificates, the key of the first, and the root, all in PEM."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root = _certificate("Test root", root_key, "Test root", root_key, ca=True)
    leaf = _certificate("Test signer", key, "Test root", root_key, ca=False)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    root_pem, leaf_pem = (each.public_bytes(serialization.Encoding.PEM) for each in (root, leaf))
    return leaf_pem + root_pem, secret, root_pem


def _certificate(subject, key, issuer, issuer_key, *, ca):
    """Return a certificate as C2PA 2.2, 14.5.1 asks for."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    now = datetime.datetime.now(datetime.UTC)
    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False
    )
    builder = (
        x509.CertificateBuilder(_name(issuer), _name(subject), key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca, None), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=not ca,
                key_cert_sign=ca,
                crl_sign=ca,
                encipher_only=False,
                decipher_only=False,
                **usage,
            ),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
        )
    )
    if not ca:
        purpose = x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.EMAIL_PROTECTION])
        builder = builder.add_extension(purpose, critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def _name(common):
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    parts = {NameOID.COUNTRY_NAME: "CH", NameOID.ORGANIZATION_NAME: "Testing", NameOID.COMMON_NAME: common}
    return x509.Name([x509.NameAttribute(kind, text) for kind, text in parts.items()])


def signed(data, mime, source=GENERATED, action="c2pa.created", ingredient=b""):
    """Return a file with content credentials that declare a digital source type.

    Args:
        data: The file.
        mime: Its type.
        source: The declared type; "" = none.
        action: What is said to have been done.
        ingredient: A file of the same type that went into it; empty = none.
    """
    import c2pa

    chain, key, _ = signer()
    done = {"action": action, "softwareAgent": {"name": "Painter", "version": "2"}}
    if source:
        done["digitalSourceType"] = source
    if ingredient:
        done["parameters"] = {"ingredientIds": ["parent"]}
    claims = {
        "claim_generator_info": [{"name": "deepscan tests", "version": "1"}],
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [done]}}],
    }
    settings = {
        "version": 1,
        "builder": {"thumbnail": {"enabled": False}},
        "core": {"allowed_network_hosts": []},
    }
    result = io.BytesIO()
    with (
        c2pa.Context.from_dict(settings) as context,
        c2pa.Signer.from_info(c2pa.C2paSignerInfo("es256", chain, key, None)) as own,
        c2pa.Builder(json.dumps(claims), context=context) as builder,
    ):
        if ingredient:
            told = {"title": "ingredient", "relationship": "parentOf", "label": "parent"}
            builder.add_ingredient(told, mime, io.BytesIO(ingredient))
        builder.sign(own, mime, io.BytesIO(data), result)
    return result.getvalue()


_PIXELS_BEGIN = {b"\xff\xd8": b"\xff\xda", b"\x89PNG": b"IDAT", b"RIFF": b"VP8 "}


def tampered(data):
    """Return a file with one bit of its pixels changed.

    Of a container only its own mark is looked for: another's may stand by chance among the bytes of a
    signature, and a bit changed there breaks the signature, not the pixels.
    """
    begin = data.rindex(next(mark for start, mark in _PIXELS_BEGIN.items() if data.startswith(start)))
    changed = bytearray(data)
    at = next(at for at in range(begin + 300, len(data)) if data[at] < 0xFE)
    changed[at] ^= 1
    return bytes(changed)


def claimed_otherwise(data, before=b"trainedAlgorithmicMedia", after=b"computationalCapture00."):
    """Return a signed file whose claim was changed, with the checksums of PNG set right again."""
    changed = data.replace(before, after, 1)
    if not changed.startswith(b"\x89PNG"):
        return changed
    pieces, at = [changed[:8]], 8
    while at < len(changed):
        (length,) = struct.unpack_from(">I", changed, at)
        body = changed[at + 4 : at + 8 + length]
        pieces.append(struct.pack(">I", length) + body + struct.pack(">I", zlib.crc32(body)))
        at += 12 + length
    return b"".join(pieces)
