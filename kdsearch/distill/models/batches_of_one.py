"""Whether a network can be trained on batches of one image. BatchNorm at one pixel has nothing to average."""

import copy

import torch
from torch import nn

from kdsearch.distill.models.inputs import Inputs
from kdsearch.errors import RequestError

_TORCH_SAYS = "more than 1 value per channel"


def check_batch_size(model: nn.Module, inputs: Inputs, batch_size: int, n_train: int, setting: str) -> None:
    """Raise RequestError where batches have one image and the network needs more.

    Args:
        model: The network; it stays as it is.
        inputs: What it takes.
        batch_size: Of the training.
        n_train: Images to train on; one that is left over joins the batch before it.
        setting: The dotted path of the batch size.
    """
    if min(batch_size, n_train) > 1:
        return
    trial = copy.deepcopy(model).cpu().train()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            trial(inputs.zeros())
    except ValueError as error:
        if _TORCH_SAYS not in str(error):
            raise
        what = f"`{setting}` must be" if n_train > 1 else "`dataset.train_size` must be"
        raise RequestError(
            f"{what} at least 2 for a network with BatchNorm at one pixel, got 1: a single image has one "
            "value per channel there. Raise it."
        ) from error
