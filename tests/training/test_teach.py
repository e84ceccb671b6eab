import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional

from deepscan.calibration import Calibration
from deepscan.errors import BundleError, ConfigError
from deepscan.models.catalog import load_builtin
from deepscan.objectives import classification
from deepscan.recipe import Distill, Loss
from deepscan.training.teach import Teacher, common_prep, distillation


class Line(nn.Module):
    """One weight; counts how often it is asked."""

    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))
        self.asked = 0

    def forward(self, x):
        self.asked += 1
        return {"logit": self.weight * x}


BATCH = {"x": torch.tensor([-1.0, 0.5, 2.0]), "label": torch.tensor([0.0, 1.0, 1.0])}
OWN = classification(("x",), Loss(), (1, 1))


def loss_of(student, teachers, **settings):
    followed = distillation(OWN, ("x",), teachers, Distill(**settings))
    return followed(student, BATCH)


def test_the_loss_is_that_of_the_paper():
    """Hinton, Vinyals and Dean (2015), for two classes, with the logits of two teachers averaged."""
    student = Line(0.7)
    teachers = [Teacher(Line(3.0), 2.0, 0.5), Teacher(Line(1.0), 1.0, 0.0)]
    results = loss_of(student, teachers, weight=0.25, temperature=4.0)
    logit, taught = 0.7 * BATCH["x"], ((3.0 * BATCH["x"] / 2 + 0.5) + BATCH["x"]) / 2
    p, q = torch.sigmoid(logit / 4), torch.sigmoid(taught / 4)
    soft = -(q * p.log() + (1 - q) * (1 - p).log()).mean()
    hard = functional.binary_cross_entropy_with_logits(logit, BATCH["label"])
    assert results["loss"].item() == pytest.approx((0.75 * hard + 0.25 * 16 * soft).item(), rel=1e-5)
    assert torch.equal(results["logit"], logit)


def test_a_student_that_only_follows_ends_where_its_teacher_is():
    student, teacher = Line(-1.0), Teacher(Line(2.0), 1.0, 0.0)
    optimizer = torch.optim.SGD(student.parameters(), lr=0.5)
    for _ in range(300):
        optimizer.zero_grad()
        loss_of(student, [teacher], weight=1.0, temperature=1.0)["loss"].backward()
        optimizer.step()
    assert student.weight.item() == pytest.approx(2.0, abs=0.01)


def test_the_student_is_asked_once_and_the_teacher_learns_nothing():
    student, teacher = Line(0.1), Line(2.0)
    loss_of(student, [Teacher(teacher, 1.0, 0.0)])["loss"].backward()
    assert (student.asked, teacher.asked) == (1, 1)
    assert student.weight.grad is not None
    assert teacher.weight.grad is None


def test_a_teacher_says_the_log_odds_that_its_bundle_is_calibrated_to(make_bundle):
    bundle = make_bundle("teacher", seed=5)
    bundle = bundle.amend(calibration=Calibration(kind="logistic", temperature=2.5, offset=-0.7))
    teacher = Teacher.load(bundle.path, torch.device("cpu"))
    pixels = torch.randint(0, 256, (3, 64, 64, 3), dtype=torch.uint8)
    with torch.no_grad():
        logit_B = teacher.module(pixels=pixels)["logit"]
        said_B = torch.sigmoid(teacher.log_odds({"pixels": pixels}))
    expected = bundle.card.calibration.apply(logit_B.numpy())
    torch.testing.assert_close(said_B.double(), torch.from_numpy(expected), atol=1e-6, rtol=0)
    assert not teacher.module.training
    assert not any(p.requires_grad for p in teacher.module.parameters())


def test_a_student_is_prepared_as_its_teachers_are(make_bundle):
    first, second = make_bundle("first"), make_bundle("second", seed=1)
    assert common_prep(load_builtin().get("cnn"), (first.path, second.path)) == first.prep()


def test_teachers_that_cannot_share_a_stream_are_refused(make_bundle):
    whole, faces = make_bundle("whole"), make_bundle("faces", region="face")
    with pytest.raises(ConfigError, match="one stream feeds all"):
        common_prep(load_builtin().get("cnn"), (whole.path, faces.path))
    with pytest.raises(ConfigError, match="of modality 'image'"):
        common_prep(load_builtin().get("cnn-gru"), (whole.path,))


def test_teachers_that_cannot_be_followed_are_refused(make_bundle):
    stairs = Calibration(kind="isotonic", knot_logits=(-1.0, 1.0), knot_probabilities=(0.1, 0.9))
    staircase = make_bundle("staircase").amend(calibration=stairs)
    with pytest.raises(ConfigError, match="staircase"):
        common_prep(load_builtin().get("cnn"), (staircase.path,))
    bundle = make_bundle("exported")
    exported = bundle.amend(weights_format="onnx")
    with pytest.raises(BundleError, match="'onnx'"):
        common_prep(load_builtin().get("cnn"), (exported.path,))


@pytest.mark.parametrize("wrong", [{"weight": 1.5}, {"weight": -0.1}, {"temperature": 0.0}])
def test_settings_out_of_range_are_refused(wrong):
    recipe = load_builtin().get("cnn").recipe
    with pytest.raises(ConfigError, match=r"distill\."):
        dataclasses.replace(recipe, distill=Distill(**wrong))
