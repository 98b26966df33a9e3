"""A run of a few hundred milliseconds: 16 x 16 noise with a colored corner that gives the class away."""

import os
import signal

import torch

from fsft.catalog import profile_recipe
from fsft.datasets.sets import image_set
from fsft.training import train

CLASSES = ("red", "green", "blue", "gray")


def images(split, count):
    generator = torch.Generator().manual_seed(len(split))
    labels = torch.arange(count) % len(CLASSES)
    pixels = torch.randint(0, 256, (count, 3, 16, 16), generator=generator, dtype=torch.uint8)
    for label in range(3):
        pixels[labels == label, label, :8, :8] = 255
    return image_set("tiny", split, pixels.numpy(), labels.numpy(), CLASSES)


def data(train_images=64):
    return images("train", train_images), images("test", 32)


def recipe(method="fsft", **changes):
    settings = {"model": "resnet8", "block": "basic", "epochs": 3, "batch_size": 16, "lr": 0.05}
    return profile_recipe("paper", method).reduced(name=f"tiny/{method}", **{**settings, **changes})


def finished(folder, data):
    """A finished run of one epoch on these sets: recipe, data, and the folders of runs and results."""
    places = {"runs_dir": folder / "runs", "results_dir": folder / "results"}
    train(recipe("fsft", epochs=1), 0, data=data, progress="none", **places)
    return recipe("fsft", epochs=1), data, places


def comparable(result):
    """What must be the same, bit for bit, however often the run was interrupted."""
    history = [{key: value for key, value in entry.items() if key != "seconds"} for entry in result["history"]]
    return history, result["last"], result["best"], result["weights_sha256"]


def stop_after(monkeypatch, steps):
    """SIGTERM this process once it has done ``steps`` steps."""
    done = 0

    def count(self):
        nonlocal done
        done += 1
        if done == steps:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("fsft.runtime.progress.ProgressReport.step", count)
