"""Mixup (Zhang et al., 2018), for Table 2: blend each training image with another one of its batch, and their losses.

The loss of a blend is the blend of the losses for both images' labels. With joint labels each of the two goes through
the same ``y * M + j``, so both keep the index j of the mask: the features of a blend are masked like any others.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from scipy.special import betaincinv
from torch import Tensor

from fsft.augment import raw_draws

SHARE_STREAM, PARTNER_STREAM = 4, 5  # of an epoch's random numbers; fsft.augment has 0 to 2, fsft.cutout has 3


class MixupPlan(NamedTuple):
    """The random draws of one epoch.

    ``share`` float32 (steps,): lambda, how much of an image stays; one for each batch. ``partner`` int64
    (steps, batch_size): the position in the batch of the image that is blended in, a permutation of each batch.
    """

    share: Tensor
    partner: Tensor

    def to(self, device: torch.device | str) -> MixupPlan:
        """The same plan on ``device``."""
        return MixupPlan(self.share.to(device), self.partner.to(device))


def mixup_plan(num_steps: int, batch_size: int, seed: int, epoch: int, alpha: float = 1.0) -> MixupPlan:
    """Draw shares from Beta(alpha, alpha) and random partners for one epoch: a pure function of (seed, epoch)."""
    uniform = (raw_draws(seed, epoch, SHARE_STREAM, num_steps) >> np.uint64(11)) / 2.0**53
    share = betaincinv(alpha, alpha, uniform).astype(np.float32)
    order = raw_draws(seed, epoch, PARTNER_STREAM, num_steps * batch_size).reshape(num_steps, batch_size)
    partner = np.argsort(order, axis=1, kind="stable").astype(np.int64)
    return MixupPlan(torch.from_numpy(share), torch.from_numpy(partner))


def mixup(images: Tensor, partner: Tensor, share: Tensor) -> Tensor:
    """``share * images + (1 - share) * images[partner]``, for normalized images (B, C, H, W) and one share."""
    return torch.lerp(images[partner], images, share)
