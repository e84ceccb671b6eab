"""How a JPEG file was quantised, and which encoders quantise like that."""

import numpy as np

from deepscan.evidence import ANALYZERS, Analyzer
from deepscan.evidence.stored import coding, is_jpeg
from deepscan.media.jpeg import CHROMA_64, LUMA_64, Coding, Ints, nearest_quality, scaled
from deepscan.media.source import Media
from deepscan.verdict import Evidence

_SYMMETRIC_64 = np.array(
    (
        *(16, 16, 16, 18, 25, 37, 56, 85, 16, 17, 20, 27, 34, 40, 53, 75),
        *(16, 20, 24, 31, 43, 62, 91, 135, 18, 27, 31, 40, 53, 74, 106, 156),
        *(25, 34, 43, 53, 69, 94, 131, 189, 37, 40, 62, 74, 94, 124, 169, 238),
        *(56, 53, 91, 106, 131, 169, 226, 311, 85, 75, 135, 156, 189, 238, 311, 418),
    )
)
"""Of Nicolas Robidoux, for luma and chroma alike; MozJPEG's default since version 3."""

_MPEG_64 = np.array(
    (
        *(8, 16, 19, 22, 26, 27, 29, 34, 16, 16, 22, 24, 27, 29, 34, 37),
        *(19, 22, 26, 27, 29, 34, 34, 38, 22, 22, 26, 27, 29, 34, 37, 40),
        *(22, 26, 27, 29, 32, 35, 40, 48, 26, 27, 29, 32, 35, 40, 48, 58),
        *(26, 27, 29, 34, 38, 46, 56, 69, 27, 29, 35, 38, 46, 56, 69, 83),
    )
)
"""Of intra pictures (ITU-T H.262, 6.3.11), which FFmpeg scales for JPEG too."""

_LEADS = {
    "Lavc": "FFmpeg",
    "CREATOR: gd-jpeg": "GD",
    "AppleMark": "Apple",
    "LEAD Technologies": "LEAD Technologies",
    "Intel(R) JPEG Library": "Intel JPEG Library",
    "File written by Adobe Photoshop": "Adobe Photoshop",
}
"""What encoders write of themselves as comments, by how it begins."""

_SAMPLINGS: dict[tuple[tuple[int, int], ...], str] = {
    ((1, 1), (1, 1), (1, 1)): "4:4:4",
    ((2, 1), (1, 1), (1, 1)): "4:2:2",
    ((1, 2), (1, 1), (1, 1)): "4:4:0",
    ((2, 2), (1, 1), (1, 1)): "4:2:0",
    ((4, 1), (1, 1), (1, 1)): "4:1:1",
}
MEASURES = (
    "luma_quality",
    "chroma_quality",
    "luma_step_mean_levels",
    "chroma_step_mean_levels",
    "standard_table_share",
    "progressive_share",
)
LIMITS = (
    "Tables tell of the last program that saved the file, and many programs share theirs. Cameras and "
    "editors have tables of their own, so tables that are not known are no sign of anything."
)


def testify(media: Media) -> Evidence:
    """Read tables, sampling and marks from the header.

    Qualities are those of libjpeg whose tables are nearest, 1 to 100; a grey picture has 0 for chroma.
    ``standard_table_share`` is the share of tables that are exactly libjpeg's, ``progressive_share`` 1 or 0.

    Raises:
        CorruptMediaError: The header is damaged.
    """
    header = coding(media)
    tables = [(header.luma_64, LUMA_64)]
    tables += [] if header.chroma_64 is None else [(header.chroma_64, CHROMA_64)]
    qualities = [nearest_quality(table_64, base_64) for table_64, base_64 in tables]
    steps = [float(table_64.mean()) for table_64, _ in tables]
    standard = float(np.mean([_is_scaled(table_64, base_64) for table_64, base_64 in tables]))
    figures = (*(*qualities, 0.0)[:2], *(*steps, 0.0)[:2], standard, header.process == "progressive")
    facts = {
        "tables": tables_family(header),
        "encoder": _encoder(header),
        "sampling": _SAMPLINGS.get(header.sampling, "grey" if len(header.sampling) == 1 else _spelt(header)),
        "process": header.process,
        "segments": ", ".join(header.marks) or "none",
        "comment": header.comment or "none",
    }
    return Evidence(
        analyzer="quantisation",
        summary=(
            f"Saved as {facts['process']} JPEG at a quality of about {qualities[0]:.0f}, "
            f"sampling {facts['sampling']}; quantised by {facts['tables']}."
        ),
        measurements=dict(zip(MEASURES, map(float, figures), strict=True)),
        limits=LIMITS,
        facts=facts,
    )


def tables_family(header: Coding) -> str:
    """Return whose tables these are: of libjpeg, MozJPEG, FFmpeg, flat ones, or unknown."""
    tables = [header.luma_64] if header.chroma_64 is None else [header.luma_64, header.chroma_64]
    if _is_scaled(tables[0], LUMA_64) and all(_is_scaled(each, CHROMA_64) for each in tables[1:]):
        return "the standard tables, as scaled by libjpeg and all that is built on it"
    if all((each == each[0]).all() for each in tables):
        return "flat tables, the same step for every frequency"
    if all(_is_scaled(each, _SYMMETRIC_64) for each in tables):
        return "the default tables of MozJPEG"
    if all(_is_mpeg(each) for each in tables):
        return "the tables of MPEG, as scaled by FFmpeg"
    return "unknown tables"


def _encoder(header: Coding) -> str:
    """Return what program the file names itself or leaves a mark of; ``unknown`` otherwise."""
    named = [encoder for lead, encoder in _LEADS.items() if header.comment.startswith(lead)]
    return named[0] if named else "Adobe, saved for the web" if "Ducky" in header.marks else "unknown"


def _is_scaled(table_64: Ints, base_64: Ints) -> bool:
    return bool((scaled(base_64) == table_64).all(axis=1).any())


def _is_mpeg(table_64: Ints) -> bool:
    """Tell whether a table is FFmpeg's: a whole multiple of an eighth of MPEG's, the first value apart."""
    scaled_S64 = np.arange(1, 256)[:, None] * _MPEG_64 // 8
    return bool((np.clip(scaled_S64, 1, 255)[:, 1:] == table_64[1:]).all(axis=1).any())


def _spelt(header: Coding) -> str:
    return " ".join(f"{across}x{down}" for across, down in header.sampling)


ANALYZERS.register(
    "quantisation",
    Analyzer(
        name="quantisation",
        group="compression",
        summary="Quality, sampling and tables of a JPEG file, and the encoders that use them",
        measures=MEASURES,
        accepts=is_jpeg,
        testify=testify,
    ),
)
