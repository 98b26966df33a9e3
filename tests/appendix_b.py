"""Our transcription of the paper's Appendix B, as an independent oracle for the package.

It keeps the paper's structure (copies of the features, stacked along the batch) and mends what cannot run as printed:
``forward`` returns the pooled ``x2`` and ``x3``, and the aggregation, whose loop body is cut in the paper, is the mean
of the matching columns' logits, as in the public definition of SLA that the paper refers to.
"""

import torch
from torch import nn


def construct_mask(channel, size):
    """Segment 1."""
    r = size // 2
    masks = [torch.ones(channel, size, size) for _ in range(5)]
    masks[1][:, 0:r, 0:r] = 0
    masks[2][:, 0:r, r:size] = 0
    masks[3][:, r:size, 0:r] = 0
    masks[4][:, r:size, r:size] = 0
    return masks


def transformation_block(x, masks):
    """Segment 2: (B, C, H, W) to (5B, C, H, W); the five versions of an image are neighbors."""
    shape = x.shape[1:]
    copies = [x * mask.unsqueeze(0).repeat(len(x), 1, 1, 1) for mask in masks]
    return torch.cat(copies, 1).view(-1, *shape)


def pooled(x, masks):
    x = nn.AdaptiveAvgPool2d(1)(transformation_block(x, masks))
    return x.view(x.size(0), -1)


def forward(stages, fc3, fc2, x):
    """Segment 2: joint logits (5B, 5N) of the last and of the penultimate classifier."""
    x = stages.stem(x)
    x = stages.layer2(stages.layer1(x))
    x2 = pooled(x, construct_mask(x.shape[1], x.shape[2]))
    x = stages.layer3(x)
    x3 = pooled(x, construct_mask(x.shape[1], x.shape[2]))
    return fc3(x3), fc2(x2)


def training_loss(outputs3, outputs2, targets, beta):
    """Segment 3, training."""
    joint_targets = torch.stack([targets * 5 + j for j in range(5)], 1).view(-1)
    criterion = nn.CrossEntropyLoss()
    return criterion(outputs3, joint_targets) + beta * criterion(outputs2, joint_targets)


def single_inference(outputs3):
    """Segment 3, evaluation: logits (B, N)."""
    return outputs3[::5, ::5]


def aggregated_inference(outputs3, outputs2):
    """Segment 3, evaluation, with eq. 4: probabilities (B, N)."""
    probabilities = []
    for outputs in (outputs3, outputs2):
        logits = 0.0
        for j in range(5):
            logits = logits + outputs[j::5, j::5] / 5
        probabilities.append(torch.softmax(logits, 1))
    return (probabilities[0] + probabilities[1]) / 2
