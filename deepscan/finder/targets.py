"""What each cell of the network's maps should say of a scene, and the loss against that.

A face is the business of the maps whose cells suit its size, and there of the cells near its centre.
"""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from deepscan.media.faces import Face
from deepscan.media.scenes import Box, Scene
from deepscan.media.shipped_faces import CHANNELS, STRIDES

COLUMNS = 17
"""Of a target: state, four distances, ten coordinates, the face's size, its cell's weight; all in strides."""

FACE, NONE, UNSURE = 1.0, 0.0, -1.0

SIDES_PX = ((0.0, 40.0), (24.0, 104.0), (72.0, 1e9))
"""Geometric means of the sides of the faces that each map finds; most faces are found by two."""

_CLOSE, _NEAR = 0.25, 0.38
"""Shares of the sides: cells nearer to the centre find the face, those a little further may."""

_CLOSE_STRIDES, _NEAR_STRIDES = 0.55, 0.9
_SLACK = 1.25
_LEAST = 0.1
_NEGATIVES, _FOCUS = 0.75, 2.0
_BOXES, _POINTS = 2.0, 8.0
_POINT_BEND = 0.02


def cells(size_px: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return centres [N, 2] in pixels and strides [N] of all cells, maps one after the other, row by row."""
    height, width = size_px
    centres, strides = [], []
    for stride in STRIDES:
        y, x = np.mgrid[0 : height // stride, 0 : width // stride]
        centres.append(stride * (np.stack([x.ravel(), y.ravel()], axis=1) + 0.5))
        strides.append(np.full(x.size, float(stride)))
    return np.concatenate(centres), np.concatenate(strides)


def target(scene: Scene) -> NDArray[np.float32]:
    """Return what the cells should say, float32 [N, 17], see ``COLUMNS``; the smallest face wins."""
    height, width = scene.picture_HWC.shape[:2]
    centres_N2, stride_N = cells((height, width))
    told = np.zeros((len(stride_N), COLUMNS), np.float32)
    for box in scene.unsure:
        told[_inside(box, centres_N2), 0] = UNSURE
    faces = sorted(scene.faces, key=lambda face: -face.width_px * face.height_px)
    for face in faces:
        near = _around(face, centres_N2, stride_N, _NEAR, _NEAR_STRIDES) & _suits(face, stride_N, _SLACK)
        told[near & (told[:, 0] == NONE), 0] = UNSURE
    for face in faces:
        close = _around(face, centres_N2, stride_N, _CLOSE, _CLOSE_STRIDES) & _suits(face, stride_N, 1.0)
        told[close] = _told(face, centres_N2[close], stride_N[close])
    return told


def finder_loss(model: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The objective: varifocal loss on scores, generalised intersection over union, distance of landmarks.

    Scores: Zhang et al., "VarifocalNet", CVPR 2021, with targets of 1. Boxes: Rezatofighi et al., CVPR 2019.
    Each face counts by the square root of its cells.

    Args:
        model: Returns ``maps`` and ``logit``.
        batch: ``pixels`` and ``target`` [B, N, 17].
    """
    output = model(pixels=batch["pixels"])
    said_BNC = torch.cat([each.flatten(2) for each in output["maps"]], dim=2).transpose(1, 2).float()
    told_BNT = batch["target"]
    is_face, is_none = told_BNT[..., 0] == FACE, told_BNT[..., 0] == NONE
    said_FC, told_FT = said_BNC[is_face], told_BNT[is_face]
    weight_F = told_FT[:, 16]
    total = weight_F.sum().clamp(min=1.0)
    quiet = said_BNC[..., 0][is_none]
    missed = (weight_F * functional.softplus(-said_FC[:, 0])).sum()
    focus = quiet.detach().sigmoid() ** _FOCUS
    seen = (_NEGATIVES * focus * functional.softplus(quiet)).sum()
    box_loss = (weight_F * (1 - giou(said_FC[:, 1:5].clamp(max=6).exp(), told_FT[:, 1:5]))).sum()
    apart = (said_FC[:, 5:CHANNELS] - told_FT[:, 5:CHANNELS]) / told_FT[:, 15:16]
    bent = functional.smooth_l1_loss(apart, torch.zeros_like(apart), beta=_POINT_BEND, reduction="none")
    point_loss = (weight_F * bent.mean(1)).sum()
    loss = (missed + seen + _BOXES * box_loss + _POINTS * point_loss) / total
    return {"loss": loss, "logit": output["logit"].detach()}


def giou(one_F4: Tensor, other_F4: Tensor) -> Tensor:
    """Return the generalised intersection over union of boxes around one point, in [-1, 1].

    Args:
        one_F4: How far left, upper, right and lower side are from the point, above 0.
        other_F4: The same of the other boxes.
    """

    def area(sides_F4: Tensor) -> Tensor:
        return (sides_F4[:, 0] + sides_F4[:, 2]) * (sides_F4[:, 1] + sides_F4[:, 3])

    shared = area(torch.minimum(one_F4, other_F4))
    both = area(one_F4) + area(other_F4) - shared
    around = area(torch.maximum(one_F4, other_F4))
    return shared / both - (around - both) / around


def _told(face: Face, centres_N2: NDArray[np.float64], stride_N: NDArray[np.float64]) -> NDArray[np.float64]:
    assert face.landmarks_px is not None
    box = np.array(face.box_px)
    scale = stride_N[:, None]
    sides = np.concatenate([centres_N2 - box[:2], box[2:] - centres_N2], axis=1) / scale
    points = (face.landmarks_px.reshape(1, 5, 2) - centres_N2[:, None]).reshape(-1, 10) / scale
    size = np.sqrt(face.width_px * face.height_px) / stride_N
    told = np.empty((len(stride_N), COLUMNS))
    told[:, 0], told[:, 1:5], told[:, 5:15] = FACE, np.maximum(sides, _LEAST), points
    told[:, 15], told[:, 16] = size, 1 / np.sqrt(max(1, len(stride_N)))
    return told


def _suits(face: Face, stride_N: NDArray[np.float64], slack: float) -> NDArray[np.bool_]:
    side = np.sqrt(face.width_px * face.height_px)
    fitting = [low / slack <= side < high * slack for low, high in SIDES_PX]
    return np.asarray(np.array(fitting)[np.searchsorted(STRIDES, stride_N)])


def _around(
    face: Face, centres_N2: NDArray[np.float64], stride_N: NDArray[np.float64], share: float, strides: float
) -> NDArray[np.bool_]:
    """Which cells are near the face's centre: by a share of its sides, and at least so many strides."""
    left, top, right, bottom = face.box_px
    far_N2 = np.abs(centres_N2 - ((left + right) / 2, (top + bottom) / 2))
    reach_N2 = np.maximum(share * np.array([[right - left, bottom - top]]), strides * stride_N[:, None])
    return np.asarray((far_N2 <= reach_N2).all(axis=1)) & _inside(face.box_px, centres_N2)


def _inside(box: Box, centres_N2: NDArray[np.float64]) -> NDArray[np.bool_]:
    left, top, right, bottom = box
    x, y = centres_N2.T
    return np.asarray((x > left) & (x < right) & (y > top) & (y < bottom))
