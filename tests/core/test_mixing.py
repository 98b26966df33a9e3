import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch.nn import functional as F

from fsft import JointNet, JointOutput, backbone, joint_loss, train
from fsft.augment import cutout, cutout_centers, mixup, mixup_plan
from fsft.batches import crop_and_flip, draws_of_step, epoch_draws, finished_batch

SETS = tiny.data()
STATISTICS = (torch.full((3,), 0.5), torch.full((3,), 0.25))


def epoch_batches(epoch=0, seed=0, **changes):
    """All batches of an epoch, and its draws."""
    recipe = tiny.recipe("baseline", **changes)
    tables, batches = epoch_draws(recipe, len(SETS[0]), 16, seed, epoch), []
    for step in range(len(tables["order"])):
        draws = draws_of_step(tables, torch.tensor([step]))
        batches.append(finished_batch(recipe, STATISTICS, draws, *crop_and_flip(SETS[0].images, SETS[0].labels, draws)))
    return batches, tables


def authors_cutout(image, row, column, length):
    """Written from the paper's description: a square around the center, clipped, zero."""
    image = image.clone()
    top, left = max(row - length // 2, 0), max(column - length // 2, 0)
    image[:, top : max(row + length // 2, 0), left : max(column + length // 2, 0)] = 0
    return image


@given(st.sampled_from([2, 4, 8, 16]), st.integers(0, 2**31))
def test_cutout_equals_its_description(length, seed):
    images = torch.rand(3, 2, 12, 17) + 1
    centers = cutout_centers(3, 12, 17, seed, 0)
    expected = [authors_cutout(image, *center.tolist(), length) for image, center in zip(images, centers, strict=True)]
    assert torch.equal(cutout(images, centers, length), torch.stack(expected))


def test_cutout_area_law():
    """The hole spans [c - 4, c + 4): less than 8 for the first four centers of a row and for its last three."""
    grid = torch.cartesian_prod(torch.arange(32), torch.arange(32))
    areas = (cutout(torch.ones(1024, 1, 32, 32), grid, 8) == 0).sum((1, 2, 3))
    sides = torch.tensor([4, 5, 6, 7] + [8] * 25 + [7, 6, 5])
    assert torch.equal(areas.view(32, 32), sides[:, None] * sides[None])


def test_cutout_drops_every_interior_pixel_equally_often():
    """Clipping, unlike shifting the hole inside, leaves the border seen more often."""
    grid = torch.cartesian_prod(torch.arange(16), torch.arange(16))
    dropped = (cutout(torch.ones(256, 1, 16, 16), grid, 4) == 0).sum(0)[0]
    assert (dropped[1:-2, 1:-2] == 16).all() and dropped[0, 0] == 9 and dropped[-1, -1] == 4


def test_cutout_centers_are_uniform():
    centers = cutout_centers(20_000, 5, 7, seed=1, epoch=2)
    cells = torch.bincount(centers[:, 0] * 7 + centers[:, 1], minlength=35)
    assert len(cells) == 35 and stats.chisquare(cells.numpy()).pvalue > 1e-3


def test_cutout_leaves_its_input_and_the_memory_format():
    images = torch.ones(2, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    out = cutout(images, torch.tensor([[0, 0], [4, 4]]), 4)
    assert images.all() and out.is_contiguous(memory_format=torch.channels_last)
    mixed = epoch_batches(augment=("crop", "flip", "cutout", "mixup"))[0][0].images
    assert mixed.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_shares_follow_the_beta_law(alpha):
    share = mixup_plan(5_000, 1, seed=3, epoch=0, alpha=alpha).share
    assert share.dtype == torch.float32 and share.min() >= 0 and share.max() <= 1
    assert stats.kstest(share.double().numpy(), stats.beta(alpha, alpha).cdf).pvalue > 1e-3


def test_partners_are_uniform_permutations():
    partner = mixup_plan(6_000, 3, seed=4, epoch=0).partner
    assert torch.equal(partner.sort(1).values, torch.arange(3).expand(6_000, 3))
    counts = torch.bincount(partner[:, 0] * 3 + partner[:, 1], minlength=9)
    assert stats.chisquare(counts[counts > 0].numpy()).pvalue > 1e-3 and (counts > 0).sum() == 6


def test_mixup_equals_its_formula():
    images, partner = torch.randn(4, 3, 5, 5), torch.tensor([2, 0, 3, 1])
    expected = torch.stack([0.3 * images[i] + 0.7 * images[j] for i, j in enumerate(partner)])
    torch.testing.assert_close(mixup(images, partner, torch.tensor(0.3)), expected)


@given(st.integers(0, 2**31), st.integers(0, 500))
def test_draws_are_a_function_of_seed_and_epoch(seed, epoch):
    def draws(seed, epoch):
        return [cutout_centers(64, 32, 32, seed, epoch), *mixup_plan(8, 8, seed, epoch)]

    for first, again, other in zip(draws(seed, epoch), draws(seed, epoch), draws(seed, epoch + 1), strict=True):
        assert torch.equal(first, again) and not torch.equal(first, other)


def test_cutout_comes_after_normalization_and_changes_nothing_else():
    plain = epoch_batches()[0][1]
    cut = epoch_batches(augment=("crop", "flip", "cutout"), cutout_length=6)[0][1]
    hole = (cut.images != plain.images).any(1)
    assert torch.equal(cut.targets[0][0], plain.targets[0][0])
    assert all(9 <= area <= 36 for area in hole.sum((1, 2)))
    assert not cut.images.permute(0, 2, 3, 1)[hole].any()


def test_mixup_blends_the_batch_that_would_have_been():
    (plain, _), (mixed, tables) = epoch_batches(), epoch_batches(augment=("crop", "flip", "mixup"))
    for step in range(len(plain)):
        (labels, share), (partner_labels, rest) = mixed[step].targets
        partner = tables["partner"][step]
        torch.testing.assert_close(share + rest, torch.tensor(1.0))
        assert torch.equal(labels, plain[step].targets[0][0]) and torch.equal(partner_labels, labels[partner])
        x = plain[step].images
        torch.testing.assert_close(mixed[step].images, share * x + rest * x[partner])


def test_mixed_joint_loss_keeps_the_mask_index():
    """Two cross-entropies for each view j: against (y, j) and against (partner's y, j)."""
    torch.manual_seed(0)
    batch = epoch_batches(augment=("mixup",), batch_size=4)[0][0]
    net = JointNet(backbone("resnet8"), 4, taps=("layer3",), input_size=16)
    output = net(batch.images)
    (labels, share), (partner_labels, _) = batch.targets
    expected = sum(
        share * F.cross_entropy(output.last[:, j], labels * 5 + j)
        + (1 - share) * F.cross_entropy(output.last[:, j], partner_labels * 5 + j)
        for j in range(5)
    )
    found = sum(weight * joint_loss(JointOutput(output.last), target) for target, weight in batch.targets)
    torch.testing.assert_close(found, expected / 5)


def test_mixing_is_cross_entropy_with_soft_labels():
    batch = epoch_batches(augment=("mixup",))[0][0]
    logits = torch.randn(16, 4)
    (labels, share), (partner_labels, _) = batch.targets
    soft = share * F.one_hot(labels, 4) + (1 - share) * F.one_hot(partner_labels, 4)
    found = sum(weight * F.cross_entropy(logits, target) for target, weight in batch.targets)
    torch.testing.assert_close(found, F.cross_entropy(logits, soft))


@pytest.mark.parametrize("augment", [("cutout",), ("crop", "flip", "cutout", "mixup")])
@pytest.mark.parametrize("method", ["baseline", "fsft-sd"])
def test_the_loop_trains_with_it(method, augment):
    changes = {"augment": augment, "epochs": 6, "cutout_length": 4, "head_lr_scale": 5}
    result = train(tiny.recipe(method, **changes), 0, data=SETS, device="cpu", progress="none").result
    losses = [entry["train_loss"] for entry in result["history"]]
    assert losses[-1] < losses[0] and result["distance"]["augment"][1] == list(augment)


def test_bad_shapes():
    with pytest.raises(ValueError, match=r"expected images \(B, C, H, W\) and centers \(B, 2\), found .*\(3, 2\)"):
        cutout(torch.ones(2, 3, 8, 8), torch.zeros(3, 2, dtype=torch.int64))
