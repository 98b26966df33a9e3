"""``python -m fsft``: the same as the command ``fsft``."""

import sys

from fsft.cli import command

if __name__ == "__main__":
    sys.exit(command())
