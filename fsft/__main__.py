"""``python -m fsft``: the same as the command ``fsft``."""

import sys

from fsft.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
