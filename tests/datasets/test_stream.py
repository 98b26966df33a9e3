"""Batches of images decoded by workers: the same whatever the workers, the order, and the moment of the start."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

import pytest
import torch
from fine_grained import declare_official, write_cub
from PIL import Image
from torchvision.transforms import v2

from fsft.cli.main import main
from fsft.datasets.reading import DataError
from fsft.datasets.registry import load_split
from fsft.datasets.sets import file_set
from fsft.datasets.stream import (
    Samples,
    WorkerLostError,
    as_shown,
    batches,
    evaluation_transform,
    image_seed,
    training_transform,
    worker_lost,
)
from fsft.maps.scores import box_masks


@pytest.fixture
def files(tmp_path, monkeypatch):
    declare_official(monkeypatch)
    write_cub(tmp_path)
    return load_split("cub200", "train", tmp_path)


def draw(files, seed=0, epoch=0, size=32):
    return Samples(files, training_transform(size), seed, epoch)


def test_an_image_depends_on_seed_epoch_and_index_alone(files):
    first = draw(files)[1][0]
    samples = draw(files)
    samples[2], samples[0]
    torch.rand(5)
    assert torch.equal(samples[1][0], first)
    others = [draw(files, seed=1)[1][0], draw(files, epoch=1)[1][0], Samples(files, evaluation_transform(32))[1][0]]
    assert all(other.shape == first.shape and not torch.equal(other, first) for other in others)


def test_the_global_random_state_is_left_alone(files):
    before = torch.get_rng_state()
    draw(files)[0]
    list(batches(draw(files), [[0, 1]], workers=0))
    assert torch.equal(torch.get_rng_state(), before)


def test_seeds_do_not_collide():
    seeds = [image_seed(seed, epoch, index) for seed in range(4) for epoch in range(4) for index in range(100)]
    assert len(set(seeds)) == len(seeds) and all(0 <= seed < 2**63 for seed in seeds)


def test_workers_change_nothing_and_a_later_start_neither(files):
    plan = [[2, 0], [1, 2], [0, 1]]
    alone = list(batches(draw(files), plan, workers=0))
    helped = list(batches(draw(files), plan, workers=2))
    resumed = list(batches(draw(files), plan[1:], workers=1))
    for (images, labels), (other_images, other_labels) in zip(alone + alone[1:], helped + resumed, strict=True):
        assert torch.equal(images, other_images) and torch.equal(labels, other_labels)
    assert [labels.tolist() for _, labels in alone] == [files.labels[indices].tolist() for indices in plan]


def test_a_signal_to_the_group_does_not_end_workers(files):
    """A terminal's Ctrl-C reaches every process of a run, which still has to save its state."""
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # instead of a run's handler
            found = batches(draw(files), [[0, 1]] * 20, workers=2)
            seen = [next(found) for _ in range(4)]  # both workers are at work now
            os.killpg(0, signal.SIGTERM)
            seen += list(found)
            os._exit(0 if len(seen) == 20 else 3)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_evaluation_is_torchvisions_recipe(files):
    image = Image.open(files.root / files.names[0]).convert("RGB")
    expected = v2.Compose([v2.Resize(256), v2.CenterCrop(224), v2.PILToTensor()])(image)
    images, _ = next(batches(Samples(files, evaluation_transform(224)), [[0, 1], [2]], workers=0))
    assert images.dtype == torch.uint8 and torch.equal(images[0], expected)


def test_without_crop_and_flip_training_images_are_the_tests(files):
    plain = Samples(files, training_transform(32, crop=False, flip=False), seed=0)
    assert torch.equal(plain[0][0], Samples(files, evaluation_transform(32))[0][0])


def test_flips_are_fair(files):
    straight = Samples(files, evaluation_transform(32))[0][0]
    seen = [Samples(files, training_transform(32, crop=False), 0, epoch)[0][0] for epoch in range(60)]
    kept = sum(torch.equal(image, straight) for image in seen)
    assert kept + sum(torch.equal(image, straight.flip(-1)) for image in seen) == 60
    assert 15 < kept < 45


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_image_is_one_sentence_even_from_a_worker(files, workers):
    (files.root / files.names[1]).write_bytes(b"no image")
    with pytest.raises(DataError) as error:
        list(batches(draw(files), [[0, 1]], workers=workers))
    assert str(error.value).startswith(f"{files.root / files.names[1]}: expected an image file")
    assert "\n" not in str(error.value)


class Deadly(Samples):
    def __getitem__(self, index):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_dies_is_one_sentence_that_says_what_to_do(files):
    """PyTorch may notice it in the loader, or in whatever the main process is doing then."""
    with pytest.raises((RuntimeError, OSError)) as error:
        list(batches(Deadly(files, evaluation_transform(32)), [[0, 1]], workers=1))
    lost = error.value if isinstance(error.value, WorkerLostError) else worker_lost(error.value)
    assert "\n" not in str(lost) and "found one dead (DataLoader worker (pid" in str(lost)
    assert all(part in str(lost) for part in ("--workers 0", "/dev/shm", "goes on from its last checkpoint"))
    assert worker_lost(RuntimeError("Caught ValueError in DataLoader worker process 0.")) is None


def test_the_command_line_says_that_a_worker_has_died(monkeypatch, capsys):
    def train(*_, **__):
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")

    monkeypatch.setattr("fsft.training.train", train)
    assert main(["train", "table4/cub200/fsft"]) == 1
    assert capsys.readouterr().err.startswith("fsft: expected processes that decode images, found one dead (DataLoader")


def test_boxes_are_cut_with_their_images(tmp_path):
    """A white rectangle on black, in wide and in high images: the box still frames it after resizing and cutting."""
    boxes = [(30, 20, 80, 60), (10, 50, 90, 100), (0, 0, 70, 40)]
    for number, (x0, y0, x1, y1) in enumerate(boxes):
        image = Image.new("RGB", [(140, 100), (100, 160), (200, 100)][number])
        image.paste((255, 255, 255), (x0, y0, x1, y1))
        image.save(tmp_path / f"{number}.png")
    names = [f"{number}.png" for number in range(3)]
    data = replace(file_set("boxes", "test", tmp_path, names, [0, 0, 0], ["a"], boxes, "write it again"), image_size=64)
    shown = as_shown(data)
    expected = Samples(data, evaluation_transform(64))
    for index in range(3):
        assert torch.equal(shown.images[index], expected[index][0])
        inside = box_masks(shown.boxes[index : index + 1], 64, 64)[0]
        white = shown.images[index].float().mean(0) / 255
        assert white[inside].mean() > 0.9 and white[~inside].mean() < 0.05
    assert shown.boxes[2, 0] == 0, "what the cut left out is no part of the box"
    assert as_shown(shown) is shown


def test_selected_files_keep_what_belongs_to_them(files):
    chosen = files.select(torch.tensor([2, 0]))
    assert chosen.names == (files.names[2], files.names[0]) and torch.equal(chosen.boxes[1], files.boxes[0])
    assert torch.equal(as_shown(chosen).images, as_shown(files).images[[2, 0]])
