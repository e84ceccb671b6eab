"""The example of a cluster passes Ray's own checks, and keeps what its comments promise. Starts nothing."""

import copy
import pathlib
import re
import zipfile

import jsonschema
import pytest
import yaml
from ray._private.runtime_env.packaging import create_package, get_excludes_from_ignore_files
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = pathlib.Path(__file__).parents[1]
TEXT = (ROOT / "cluster.yaml").read_text(encoding="utf-8")


@pytest.fixture
def cluster():
    return yaml.safe_load(TEXT)


def check(config):
    validate_config(prepare_config(copy.deepcopy(config)))


def start_commands(cluster):
    return [*cluster["head_start_ray_commands"], *cluster["worker_start_ray_commands"]]


def options(cluster, name):
    """Returns the values of an option of ``docker run``."""
    found = (re.fullmatch(rf"--{name}[ =](.+)", option) for option in cluster["docker"]["run_options"])
    return [match[1] for match in found if match]


def test_ray_accepts_the_cluster(cluster):
    check(cluster)


@pytest.mark.parametrize(
    ("path", "typo"),
    [
        (("max_workers",), "max_worker"),
        (("rsync_exclude",), "rsync_excludes"),
        (("docker", "run_options"), "run_option"),
        (("available_node_types", "gpu", "max_workers"), "max_worker"),
        (("available_node_types", "cpu", "labels"), "label"),
        (("available_node_types", "head", "node_config"), "node_configuration"),
    ],
)
def test_ray_refuses_a_typo(cluster, path, typo):
    *parents, key = path
    section = cluster
    for parent in parents:
        section = section[parent]
    section[typo] = section.pop(key)
    with pytest.raises(jsonschema.ValidationError):
        check(cluster)


def test_ray_refuses_a_head_that_is_no_node_type(cluster):
    with pytest.raises(ValueError, match="head_node_type"):
        check(cluster | {"head_node_type": "boss"})


def test_ray_refuses_more_required_than_allowed_workers(cluster):
    cluster["available_node_types"]["cpu"]["min_workers"] = cluster["max_workers"] + 1
    with pytest.raises(ValueError, match="max_workers"):
        check(cluster)


def test_nothing_of_a_job_runs_on_the_head(cluster):
    pools = cluster["available_node_types"]
    assert pools[cluster["head_node_type"]]["resources"] == {"CPU": 0}
    assert [name for name, pool in pools.items() if pool["resources"].get("CPU", 0) > 0] == ["cpu", "gpu"]


def test_training_has_spot_machines_with_gpus_and_data_have_machines_without(cluster):
    pools = cluster["available_node_types"]
    assert pools["gpu"]["resources"]["GPU"] >= 1
    assert pools["gpu"]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert "GPU" not in pools["cpu"]["resources"]
    assert [pools[name]["labels"]["pool"] for name in ("cpu", "gpu")] == ["data", "train"]


def test_idle_pools_cost_nothing_and_can_be_full_at_once_within_reason(cluster):
    pools = [pool for name, pool in cluster["available_node_types"].items() if name != "head"]
    assert [pool["min_workers"] for pool in pools] == [0, 0]
    assert max(pool["max_workers"] for pool in pools) <= cluster["max_workers"]


def test_the_dashboard_is_reached_from_the_head_only(cluster):
    (head,) = (c for c in cluster["head_start_ray_commands"] if "ray start" in c)
    assert "--dashboard-host=127.0.0.1" in head
    assert "0.0.0.0" not in TEXT


def test_machines_find_each_other(cluster):
    started = [c for c in start_commands(cluster) if "ray start" in c]
    assert len(started) == 2
    (port,) = {*re.findall(r"--port=(\d+)", started[0]), *re.findall(r"\$RAY_HEAD_IP:(\d+)", started[1])}
    assert port == "6379"


def test_containers_share_memory_and_the_mounted_folder(cluster):
    (size,) = options(cluster, "shm-size")
    (volume,) = options(cluster, "volume")
    outside, inside = volume.split(":")
    environment = dict(value.split("=") for value in options(cluster, "env"))
    assert int(size.removesuffix("g")) >= 4
    assert outside == inside
    assert any("mount -t" in c and c.endswith(outside) for c in cluster["initialization_commands"])
    assert pathlib.PurePath(environment["DEEPSCAN_HOME"]).is_relative_to(inside)
    assert environment["PYTHONPATH"] in cluster["file_mounts"]


def test_every_placeholder_is_marked_for_the_user():
    machine_specific = re.compile(r"(ami-|fs-|registry\.example\.com)")
    lines = TEXT.splitlines()
    for number, line in enumerate(lines):
        if machine_specific.search(line):
            assert "CHANGE" in "".join(lines[max(0, number - 9) : number + 1]), line


def test_the_image_is_named_after_a_version_that_the_project_supports():
    [own] = re.findall(r"-ray(\d+\.\d+)\.\d+", TEXT)
    supported = re.search(r'"ray\[.*?\]>=(\d+)\.(\d+),<(\d+)\.(\d+)"', (ROOT / "pyproject.toml").read_text())
    low, high = supported.groups()[:2], supported.groups()[2:]
    assert tuple(map(int, low)) <= tuple(map(int, own.split("."))) < tuple(map(int, high))


def test_every_machine_has_the_token_and_asks_for_it_and_none_reports_to_anybody(cluster):
    environment = dict(value.split("=") for value in options(cluster, "env"))
    assert environment["RAY_AUTH_MODE"] == "token"
    assert environment["RAY_USAGE_STATS_ENABLED"] == "0"
    assert cluster["file_mounts"]["/home/ray/.ray/auth_token"] == "~/.ray/auth_token"
    assert "ray get-auth-token --generate" in TEXT


def lines_of(name):
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def left_behind(names, tmp_path):
    """Returns which paths Ray leaves out of an upload by our .rayignore alone."""
    (tmp_path / ".rayignore").write_text((ROOT / ".rayignore").read_text(encoding="utf-8"))
    (excluded,) = get_excludes_from_ignore_files(tmp_path, include_gitignore=False)
    return [name for name in names if excluded(tmp_path / name)]


def test_an_upload_leaves_all_behind_that_git_ignores():
    assert set(lines_of(".gitignore")) - set(lines_of(".rayignore")) == set()


def test_lines_of_the_ignore_file_are_plain_and_unique():
    lines = lines_of(".rayignore")
    assert sorted(set(lines)) == sorted(lines)
    assert [line for line in lines if line != line.strip() or line.startswith("!") or "**/**" in line] == []


def test_an_upload_leaves_what_is_large_or_useless(tmp_path):
    names = [
        ".git/objects/ab", ".venv/bin/python", "runs/a/bundle/model.safetensors", "data/real/1.jpg",
        "deepscan/__pycache__/cli.pyc", "somewhere/ledger.parquet", "tests/test_cli.py", "docs/data.md",
    ]  # fmt: skip
    assert left_behind(names, tmp_path) == names


def test_an_upload_takes_what_jobs_need(tmp_path):
    names = [
        "jobs/train.py", "deepscan/datasets/stream.py", "deepscan/report/page.css", "pyproject.toml",
        "serve_configs/one.yaml", "examples/plugin.py",
    ]  # fmt: skip
    assert left_behind(names, tmp_path) == []


def test_an_upload_of_this_project_is_small(tmp_path):
    create_package(str(ROOT), tmp_path / "upload.zip", include_gitignore=True, excludes=[".git", ".venv"])
    with zipfile.ZipFile(tmp_path / "upload.zip") as package:
        names = package.namelist()
    assert (tmp_path / "upload.zip").stat().st_size < 4 * 2**20, (
        "it is the source of the package, uncompressed"
    )
    assert {"jobs/train.py", "deepscan/cli/training.py", "pyproject.toml"} <= set(names)
    unwanted = ("tests/", "docs/", "benchmarks/", "cluster/")
    assert [name for name in names if name.startswith(unwanted) or "__pycache__" in name] == []


def test_copies_to_machines_leave_the_same_folders_out_as_uploads(cluster):
    folders = {
        line.strip("/") for line in lines_of(".rayignore") if not re.search(r"\*\.\w+$|docs|tests", line)
    }
    assert {pattern.strip("/") for pattern in cluster["rsync_exclude"]} == folders
