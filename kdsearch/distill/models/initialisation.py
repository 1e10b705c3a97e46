"""How convolutions that feed rectifiers start."""

from torch import nn


def initialise_for_relu(model: nn.Module) -> None:
    """Draw every convolution from He's normal distribution over its outputs.

    References:
        He, Zhang, Ren & Sun, 2015, arXiv:1502.01852, section 2.2.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
