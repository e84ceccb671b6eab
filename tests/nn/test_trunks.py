import hashlib
import io
from collections import OrderedDict

import pytest
import torch
import torchvision
from torchvision.models import MobileNet_V2_Weights, Weights

from deepscan.errors import AssetError
from deepscan.models.efficientnet import B0, B4
from deepscan.models.mobilenet import V2
from deepscan.models.resnet import R50
from deepscan.nn.heads import HeadConfig
from deepscan.nn.trunks import feature_maps, trunk_of

PINNED = MobileNet_V2_Weights.IMAGENET1K_V2


@pytest.fixture
def network():
    torch.manual_seed(7)
    return torchvision.models.mobilenet_v2(weights=None)


@pytest.fixture
def publish(tmp_path, monkeypatch):
    """Offer a state dict as the pinned weights, at a file:// address, with an empty cache."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))

    def offer(state, digest=None):
        buffer = io.BytesIO()
        torch.save(state, buffer)
        digest = digest or hashlib.sha256(buffer.getvalue()).hexdigest()[:8]
        path = tmp_path / f"weights-{digest}.pth"
        path.write_bytes(buffer.getvalue())
        monkeypatch.setattr(PINNED, "_value_", Weights(url=path.as_uri(), transforms=None, meta={}))
        return path

    return offer


def test_fill_loads_the_public_weights_into_the_trunk_and_leaves_the_head(network, publish, capsys):
    publish(network.state_dict())
    model = V2.classifier(HeadConfig())
    head = model.head[-1].weight.clone()
    V2.fill(model)
    expected = network.features.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in trunk_of(model).state_dict().items())
    assert torch.equal(model.head[-1].weight, head)
    assert capsys.readouterr().out == "", "standard output belongs to the command's result"


def test_fill_reads_the_cache_without_the_address(network, publish):
    path = publish(network.state_dict())
    V2.fill(V2.classifier(HeadConfig()))
    path.unlink()
    V2.fill(V2.classifier(HeadConfig()))


def test_unreachable_weights_say_where_they_are_and_what_to_do(publish, monkeypatch):
    publish({}).unlink()
    address = "http://127.0.0.1:9/mobilenet_v2-7ebf99e0.pth"
    monkeypatch.setattr(PINNED, "_value_", Weights(url=address, transforms=None, meta={}))
    remedy = r"put that file at .*home/hub/checkpoints/mobilenet_v2-7ebf99e0\.pth .* start from a bundle"
    with pytest.raises(AssetError, match=f"{address}.*{remedy}"):
        V2.fill(V2.classifier(HeadConfig()))


def test_altered_weights_are_refused(network, publish):
    publish(network.state_dict(), digest="00000000")
    with pytest.raises(AssetError, match="invalid hash value"):
        V2.fill(V2.classifier(HeadConfig()))


def test_weights_of_another_network_are_refused(publish):
    path = publish({"classifier.1.weight": torch.zeros(2)})
    with pytest.raises(AssetError, match=f"checkpoints/{path.name} holds another network"):
        V2.fill(V2.classifier(HeadConfig()))


class Executes:
    """A pickle of this calls ``print`` when it is read by a careless reader."""

    def __reduce__(self):
        return print, ("executed",)


def test_nothing_in_a_weights_file_is_executed(publish, capsys):
    publish({"features.0.0.weight": Executes()})
    with pytest.raises(AssetError, match="Cannot fetch"):
        V2.fill(V2.classifier(HeadConfig()))
    assert "executed" not in capsys.readouterr().out


@pytest.mark.parametrize("public", [B0, B4, V2, R50], ids=lambda public: public.network)
def test_trunk_has_the_names_of_the_public_weights(public):
    """Weights are matched by name: each of the trunk is one of torchvision's, none of its classifier."""
    network = torchvision.models.get_model(public.network, weights=None).state_dict()
    published = {name.removeprefix("features.") for name in network}
    left = published - set(public.build().state_dict())
    assert set(public.build().state_dict()) <= published
    assert all(name.startswith(("classifier.", "fc.")) for name in left)


@pytest.mark.parametrize("public", [B0, V2], ids=lambda public: public.network)
def test_features_are_those_of_torchvision(public):
    torch.manual_seed(0)
    network = torchvision.models.get_model(public.network, weights=None).eval()
    trunk = public.build().eval()
    trunk.load_state_dict(network.features.state_dict())
    x = torch.randn(1, 3, 32, 32)
    assert trunk(x).shape[1] == public.channels
    torch.testing.assert_close(network.classifier(trunk(x).mean((2, 3))), network(x))


@pytest.mark.parametrize("public", [B0, B4, V2, R50], ids=lambda public: public.network)
def test_pinned_weights_exist_in_torchvision(public):
    assert torchvision.models.get_weight(public.weights).url.startswith("https://download.pytorch.org/")


def test_feature_maps_are_those_of_the_layers_and_run_no_further():
    torch.manual_seed(0)
    trunk = torch.nn.Sequential(
        OrderedDict(a=torch.nn.Conv2d(3, 4, 1), b=torch.nn.ReLU(), c=torch.nn.Conv2d(5, 1, 1))
    )
    x = torch.randn(2, 3, 4, 4)
    maps = feature_maps(trunk, x, ("a", "b"))
    assert list(maps) == ["a", "b"]
    assert torch.equal(maps["a"], trunk.a(x))
    assert torch.equal(maps["b"], trunk.b(trunk.a(x)))
