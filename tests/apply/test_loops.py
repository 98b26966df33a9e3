"""The four loops of chapter 15 run as they are printed there."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from torch import distributed

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "notebooks" / "15_your_own_model.ipynb"


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    """The blocks of the chapter that begin with the name of a file, as files."""
    folder = tmp_path_factory.mktemp("loops")
    text = "\n".join("".join(cell["source"]) for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"])
    for name, code in re.findall(r"^```python\n# (\w+\.py)\b.*?\n(.*?)^```$", text, re.M | re.S):
        (folder / name).write_text(code, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("script", "needs", "start"),
    [
        ("plain.py", "torch", []),
        ("lightning_loop.py", "lightning", []),
        ("accelerate_loop.py", "accelerate", []),
        ("two_processes.py", "torch", ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]),
    ],
)
def test_each_loop_trains_and_answers(scripts, script, needs, start):
    pytest.importorskip(needs)
    if start and not (distributed.is_available() and distributed.is_gloo_available()):
        pytest.skip("no gloo")
    code = (scripts / script).read_text(encoding="utf-8")
    assert "fsft.joint_loss(" in code and "fsft.predict(" in code
    surroundings = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, *start, script], cwd=scripts, env=surroundings, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr[-3000:]
    answers = re.findall(r"(loss [\d.]+|10 steps), (\d+) of 100 right", done.stdout)
    assert len(answers) == 1 and 0 <= int(answers[0][1]) <= 100, done.stdout
