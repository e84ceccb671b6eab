import dataclasses
import json

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from deepscan.errors import AssetError, ConfigError, DataError
from deepscan.finder import export, gather, scoring, stream, train
from deepscan.finder.network import Deployed, FaceNetwork, Widths
from deepscan.finder.stream import Composer, collate, endless
from deepscan.finder.targets import FACE, NONE, UNSURE, cells, finder_loss, giou, target
from deepscan.media import shipped_faces
from deepscan.media.faces import Face, find_faces
from deepscan.media.scenes import Portrait, Scene
from deepscan.media.shipped_faces import CHANNELS, STRIDES
from tests.material import DrawnFace, draw, shared

MARKS = np.array([(-20, -15), (20, -15), (0, 5), (-14, 25), (14, 25)]) / 40
SMALL = Widths(stem=8, quarter=8, trunk=(8, 8, 8), neck=8)


def face_at(x, y, side, score=0.9):
    half = side / 2
    return Face(
        box_px=(x - half, y - half, x + half, y + half),
        score=score,
        landmarks_px=(side * MARKS + np.array([x, y])).astype(np.float32),
    )


def scene_of(*faces, unsure=(), size_px=128):
    return Scene(picture_HWC=np.zeros((size_px, size_px, 3), np.uint8), faces=faces, unsure=tuple(unsure))


def drawn_portraits():
    for radius in (50, 60, 70):
        drawn = DrawnFace(x_px=100, y_px=110, radius_px=radius)
        eyes = drawn.eyes_px
        points = np.array([*eyes, (100, 114), (90, 138), (110, 138)], np.float32)
        box = (100 - 0.9 * radius, 110 - 1.1 * radius, 100 + 0.9 * radius, 110 + 1.1 * radius)
        face = Face(box_px=box, score=1.0, landmarks_px=points)
        yield Portrait(picture_HWC=draw(drawn, size_px=(200, 220)), faces=(face,))


def composer(size=4, seed=0):
    return Composer(
        groups=(tuple(drawn_portraits()), ()), shares=(0.7, 0.3), size=size, seed=seed, teacher=lambda _: []
    )


def as_maps(told, size_px):
    """Maps of a network that says what a target asks for."""
    maps, begin = [], 0
    for stride in STRIDES:
        side = size_px // stride
        part = told[begin : begin + side * side]
        begin += side * side
        made = np.zeros((side * side, CHANNELS), np.float32)
        made[:, 0] = np.where(part[:, 0] == FACE, 6.0, -9.0)
        made[:, 1:5] = np.log(np.maximum(part[:, 1:5], 1e-3))
        made[:, 5:] = part[:, 5:15]
        maps.append(made.reshape(side, side, CHANNELS).transpose(2, 0, 1)[None])
    return maps


@pytest.mark.parametrize("side", [10, 20, 30, 60, 90, 120])
def test_what_a_target_asks_for_is_decoded_to_its_face(side):
    face = face_at(61, 70, side)
    boxes, points = shipped_faces.decode(as_maps(target(scene_of(face)), 128))
    assert len(boxes) == 1
    assert np.allclose(boxes[0, :4], face.box_px, atol=0.5)
    assert np.allclose(points[0], face.landmarks_px, atol=1e-3)


def test_small_faces_are_asked_of_fine_cells_and_large_ones_of_coarse_cells():
    _, strides = cells((128, 128))
    asked = {
        side: set(strides[target(scene_of(face_at(64, 64, side)))[:, 0] == FACE])
        for side in (12, 30, 60, 110)
    }
    assert asked == {12: {8}, 30: {8, 16}, 60: {16}, 110: {32}}


def test_cells_around_the_centre_and_unsure_boxes_are_neither_asked_nor_forbidden():
    told = target(scene_of(face_at(64, 64, 36), unsure=[(0, 0, 20, 20)]))
    centres, strides = cells((128, 128))
    fine = strides == 8
    states = {tuple(place): state for place, state in zip(centres[fine].tolist(), told[fine, 0], strict=True)}
    assert states[(60, 60)] == FACE
    assert states[(60, 76)] == UNSURE
    assert states[(4, 4)] == UNSURE
    assert states[(100, 100)] == NONE


def test_the_smaller_of_two_faces_in_one_cell_wins():
    told = target(scene_of(face_at(64, 64, 30), face_at(64, 64, 14)))
    boxes, _ = shipped_faces.decode(as_maps(told, 128))
    assert boxes[0, 2] - boxes[0, 0] == pytest.approx(14, abs=0.1)


def test_overlap_of_boxes_is_generalised():
    same, half = torch.tensor([[1.0, 1, 1, 1]]), torch.tensor([[1.0, 1, 0, 1]])
    assert giou(same, same).item() == pytest.approx(1)
    assert giou(same, half).item() == pytest.approx(0.5)
    # Two quarters of a square that touch at its middle: no overlap, and half of the square is neither.
    one, other = torch.tensor([[1.0, 1, 0, 0]]), torch.tensor([[0.0, 0, 1, 1]])
    assert giou(one, other).item() == pytest.approx(-0.5)


def test_the_loss_is_least_for_what_was_asked():
    scene = scene_of(face_at(40, 50, 40), face_at(100, 90, 16))
    batch = collate([scene], 0)

    class Said(torch.nn.Module):
        def forward(self, pixels):
            maps = tuple(torch.from_numpy(each) for each in as_maps(batch["target"][0].numpy(), 128))
            return {"maps": tuple(each + shift for each in maps), "logit": torch.zeros(len(pixels))}

    shift = 0.0
    right = finder_loss(Said(), batch)["loss"].item()
    shift = 0.3
    assert right < 0.02
    assert finder_loss(Said(), batch)["loss"].item() > 2 * right


def test_batches_are_the_same_for_the_same_seed_and_number():
    one, other = composer().batch(3), composer().batch(3)
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert not torch.equal(one["target"], composer().batch(4)["target"]) or not torch.equal(
        one["pixels"], composer().batch(4)["pixels"]
    )
    assert one["file"].tolist() == [12, 13, 14, 15]
    assert one["pixels"].shape[1] == 3
    assert one["pixels"].dtype == torch.uint8


@pytest.mark.parametrize("threads", [1, 3])
def test_batches_come_in_their_order_whatever_the_threads(threads):
    batches = endless(composer(), 5, threads)
    firsts = [int(next(batches)["file"][0]) for _ in range(6)]
    batches.close()
    assert firsts == [4 * number for number in range(5, 11)]


def test_sources_are_divided_by_their_names_and_every_split_is_apart():
    names = [f"person-{number}" for number in range(200)]
    home = gather.divided(names, 0)
    counts = {split: list(home.values()).count(split) for split in gather.SPLITS}
    assert counts == {"train": 150, "val": 20, "test": 30}
    assert gather.divided(names[::-1] * 2, 0) == home
    assert gather.divided(names, 1) != home
    assert sorted(gather.divided(["a", "b", "c"], 0).values()) == ["test", "train", "train"]


def test_a_picture_of_any_size_gives_maps_of_its_cells():
    network = FaceNetwork(SMALL).eval()
    said = network(pixels=torch.zeros(2, 3, 64, 160, dtype=torch.uint8))
    assert [tuple(each.shape) for each in said["maps"]] == [
        (2, CHANNELS, 64 // stride, 160 // stride) for stride in STRIDES
    ]
    surest = torch.cat([each[:, 0].flatten(1) for each in said["maps"]], dim=1).amax(1)
    assert torch.equal(said["logit"], surest)


def test_the_network_is_as_small_as_its_file_may_be():
    assert 2 * sum(each.numel() for each in Deployed(FaceNetwork()).parameters()) < 390_000


def test_a_short_training_lowers_the_loss_and_its_file_says_what_the_module_says(tmp_path):
    torch.manual_seed(0)
    network = FaceNetwork(Widths(stem=8, quarter=16, trunk=(24, 24, 24), neck=24))
    optimizer = torch.optim.AdamW(network.parameters(), 1e-2)
    rng, losses = np.random.default_rng(1), []
    batch = collate([composer().scene(rng, 128) for _ in range(6)], 0)
    for _ in range(40):
        optimizer.zero_grad()
        loss = finder_loss(network, batch)["loss"]
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.4 * losses[0]

    path = tmp_path / "finder.onnx"
    export.write(network, path)
    net = cv2.dnn.readNetFromONNX(str(path))
    network.eval()
    # The file was traced with another size: none may be left in the graph.
    for height, width in ((64, 96), (160, 64)):
        pixels = np.random.default_rng(0).integers(0, 256, (1, 3, height, width)).astype(np.float32)
        net.setInput(pixels)
        with torch.no_grad():
            maps = Deployed(network)(torch.from_numpy(pixels))
            unrounded = network(pixels=torch.from_numpy(pixels))["maps"]
        for said, expected, exact in zip(net.forward(shipped_faces.OUTPUTS), maps, unrounded, strict=True):
            assert np.allclose(said, expected.numpy(), atol=2e-3)
            assert np.allclose(said, exact.numpy(), atol=0.03), "half precision is enough for weights"
    assert [each.name for each in tmp_path.iterdir()] == ["finder.onnx"]


def test_found_faces_are_paired_with_true_ones_once_and_the_surest_first():
    scene = scene_of(face_at(40, 40, 30), face_at(100, 100, 20), unsure=[(0, 90, 40, 128)])
    found = [
        face_at(42, 40, 30, score=0.7),
        face_at(40, 42, 30, score=0.9),
        face_at(70, 70, 10, score=0.8),
        face_at(20, 110, 30, score=0.95),
    ]
    told = scoring.match(scene, found)
    assert told.faces == 2
    assert told.hits.tolist() == [0.9]
    assert told.sides.tolist() == [0]
    assert told.misses.tolist() == [0.8, 0.7]
    summed = scoring.figures([told], 0.75)
    assert (summed.pictures, summed.faces, summed.found, summed.false) == (1, 2, 1, 1)
    assert summed.recall == 0.5
    assert summed.landmark_error == pytest.approx(2 / 30)  # moved by 2 px, and the eyes are 30 px apart


def test_figures_of_nothing_are_no_numbers_or_perfect():
    summed = scoring.figures([], 0.5)
    assert summed.recall == 1
    assert np.isnan(summed.landmark_error)
    assert summed.false_per_picture == 0


@pytest.mark.parametrize("wrong", [{"minutes": 0}, {"seed": -1}, {"steps": 0}, {"threads": 0}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError, match="at least"):
        train.Settings(**wrong)


def test_training_without_its_teacher_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.delenv("DEEPSCAN_ASSETS", raising=False)
    monkeypatch.setenv("DEEPSCAN_HOME", str(tmp_path))
    with pytest.raises(AssetError, match="assets fetch yunet"):
        gather.gather(tmp_path, "train", 0)


@pytest.fixture
def few(tmp_path, monkeypatch):
    """A folder of a few real pictures, each a source of its own."""
    monkeypatch.setenv("DEEPSCAN_ASSETS", str(shared("assets")))
    for label in ("real", "fake"):
        (tmp_path / "media" / label).mkdir(parents=True)
    paths = sorted(shared("media/image/real/ffhq-256").iterdir())[:24]
    for number, path in enumerate(paths):
        Image.open(path).save(tmp_path / "media" / ("real", "fake")[number % 2] / path.name)
    monkeypatch.setattr(gather, "_DRAWN", {"train": 2, "val": 2, "test": 0})
    return tmp_path


@pytest.mark.media
def test_pictures_are_gathered_by_split_with_their_faces(few):
    parts = {split: gather.gather(few / "media", split, 0) for split in gather.SPLITS}
    assert [len(parts[split].stills) for split in gather.SPLITS] == [18, 2, 4]
    assert [len(parts[split].drawn) for split in gather.SPLITS] == [2, 2, 0]
    assert len({each.digest for each in parts.values()}) == 1
    assert all(each.faces for part in parts.values() for each in part.portraits)
    assert len(gather.gather(few / "media", "train", 0, most=3).stills) == 3
    (few / "none" / "real").mkdir(parents=True)
    Image.new("RGB", (64, 64)).save(few / "none" / "real" / "black.png")
    with pytest.raises(DataError, match="face"):
        gather.gather(few / "none", "test", 0)


@pytest.mark.media
@pytest.mark.slow
def test_a_run_writes_file_and_card_goes_on_and_ends_where_it_is(few, monkeypatch):
    settings = train.Settings(minutes=1e-6, batch_size=2, steps=2, validation=8, ema_decay=0.5)
    out = few / "out"
    card = train.train(few / "media", out, settings)
    assert card["epochs"] == 1
    data = (out / shipped_faces.FILE).read_bytes()
    assert card["bytes"] == len(data) <= 400_000
    assert json.loads((out / train.CARD).read_text())["sha256"] == card["sha256"]
    assert set(card["validation"]) >= {"recall", "false_per_picture", "landmark_error", "best_auc"}
    boxes, _ = shipped_faces.Network(data)(np.zeros((90, 70, 3), np.uint8))
    assert boxes.shape[1] == 5
    assert train.train(few / "media", out, settings)["epochs"] == 1
    longer = train.train(few / "media", out, dataclasses.replace(settings, minutes=1.6 * card_minutes(out)))
    assert longer["epochs"] >= 2
    assert longer["steps"] == 2 * longer["epochs"]
    with pytest.raises(ConfigError, match="seed 0"):
        train.train(few / "media", out, dataclasses.replace(settings, seed=1))


def card_minutes(out):
    """How long the run in a folder took so far."""
    states = torch.load(out / "trainer.pt", weights_only=True)
    return states["elapsed_s"] / 60


def test_the_shipped_finder_is_what_find_faces_runs():
    picture = draw(DrawnFace(x_px=100, y_px=110, radius_px=60), size_px=(200, 220))
    boxes, points = shipped_faces.load()(picture)
    (face,) = find_faces(picture, finder="tiny", min_score=0.5)
    assert face.box_px == tuple(boxes[0, :4].tolist())
    assert np.array_equal(face.landmarks_px, points[0])


@pytest.mark.media
def test_a_source_of_pictures_and_clips_is_in_one_split(tmp_path, monkeypatch):
    monkeypatch.setenv("DEEPSCAN_ASSETS", str(shared("assets")))
    monkeypatch.setattr(gather, "_DRAWN", dict.fromkeys(gather.SPLITS, 0))
    clips = sorted(shared("media/video/real").rglob("*.mp4"))[::2]
    stills = sorted(shared("media/image/real/ffhq-256").iterdir())[:8]
    lines = ["path,label,source"]
    lines += [f"{path},real,person-{number}" for number, path in enumerate(clips)]
    lines += [f"{path},real,person-{number}" for number, path in enumerate(stills)]
    (tmp_path / "manifest.csv").write_text("\n".join(lines))
    parts = {split: gather.gather(tmp_path, split, 0) for split in ("train", "test")}
    home = gather.divided([f"person-{number}" for number in range(3)], 0)
    assert set(home.values()) == {"train", "test"}
    counts = {split: list(home.values()).count(split) for split in parts}
    assert {split: len(part.frames) for split, part in parts.items()} == {
        split: 16 * count for split, count in counts.items()
    }
    others = gather.divided([f"person-{number}" for number in range(8)], 0)
    free = [others[f"person-{number}"] for number in range(3, 8)]
    assert {split: len(part.stills) for split, part in parts.items()} == {
        split: free.count(split) + count for split, count in counts.items()
    }


def test_scores_are_shifted_so_that_false_faces_stay_below_the_usual_one(monkeypatch):
    none, faces = np.zeros(0), np.array([0.9])
    false = {0: [0.8, 0.7], 1: [0.5], 2: []}

    def told(network, batches, level):
        misses = [np.array(false[level]), *[none] * 9]
        return [
            scoring.Match(faces=1, hits=faces, sides=np.array([0]), errors=faces, misses=each)
            for each in misses
        ]

    monkeypatch.setattr(scoring, "_matches", told)
    fine, middle, coarse = scoring.shifts(FaceNetwork(SMALL), [], 0.6)
    # 0.8 is four to one, 0.6 three to two: the logit of the surest false face comes to lie just below.
    assert fine == pytest.approx(np.log(1.5) - np.log(4), abs=0.06)
    assert fine + np.log(4) < np.log(1.5)
    assert middle == coarse == pytest.approx(0, abs=0.06)

    network = FaceNetwork(SMALL).eval()
    picture = torch.zeros(1, 3, 64, 64)
    with torch.no_grad():
        before = network(pixels=picture)["maps"]
        network.shift_scores([-1.0, 0.5, 0.0])
        after = network(pixels=picture)["maps"]
    moved = [(one - other).mean((0, 2, 3)) for one, other in zip(after, before, strict=True)]
    assert [each[0].item() for each in moved] == pytest.approx([-1.0, 0.5, 0.0], abs=1e-5)
    assert all(each[1:].abs().max() < 1e-5 for each in moved)


def test_blank_pictures_are_many_and_hold_no_face():
    made = stream.blanks(0, 12)
    assert {scene.picture_HWC.shape for scene in made} == {(256, 256, 3)}
    assert not any(scene.faces or scene.unsure for scene in made)
    assert len({scene.picture_HWC.tobytes() for scene in made}) == 12
