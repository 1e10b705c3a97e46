"""The first convolution's channels."""

from jaxtyping import Float
from torch import Tensor


def adapt_input_channels(weight: Float[Tensor, "O I h w"], in_channels: int) -> Float[Tensor, "O C h w"]:
    """Return a first convolution's weights for other input channels.

    A grey image gives the same activations as its copy in every colour channel would have given; colour
    weights made of grey ones do the same for a grey picture.
    """
    if in_channels == 1:
        return weight.sum(1, keepdim=True)
    copies = -(-in_channels // weight.shape[1])
    repeated = weight.repeat(1, copies, 1, 1)[:, :in_channels]
    return repeated * (weight.shape[1] / in_channels)
