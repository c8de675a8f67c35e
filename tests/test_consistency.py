from dataclasses import replace

import pytest
import torch
from properties import TASKS, random_batch

from mtpsl.batch import Geometry
from mtpsl.data.transforms import draw_geometry, warp_batch
from mtpsl.methods.baselines import SemiSupervised, comparable, crop_predictions
from mtpsl.models import build_backbone
from mtpsl.tasks import saliency


def build(**args) -> SemiSupervised:
    torch.manual_seed(0)
    return SemiSupervised(TASKS, build_backbone("segnet", 0.125), **args)


def views(flip: bool = False):
    """A batch as two views: the second cut from the first."""
    generator = torch.Generator().manual_seed(0)
    first = warp_batch(random_batch(), draw_geometry(generator, 4, 32, 32, flip=flip), TASKS)
    crop = draw_geometry(generator, 4, 32, 32, flip=flip, scales=(1.5,))
    return first, warp_batch(first, crop, TASKS)


def test_loss_by_hand():
    """One task, two images: only the one without label counts."""
    method = build()
    batch = random_batch(images=2, labeled={n: torch.tensor([True, True]) for n in TASKS.names})
    labeled = {**batch.labeled, "depth": torch.tensor([True, False])}
    batch = replace(batch, labeled=labeled)
    maps = {t.name: torch.zeros(2, t.channels, 32, 32) for t in TASKS}
    moved = {**maps, "depth": torch.tensor([5.0, 3.0]).view(2, 1, 1, 1).expand(2, 1, 32, 32)}
    assert method.consistency(maps, moved, batch, batch).item() == pytest.approx(3**2 / 2)


@pytest.mark.parametrize("flip", [False, True])
def test_predictions_are_cropped_like_labels(flip):
    """A smooth depth and a constant direction, as predicted, agree with the warped labels."""
    first, second = views(flip)
    ramp = torch.linspace(1, 2, 32).view(1, 1, 1, 32).expand(4, 1, 32, 32)
    normal = torch.tensor([0.6, 0.0, 0.8]).view(1, 3, 1, 1).expand(4, 3, 32, 32)
    maps = {"semseg": torch.zeros(4, 5, 32, 32), "depth": ramp, "normals": normal}
    found = crop_predictions(TASKS, maps, first, second)
    scale = (second.geometry.scale / first.geometry.scale).view(-1, 1, 1, 1)
    assert (scale > 1.4).all()
    mirrored = second.geometry.flip ^ first.geometry.flip
    sign = torch.where(mirrored, -1.0, 1.0).view(-1, 1, 1)
    torch.testing.assert_close(found["normals"][:, 0], 0.6 * sign.expand(4, 32, 32))
    steps = (found["depth"] * scale).diff(dim=3)  # a ramp stays one, slower by the zoom
    expected = sign.unsqueeze(1) / 31 * (second.geometry.box[:, 3] - 1).view(-1, 1, 1, 1)
    expected = expected / (first.geometry.box[:, 3] - 1).view(-1, 1, 1, 1)
    torch.testing.assert_close(steps, expected.expand_as(steps), rtol=1e-2, atol=1e-4)


def test_a_network_that_commutes_with_cropping_has_no_loss():
    first, second = views()
    whole = {t.name: torch.full((4, t.channels, 32, 32), 0.3) for t in TASKS}
    whole["normals"] = torch.nn.functional.normalize(whole["normals"], dim=1)
    crop = crop_predictions(TASKS, whole, first, second)
    assert build().consistency(whole, crop, first, second).item() == pytest.approx(0, abs=1e-10)


def test_both_predictions_learn_unless_told_otherwise():
    first, second = views()
    for stop in (False, True):
        method = build(stop_gradient=stop)
        maps = [
            {t.name: torch.rand(4, t.channels, 32, 32, requires_grad=True) for t in TASKS}
            for _ in range(2)
        ]
        method.consistency(*maps, first, second).backward()
        assert (maps[0]["depth"].grad is None) == stop
        assert maps[1]["depth"].grad.flatten(1).any(1).tolist() == [True, False, True, True]


def test_the_papers_division():
    batch = random_batch()
    maps = [{t.name: torch.rand(4, t.channels, 32, 32) for t in TASKS} for _ in range(2)]
    plain = build().consistency(*maps, batch, batch)
    divided = build(per_image_mean=True).consistency(*maps, batch, batch)
    torch.testing.assert_close(divided, plain / 2)  # one label of three: |U_n| = 2


def test_full_labels_and_identical_views_give_zero():
    full = random_batch(labeled={n: torch.ones(4, dtype=torch.bool) for n in TASKS.names})
    torch.manual_seed(0)
    assert build().train().training_step(*views(), progress=0.0)["consistency"] > 0
    assert build().train().training_step(full, full, progress=0.0)["consistency"] == 0


def test_errors_are_those_of_probabilities():
    logits = torch.tensor([0.0, 0.0]).view(1, 2, 1, 1)
    assert comparable(TASKS["semseg"], logits).flatten().tolist() == [0.5, 0.5]
    assert comparable(saliency(), torch.zeros(1, 1, 1, 1)).item() == 0.5
    assert comparable(TASKS["depth"], logits) is logits


def test_the_clean_image_needs_no_geometry():
    batch = random_batch()
    geometry = Geometry(torch.zeros(4, 4), torch.ones(4), torch.zeros(4, dtype=torch.bool))
    maps = {t.name: torch.rand(4, t.channels, 32, 32) for t in TASKS}
    assert crop_predictions(TASKS, maps, batch, replace(batch, geometry=geometry)) is maps
