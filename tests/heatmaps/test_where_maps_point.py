"""Maps point at what decides, add up to the logit, and depend on what the network has learnt."""

import copy
import dataclasses

import numpy as np
import pytest
import scipy.stats
import torch

from deepscan import heatmaps
from deepscan.calibration import OperatingPoint
from deepscan.detector import Detector
from deepscan.errors import NoFaceError, UnknownNameError
from deepscan.evidence.exhibits import values_of
from deepscan.formats import network_of
from deepscan.heatmaps import gradients
from deepscan.heatmaps.gradcam import activation_maps
from deepscan.heatmaps.gradients import CHANGE, GAP, gradient_maps
from deepscan.heatmaps.placing import spans_of, within
from deepscan.heatmaps.subject import Subject
from deepscan.modalities import batch
from deepscan.modalities.image import ImagePrep
from deepscan.models.catalog import load_builtin
from deepscan.models.residual import ResidualConfig, ResidualNet
from deepscan.verdict import Region
from tests.heatmaps.subjects import (
    Corner,
    corner_example,
    example_of,
    facts_of,
    points_at_corner,
    small_detector,
    with_network,
)  # fmt: skip
from tests.tiny_bundles import WHOLE, settle, tiny_bundle

OVER_PLACES = ("attention", "grad-cam", "hires-cam", "integrated-gradients", "mask", "occlusion")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def picture_detector(tmp_path_factory):
    return Detector.load(tiny_bundle(tmp_path_factory.mktemp("tiny")).path, "cpu")


def explained(detector, name, count=1):
    examples = [corner_example(detector.prep, number) for number in range(count)]
    return heatmaps.explain(detector, facts_of(detector), examples, [name])[0]


@pytest.mark.parametrize("name", OVER_PLACES)
def test_a_model_that_decides_by_one_corner_is_shown_to(picture_detector, name):
    found = explained(with_network(picture_detector, Corner()), name)
    assert points_at_corner(values_of(found.pictures[0]))
    assert name == "attention" or "bottom right" in found.summary or name == "mask"


@pytest.mark.parametrize("name", ["grad-cam", "hires-cam", "integrated-gradients", "occlusion"])
@pytest.mark.parametrize("model", ["residual-gru", "spectrogram-cnn"])
def test_so_is_one_of_clips_or_of_sound(tmp_path, name, model):
    detector = with_network(small_detector(tmp_path, load_builtin().get(model)), Corner())
    found = explained(detector, name)
    values = values_of(found.pictures[0])
    # Low rows of a spectrum are below; the face of the clip lies within the picture as a whole.
    assert points_at_corner(values if model == "residual-gru" else values[::-1])
    if model == "spectrogram-cnn":
        begin, end = found.curves[0].spans[0]
        assert (begin, end) == (pytest.approx(2.5, abs=0.2), pytest.approx(3.0, abs=0.1))


def test_where_the_verdict_is_real_there_are_maps_of_both(picture_detector):
    card = dataclasses.replace(
        picture_detector.bundle.card, operating=OperatingPoint(threshold=0.9, low=0.9, high=0.9)
    )
    bundle = dataclasses.replace(picture_detector.bundle, card=card)
    detector = dataclasses.replace(with_network(picture_detector, Corner(sign=-1.0)), bundle=bundle)
    found = explained(detector, "grad-cam", count=2)
    assert [each.name for each in found.pictures] == ["fake-1", "real-1", "fake-2", "real-2"]
    assert not values_of(found.pictures[0]).any()
    assert points_at_corner(values_of(found.pictures[1]))
    assert "speaks for real" in found.pictures[1].caption
    assert "speaks for real" in found.summary


@pytest.mark.parametrize(
    ("model", "steps"),
    [("residual", 32), ("cnn", 32), ("cnn-gru", 32), ("sinc-resnet", 16), ("residual-gru", 16)],
)
def test_integrated_gradients_add_up_to_the_change_of_the_logit(tmp_path, model, steps, monkeypatch):
    monkeypatch.setattr(gradients.attributions, "__defaults__", (steps,))
    found = explained(small_detector(tmp_path, load_builtin().get(model)), "integrated-gradients")
    assert found.measurements[GAP] < max(0.05 * abs(found.measurements[CHANGE]), 0.002)


def test_the_cells_of_a_map_of_gradients_add_up_too(picture_detector):
    detector = with_network(picture_detector, Corner())
    example = example_of(WHOLE)
    subject = Subject.of(detector, facts_of(detector), [example])
    plain = {
        **example,
        "pixels": np.broadcast_to(example["pixels"].mean((0, 1)), (32, 32, 3)).astype(np.uint8),
    }
    change = detector.run([example])["logit"] - detector.run([plain])["logit"]
    assert gradient_maps(subject)[0].sum() == pytest.approx(change[0], abs=0.01)


def test_cells_add_up_to_what_they_hold_whatever_their_number():
    planes = np.random.default_rng(0).normal(size=(2, 45, 201)).astype(np.float32)
    made = gradients.cells(planes)
    assert made.shape == (2, 32, 32)
    assert made.sum((1, 2)) == pytest.approx(planes.sum((1, 2)), rel=1e-4)
    assert gradients.cells(planes[:, :1, :5]).tolist() == planes[:, :1, :5].tolist()


def test_occlusion_is_the_fall_of_the_logit(picture_detector):
    """With the whole corner hidden, the logit is that of the mean colour there."""
    detector = with_network(picture_detector, Corner())
    example = example_of(WHOLE)
    example["pixels"][:] = 0
    example["pixels"][24:, 24:] = 255
    maps = heatmaps.occlusion.occlusion_maps(Subject.of(detector, facts_of(detector), [example]))
    logit = detector.run([example])["logit"][0]
    assert maps.shape == (1, 1, 4, 4)
    assert 0.8 * logit < maps[0, 0, 3, 3] < logit
    assert abs(maps[0, 0, 0, 0]) < 1e-6


# --- Adebayo et al., "Sanity checks for saliency maps" (NeurIPS 2018)

SIDE, PATCH = 40, 16


def patched(count, seed):
    """Noise, half of it with a square of smoother noise somewhere; pixels, labels and corners."""
    rng = np.random.default_rng(seed)
    pixels = rng.normal(128, 25, (count, SIDE, SIDE, 3))
    corners = rng.integers(0, SIDE - PATCH, (count, 2))
    for number in range(0, count, 2):
        top, left = corners[number]
        square = pixels[number, top : top + PATCH, left : left + PATCH]
        square[:] = 128 + (square - 128 + np.roll(square, 1, 0) - 128) / 2**0.5
    labels = torch.tensor([1.0, 0.0] * (count // 2))
    return torch.from_numpy(pixels.clip(0, 255).astype(np.uint8)), labels, corners


def untaught(seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return ResidualNet(ResidualConfig(channels=(6, 8), dropout=0.0, clip=30.0))


def taught(seed):
    network = untaught(seed)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    for step in range(50):
        pixels, labels, _ = patched(16, 1000 * seed + step)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(network(pixels)["logit"], labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


MAPPERS = {
    "grad-cam": lambda subject: activation_maps(subject, pooled=True),
    "hires-cam": lambda subject: activation_maps(subject, pooled=False),
    "integrated-gradients": lambda subject: gradient_maps(subject)[0],
}


@pytest.fixture(scope="module")
def networks(one_thread):
    return taught(1), taught(2)


def maps_of(picture_detector, network, name, pixels):
    prep = ImagePrep(region="whole", size_px=SIDE)
    detector = dataclasses.replace(with_network(picture_detector, network), prep=prep)
    made = []
    for picture in pixels:
        example = {"pixels": picture.numpy(), "box": np.array([0, 0, 1, 1], np.float32)}
        values = MAPPERS[name](Subject.of(detector, facts_of(detector), [example]))
        made.append(torch.from_numpy(values[0, 0]))
    return torch.nn.functional.adaptive_avg_pool2d(torch.stack(made)[:, None], 10)[:, 0].numpy()


def correlation(a, b):
    return np.mean([scipy.stats.spearmanr(x, y, axis=None).statistic for x, y in zip(a, b, strict=True)])


@pytest.mark.parametrize("name", MAPPERS)
def test_maps_are_those_of_the_weights_and_not_of_the_picture(picture_detector, networks, name, monkeypatch):
    monkeypatch.setattr(gradients.attributions, "__defaults__", (8,))
    pixels, _, corners = patched(8, 99)
    pixels, corners = pixels[::2], corners[::2]
    maps, again = (maps_of(picture_detector, network, name, pixels) for network in networks)
    strays = []
    for seed in range(4):
        network = untaught(seed)
        settle(network, [{"pixels": picture.numpy()} for picture in pixels], WHOLE)
        strays.append(maps_of(picture_detector, network, name, pixels))
    agreement = correlation(maps, again)
    chance = [correlation(maps, stray) for stray in strays]
    assert agreement > 0.5
    assert abs(np.mean(chance)) < 0.3
    if name == "integrated-gradients":
        return  # They begin at a plain colour, which is smooth, too.
    hits = [inside(map_hw, corner) for map_hw, corner in zip(maps, corners, strict=True)]
    assert np.mean(hits) >= 3 / 4


def inside(map_hw, corner):
    peak = (np.array(np.unravel_index(map_hw.argmax(), map_hw.shape)) + 0.5) * SIDE / len(map_hw)
    return bool((peak >= corner).all() and (peak < corner + PATCH).all())


# --- Where maps lie


def test_a_map_is_cut_off_where_the_square_leaves_the_picture():
    values = np.zeros((4, 4), np.float32)
    values[:, 2:] = 1.0
    cut, region = within(values, Region(box=(-0.5, 0.0, 0.5, 1.0), start_s=1.0, end_s=2.0))
    assert region == Region(box=(0.0, 0.0, 0.5, 1.0), start_s=1.0, end_s=2.0)
    assert cut.shape == (96, 48)
    assert cut.mean() > 0.9


def test_the_map_of_a_face_lies_over_the_square_that_was_cut_out(tmp_path):
    detector = small_detector(tmp_path, load_builtin().get("boundary"))
    detector = dataclasses.replace(detector, prep=dataclasses.replace(detector.prep, margin=0.25))
    left, top, right, bottom = explained(detector, "mask").pictures[0].region.box
    facts = detector.modality.example
    # The face of 0.4 x 640 by 0.6 x 480 px lies at (256, 192) and is 288 px high.
    assert left == pytest.approx((256 - 216) / facts.width_px, abs=0.01)
    assert right == pytest.approx((256 + 216) / facts.width_px, abs=0.01)
    assert (top, bottom) == (0.0, pytest.approx((192 + 216) / facts.height_px, abs=0.01))


def test_maps_of_a_clip_are_those_of_its_most_suspicious_frames(tmp_path):
    detector = small_detector(tmp_path, load_builtin().get("residual-gru"))
    examples = [example_of(detector.prep, number) for number in range(2)]
    outputs = detector.run(examples)
    found = heatmaps.explain(detector, facts_of(detector), examples, ["grad-cam"])[0]
    real = [(b, t) for b in range(2) for t in range(3)]
    ranked = sorted(real, key=lambda pair: -outputs["moment_logit"][pair])[:4]
    shown = [each.region.start_s for each in found.pictures if each.name.startswith("fake")]
    assert shown == pytest.approx([max(0, 0.5 * t - 0.25) for _, t in ranked])


def test_contributions_add_up_to_the_logit(tmp_path):
    detector = small_detector(tmp_path, load_builtin().get("spectrogram-cnn"))
    example = example_of(detector.prep)
    found = heatmaps.explain(detector, facts_of(detector), [example], ["attention"])[0]
    shares, added = found.curves
    assert sum(shares.y) == pytest.approx(1, abs=1e-3)
    assert sum(added.y) == pytest.approx(float(detector.run([example])["logit"][0]), abs=1e-3)


def test_of_sound_that_was_repeated_only_the_first_time_is_shown(tmp_path):
    detector = small_detector(tmp_path, load_builtin().get("spectrogram-cnn"))
    example = example_of(detector.prep)
    example["end_s"][...] = 2.0
    found = heatmaps.explain(detector, facts_of(detector), [example], ["integrated-gradients"])[0]
    assert 1.0 < min(found.curves[0].x) < max(found.curves[0].x) < 2.0
    maps, heard = found.pictures[0], found.pictures[-1]
    assert (maps.region, heard.region) == (Region(start_s=1.0, end_s=2.0),) * 2


@pytest.mark.parametrize(
    ("values", "spans"),
    [([0, 3, 4, 1], [(1, 3)]), ([4, 0, 4], [(0, 1), (2, 3)]), ([-1, -2], []), ([0, 0], [])],
)
def test_spans_are_where_a_curve_is_at_least_half_as_high_as_its_peak(values, spans):
    assert spans_of(np.array(values, float), np.arange(len(values) + 1.0)) == spans


# --- What cannot be shown


def test_an_exported_bundle_says_that_it_gives_no_gradients_and_shows_what_needs_none(picture_detector):
    network = Corner().eval()

    def exported(inputs):
        with torch.no_grad():
            return {
                name: x.numpy()
                for name, x in network(**{n: torch.from_numpy(a) for n, a in inputs.items()}).items()
            }

    assert network_of(exported) is None
    detector = dataclasses.replace(picture_detector, runner=exported)
    for name in ("grad-cam", "hires-cam", "integrated-gradients"):
        found = explained(detector, name)
        assert (found.finding, found.reason) == ("none", "no-map")
        assert "exported" in found.summary
        assert not heatmaps.METHODS.get(name).suits(detector)
    for name in ("occlusion", "mask"):
        assert points_at_corner(values_of(explained(detector, name).pictures[0]))


def test_a_file_that_the_detector_cannot_judge_has_no_maps(picture_detector):
    error = NoFaceError("No face was found.")
    found = heatmaps.explain(picture_detector, facts_of(picture_detector), error, ["grad-cam", "mask"])
    assert [(each.finding, each.reason, each.summary) for each in found] == [
        ("none", "no-face", "No face was found.")
    ] * 2


def test_an_unknown_method_is_refused(picture_detector):
    with pytest.raises(UnknownNameError, match="grad-cam"):
        explained(picture_detector, "gradcam")


def test_a_logit_that_depends_on_nothing_has_an_empty_map(picture_detector):
    network = copy.deepcopy(Corner())
    network.sign = 0.0
    found = explained(with_network(picture_detector, network), "occlusion")
    assert "nothing" in found.summary
    assert found.measurements == {"maps": 1.0, "focus_share": 0.0}
    assert batch([example_of(WHOLE)], WHOLE)["pixels"].shape == (1, 32, 32, 3)
