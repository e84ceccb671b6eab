"""Who may import whom, and which libraries live where."""

import subprocess
import sys

import pytest
from survey import ROOT, loaded_libraries, own

LAYERS = (
    {"errors", "verdict"},
    {"registry", "watch", "interrupt", "storage", "allocator"},
    {"config", "recipe"},
    {"calibration", "cache", "monitor", "domain"},
    {"metrics"},
    {"fusion", "experiment"},
    {"fitting"},
    {"media"},
    {"evidence"},
    {"modalities"},
    {"nn", "objectives"},
    {"models"},
    {"formats"},
    {"bundle"},
    {"detector"},
    {"ensemble", "heatmaps"},
    {"pipeline"},
    {"isolation"},
    {"deepscan"},
    {"cluster"},
    {"datasets", "report"},
    {"operating"},
    {"evaluation"},
    {"onlooking", "robustness"},
    {"scoring", "training", "assembly", "measuring", "feedback", "cards"},
    {"tuning", "optimize", "serving", "series", "crossvalidation", "finder"},
    {"console", "demo", "client"},
    {"cli"},
    {"jobs"},
)
"""From the lowest to the highest; a unit imports itself and what lies in lower layers, nothing else."""

HEIGHT = {unit: height for height, layer in enumerate(LAYERS) for unit in layer}
PURE = {"calibration", "domain", "fusion", "fitting", "metrics", "cache", "monitor", "experiment"}
HOMES = {
    "cv2": {"media", "evidence"},
    "av": {"media", "evidence"},
    "fastapi": {"serving"},
    "starlette": {"serving"},
    "optuna": {"tuning"},
    "typer": {"cli"},
    "rich": {"cli", "console"},
}
RAY_MODULES = {
    "deepscan.cluster",
    "deepscan.datasets.held",
    "deepscan.datasets.stream",
    "deepscan.training.fit",
    "deepscan.training.record",
    "deepscan.tuning.plan",
    "deepscan.tuning.run",
    "deepscan.tuning.search",
    "deepscan.tuning.trial",
    "deepscan.evaluation",
    "deepscan.robustness.run",
    "deepscan.scoring.actors",
    "deepscan.scoring.run",
    "deepscan.serving.replica",
    "deepscan.serving.handles",
    "deepscan.serving.ingress",
    "deepscan.serving.app",
    "deepscan.serving.validation",
}


def test_every_module_has_a_place_in_the_layers(modules):
    assert [m.name for m in modules.values() if m.unit not in HEIGHT] == []
    assert sum(map(len, LAYERS)) == len(HEIGHT)


def test_imports_point_down_the_layers_only(modules):
    upward = []
    for module in modules.values():
        for found in module.imports():
            target = own(found.target, modules)
            unit = modules[target].unit if target else module.unit
            if unit != module.unit and HEIGHT[unit] >= HEIGHT[module.unit]:
                upward.append(f"{module.name}:{found.line} imports {target}")
    assert upward == []


def test_no_modules_import_each_other_in_a_circle(modules):
    edges = {}
    for name, module in modules.items():
        at_once = (i.target for i in module.imports() if not (i.lazy or i.typing_only))
        edges[name] = {own(target, modules) for target in at_once} - {None, name}
    while leaves := [name for name, targets in edges.items() if not targets]:
        for leaf in leaves:
            del edges[leaf]
        edges = {name: targets - set(leaves) for name, targets in edges.items()}
    assert sorted(edges) == []


def test_the_pure_modules_know_only_verdicts_errors_and_each_other(modules):
    allowed = PURE | {"verdict", "errors"}
    impure = [
        f"{module.name}:{found.line} imports {found.target}"
        for module in modules.values()
        if module.unit in PURE
        for found in module.imports()
        if (target := own(found.target, modules)) and modules[target].unit not in allowed
    ]
    assert impure == []


@pytest.mark.parametrize("library", HOMES)
def test_a_library_stays_in_its_home(modules, library):
    abroad = [
        f"{module.name}:{found.line}"
        for module in modules.values()
        if module.unit not in HOMES[library]
        for found in module.imports()
        if found.library == library
    ]
    assert abroad == []


def test_ray_is_imported_by_its_adapters_only(modules):
    strangers = [
        f"{module.name}:{found.line}"
        for module in modules.values()
        if module.name not in RAY_MODULES and module.unit != "jobs"
        for found in module.imports()
        if found.library == "ray" and not (module.unit == "cli" and found.lazy)
    ]
    assert strangers == []


@pytest.mark.parametrize(
    ("name", "absent"),
    [
        ("deepscan.pipeline", {"ray", "fastapi", "typer"}),
        ("deepscan.detector", {"ray", "torch"}),
        ("deepscan.formats.onnx", {"torch"}),
        ("deepscan.formats.openvino", {"torch"}),
        ("deepscan.formats.litert", {"torch"}),
        ("deepscan.training.loop", {"ray"}),
        ("deepscan.finder.train", {"ray"}),
        ("deepscan.media.faces", {"torch"}),
        ("deepscan.datasets.plan", {"ray", "torch"}),
        ("deepscan.serving.api", {"ray"}),
        ("deepscan.serving.local", {"ray"}),
        ("deepscan.serving.ensemble", {"ray", "torch", "fastapi"}),
        ("deepscan.report", {"ray", "torch"}),
        ("deepscan.client", {"ray", "torch", "fastapi", "numpy"}),
        ("deepscan.cli", {"ray", "torch", "fastapi"}),
    ],
)
def test_importing_a_module_leaves_heavy_libraries_out(modules, name, absent):
    assert loaded_libraries(name, modules) & absent == set()


def test_the_path_from_bytes_to_verdict_needs_no_ray_no_server_and_no_command_line():
    code = "import deepscan.pipeline, sys; print(sorted({'ray', 'fastapi', 'typer'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
