import pytest

from deepscan import cluster
from deepscan.cluster import DATA_CPUS, MIN_WORKER_CPUS, Resources, plan_resources, when_there_is_room
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


@pytest.fixture
def growing(monkeypatch):
    """A cluster that gets a machine of 2 CPUs at every look, and keeps what its autoscaler was told."""
    cpus, asked = [0.0], []

    def look():
        plan = plan_resources(2, cpus[0], 0)
        cpus[0] += 2.0
        return plan

    def wait(seconds):
        cpus[0] += 2.0

    monkeypatch.setattr(cluster.time, "sleep", wait)
    monkeypatch.setattr(
        cluster.ray.autoscaler.sdk, "request_resources", lambda bundles: asked.append(bundles)
    )
    return look, asked


def test_a_joined_cluster_is_given_time_to_get_its_machines(growing):
    look, asked = growing
    told = []
    wanted = [{"CPU": 1.0}] * 3
    plan = when_there_is_room(look, wanted, "192.0.2.1:6379", 60, told.append)
    assert plan == plan_resources(2, 2, 0)
    assert told == [
        "Waiting up to 60 s for machines. 2 workers and a data stream do not fit into 0 CPUs: the stream "
        "needs 1 and a worker at least 0.1. Ask for fewer workers or add nodes."
    ]
    assert asked == [wanted, []]


def test_waiting_for_machines_ends(monkeypatch, growing):
    _, asked = growing

    def never():
        raise ResourceError("too small.")

    with pytest.raises(ResourceError, match=r"too small\. No such machine came in 0 s\."):
        when_there_is_room(never, [], "192.0.2.1:6379", 0, lambda text: None)
    assert asked[-1] == []


def test_a_private_cluster_never_grows_and_one_with_room_is_not_asked_to(monkeypatch, growing):
    look, asked = growing
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(ResourceError):
        when_there_is_room(look, [], None, 60, pytest.fail)
    assert when_there_is_room(lambda: 1, [], "192.0.2.1:6379", 60, pytest.fail) == 1
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.1:6379")
    assert when_there_is_room(look, [], None, 60, lambda text: None)
    assert asked == [[], []]
