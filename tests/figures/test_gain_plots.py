"""The figures of gains draw the frames that they are given; those of the committed results fit into their pictures."""

import numpy as np
import pandas as pd
import pytest

from fsft.evidence import chapters, tables
from fsft.evidence.ledger import load_results
from fsft.figures import gain_plots


def texts(fig):
    return [text.get_text() for ax in fig.axes for text in ax.texts]


def test_a_forest_sets_ours_beside_the_papers_and_says_what_it_leaves_out():
    rows = [("paper", "ResNet-56", 0.8, 0.4, 1.2, 0), ("exact", "ResNet-56", 1.1, np.nan, np.nan, 0)]
    rows += [("reduced", f"S{n}: resnet20", -float(n), -n - 1, 1 - n, 12 - n) for n in range(1, 12)]
    fig, alt = gain_plots.forest(
        pd.DataFrame(rows, columns=["side", "label", "gain", "low", "high", "rank"]), "FSFT-SI"
    )
    shown = [label.get_text() for label in fig.axes[0].get_yticklabels()]
    assert shown == ["ResNet-56", *(f"S{n}: resnet20" for n in range(4, 12))]  # the lowest ranks, in their order
    assert "Paper: ResNet-56 +0.80 (interval +0.40 to +1.20)." in alt
    assert "Ours, the paper's recipe: ResNet-56 +1.10 (one run, no interval)." in alt
    assert alt.endswith("3 more settings are in the tables.")


def test_a_map_has_a_tile_for_every_cell_and_a_frame_where_the_interval_is_clear():
    columns = ["images", "epochs", "mode", "scale", "gain", "clear", "seeds", "text"]
    rows = [
        (100, 10, "si", 1.0, -5.0, False, "1", "-5.00 (one seed each)"),
        (100, 30, "si", 1.0, 2.0, True, "2, 3", "+2.00 (2 and 3 seeds)"),
        (500, 10, "si", 1.0, np.nan, False, "", "not run"),
    ]
    fig, alt = gain_plots.gain_map(pd.DataFrame(rows, columns=columns))
    assert sorted(texts(fig)) == ["+2.00\nn = 2, 3", "-5.00\nn = 1", "not run", "not run"]
    assert [patch.get_linewidth() for patch in fig.axes[0].patches].count(3) == 1
    assert "100 images per class × 30 epochs +2.00 (2 and 3 seeds); 1 not run." in alt


@pytest.mark.parametrize("mode", ["si", "ag", "sd"])
def test_the_committed_results_fit_into_their_pictures(mode):
    """The check is that of the fixture: nothing of a figure is cut."""
    ledger = load_results()
    assert len(gain_plots.forest(tables.forest_frame(ledger, mode), mode)[1]) > 100
    if mode == "si":
        gain_plots.gain_map(chapters.cells_frame(ledger))
