"""The floor of a table is what its constant answers score."""

import math

import pytest
import torch

from mtpsl.data import open_dataset
from mtpsl.report.records import constant_guess, typical_pixel
from mtpsl.tasks import semseg


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> tuple:
    cache = tmp_path_factory.mktemp("cache")
    size = {"height": 32, "width": 32, "images": 4, "cache_dir": cache}
    return tuple(open_dataset("rooms13", split, **size) for split in ("train", "test"))


def test_constant_guess_is_what_its_answers_score(rooms: tuple) -> None:
    train, test = rooms
    found = constant_guess(train, test)
    seen, asked = train.load(range(4)), test.load(range(4))

    meters = seen.targets["depth"][seen.valid["depth"]].median()
    error = (asked.targets["depth"] - meters).abs()[asked.valid["depth"]].double().mean()
    assert found["depth/abs_err"] == pytest.approx(error.item(), rel=1e-5)

    ids = seen.targets["semseg"][seen.valid["semseg"]]
    right = (asked.targets["semseg"][asked.valid["semseg"]] == ids.mode().values).double().mean()
    assert found["semseg/pixel_acc"] == pytest.approx(right.item())
    assert 0 < found["normals/mean_err"] < 90


def test_a_class_without_pixels_is_never_the_guess() -> None:
    answer = typical_pixel(semseg(("a", "b", "c")), [FakeBatch()])
    assert answer.argmax() == 2 and answer.shape == (3,) and not math.isnan(answer.sum())


class FakeBatch:
    targets = {"semseg": torch.tensor([[[[2, 2, 1, 255]]]])}

    def mask(self, task: str) -> torch.Tensor:
        return self.targets[task] != 255
