"""What Ray would drop without a word is found, at every level, and good configurations are in order."""

import copy
import pathlib
import re

import pytest
import yaml
from ray.serve.schema import ServeDeploySchema
from typer.testing import CliRunner

from deepscan import cli
from deepscan.errors import ConfigError
from deepscan.serving.access import add_key, new_key
from deepscan.serving.validation import Place, check

ROOT = pathlib.Path(__file__).parents[2]
CONFIGS = [*sorted((ROOT / "serve_configs").glob("*.yaml")), ROOT / "cluster" / "serve.yaml"]
POLICY = "ray.serve.autoscaling_policy:default_autoscaling_policy"
GOOD = {
    "proxy_location": "HeadOnly",
    "http_options": {"host": "127.0.0.1", "port": 8000},
    "grpc_options": {"port": 9000, "grpc_servicer_functions": []},
    "controller_options": {"runtime_env": {"env_vars": {"A": "b"}}},
    "logging_config": {"encoding": "TEXT"},
    "tracing_config": {"enabled": False},
    "applications": [
        {
            "name": "other",
            "route_prefix": "/other",
            "import_path": "elsewhere:build",
            "args": {"anything": {"goes": 1}},
        },
        {
            "name": "deepscan",
            "import_path": "deepscan.serving.app:build",
            "runtime_env": {"env_vars": {"ANY": "x"}},
            "args": {
                "bundles": ["runs/none"],
                "limits": {"max_bytes": 5},
                "gate": {"burst": 3},
                "replica": {"cpus": 1},
            },
            "deployments": [
                {
                    "name": "Ensemble",
                    "max_ongoing_requests": 5,
                    "user_config": {"anything": {"goes": 1}},
                    "autoscaling_config": {"min_replicas": 1, "policy": {"policy_function": POLICY}},
                    "ray_actor_options": {
                        "num_cpus": 1,
                        "runtime_env": {"env_vars": {}},
                        "resources": {"any": 1},
                    },
                    "backpressure_config": {"status_code": 503},
                    "request_router_config": {"max_backoff_s": 1, "request_router_kwargs": {"any": 1}},
                    "logging_config": {"log_level": "INFO"},
                    "gang_scheduling_config": {"gang_size": 1},
                    "deployment_actors": [{"name": "a", "actor_class": "builtins:object"}],
                }
            ],
        },
    ],
}
NOWHERE = Place(files=False)
APP = ("applications", 1)
DEPLOYMENT = (*APP, "deployments", 0)


@pytest.fixture
def written(tmp_path):
    def write(values):
        path = tmp_path / "serve.yaml"
        path.write_text(values if isinstance(values, str) else yaml.safe_dump(values), encoding="utf-8")
        return path

    return write


def changed(steps, value):
    """Returns the good configuration with one place changed."""
    values = copy.deepcopy(GOOD)
    *parents, last = steps
    section = values
    for step in parents:
        section = section[step]
    section[last] = value
    return values


def found(path, place=NOWHERE):
    return [(finding.where, finding.what) for finding in check(path, place)]


def test_a_good_one_is_in_order(written):
    assert found(written(GOOD)) == []


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_those_of_the_repository_are_in_order(path):
    assert found(path) == []


@pytest.mark.parametrize(
    ("section", "typo", "meant"),
    [
        ((), "proxy_locaton", "proxy_location"),
        (("http_options",), "hots", "host"),
        (("grpc_options",), "prot", "port"),
        (("controller_options",), "runtime_evn", "runtime_env"),
        (("controller_options", "runtime_env"), "env_var", "env_vars"),
        (("logging_config",), "encodin", "encoding"),
        (("tracing_config",), "enable", "enabled"),
        (APP, "route_prefx", "route_prefix"),
        ((*APP, "runtime_env"), "working_dirr", "working_dir"),
        ((*APP, "args"), "bundels", "bundles"),
        ((*APP, "args", "limits"), "max_byte", "max_bytes"),
        ((*APP, "args", "gate"), "key_file", "keys_file"),
        ((*APP, "args", "replica"), "cpu", "cpus"),
        (DEPLOYMENT, "max_ongoing_reqests", "max_ongoing_requests"),
        ((*DEPLOYMENT, "autoscaling_config"), "min_replica", "min_replicas"),
        ((*DEPLOYMENT, "autoscaling_config", "policy"), "policy_functoin", "policy_function"),
        ((*DEPLOYMENT, "ray_actor_options"), "num_cpu", "num_cpus"),
        ((*DEPLOYMENT, "ray_actor_options", "runtime_env"), "pips", "pip"),
        ((*DEPLOYMENT, "backpressure_config"), "status_cod", "status_code"),
        ((*DEPLOYMENT, "request_router_config"), "max_backof_s", "max_backoff_s"),
        ((*DEPLOYMENT, "logging_config"), "log_levl", "log_level"),
        ((*DEPLOYMENT, "gang_scheduling_config"), "gang_sizes", "gang_size"),
        ((*DEPLOYMENT, "deployment_actors", 0), "actor_clas", "actor_class"),
    ],
)
def test_a_mistyped_option_is_found_with_the_one_that_was_meant(written, section, typo, meant):
    ((where, what),) = found(written(changed((*section, typo), 1)))
    dotted = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in (*section, typo))
    assert where == dotted.removeprefix(".")
    assert what.startswith(f"Unknown key. Did you mean '{meant}'? Known: ")


def test_ray_itself_would_take_such_a_file():
    ServeDeploySchema.model_validate(changed((*DEPLOYMENT, "max_ongoing_reqests"), 1))


@pytest.mark.parametrize(
    ("place", "value", "where", "said"),
    [
        (("http_options", "port"), "high", "http_options.port", "valid integer"),
        (
            (*DEPLOYMENT, "max_ongoing_requests"),
            0,
            "applications[1].deployments[0].max_ongoing_requests",
            "greater",
        ),
        (
            (*DEPLOYMENT, "autoscaling_config"),
            {"min_replicas": 3, "max_replicas": 1},
            "applications[1].deployments[0].autoscaling_config",
            "max_replicas",
        ),
        (
            (*DEPLOYMENT, "backpressure_config", "status_code"),
            500,
            "deployments[0].backpressure_config",
            "429",
        ),
        ((*APP, "args", "batch_size"), 99, "applications[1].args", "at least twice batch_size"),
        ((*APP, "args", "gate", "burst"), 0, "applications[1].args", "gate.burst"),
        ((*APP, "args", "limits", "max_bytes"), "much", "applications[1].args", "limits.max_bytes"),
        ((*APP, "args", "fusion"), ["tresh=1"], "applications[1].args.fusion", "Unknown setting 'tresh'"),
        ((*APP, "args"), {}, "applications[1].args", "bundles"),
        ((*APP, "import_path"), "deepscan.serving.app:buidl", "applications[1].import_path", "app:build"),
        (("applications",), "none", "applications", "valid list"),
        (
            (*DEPLOYMENT, "autoscaling_config", "policy", "policy_function"),
            "ray.serve:nothing",
            "applications[1].deployments[0].autoscaling_config",
            "cannot be imported: module 'ray.serve' has no attribute 'nothing'",
        ),
    ],
)
def test_a_wrong_value_is_found(written, place, value, where, said):
    findings = found(written(changed(place, value)))
    assert len(findings) == 1
    assert where in findings[0][0]
    assert said in findings[0][1]


def test_all_that_is_wrong_is_told_at_once(written):
    values = changed(("http_options", "hots"), 1)
    values["applications"][1]["args"]["bundels"] = 1
    values["applications"][1]["deployments"][0]["max_ongoing_requests"] = "x"
    assert len(found(written(values))) == 3


def test_a_key_that_stands_twice_is_refused(written):
    with pytest.raises(ConfigError, match=r"the key 'port' stands twice.*line 2"):
        check(written("applications: []\nhttp_options: {port: 1, port: 2}\n"), NOWHERE)


@pytest.mark.parametrize("text", ["", "- a", "a: 1", "kind: RayService", "applications: [", "\x00"])
def test_what_is_no_configuration_is_refused(written, text):
    with pytest.raises(ConfigError, match=r"serve\.yaml (is no Serve configuration|cannot be read as YAML)"):
        check(written(text), NOWHERE)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read as YAML"):
        check(tmp_path / "none.yaml", NOWHERE)


def test_the_service_inside_of_a_manifest_for_kubernetes_is_checked(written):
    manifest = yaml.safe_load((ROOT / "cluster" / "serve.yaml").read_text(encoding="utf-8"))
    manifest["spec"]["serveConfigV2"] = yaml.safe_dump(changed((*APP, "route_prefx"), "/"))
    assert [where for where, _ in found(written(manifest))] == ["applications[1].route_prefx"]


# --- files and room --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bundles(make_bundle):
    return [str(make_bundle(name, region=region).path) for name, region in (("a", "whole"), ("b", "face"))]


def serving(bundles, **args):
    return changed((*APP, "args"), {"bundles": bundles, **args})


def test_files_that_are_there_are_in_order(written, bundles, tmp_path):
    plugin = tmp_path / "plugin.py"
    plugin.write_text("")
    add_key(tmp_path / "keys", new_key("ann")[1])
    more = {"plugins": str(plugin), "gate": {"keys_file": str(tmp_path / "keys")}, "fusion": "method=mean"}
    assert found(written(serving(bundles, **more)), Place()) == []


@pytest.mark.parametrize(
    ("args", "field", "said"),
    [
        ({"bundles": ["none"]}, "bundles", "none is no bundle"),
        ({"plugins": ["none.py"]}, "plugins", "none.py is no file"),
        ({"gate": {"keys_file": "none"}}, "gate.keys_file", "key file none cannot be read"),
        ({"fusion": ["method=median"]}, "bundles", "median"),
    ],
)
def test_a_file_that_is_missing_is_found_unless_none_is_looked_at(written, bundles, args, field, said):
    path = written(serving(bundles) | {"applications": [serving(bundles)["applications"][1]]})
    values = yaml.safe_load(path.read_text())
    values["applications"][0]["args"] |= args
    ((where, what),) = found(written(values), Place())
    assert where == f"applications[0].args.{field}"
    assert said in what
    schema_only = found(written(values), NOWHERE)
    assert [where for where, _ in schema_only] == (
        ["applications[0].args.fusion"] if "fusion" in args else []
    )


@pytest.mark.parametrize(
    ("cpus", "gpus", "said"),
    [
        (None, None, None),
        (4.45, 1, None),
        (4.4, 1, r"reserve 4\.45 CPUs, and there are 4\.4"),
        (8, 0, r"reserve 1 GPUs, and there are 0"),
    ],
)
def test_reservations_that_can_never_be_met_are_found(written, bundles, cpus, gpus, said):
    stages = {
        "ensemble": {"cpus": 0.1, "gpus": 1},
        "prepare": {"cpus": 0.5, "min_replicas": 2, "max_replicas": 4},
        "replica": {"cpus": 1},
    }
    findings = found(written(serving(bundles, **stages)), Place(cpus=cpus, gpus=gpus))
    assert len(findings) == (said is not None)
    assert said is None or re.search(said, findings[0][1])


# --- the command -----------------------------------------------------------------------------------


def run(*words):
    return CliRunner().invoke(cli.app, ["validate-config", *map(str, words)])


def test_the_command_says_what_is_in_order(written):
    path = written(GOOD)
    done = run(path, "--schema-only", "--cpus", 2)
    assert (done.exit_code, done.stdout, done.stderr) == (0, f"{path}: in order\n", "")


def test_the_command_tells_all_that_is_wrong_and_ends_with_2(written, tmp_path):
    path = written(changed((*DEPLOYMENT, "max_ongoing_reqests"), 1))
    good = tmp_path / "good.yaml"
    good.write_text(yaml.safe_dump(GOOD))
    done = run(path, good, "--schema-only")
    assert (done.exit_code, done.stdout) == (2, f"{good}: in order\n")
    first, last = done.stderr.splitlines()
    assert first.startswith(
        f"{path}: applications[1].deployments[0].max_ongoing_reqests: Unknown key. Did you mean"
    )
    assert last == "ConfigError: 1 key is wrong, as told above; nothing was deployed."


def test_the_command_looks_at_files_and_room_where_it_can(written):
    done = run(written(GOOD), "--cpus", "0.5", "--gpus", "0")
    assert done.exit_code == 2
    assert "runs/none is no bundle" in done.stderr
    assert "and there are 0.5" in done.stderr
