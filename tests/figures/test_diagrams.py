"""The drawings show what they are given: read back from the artists, not from pixels."""

import matplotlib
import numpy as np
import torch

from fsft import joint_labels, mask_families, masked_average_pool, quadrant_masks
from fsft.figures import diagrams


def texts(figure):
    return " ".join(text.get_text() for text in figure.findobj(matplotlib.text.Text))


def test_masks_are_drawn_as_they_are():
    masks = quadrant_masks(7, 7).numpy()
    figure = diagrams.mask_row(masks, ["a", "b", "c", "d", "e"])
    drawn = [np.asarray(axes.images[0].get_array()) for axes in figure.axes if axes.images]
    assert len(drawn) == 5
    for mask, picture in zip(masks, drawn, strict=True):
        dropped, kept = set(picture[mask == 0].ravel()), set(picture[mask == 1].ravel())
        assert len(kept) == 1 and not dropped & kept


def test_families_are_drawn_one_a_row_and_named():
    families = {name: family(8, 8).numpy() for name, family in mask_families.items()}
    figure = diagrams.family_rows(families)
    drawn = [np.asarray(axes.images[0].get_array()) for axes in figure.axes if axes.images]
    assert len(drawn) == sum(map(len, families.values()))
    assert np.array_equal(drawn[0] > 0, families["quadrants"][0] > 0)
    assert np.array_equal(drawn[-1] > 0, families["ninths"][-1] > 0)
    assert all(name in texts(figure) for name in families)


def test_pretext_task_names_every_joint_label():
    image, channel = np.zeros((32, 32, 3), np.uint8), np.random.default_rng(0).normal(size=(8, 8))
    figure = diagrams.pretext_task(image, channel, quadrant_masks(8, 8).numpy(), 3, "cat")
    shown = texts(figure)
    for joint in range(15, 20):
        assert str(joint) in shown
    assert "cat" in shown


def test_joint_label_grid_counts_like_the_package():
    shown = texts(diagrams.joint_label_grid(10, 5, row=2)).split()
    for number in joint_labels(torch.tensor([2]), 5)[0].tolist():
        assert str(number) in shown


def test_framework_names_its_parts():
    shown = texts(diagrams.framework())
    for part in ("SI", "AG", "SD"):
        assert part in shown


def test_pooling_as_product_shows_the_pooled_views():
    features = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    masks = quadrant_masks(4, 4)
    figure = diagrams.pooling_as_product(features[0].flatten(1).numpy(), masks.flatten(1).T.numpy())
    *_, product = [np.asarray(axes.images[0].get_array()) for axes in figure.axes if axes.images]
    np.testing.assert_allclose(product, masked_average_pool(features, masks)[0].T.numpy(), rtol=1e-5)
