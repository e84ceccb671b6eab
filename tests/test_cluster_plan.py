import pytest

from deepscan.cluster import (
    DATA_CPUS,
    DRIVER_CPUS,
    MIN_WORKER_CPUS,
    Resources,
    Share,
    plan_resources,
    plan_trials,
)
from deepscan.errors import ConfigError, ResourceError


@pytest.mark.parametrize(
    ("workers", "cpus", "gpus", "expected"),
    [
        (1, 2, 0, Resources(workers=1, worker_cpus=1.0, worker_gpus=0, threads=2, data_cpus=1.0)),
        (2, 2, 0, Resources(workers=2, worker_cpus=0.5, worker_gpus=0, threads=1, data_cpus=1.0)),
        (1, 16, 1, Resources(workers=1, worker_cpus=1.0, worker_gpus=1, threads=1, data_cpus=15.0)),
        (4, 16, 4, Resources(workers=4, worker_cpus=1.0, worker_gpus=1, threads=1, data_cpus=12.0)),
        (4, 16, 3, Resources(workers=4, worker_cpus=3.75, worker_gpus=0, threads=4, data_cpus=1.0)),
        (4, 3, 8, Resources(workers=4, worker_cpus=0.5, worker_gpus=1, threads=1, data_cpus=1.0)),
    ],
)
def test_a_cluster_is_divided_as_worked_out_by_hand(workers, cpus, gpus, expected):
    assert plan_resources(workers, cpus, gpus) == expected


@pytest.mark.parametrize("workers", [1, 3, 10])
@pytest.mark.parametrize("cpus", [2, 3, 7.5, 64])
@pytest.mark.parametrize("gpus", [0, 1, 4, 16])
def test_whatever_is_planned_fits_and_leaves_the_stream_its_cpu(workers, cpus, gpus):
    plan = plan_resources(workers, cpus, gpus)
    assert plan.data_cpus >= DATA_CPUS
    assert plan.workers * plan.worker_cpus + plan.data_cpus == pytest.approx(cpus)
    assert plan.workers * plan.worker_gpus <= gpus
    assert plan.worker_cpus >= MIN_WORKER_CPUS
    assert plan.threads >= 1


@pytest.mark.parametrize(("workers", "cpus"), [(1, 1), (11, 2), (1, 0), (1000, 64)])
def test_what_cannot_fit_is_refused_with_the_figures(workers, cpus):
    with pytest.raises(ResourceError) as caught:
        plan_resources(workers, cpus, 0)
    message = str(caught.value)
    assert f"{workers} workers" in message
    assert f"{cpus} CPUs" in message
    assert "fewer workers or add nodes" in message


@pytest.mark.parametrize(
    ("workers", "nodes", "worker_cpus", "task_cpus"),
    [
        (2, (2, 2), 1.5, 0.5),  # a worker on each node; no node has a whole CPU left
        (2, (1, 1, 1, 1), 1.0, 1.0),  # a share of all CPUs would fit on no node
        (3, (2, 2), 1.0, 1.0),
        (2, (8, 1), 4.0, 1.0),
        (4, (2, 2), 0.75, 0.5),
    ],
)
def test_workers_and_tasks_find_room_on_single_nodes(workers, nodes, worker_cpus, task_cpus):
    plan = plan_resources(workers, sum(nodes), 0, nodes=nodes)
    assert (plan.worker_cpus, plan.task_cpus) == (worker_cpus, task_cpus)


def test_an_elastic_run_says_how_few_workers_will_do():
    plan = plan_resources(4, 9, 0, least=2)
    assert (plan.scale, plan.worker_cpus) == ((2, 4), 2.0)
    assert plan.task_cpus < plan_resources(4, 9, 0).task_cpus == 1.0
    assert plan_resources(4, 9, 0).scale == 4


@pytest.mark.parametrize("least", [0, 5])
def test_fewer_workers_than_one_or_more_than_all_are_refused(least):
    with pytest.raises(ConfigError, match="from 1 to 4"):
        plan_resources(4, 9, 0, least)


def test_ray_is_asked_for_a_gpu_only_where_there_is_one():
    assert plan_resources(2, 4, 2).per_worker == {"CPU": 1.0, "GPU": 1.0}
    assert plan_resources(2, 4, 1).per_worker == {"CPU": 1.5}


@pytest.mark.parametrize(
    ("share", "cpus", "gpus", "concurrent", "each", "threads"),
    [
        (Share(trials=9), 2, 0, 2, (1, 0), 1),
        (Share(trials=1), 2, 0, 1, (1, 0), 1),
        (Share(trials=9, cpus=2), 7, 0, 3, (2, 0), 2),
        (Share(trials=9, cpus=0.1), 1, 0, 9, (0.1, 0), 1),
        (Share(trials=99, cpus=0.1), 0.3, 0, 3, (0.1, 0), 1),
        (Share(trials=9), 16, 2, 2, (1, 1), 1),
        (Share(trials=9, gpus=0.25), 16, 2, 8, (1, 0.25), 1),
        (Share(trials=9, gpus=0), 4, 2, 4, (1, 0), 1),
        (Share(trials=9, workers=2), 2, 0, 1, (2, 0), 2),
        (Share(trials=9, workers=2), 9, 0, 3, (3, 0), 3),
        (Share(trials=9, workers=2), 9, 4, 2, (3, 2), 3),
        (Share(trials=9, workers=2, cpus=4), 9, 0, 2, (4, 0), 4),
    ],
)
def test_trials_share_a_cluster_as_worked_out_by_hand(share, cpus, gpus, concurrent, each, threads):
    plan = plan_trials(share, cpus, gpus)
    assert (plan.concurrent, (plan.cpus, plan.gpus), plan.threads) == (concurrent, each, threads)
    assert plan.concurrent * plan.cpus <= cpus + 1e-9
    assert plan.concurrent * plan.gpus <= gpus
    assert f"{concurrent} trial(s) at a time" in str(plan)


def test_a_trial_of_several_workers_keeps_its_stream_and_its_starter_within_its_share():
    plan = plan_trials(Share(trials=4, workers=2), 6, 4)
    within = plan.resources
    assert within.workers * within.worker_cpus + within.data_cpus + DRIVER_CPUS == pytest.approx(plan.cpus)
    assert within.data_cpus >= DATA_CPUS
    assert within.worker_gpus == 1
    assert plan_trials(Share(trials=4), 6, 4).resources is None
    assert "2 workers of" in str(plan)


@pytest.mark.parametrize(
    ("share", "cpus", "gpus", "figures"),
    [
        (Share(trials=1, cpus=4), 2, 0, "4 CPUs and 0 GPUs does not fit into a cluster of 2 CPUs"),
        (Share(trials=1, gpus=1), 2, 0, "1 CPUs and 1 GPUs does not fit into a cluster of 2 CPUs and 0 GPUs"),
        (Share(trials=1, workers=12), 2, 0, "12 workers"),
    ],
)
def test_a_trial_that_cannot_fit_is_refused_with_the_figures(share, cpus, gpus, figures):
    with pytest.raises(ResourceError, match=figures):
        plan_trials(share, cpus, gpus)


def test_a_trial_of_one_process_lies_on_one_node():
    share = Share(trials=9, cpus=2)
    assert plan_trials(share, 6, 0).concurrent == 3
    assert plan_trials(share, 6, 0, [3, 3]).concurrent == 2
    with pytest.raises(ResourceError, match="cluster of 6 CPUs and 0 GPUs, at most 3 CPUs on a node"):
        plan_trials(Share(trials=9, cpus=4), 6, 0, [3, 3])
