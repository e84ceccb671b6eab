"""Fresh weights for networks of our own."""

from torch import nn


def he_normal(module: nn.Module) -> None:
    """Draw all convolution weights so that ReLU layers keep the variance of what passes through.

    Uses torch's global generator (He, Zhang, Ren and Sun, ICCV 2015, eq. 10). The fan-in form is
    also right for depthwise convolutions, which have one input channel a filter.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_in", nonlinearity="relu")
