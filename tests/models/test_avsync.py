"""Lips and voice: the towers find how far they are apart, and the logit says whether they belong together."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from deepscan.errors import ConfigError
from deepscan.models import MODELS
from deepscan.models.avsync import PARTED, WINDOW, AvSync, AvSyncConfig
from deepscan.objectives import synchrony
from deepscan.recipe import Loss

FRAMES, ROWS, SIDE = 60, 12, 20
INPUTS = ("mouth", "sound", "mask")
SMALL = AvSyncConfig(embedding=16, channels=(8, 12), hidden=32, dropout=0.0, shifts=8, tolerance=1)


def syllables(count, frames, rng):
    """How open a mouth is, in [0, 1]: smooth noise of a few openings a second, float32 [count, frames]."""
    coarse = rng.standard_normal((count, frames + 12))
    smooth = np.stack([np.convolve(row, np.hanning(7) / 3, "same") for row in coarse])
    return (1 / (1 + np.exp(-2.5 * smooth)))[:, 6 : frames + 6].astype(np.float32)


def speakers(count, seed, late=None):
    """Mouths that open with the loudness of their sound, which is late by so many frames."""
    rng = np.random.default_rng(seed)
    late = np.zeros(count, int) if late is None else late
    opening = syllables(count, FRAMES + 40, rng)
    seen = opening[:, 20 : 20 + FRAMES]
    begins = 20 - np.asarray(late)
    heard = np.stack([row[begin : begin + FRAMES] for row, begin in zip(opening, begins, strict=True)])
    y, x = np.mgrid[0:SIDE, 0:SIDE] / (SIDE - 1) - 0.5
    height = 0.05 + 0.35 * seen[..., None, None]
    skin = rng.uniform(120, 200, (count, 1, 1, 1))
    lips = (np.square(x / 0.35) + np.square(y / height)) < 1
    mouth = np.where(lips, 40, skin) + rng.normal(0, 6, (count, FRAMES, SIDE, SIDE))
    timbre = rng.uniform(0.5, 1.5, (count, ROWS, 1))
    sound = timbre * np.repeat(heard, 4, axis=1)[:, None] + rng.normal(0, 0.2, (count, ROWS, 4 * FRAMES))
    sound = (sound - sound.mean(2, keepdims=True)) / sound.std(2, keepdims=True)
    return {
        "mouth": torch.from_numpy(mouth.clip(0, 255).astype(np.uint8)),
        "sound": torch.from_numpy(sound.astype(np.float32)),
        "mask": torch.ones(count, FRAMES, dtype=torch.uint8),
    }


def train(steps, seed=0, batch=16, config=SMALL):
    torch.manual_seed(seed)
    model = AvSync(config, ROWS).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    objective = synchrony(INPUTS, Loss(), (batch, 0))
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 4e-3 * 0.5 * (1 + math.cos(math.pi * step / steps))
        loss = objective(model, speakers(batch, 1000 + step))["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def judged(model, batch):
    with torch.no_grad():
        return model(**batch)


def swapped(batch):
    return {**batch, "sound": batch["sound"].roll(1, 0)}


def shortened(batch, frames, seed=1):
    """Let the mask end there, and noise lie behind."""
    rng, mask = np.random.default_rng(seed), batch["mask"].clone()
    mouth, sound = batch["mouth"].clone(), batch["sound"].clone()
    mask[:, frames:] = 0
    mouth[:, frames:] = torch.from_numpy(rng.integers(0, 256, mouth[:, frames:].shape, dtype=np.uint8))
    sound[:, :, 4 * frames :] = 9.0 * seed
    return {"mouth": mouth, "sound": sound, "mask": mask}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def model(one_thread):
    return train(60)


@pytest.mark.parametrize(("frames", "judged_slices"), [(60, 2), (35, 2), (32, 1), (20, 1)])
def test_slices_in_which_a_window_is_real_have_a_share(model, frames, judged_slices):
    """Those that ``modalities.av`` returns as moments are among them."""
    share = judged(model, shortened(speakers(4, 8), frames))["attention"]
    assert (share > 0).sum(1).tolist() == [judged_slices] * 4
    assert (share[:, 0] > 0).all()


@pytest.fixture
def fresh():
    torch.manual_seed(0)
    return AvSync(SMALL, ROWS)


def test_the_shift_of_sound_is_found_and_positive_where_it_is_late(model):
    late = np.random.default_rng(5).integers(-6, 7, 60)
    found = judged(model, speakers(60, 7, late))["measured_offset_frames"].numpy()
    assert np.mean(np.abs(found - late) <= 1) >= 0.9


def test_the_surer_the_shift_the_nearer_the_sound(model):
    own, other = judged(model, speakers(40, 8)), judged(model, swapped(speakers(40, 8)))
    assert own["measured_distance"].mean() < other["measured_distance"].mean()
    assert own["measured_confidence"].min() > other["measured_confidence"].mean()


@pytest.mark.parametrize("late", [None, np.full(40, 5), np.full(40, -6)], ids=["swapped", "late", "early"])
def test_a_voice_that_is_not_the_mouths_has_the_higher_logit(model, late):
    own = judged(model, speakers(40, 8))["logit"]
    batch = swapped(speakers(40, 9)) if late is None else speakers(40, 9, late)
    scores = torch.cat([own, judged(model, batch)["logit"]])
    assert roc_auc_score([0] * 40 + [1] * 40, scores) > 0.95
    assert (own < 0).float().mean() > 0.9


@pytest.mark.parametrize("late", [-1, 1])
def test_sound_within_the_tolerance_belongs_to_the_mouth(model, late):
    assert judged(model, speakers(20, 8, np.full(20, late)))["logit"].median() < 0


def test_moments_show_where_the_voice_is_exchanged(model):
    batch, half = speakers(20, 8), 2 * FRAMES
    batch["sound"][:, :, half:] = batch["sound"].roll(1, 0)[:, :, half:]
    logit = judged(model, batch)["moment_logit"]
    assert logit.shape == (20, 2)
    assert (logit[:, 1] > logit[:, 0]).float().mean() > 0.9


def test_the_logit_is_the_weighted_sum_of_its_moments(model):
    output = judged(model, shortened(speakers(4, 8), 47))
    torch.testing.assert_close(output["attention"].sum(1), torch.ones(4))
    torch.testing.assert_close((output["attention"] * output["moment_logit"]).sum(1), output["logit"])


def test_figures_are_those_of_the_distances_by_hand(model):
    """Second opinion: plain loops over the embeddings, as the paper describes them."""
    batch, present = shortened(speakers(2, 8, [2, -3]), 50), torch.arange(FRAMES)[None].expand(2, -1) < 50
    output = judged(model, batch)
    with torch.no_grad():
        mouth, sound = model.mouth(batch["mouth"], present), model.sound(batch["sound"], present)
    for clip in range(2):
        curve = []
        for shift in range(-SMALL.shifts, SMALL.shifts + 1):
            pairs = [(t, t + shift) for t in range(50 - WINDOW + 1) if 0 <= t + shift < 50 - WINDOW + 1]
            curve.append(np.mean([(mouth[clip, m] - sound[clip, s]).norm().item() for m, s in pairs]))
        assert output["measured_distance"][clip].item() == pytest.approx(min(curve), abs=1e-4)
        expected = np.median(curve) - min(curve)
        assert output["measured_confidence"][clip].item() == pytest.approx(expected, abs=1e-4)
        assert output["measured_offset_frames"][clip].item() == np.argmin(curve) - SMALL.shifts


def test_what_lies_in_the_padding_does_not_matter(model):
    whole = speakers(3, 8)
    padded, otherwise = judged(model, shortened(whole, 45)), judged(model, shortened(whole, 45, seed=2))
    assert all(torch.equal(padded[name], otherwise[name]) for name in padded)
    cut = {name: each[..., :180] if name == "sound" else each[:, :45] for name, each in whole.items()}
    short = judged(model, cut)
    for name in short.keys() - {"moment_logit", "attention"}:
        # At the very end convolutions see padding of their own.
        torch.testing.assert_close(padded[name], short[name], rtol=0, atol=0.05)


def test_shifts_too_large_for_a_clip_are_not_found(model):
    output = judged(model, shortened(speakers(8, 8), 9))
    assert (output["measured_offset_frames"].abs() < 9 - WINDOW + 1).all()
    assert output["logit"].isfinite().all()


def test_the_brightness_of_a_face_does_not_matter(model):
    batch = speakers(4, 8)
    darker = {**batch, "mouth": batch["mouth"].clamp(min=60) - 60}
    brighter = {**batch, "mouth": batch["mouth"].clamp(min=60)}
    torch.testing.assert_close(judged(model, darker)["logit"], judged(model, brighter)["logit"])


def test_a_fresh_network_is_undecided(fresh):
    assert judged(fresh.eval(), speakers(8, 0))["logit"].abs().max() < 2


def test_contrast_offers_each_moment_one_right_sound(fresh):
    batch = shortened(speakers(3, 0), 50)
    output = fresh(**batch, contrast=True)
    moments, shifts = FRAMES - WINDOW + 1, 2 * SMALL.shifts + 1
    assert output["match"].shape == (3, moments, shifts + 3)
    assert output["own"] == SMALL.shifts
    torch.testing.assert_close(output["share"].sum(1), torch.ones(3))
    offered = output["match"] > -1e30
    assert offered[:, : 50 - WINDOW + 1, SMALL.shifts].all()
    assert not offered[:, 50 - WINDOW + 1 :].any()
    assert not torch.diagonal(offered[:, :, shifts:], dim1=0, dim2=2).any(), "a clip is not its own stranger"
    assert not offered[:, 0, : SMALL.shifts].any(), "nothing is heard before the begin"


def test_a_clip_alone_in_its_batch_is_parted_by_shifts_only(fresh):
    assert fresh(**speakers(1, 0), contrast=True)["parted_logit"].shape == (1, len(PARTED))
    assert fresh(**speakers(2, 0), contrast=True)["parted_logit"].shape == (2, len(PARTED) + 1)


def test_the_logit_does_not_shape_the_towers(fresh):
    output = fresh(**speakers(3, 0), contrast=True)
    (output["logit"].sum() + output["parted_logit"].sum()).backward()
    reached = {name for name, each in fresh.named_parameters() if each.grad is not None}
    assert reached == {"logit.weight", "logit.bias"}


def test_the_objective_reaches_every_parameter(fresh):
    synchrony(INPUTS, Loss(), (3, 0))(fresh, speakers(3, 0))["loss"].backward()
    assert [name for name, each in fresh.named_parameters() if each.grad is None or not each.grad.any()] == []


def test_its_defaults_fit_its_prep():
    spec = MODELS.get("avsync")
    assert spec.recipe.learns_from == "real"
    batch = {
        name: torch.zeros(1, *column.shape, dtype=getattr(torch, column.dtype))
        for name, column in spec.prep.inputs.items()
    }
    output = judged(spec.build(spec.config()).eval(), {**batch, "mask": torch.ones_like(batch["mask"])})
    assert output["moment_logit"].shape == (1, 5)
    assert output["logit"].isfinite().all()


@pytest.mark.parametrize(
    "wrong",
    [{"embedding": 0}, {"channels": ()}, {"channels": (8, 0)}, {"shifts": 2, "tolerance": 2}, {"shifts": 51},
     {"dropout": 1.0}, {"temperature": 0.0}],
)  # fmt: skip
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ConfigError):
        AvSyncConfig(**wrong)
