"""A codebook that learns for some steps on one rank's share of each batch, to be compared.

Most inputs lie far from the first codes, so that most codes die and are replaced.
"""

import torch
from torch import Tensor

from physioscale.nn import ResidualQuantiser
from physioscale.random import Draws

NUM_STEPS = 30
SAMPLES = 8
VECTORS = 5
DIM = 4
NUM_CODES = 16


def build_quantiser() -> ResidualQuantiser:
    """Return two codebooks, the same in every call."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ResidualQuantiser(
            num_levels=2, num_codes=NUM_CODES, dim=DIM, decay=0.8, dead_below=0.5
        )


def step_inputs(step: int) -> Tensor:
    """Return the global batch of a step (SAMPLES, VECTORS, DIM): clusters around four points."""
    generator = torch.Generator().manual_seed(step)
    centres = 4.0 * torch.eye(DIM)
    which = torch.randint(0, DIM, (SAMPLES, VECTORS), generator=generator)
    return centres[which] + 0.3 * torch.randn(SAMPLES, VECTORS, DIM, generator=generator)


def learn_codebooks(micro_batch: int) -> dict[str, Tensor]:
    """Return the state of the codebooks after learning on this rank's share of all batches.

    Args:
        micro_batch: samples observed at a time.
    """
    rank, num_ranks = 0, 1
    if torch.distributed.is_initialized():
        rank, num_ranks = torch.distributed.get_rank(), torch.distributed.get_world_size()
    quantiser = build_quantiser()
    for step in range(NUM_STEPS):
        index = torch.arange(SAMPLES).chunk(num_ranks)[rank]
        for first in range(0, len(index), micro_batch):
            part = index[first : first + micro_batch]
            quantised = quantiser(step_inputs(step)[part])
            quantiser.observe(quantised, draws=Draws(1, step=step, sample_index=part))
        quantiser.update()
    return dict(quantiser.state_dict())
