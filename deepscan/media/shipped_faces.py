"""The face finder that ships with deepscan: its file, how it is run, and how faces are read from its maps.

A cell of a map is a square of ``stride`` pixels. It holds the logit of a face whose centre is near; the
logarithms of how far, in strides, the left, upper, right and lower side of the face's box are from the cell's
centre; and x and y of five landmarks from there, in strides: 15 channels in this order.
"""

import hashlib
import importlib.resources
import math
import pathlib
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from deepscan.errors import AssetError
from deepscan.media.pixels import Picture

STRIDES = (8, 16, 32)
CHANNELS = 15
OUTPUTS = tuple(f"stride{stride}" for stride in STRIDES)
"""Names of the graph's outputs, float32 [1, 15, H / stride, W / stride]."""

FILE = "face_finder.onnx"
SHA256 = "828db89017910a2c4f3160aa53fca860b9680571fb343bf4d74a16eda9bf0e30"
"""Hex digest of the file in the package; one with another is refused."""

KEEP = 0.3
OVERLAP = 0.3
MOST = 300
"""Surest cells that are looked at: any picture has fewer faces."""

_MOST_STRIDES = 6.0
_LEAST_PX = 64
"""OpenCV computes depthwise convolutions wrongly where a map is one cell wide or high (seen in 4.14)."""

Rows = NDArray[np.float32]


def weights_path() -> pathlib.Path:
    """Return where the package has the finder's file."""
    return pathlib.Path(str(importlib.resources.files("deepscan"))) / "zoo" / FILE


def check() -> None:
    """Check the finder's file in the package.

    Raises:
        AssetError: The file is absent or altered.
    """
    _checked(weights_path())


def load(path: pathlib.Path | None = None) -> "Network":
    """Load the finder.

    Args:
        path: Its file; None = the one in the package.

    Raises:
        AssetError: The file is absent or altered.
    """
    return Network(_checked(path or weights_path()))


def _checked(path: pathlib.Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        msg = f"The face finder of this installation cannot be read ({error}). Install deepscan again."
        raise AssetError(msg) from error
    if (digest := hashlib.sha256(data).hexdigest()) != SHA256:
        msg = (
            f"{path} is not the face finder of this version of deepscan: its sha256 is {digest}, expected is "
            f"{SHA256}. Install deepscan again."
        )
        raise AssetError(msg)
    return data


class Network:
    """A finder's network, run by OpenCV. It holds state while it runs: each thread needs one of its own."""

    def __init__(self, data: bytes) -> None:
        """Read an ONNX graph that has been checked."""
        self._net: Any = cv2.dnn.readNetFromONNX(np.frombuffer(data, np.uint8))

    def __call__(self, picture_HWC: Picture) -> tuple[Rows, Rows]:
        """Find faces in a picture as it is; see ``decode`` for what comes back.

        Black is added on the right and below, up to a multiple of the coarsest stride and at least 64 px.

        Args:
            picture_HWC: RGB uint8 [H, W, 3].
        """
        height, width = picture_HWC.shape[:2]
        below, beside = _missing(height), _missing(width)
        padded = cv2.copyMakeBorder(picture_HWC, 0, below, 0, beside, cv2.BORDER_CONSTANT)
        self._net.setInput(cv2.dnn.blobFromImage(padded))
        return decode(self._net.forward(OUTPUTS))


def decode(maps: Sequence[NDArray[np.float32]], keep: float = KEEP) -> tuple[Rows, Rows]:
    """Read faces from the network's maps; of faces that overlap the surest stays.

    Args:
        maps: One for each stride, float32 [1, 15, h, w].
        keep: Least score, in (0, 1).

    Returns:
        Boxes and scores, float32 [F, 5]: left, top, right, bottom in pixels and the score in [0, 1], the
        surest first; and landmarks, float32 [F, 5, 2], x and y in pixels.
    """
    least = math.log(keep / (1 - keep))
    found = [_read(each[0], stride, least) for each, stride in zip(maps, STRIDES, strict=True)]
    boxes = np.concatenate([boxes for boxes, _ in found])
    points = np.concatenate([points for _, points in found])
    order = np.argsort(-boxes[:, 4], kind="stable")[:MOST]
    kept = order[suppress(boxes[order], OVERLAP)]
    return boxes[kept], points[kept]


def suppress(boxes_F5: Rows, overlap: float) -> list[int]:
    """Return the numbers of the boxes that stay when none may overlap a surer one too much.

    Args:
        boxes_F5: float32 [F, 5], the surest first.
        overlap: Largest intersection over union with a box that stays.
    """
    overlaps_FF = iou(boxes_F5[:, None, :4], boxes_F5[None, :, :4]) > overlap
    kept: list[int] = []
    for number, row in enumerate(overlaps_FF):
        if not row[kept].any():
            kept.append(number)
    return kept


def iou(one: NDArray[Any], other: NDArray[Any]) -> NDArray[Any]:
    """Return the intersection over union of boxes [..., 4], by broadcasting; 0 where both are empty."""
    least, most = np.maximum(one[..., :2], other[..., :2]), np.minimum(one[..., 2:], other[..., 2:])
    shared = np.clip(most - least, 0, None).prod(axis=-1)
    both = _area(one) + _area(other) - shared
    return np.asarray(shared / np.maximum(both, 1e-9))


def _missing(side_px: int) -> int:
    """Return how many pixels a side has to grow by."""
    return max(_LEAST_PX - side_px, -side_px % STRIDES[-1])


def _area(boxes: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(np.clip(boxes[..., 2:4] - boxes[..., :2], 0, None).prod(axis=-1))


def _read(map_CHW: NDArray[np.float32], stride: int, least: float) -> tuple[Rows, Rows]:
    rows, columns = np.nonzero(map_CHW[0] >= least)
    cells_CF = map_CHW[:, rows, columns].astype(np.float64)
    centre_XF = np.stack([columns + 0.5, rows + 0.5])
    sides_SF = np.exp(np.minimum(cells_CF[1:5], _MOST_STRIDES))
    score_F = 1 / (1 + np.exp(-cells_CF[0]))
    left_top, right_bottom = centre_XF - sides_SF[:2], centre_XF + sides_SF[2:]
    boxes_CF = np.concatenate([stride * left_top, stride * right_bottom, score_F[None]])
    points_F52 = (stride * (cells_CF[5:].reshape(5, 2, -1) + centre_XF)).transpose(2, 0, 1)
    return boxes_CF.T.astype(np.float32), points_F52.astype(np.float32)
