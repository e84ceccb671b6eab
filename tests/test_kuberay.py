"""The manifests for Kubernetes hold what KubeRay 1.7 knows, and say what the rest of the project says.

The operator and its CRDs are not here. What is checked: every field of KubeRay's own is one of those that
its reference of version 1.7.0 lists; Ray's autoscaler, which reads these manifests in a cluster, understands
them; Serve's schema understands the service; the command line understands the jobs.
"""

import copy
import itertools
import pathlib
import re
import shlex

import pytest
import typer.main
import yaml
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
from ray.serve.schema import ServeDeploySchema

from deepscan.cli import app
from deepscan.serving.config import parse

ROOT = pathlib.Path(__file__).parents[1]
FOLDER = ROOT / "cluster"
TEXTS = {path.stem: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.yaml"))}
MANIFESTS = {name: yaml.safe_load(text) for name, text in TEXTS.items()}
RAY = [name for name, manifest in MANIFESTS.items() if manifest["apiVersion"] == "ray.io/v1"]
JOBS = [name for name in RAY if MANIFESTS[name]["kind"] == "RayJob"]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")

FIELDS = {
    "RayJob": {
        "activeDeadlineSeconds": int, "backoffLimit": int, "rayClusterSpec": "RayCluster",
        "submitterPodTemplate": dict, "metadata": dict, "clusterSelector": dict, "submitterConfig": dict,
        "managedBy": str, "deletionStrategy": dict, "entrypoint": str, "runtimeEnvYAML": str, "jobId": str,
        "submissionMode": str, "entrypointResources": str, "entrypointNumCpus": float,
        "entrypointNumGpus": float, "ttlSecondsAfterFinished": int, "preRunningDeadlineSeconds": int,
        "shutdownAfterJobFinishes": bool, "suspend": bool,
    },
    "RayService": {
        "rayClusterDeletionDelaySeconds": int, "serveService": dict, "upgradeStrategy": dict,
        "managedBy": str, "serveConfigV2": str, "rayClusterConfig": "RayCluster",
        "excludeHeadPodFromServeSvc": bool, "suspend": bool,
    },
    "RayCluster": {
        "upgradeStrategy": dict, "authOptions": "Auth", "suspend": bool, "managedBy": str,
        "autoscalerOptions": "Autoscaler", "headServiceAnnotations": dict, "enableInTreeAutoscaling": bool,
        "gcsFaultToleranceOptions": dict, "historyServerOptions": dict, "networkPolicy": dict,
        "tlsOptions": dict, "headGroupSpec": "Head", "rayVersion": str, "workerGroupSpecs": ["Worker"],
    },
    "Auth": {"enableK8sTokenAuth": bool, "secretName": str, "mode": {"disabled", "token"}},
    "Autoscaler": {
        "resources": dict, "image": str, "imagePullPolicy": str, "securityContext": dict,
        "idleTimeoutSeconds": int, "upscalingMode": {"Default", "Aggressive", "Conservative"},
        "version": {"v1", "v2"}, "env": list, "envFrom": list, "volumeMounts": list, "command": list,
        "args": list,
    },
    "Head": {
        "template": "Template", "headService": dict, "enableIngress": bool, "ingressOptions": dict,
        "resources": dict, "labels": dict, "rayStartParams": dict, "serviceType": str,
    },
    "Worker": {
        "suspend": bool, "groupName": str, "replicas": int, "minReplicas": int, "maxReplicas": int,
        "idleTimeoutSeconds": int, "priority": int, "resources": dict, "labels": dict,
        "rayStartParams": dict, "template": "Template", "scaleStrategy": dict, "numOfHosts": int,
    },
    # Of Kubernetes itself: those fields that the manifests use.
    "Template": {"metadata": dict, "spec": "Pod"},
    "Pod": {
        "containers": ["Container"], "volumes": ["Volume"], "securityContext": "PodUser",
        "tolerations": ["Toleration"], "nodeSelector": dict,
    },
    "PodUser": {"runAsNonRoot": bool, "runAsUser": int, "runAsGroup": int, "fsGroup": int},
    "Toleration": {"key": str, "operator": {"Exists", "Equal"}, "value": str, "effect": str},
    "Container": {
        "name": str, "image": str, "env": ["Variable"], "resources": "Resources", "readinessProbe": "Probe",
        "livenessProbe": "Probe", "volumeMounts": ["Mount"],
    },
    "Variable": {"name": str, "value": str},
    "Resources": {"requests": dict, "limits": dict},
    "Probe": {
        "httpGet": "HttpGet", "initialDelaySeconds": int, "periodSeconds": int, "timeoutSeconds": int,
        "failureThreshold": int,
    },
    "HttpGet": {"path": str, "port": int},
    "Mount": {"name": str, "mountPath": str},
    "Volume": {"name": str, "persistentVolumeClaim": "Claim"},
    "Claim": {"claimName": str},
}  # fmt: skip
"""Fields by the kind of object, with their types: a Python type, a set of words, or another kind."""


def mistakes(value, kind, where=""):
    """Yields what is wrong with a value of some kind."""
    if isinstance(kind, list):
        for number, item in enumerate(value):
            yield from mistakes(item, kind[0], f"{where}[{number}]")
    elif isinstance(kind, set):
        if value not in kind:
            yield f"{where} is {value!r}, not one of {sorted(kind)}"
    elif isinstance(kind, str):
        for name, inner in value.items():
            if name not in FIELDS[kind]:
                yield f"{where}.{name} is no field of {kind}"
            else:
                yield from mistakes(inner, FIELDS[kind][name], f"{where}.{name}")
    elif type(value) is not kind:
        yield f"{where} is {value!r}, which is no {kind.__name__}"


def cluster(name):
    spec = MANIFESTS[name]["spec"]
    return spec.get("rayClusterSpec") or spec["rayClusterConfig"]


def groups(name):
    return [cluster(name)["headGroupSpec"], *cluster(name)["workerGroupSpecs"]]


def containers(name):
    return [c for group in groups(name) for c in group["template"]["spec"]["containers"]]


def scaled(name):
    """Returns what Ray's autoscaler makes of a manifest."""
    resource = {"metadata": {"name": name, "namespace": "default"}, "spec": copy.deepcopy(cluster(name))}
    return _derive_autoscaling_config_from_ray_cr(resource)


def test_there_is_a_manifest_for_training_scoring_serving_and_their_storage():
    assert list(MANIFESTS) == ["score", "serve", "storage", "train"]
    assert {name: MANIFESTS[name]["kind"] for name in RAY} == {
        "score": "RayJob",
        "serve": "RayService",
        "train": "RayJob",
    }


@pytest.mark.parametrize("name", RAY)
def test_every_field_is_one_of_its_kind(name):
    manifest = MANIFESTS[name]
    assert set(manifest) == {"apiVersion", "kind", "metadata", "spec"}
    assert list(mistakes(manifest["spec"], manifest["kind"], "spec")) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("rayClusterSpec", "enableInTreeAutoscalling"), True),
        (("rayClusterSpec", "authOptions", "mode"), "tokens"),
        (("rayClusterSpec", "rayVersion"), 2.6),
        (("ttlSecondsAfterFinish",), 600),
        (("rayClusterSpec", "workerGroupSpecs", 0, "minReplicas"), "0"),
        (("rayClusterSpec", "headGroupSpec", "template", "spec", "containers", 0, "livenesProbe"), {}),
    ],
)
def test_a_mistake_in_a_manifest_is_found(path, value):
    spec = copy.deepcopy(MANIFESTS["train"]["spec"])
    inner = spec
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    [mistake] = mistakes(spec, "RayJob")
    assert str(path[-1]) in mistake


@pytest.mark.parametrize("name", RAY)
def test_the_autoscaler_of_ray_reads_the_groups_as_they_are_meant(name):
    config = scaled(name)
    pools = config["available_node_types"]
    assert pools[config["head_node_type"]]["resources"]["CPU"] == 0, "nothing of a job runs on the head"
    assert config["idle_timeout_minutes"] == 5
    for group in cluster(name)["workerGroupSpecs"]:
        [container] = group["template"]["spec"]["containers"]
        pool = pools[group["groupName"]]
        limits = container["resources"]["limits"]
        assert pool["resources"]["CPU"] == int(limits["cpu"])
        assert pool["resources"].get("GPU", 0) == int(limits.get("nvidia.com/gpu", 0))
        assert pool["labels"] == group["labels"]
        assert pool["min_workers"] <= group["replicas"] <= pool["max_workers"]


def test_training_has_machines_with_gpus_for_all_its_workers_from_the_start_and_machines_without():
    config = scaled("train")["available_node_types"]
    words = shlex.split(MANIFESTS["train"]["spec"]["entrypoint"])
    assert config["gpu"]["resources"]["GPU"] * config["gpu"]["min_workers"] == int(
        words[words.index("--workers") + 1]
    )
    assert "GPU" not in config["cpu"]["resources"]
    assert config["cpu"]["min_workers"] >= 1


@pytest.mark.parametrize("name", RAY)
def test_clusters_ask_for_a_token_tell_nobody_and_are_watched(name):
    assert cluster(name)["authOptions"] == {"mode": "token"}
    assert cluster(name)["enableInTreeAutoscaling"] is True
    for container in containers(name):
        variables = {each["name"]: each["value"] for each in container["env"]}
        assert variables["RAY_USAGE_STATS_ENABLED"] == "0"
        assert container["resources"]["requests"] == container["resources"]["limits"]
        assert {"readinessProbe", "livenessProbe"} <= set(container)


@pytest.mark.parametrize("name", RAY)
def test_probes_ask_where_ray_answers_without_a_token(name):
    from ray.dashboard.http_server_agent import PUBLIC_EXACT_PATHS

    head, *workers = containers(name)
    assert head["livenessProbe"]["httpGet"] == {"path": "/api/gcs_healthz", "port": 8265}
    for worker in workers:
        asked = worker["livenessProbe"]["httpGet"]
        assert asked["port"] == 52365
        assert asked["path"] in PUBLIC_EXACT_PATHS


@pytest.mark.parametrize("name", RAY)
def test_pods_run_as_the_user_of_the_image_with_the_shared_folder(name):
    [claim] = [MANIFESTS["storage"]["metadata"]["name"]]
    for group in groups(name):
        pod = group["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert f"USER {pod['securityContext']['runAsUser']}\n" in DOCKERFILE
        assert [v["persistentVolumeClaim"]["claimName"] for v in pod["volumes"]] == [claim]
        for container in pod["containers"]:
            assert [m["mountPath"] for m in container["volumeMounts"]] == ["/shared"]
            home = next(v["value"] for v in container["env"] if v["name"] == "DEEPSCAN_HOME")
            assert home.startswith("/shared/")


def test_the_storage_may_be_written_by_several_machines():
    assert MANIFESTS["storage"]["kind"] == "PersistentVolumeClaim"
    assert MANIFESTS["storage"]["spec"]["accessModes"] == ["ReadWriteMany"]


@pytest.mark.parametrize("name", RAY)
def test_the_version_of_ray_is_the_pinned_one_in_the_manifest_and_in_the_name_of_the_image(name):
    pinned = re.search(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[1]
    assert cluster(name)["rayVersion"] == pinned
    assert {re.search(r"ray([\d.]+)$", c["image"])[1] for c in containers(name)} == {pinned}


@pytest.mark.parametrize("name", JOBS)
def test_the_entrypoint_of_a_job_is_read_by_the_command_line(name):
    python, script, *words = shlex.split(MANIFESTS[name]["spec"]["entrypoint"])
    folder = re.search(r"^WORKDIR (.+)$", DOCKERFILE, re.MULTILINE)[1]
    assert (python, script) == ("python", f"{folder}/jobs/{name}.py")
    assert (ROOT / "jobs" / f"{name}.py").exists()
    context = typer.main.get_command(app).commands[name].make_context(name, words)
    paths = [
        v for v in itertools.chain(*map(as_list, context.params.values())) if isinstance(v, pathlib.Path)
    ]
    assert paths
    assert all(path.is_relative_to("/shared") for path in paths)


def as_list(value):
    return value if isinstance(value, list | tuple) else [value]


@pytest.mark.parametrize("name", JOBS)
def test_a_job_leaves_no_cluster_behind(name):
    spec = MANIFESTS[name]["spec"]
    assert spec["shutdownAfterJobFinishes"] is True
    assert 0 < spec["ttlSecondsAfterFinished"] <= 3600
    assert spec["preRunningDeadlineSeconds"] > 0


def test_the_service_is_that_of_the_configuration_but_for_its_place_and_size():
    served = yaml.safe_load(MANIFESTS["serve"]["spec"]["serveConfigV2"])
    ServeDeploySchema.model_validate(served)
    known = yaml.safe_load((ROOT / "serve_configs" / "image.yaml").read_text(encoding="utf-8"))
    assert (served.pop("proxy_location"), known.pop("proxy_location")) == ("EveryNode", "HeadOnly")
    hosts = [config["http_options"].pop("host") for config in (served, known)]
    assert hosts == ["0.0.0.0", "127.0.0.1"]
    [ours], [theirs] = served["applications"], known["applications"]
    args = parse(ours["args"])
    assert args.bundles[0].startswith("/shared/")
    for size in ("bundles", "prepare", "replica"):
        del ours["args"][size], theirs["args"][size]
    assert served == known


def test_the_smallest_service_fits_on_the_smallest_cluster():
    args = parse(yaml.safe_load(MANIFESTS["serve"]["spec"]["serveConfigV2"])["applications"][0]["args"])
    stages = (args.ingress, args.ensemble, args.prepare, args.replica)
    pool = scaled("serve")["available_node_types"]["cpu"]
    assert sum(s.cpus * s.min_replicas for s in stages) <= pool["min_workers"] * pool["resources"]["CPU"]
    assert sum(s.cpus * s.max_replicas for s in stages) <= pool["max_workers"] * pool["resources"]["CPU"]


def test_a_worker_is_asked_by_users_only_once_its_proxy_answers():
    [worker] = [c for c in containers("serve") if c["name"] == "ray-worker"]
    served = yaml.safe_load(MANIFESTS["serve"]["spec"]["serveConfigV2"])
    port = served["http_options"]["port"]
    assert worker["readinessProbe"]["httpGet"] == {"path": "/-/healthz", "port": port}
    assert MANIFESTS["serve"]["spec"]["excludeHeadPodFromServeSvc"] is True


@pytest.mark.parametrize("name", TEXTS)
def test_every_placeholder_is_marked_for_the_user(name):
    lines = TEXTS[name].splitlines()
    assert all("CHANGE" in line for line in lines if "registry.example.com" in line)
    assert any("CHANGE" in line for line in lines)


@pytest.mark.parametrize("name", TEXTS)
def test_the_first_lines_name_the_file_itself(name):
    assert f"kubectl apply -f cluster/{name}.yaml" in TEXTS[name]
