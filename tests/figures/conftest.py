import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pytest

from fsft.figures import plots


@pytest.fixture(autouse=True)
def nothing_is_cut():
    """The book's style; and of every figure that a test draws, all that is visible lies inside the picture."""
    plt.close("all")  # what tests of other rooms have drawn, in another style
    plots.style()
    yield
    for fig in map(plt.figure, plt.get_fignums()):
        fig.canvas.draw()
        # A twentieth of an inch more, for the oldest matplotlib that is allowed sets its letters a little wider.
        drawn, (width, height) = fig.get_tightbbox(), fig.get_size_inches()
        assert min(drawn.x0, drawn.y0) > -0.05 and drawn.x1 < width + 0.05 and drawn.y1 < height + 0.05, (
            f"{drawn.extents} inches, in a figure of {width} by {height}: "
            f"{[text.get_text() for text in fig.findobj(matplotlib.text.Text) if text.get_text()][:5]}"
        )
    plt.close("all")
