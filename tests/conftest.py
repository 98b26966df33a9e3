import os

# Tests are many and small: threads would only wait for each other, and a process with threads cannot fork safely.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings

settings.register_profile("fsft", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("fsft")


@pytest.fixture
def book_figures():
    """The book's style, and no figure left open."""
    import matplotlib.pyplot as plt

    from fsft.figures import plots

    plots.style()
    yield
    plt.close("all")
