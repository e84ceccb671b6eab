import contextlib
import copy
import dataclasses
import itertools
import pathlib

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn

from deepscan.errors import TrainingError
from deepscan.objectives import classification
from deepscan.recipe import Loss, Optimizer, Recipe, Schedule, Stop
from deepscan.training import loop, state, ways
from deepscan.training.loop import Task, Trainer

STEPS, BATCH = 5, 8
CPU = torch.device("cpu")


class Net(nn.Module):
    """Has what makes resuming hard: running statistics and dropout."""

    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU())
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(8, 1))

    def forward(self, x):
        return {"logit": self.head(self.trunk(x)).flatten()}


def batch_of(number, size=BATCH):
    rng = np.random.default_rng(number)
    x = rng.normal(size=(size, 6)).astype(np.float32)
    label = (x[:, 0] + x[:, 1] > 0).astype(np.float32)
    return {"x": torch.from_numpy(x), "label": torch.from_numpy(label), "file": torch.arange(size)}


def stream_from(epoch, steps=STEPS):
    return (batch_of(number) for number in itertools.count(epoch * steps))


def validation():
    return [batch_of(10**6, 64)]


def task_of(recipe, module=None, frozen_trunk=False):
    torch.manual_seed(0)
    module = module or Net()
    return Task(
        module=module,
        trunk=module.trunk if frozen_trunk else None,
        objective=classification(("x",), recipe.loss, (1, 1)),
        inputs=("x",),
        aggregate=lambda logits: float(logits.max()),
        recipe=recipe,
        steps_per_epoch=STEPS,
        device=CPU,
    )


def recipe_of(epochs=4, **changes):
    return Recipe(epochs=epochs, batch_size=BATCH, optimizer=Optimizer(lr=0.01), **changes)


def run(recipe, trainer=None, until=None):
    """Run to the end, or stop as if interrupted after so many epochs; return trainer and reports."""
    trainer = trainer or Trainer(task_of(recipe))
    reports = []

    def report(_, epoch_report):
        reports.append(epoch_report)
        if until == trainer.progress.epoch:
            raise KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt):
        trainer.run(stream_from(trainer.progress.epoch), validation, report)
    return trainer, reports


def begins(recipe, begin):
    return Trainer(dataclasses.replace(task_of(recipe), begin=begin))


def test_a_model_sees_the_first_epoch_before_its_first_step_and_is_then_trained_on_the_same():
    recipe, shown = recipe_of(epochs=2, seed=3), []
    plain, _ = run(recipe)
    trainer, reports = run(recipe, begins(recipe, lambda *given: shown.append(given)))
    ((module, columns, seed),) = shown
    assert (module, seed, len(reports)) == (trainer.task.module, 3, 2)
    first = [batch_of(number) for number in range(STEPS)]
    assert {name: array.shape[0] for name, array in columns.items()} == {
        "x": STEPS * BATCH,
        "label": STEPS * BATCH,
    }
    assert np.array_equal(columns["x"], np.concatenate([batch["x"].numpy() for batch in first]))
    assert all(torch.equal(value, weights(plain)[name]) for name, value in weights(trainer).items())


@pytest.mark.parametrize(
    ("wanted", "batches"), [(1, 1), (2 * STEPS * BATCH - 1, 2 * STEPS), (10**6, 3 * STEPS)]
)
def test_a_model_is_shown_as_many_examples_as_it_wants_and_the_run_has(wanted, batches):
    recipe, shown = recipe_of(epochs=3), []
    plain, _ = run(recipe)
    task = dataclasses.replace(
        task_of(recipe), begin=lambda *given: shown.append(given), begin_examples=wanted
    )
    trainer, reports = run(recipe, Trainer(task))
    ((_, columns, _),) = shown
    first = np.concatenate([batch_of(number)["x"].numpy() for number in range(batches)])
    assert np.array_equal(columns["x"], first)
    assert len(reports) == 3
    assert all(torch.equal(value, weights(plain)[name]) for name, value in weights(trainer).items())


def test_a_model_is_shown_what_it_measures_of_each_batch_and_not_the_batch():
    recipe, shown = recipe_of(epochs=1), []
    task = dataclasses.replace(
        task_of(recipe),
        begin=lambda *given: shown.append(given),
        begin_measure=lambda module, inputs: {"sum": module.trunk[0](inputs["x"]).sum(1)},
    )
    run(recipe, Trainer(task))
    ((_, columns, _),) = shown
    assert sorted(columns) == ["label", "sum"]
    assert columns["sum"].shape == columns["label"].shape == (STEPS * BATCH,)


def test_what_a_model_took_before_its_first_step_is_in_the_moving_average_and_is_not_taken_twice():
    recipe, times = recipe_of(epochs=3, ema_decay=0.999), []

    def begin(module, columns, seed):
        times.append(1)
        with torch.no_grad():
            module.head[1].bias.fill_(50.0)

    trainer, _ = run(recipe, begins(recipe, begin), until=1)
    assert float(trainer.kept.head[1].bias) == pytest.approx(50.0, rel=0.01)
    run(recipe, trainer)
    assert len(times) == 1


def weights(trainer):
    return {name: value.clone() for name, value in trainer.kept.state_dict().items()}


SHARPNESS_AWARE = Recipe(epochs=4, batch_size=BATCH, optimizer=Optimizer(lr=0.01, sam_rho=0.1))
RECIPES = {
    "adamw": recipe_of(),
    "sgd": Recipe(epochs=4, batch_size=BATCH, optimizer=Optimizer(name="sgd", lr=0.05)),
    "ema": recipe_of(ema_decay=0.8),
    "accumulate": recipe_of(accumulate=2),
    "plateau": recipe_of(schedule=Schedule(name="plateau", patience=0, gamma=0.1)),
    "sharpness-aware": SHARPNESS_AWARE,
    "focal": recipe_of(loss=Loss(name="focal", label_smoothing=0.1)),
}


@pytest.mark.parametrize("name", RECIPES)
def test_a_resumed_run_ends_with_exactly_the_weights_of_an_uninterrupted_one(tmp_path, name):
    whole, reports = run(RECIPES[name])
    part, _ = run(RECIPES[name], until=2)
    state.save(tmp_path, part.progress, **part.state_dict())
    progress, states = state.load(tmp_path)
    resumed, rest = run(RECIPES[name], Trainer(task_of(RECIPES[name]), states, progress))
    assert [r.metrics["val_auc"] for r in reports[2:]] == [r.metrics["val_auc"] for r in rest]
    for key, value in weights(whole).items():
        assert torch.equal(value, weights(resumed)[key]), key


def test_the_same_seed_gives_the_same_metrics_and_another_seed_others():
    def losses(seed):
        return [r.metrics["train_loss"] for r in run(recipe_of(seed=seed))[1]]

    assert losses(0) == losses(0)
    assert losses(0) != losses(1)


def test_it_learns():
    _, reports = run(recipe_of(epochs=30))
    assert reports[-1].metrics["val_auc"] > 0.95
    assert reports[-1].metrics["train_loss"] < reports[0].metrics["train_loss"]
    for metrics in (report.metrics for report in reports):
        assert 0 < metrics["device_share"] <= 1 - metrics["waiting_share"]


def test_the_rate_follows_the_schedule_to_its_end():
    recipe = recipe_of(schedule=Schedule(name="cosine", warmup=0, final=0.0))
    trainer, reports = run(recipe)
    assert trainer.progress.step == STEPS * recipe.epochs
    rates = [r.metrics["lr"] for r in reports]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(0.01 * (1 + np.cos(np.pi * 19 / 20)) / 2)


def test_accumulation_equals_one_batch_of_the_same_examples():
    """Without batch statistics, n summed gradients of n-th parts are the gradient of the whole."""
    torch.manual_seed(0)
    plain = nn.Linear(6, 1)

    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = copy.deepcopy(plain)

        def forward(self, x):
            return {"logit": self.layer(x).flatten()}

    def trained(accumulate, batches):
        recipe = Recipe(
            epochs=1,
            batch_size=BATCH,
            accumulate=accumulate,
            optimizer=Optimizer(name="sgd", lr=0.1),
            schedule=Schedule(name="constant", warmup=0),
            amp="off",  # a CPU that is fast at bf16 would round the sums differently
        )
        task = task_of(recipe, Plain())
        task = dataclasses.replace(task, steps_per_epoch=len(batches))
        trainer = Trainer(task)
        trainer.run(iter(batches), validation, lambda *_: None)
        return trainer.kept.layer.weight.detach()

    one, two = batch_of(1), batch_of(2)
    both = {name: torch.cat([one[name], two[name]]) for name in one}
    torch.testing.assert_close(trained(2, [one, two]), trained(1, [both]))


def test_a_frozen_trunk_stays_fixed_and_then_learns_at_its_own_rate():
    recipe = recipe_of(freeze_epochs=2)
    task = task_of(recipe, frozen_trunk=True)
    before = copy.deepcopy(task.module.trunk.state_dict())
    seen = []

    def report(trainer, _):
        same = all(torch.equal(v, before[k]) for k, v in trainer.task.module.trunk.state_dict().items())
        seen.append(same)

    Trainer(task).run(stream_from(0), validation, report)
    assert seen == [True, True, False, False]


def test_gradients_are_clipped():
    def moved(clip_norm):
        recipe = Recipe(
            epochs=1,
            batch_size=BATCH,
            clip_norm=clip_norm,
            optimizer=Optimizer(name="sgd", lr=1.0, momentum=0, weight_decay=0),
            schedule=Schedule(name="constant", warmup=0),
        )
        task = task_of(recipe)
        start = nn.utils.parameters_to_vector(task.module.parameters()).detach().clone()
        one_step = dataclasses.replace(task, steps_per_epoch=1)
        Trainer(one_step).run(stream_from(0), validation, lambda *_: None)
        return float((start - nn.utils.parameters_to_vector(task.module.parameters()).detach()).norm())

    assert moved(1e-3) == pytest.approx(1e-3, rel=1e-3)
    assert moved(0) > 1e-2


def test_bf16_keeps_weights_in_full_precision():
    trainer, reports = run(recipe_of(amp="bf16"))
    assert trainer.amp_dtype == torch.bfloat16
    assert {p.dtype for p in trainer.kept.parameters()} == {torch.float32}
    assert np.isfinite(reports[-1].metrics["train_loss"])


def test_amp_off_means_off_and_auto_follows_the_processor():
    assert ways.amp_dtype("off", CPU) is None
    fast = torch.cpu.get_capabilities().get("avx512_bf16")
    assert ways.amp_dtype("auto", CPU) == (torch.bfloat16 if fast else None)


def test_the_last_epoch_is_kept_where_the_recipe_says_so():
    """Its stopping goes by the best one all the same."""
    (best, told), (last, also) = (run(recipe_of(epochs=12, keep=keep)) for keep in ("best", "last"))
    assert not all(report.is_best for report in told)
    assert all(report.is_best for report in also)
    assert [report.metrics["val_auc"] for report in told] == [report.metrics["val_auc"] for report in also]
    assert best.progress.best_epoch == last.progress.best_epoch


def test_early_stopping_ends_the_run():
    recipe = recipe_of(epochs=50, stop=Stop(target_auc=0.6))
    trainer, _ = run(recipe)
    assert trainer.progress.epoch < 50


def test_divergence_is_an_error_with_advice():
    recipe = Recipe(epochs=3, batch_size=BATCH, clip_norm=0, optimizer=Optimizer(name="sgd", lr=1e30))
    with pytest.raises(TrainingError, match=r"optimizer\.lr"):
        run(recipe)


def test_a_stream_that_ends_early_is_an_error():
    with pytest.raises(TrainingError, match="ended at step 3 of 5"):
        Trainer(task_of(recipe_of())).run(iter([batch_of(i) for i in range(3)]), validation, lambda *_: None)


def test_validation_without_both_classes_is_an_error():
    def real_only():
        batch = batch_of(0)
        return [{**batch, "label": torch.zeros(BATCH)}]

    with pytest.raises(TrainingError, match="one class"):
        Trainer(task_of(recipe_of())).run(stream_from(0), real_only, lambda *_: None)


def test_parts_of_a_file_are_aggregated_before_the_metric():
    """Two files of two parts: the maximum decides, so the AUC is 1 although single parts overlap."""

    class Given(nn.Module):
        def forward(self, x):
            return {"logit": x[:, 0]}

    logits = torch.tensor([[-3.0], [5.0], [0.0], [-1.0]])
    batch = {"x": logits, "label": torch.tensor([1.0, 1, 0, 0]), "file": torch.tensor([7, 7, 8, 8])}
    figures = loop.validate(Given(), task_of(recipe_of()), [batch])
    assert figures["val_auc"] == 1.0
    assert figures["val_loss"] == pytest.approx((np.log1p(np.exp(-5)) + np.log(2)) / 2, rel=1e-5)


def test_the_loop_needs_no_ray():
    source = pathlib.Path(loop.__file__).read_text(encoding="utf-8")
    assert "import ray" not in source


# --- sharpness-aware minimisation -------------------------------------------------------------------


class Bowl(nn.Module):
    """A weight whose loss is w A w / 2, whatever the batch says but for a factor."""

    CURVATURE = torch.tensor([4.0, 0.25])

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([0.6, -2.0]))
        self.register_buffer("asked", torch.zeros(()))

    def forward(self, x):
        self.asked += 1
        return {"loss": x.mean() * (self.CURVATURE * self.weight**2).sum() / 2, "logit": x[:, 0]}


def bowl_objective(model, batch):
    return model(batch["x"])


def bowl_task(rho, steps=1, accumulate=1, **changes):
    recipe = Recipe(
        epochs=1,
        batch_size=2,
        accumulate=accumulate,
        clip_norm=0,
        optimizer=Optimizer(name="sgd", lr=0.1, momentum=0, weight_decay=0, sam_rho=rho),
        schedule=Schedule(name="constant", warmup=0),
    )
    task = dataclasses.replace(
        task_of(recipe, Bowl(), False), objective=bowl_objective, steps_per_epoch=steps
    )
    return dataclasses.replace(task, **changes)


def stepped(task, factors):
    """The weights after one optimiser step over batches with these factors on the loss."""
    trainer = Trainer(task)
    model = trainer._wrapped(None)
    for number, factor in enumerate(factors):
        trainer._step(model, {"x": torch.full((2, 1), factor)}, number)
    return task.module.weight.detach().double().numpy()


def by_hand(weight, rho, factors):
    """Foret et al., equations 2 and 3, for the bowl, every batch with a slope of its own."""
    curvature, slope = Bowl.CURVATURE.double().numpy(), np.zeros(2)
    for factor in factors:
        gradient = factor * curvature * weight
        above = weight + rho * gradient / np.linalg.norm(gradient)
        slope += factor * curvature * above / len(factors)
    return weight - 0.1 * slope


START = np.array([0.6, -2.0])


@pytest.mark.parametrize("rho", [0.05, 0.5])
def test_sharpness_aware_steps_are_those_of_a_reckoning_by_hand(rho):
    found = stepped(bowl_task(rho), [1.0])
    np.testing.assert_allclose(found, by_hand(START, rho, [1.0]), rtol=1e-6)
    assert np.abs(found - stepped(bowl_task(0.0), [1.0])).max() > 1e-3


def test_an_accumulated_batch_climbs_its_own_slope():
    factors = [1.0, 3.0]
    found = stepped(bowl_task(0.3, steps=2, accumulate=2), factors)
    np.testing.assert_allclose(found, by_hand(START, 0.3, factors), rtol=1e-6)


def test_the_loss_that_is_told_is_that_of_the_weights_themselves():
    task = bowl_task(0.5)
    trainer = Trainer(task)
    told = trainer._step(trainer._wrapped(None), {"x": torch.ones(2, 1)}, 0)
    assert told.item() == pytest.approx((4 * 0.36 + 0.25 * 4) / 2)
    assert not told.requires_grad


def test_running_statistics_count_a_batch_once():
    plain, aware = (Trainer(task_of(recipe_of(epochs=1))), Trainer(task_of(SHARPNESS_AWARE)))
    for trainer in (plain, aware):
        trainer._step(trainer._wrapped(None), batch_of(0), 0)
    for name, value in plain.task.module.named_buffers():
        assert torch.equal(value, dict(aware.task.module.named_buffers())[name]), name
    moved = [
        not torch.equal(ours, theirs)
        for ours, theirs in zip(plain.task.module.parameters(), aware.task.module.parameters(), strict=True)
    ]
    assert any(moved)


@pytest.fixture
def process_group(tmp_path):
    """A group of one process, enough for DistributedDataParallel to do all that it does."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'group'}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize(("accumulate", "factors"), [(1, [1.0]), (2, [1.0, 3.0])])
def test_workers_step_as_one_process_does(process_group, accumulate, factors):
    task = bowl_task(0.3, steps=accumulate, accumulate=accumulate, world=2)
    np.testing.assert_allclose(stepped(task, factors), by_hand(START, 0.3, factors), rtol=1e-6)


def test_a_scaled_loss_climbs_no_further():
    """fp16 scales losses by thousands."""
    task = bowl_task(0.3)
    trainer = Trainer(task)
    trainer.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    trainer._step(trainer._wrapped(None), {"x": torch.ones(2, 1)}, 0)
    np.testing.assert_allclose(task.module.weight.detach(), by_hand(START, 0.3, [1.0]), rtol=1e-6)


def test_frozen_weights_do_not_climb():
    recipe = dataclasses.replace(SHARPNESS_AWARE, epochs=2, freeze_epochs=1)
    task = task_of(recipe, frozen_trunk=True)
    before = copy.deepcopy(task.module.trunk.state_dict())
    trainer = Trainer(task)
    trainer._step(trainer._wrapped(task.trunk), batch_of(0), 0)
    assert all(torch.equal(value, before[name]) for name, value in task.module.trunk.state_dict().items())


def test_recomputed_activations_change_no_sharpness_aware_step():
    whole, _ = run(SHARPNESS_AWARE)
    again, _ = run(dataclasses.replace(SHARPNESS_AWARE, recompute=True))
    for name, value in weights(whole).items():
        torch.testing.assert_close(value, weights(again)[name], msg=name)
