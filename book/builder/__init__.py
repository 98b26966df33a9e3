"""The book's steps, which `make book` runs: execute the notebooks, stage the sources, check the pages.

`executing` runs one notebook with papermill, `publishing` makes its outputs fit for a page, `staging` puts the sources
of Jupyter Book together, `downloads` makes the notebooks that the pages offer, `extras` what stands beside the pages,
`checking` looks at committed notebooks and at built pages. It needs a repository around it, so it is no part of the
package; it may import all of that, and nothing there imports it.
"""


class BookError(RuntimeError):
    """The book cannot be built; the message says where and why."""
