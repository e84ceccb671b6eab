import math

import pytest
import torch
from torch import nn

from deepscan.errors import BundleError
from deepscan.recipe import Optimizer, Recipe, Schedule, Stop
from deepscan.training import state
from deepscan.training.state import (
    MovingAverage,
    Progress,
    ascended,
    kept_buffers,
    parameter_groups,
    rate_factor,
)


def factor(schedule, step, steps_per_epoch=10, epochs=10, drops=0):
    return rate_factor(schedule, Progress(step=step, drops=drops), steps_per_epoch, epochs)


def test_warmup_rises_linearly_from_above_zero_to_the_peak():
    schedule = Schedule(name="constant", warmup=0.1)
    assert [round(factor(schedule, i), 4) for i in (0, 4, 9, 10, 99)] == [
        round(1 / 11, 4),
        round(5 / 11, 4),
        round(10 / 11, 4),
        1.0,
        1.0,
    ]


def test_cosine_is_half_way_in_the_middle_and_ends_at_final():
    schedule = Schedule(name="cosine", warmup=0, final=0.01)
    assert factor(schedule, 0) == 1
    assert factor(schedule, 50) == pytest.approx((1 + 0.01) / 2)
    assert factor(schedule, 100) == pytest.approx(0.01)
    assert factor(schedule, 25) == pytest.approx(0.01 + 0.99 * (1 + math.cos(math.pi / 4)) / 2)


def test_step_multiplies_every_so_many_epochs():
    schedule = Schedule(name="step", warmup=0, gamma=0.1, every_epochs=3)
    assert [factor(schedule, step) for step in (0, 29, 30, 60)] == pytest.approx([1, 1, 0.1, 0.01])


def test_the_cosine_agrees_with_torch():
    schedule = Schedule(name="cosine", warmup=0, final=0)
    weight = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], 1.0)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 100)
    for step in range(100):
        assert factor(schedule, step) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-9)
        optimizer.step()
        reference.step()


def run(aucs, recipe, losses=(0.5,) * 9):
    progress, better = Progress(), []
    for auc, loss in zip(aucs, losses, strict=False):
        progress.epoch += 1
        better.append(progress.note(auc, loss, recipe))
        if progress.finished(recipe):
            break
    return progress, better


def test_patience_stops_after_epochs_without_a_better_auc():
    progress, better = run([0.6, 0.7, 0.7, 0.69, 0.9], Recipe(epochs=9, stop=Stop(patience=2)))
    assert (progress.epoch, progress.best_epoch, progress.best_auc) == (4, 2, 0.7)
    assert better == [True, True, False, False]


def test_the_loss_decides_between_epochs_of_one_auc_and_does_not_put_off_the_stop():
    losses = [0.7, 0.6, 0.65, 0.2, 0.5]
    progress, better = run([0.7, 0.7, 0.7, 0.6, 0.7], Recipe(epochs=9, stop=Stop(patience=4)), losses)
    assert better == [True, True, False, False, True]
    assert (progress.epoch, progress.best_epoch, progress.best_loss) == (5, 5, 0.5)


def test_the_target_stops_and_so_does_the_last_epoch():
    assert run([0.6, 0.8, 0.9], Recipe(epochs=9, stop=Stop(target_auc=0.8)))[0].epoch == 2
    assert run([0.6] * 9, Recipe(epochs=3))[0].epoch == 3


def test_plateau_lowers_the_rate_once_patience_is_used_up_and_waits_again():
    recipe = Recipe(epochs=20, schedule=Schedule(name="plateau", patience=1, gamma=0.5, warmup=0))
    progress, _ = run([0.9] + [0.5] * 4, recipe)
    assert progress.drops == 2
    assert factor(recipe.schedule, 7, drops=2) == 0.25


def test_groups_decay_matrices_only_and_scale_the_trunk():
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    groups = parameter_groups(module, module[0], Optimizer(weight_decay=0.1, trunk_lr_scale=0.2))
    seen = {tuple(p.shape): (g["scale"], g["weight_decay"]) for g in groups for p in g["params"]}
    assert seen[4, 3] == (0.2, 0.1)
    assert seen[1, 4] == (1.0, 0.1)
    assert all(decay == 0 for shape, (_, decay) in seen.items() if len(shape) == 1)
    assert sum(len(g["params"]) for g in groups) == len(list(module.parameters()))


def test_moving_average_follows_weights_and_statistics_slowly_and_counters_at_once():
    module = nn.BatchNorm1d(2)
    average = MovingAverage(module, 0.9)
    with torch.no_grad():
        module.weight.fill_(2.0)
        module.running_mean.fill_(5.0)
        module.num_batches_tracked.fill_(7)
    average.update(module)
    assert torch.allclose(average.module.weight, torch.full((2,), 1.1))
    assert torch.allclose(average.module.running_mean, torch.full((2,), 0.5))
    assert average.module.num_batches_tracked == 7


def test_saved_state_comes_back_and_a_broken_file_says_so(tmp_path):
    state.save(tmp_path, Progress(epoch=3, best_auc=0.7), module={"w": torch.ones(2)})
    progress, states = state.load(tmp_path)
    assert progress == Progress(epoch=3, best_auc=0.7)
    assert torch.equal(states["module"]["w"], torch.ones(2))
    (tmp_path / state.TRAINER).write_bytes(b"nonsense")
    with pytest.raises(BundleError, match="cannot be resumed"):
        state.load(tmp_path)


class _Trap:
    def __reduce__(self):
        return (print, ("code was run",))


def test_nothing_in_a_stranger_s_state_is_unpickled(tmp_path):
    torch.save({"progress": {}, "trap": _Trap()}, tmp_path / state.TRAINER)
    with pytest.raises(BundleError):
        state.load(tmp_path)


def test_weights_climb_by_rho_along_the_gradient_and_come_back_exactly():
    torch.manual_seed(0)
    weights = [nn.Parameter(torch.randn(5)), nn.Parameter(torch.randn(2, 3)), nn.Parameter(torch.randn(4))]
    slopes = [torch.randn(5), torch.randn(2, 3), None]
    before = [w.detach().clone() for w in weights]
    length = math.sqrt(sum(float((g**2).sum()) for g in slopes[:2]))
    with ascended(weights, slopes, 0.7):
        for weight, kept, slope in zip(weights, before, slopes, strict=True):
            expected = kept if slope is None else kept + 0.7 * slope / length
            torch.testing.assert_close(weight.detach(), expected)
    assert all(torch.equal(w, kept) for w, kept in zip(weights, before, strict=True))


@pytest.mark.parametrize("slope", [[0.0, 0.0], [math.inf, 1.0], [math.nan, 0.0]])
def test_weights_stay_where_there_is_no_slope(slope):
    weight = nn.Parameter(torch.tensor([1.0, -2.0]))
    with ascended([weight], [torch.tensor(slope)], 0.1):
        assert weight.tolist() == [1.0, -2.0]


def test_weights_come_back_from_an_error_too():
    weight = nn.Parameter(torch.ones(2))
    with pytest.raises(KeyError), ascended([weight], [torch.ones(2)], 1.0):
        raise KeyError
    assert weight.tolist() == [1.0, 1.0]


def test_buffers_are_as_they_were_before_the_block():
    norm = nn.BatchNorm1d(2).train()
    norm(torch.randn(4, 2))
    before = {name: value.clone() for name, value in norm.named_buffers()}
    with kept_buffers(norm):
        norm(torch.randn(4, 2) + 9)
    assert all(torch.equal(value, before[name]) for name, value in norm.named_buffers())
