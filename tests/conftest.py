import os

# Tests are many and small: threads would only wait for each other, and a process with threads cannot fork safely.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from hypothesis import settings

settings.register_profile("fsft", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("fsft")
