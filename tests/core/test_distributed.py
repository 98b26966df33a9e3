"""FSFT under DistributedDataParallel: two processes with half of a batch each find the gradient of the whole batch."""

import copy
from collections import OrderedDict

import pytest
import torch
from torch import distributed, multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel

from fsft import JointNet, joint_loss


def network():
    torch.manual_seed(0)
    stages = OrderedDict(
        layer1=nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), layer2=nn.Sequential(nn.Conv2d(4, 8, 3), nn.ReLU())
    )
    return JointNet(nn.Sequential(stages), 3, self_distill=True, input_size=12)


def gradient(net, images, labels):
    joint_loss(net(images), labels).backward()
    return [parameter.grad for parameter in net.parameters()]


def half(rank, store):
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    net, images, labels = network(), torch.randn(8, 3, 12, 12), torch.randint(3, (8,))
    whole = gradient(copy.deepcopy(net), images, labels)
    halves = gradient(DistributedDataParallel(net), images[rank::2], labels[rank::2])
    torch.testing.assert_close(halves, whole, rtol=1e-4, atol=1e-6)
    distributed.destroy_process_group()


@pytest.mark.skipif(not distributed.is_available() or not distributed.is_gloo_available(), reason="no gloo")
def test_two_processes_find_the_gradient_of_the_whole_batch(tmp_path):
    multiprocessing.spawn(half, (tmp_path / "store",), nprocs=2)
