import torch

from deepscan.models.xception import FEATURES, trunk

KERAS_PARAMETERS = 22_855_952
"""Trainable parameters of the ImageNet classifier published with Keras."""


def test_has_as_many_parameters_as_the_published_network():
    own = sum(p.numel() for p in trunk().parameters())
    assert own + FEATURES * 1000 + 1000 == KERAS_PARAMETERS


def test_feature_map_has_the_size_of_the_paper():
    with torch.device("meta"):
        features = trunk()(torch.empty(1, 3, 299, 299))
    assert features.shape == (1, FEATURES, 10, 10)
