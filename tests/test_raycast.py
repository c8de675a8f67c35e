"""Analytic ray casting: against closed forms, worked by hand where that is short."""

import numpy as np
import pytest
import torch
from acceptance import shared

from mtpsl.data.scenes.raycast import (
    BOX,
    CYLINDER,
    FAR,
    SPHERE,
    Camera,
    Shapes,
    built,
    intersect,
    make_rays,
    occluded,
    trace,
)


def vector(*columns):
    return tuple(torch.tensor([float(c)]) for c in columns)


@pytest.mark.parametrize("kind", [BOX, SPHERE, CYLINDER])
def test_straight_hit_from_five_away_is_at_four(kind):
    t = intersect(kind, (0.0, 0.0, -5.0), vector(0, 0, 1))
    assert t.item() == pytest.approx(4.0)


@pytest.mark.parametrize("kind", [BOX, SPHERE, CYLINDER])
@pytest.mark.parametrize("direction", [(0, 0, -1), (0, 1, 0), (1, 0, 1)])
def test_a_miss_is_far(kind, direction):
    assert intersect(kind, (0.0, 0.0, -5.0), vector(*direction)).item() == np.float32(FAR)


def test_oblique_hits_by_hand():
    # Box from (3, 0, -5) along (-1, 0, 1): at t = 4 the ray is at (-1, 0, -1), an edge; start
    # half a meter to the left and it meets the plane x = 1 outside, z = -1 at x = -1.5: a miss.
    assert intersect(BOX, (2.5, 0.0, -5.0), vector(-1, 0, 1)).item() == np.float32(FAR)
    assert intersect(BOX, (3.5, 0.0, -5.0), vector(-1, 0, 1)).item() == pytest.approx(4.0)
    # Sphere along x = 0.6: the surface is at z = -0.8.
    assert intersect(SPHERE, (0.6, 0.0, -5.0), vector(0, 0, 1)).item() == pytest.approx(4.2)
    # Cylinder from above: its cap at y = -1, inside radius 1 and outside.
    assert intersect(CYLINDER, (0.5, -4.0, 0.0), vector(0, 1, 0)).item() == pytest.approx(3.0)
    assert intersect(CYLINDER, (1.5, -4.0, 0.0), vector(0, 1, 0)).item() == np.float32(FAR)


def test_a_room_is_left_not_entered():
    t = intersect(BOX, (0.0, 0.0, 0.5), vector(0, 0, 1), starts_inside=True)
    assert t.item() == pytest.approx(0.5)


def test_sphere_and_box_match_closed_forms():
    assert shared.sphere_error() < shared.EXACT
    assert shared.box_error() < shared.EXACT


def stage(*shapes):
    """Shapes (kind, center, half) in a room of 20 m around a level camera."""
    halves = np.array([[10.0] * 3, *(s[2] for s in shapes)])
    centers = np.array([[0.0] * 3, *(s[1] for s in shapes)])
    linear = np.stack([np.diag(1 / h) for h in halves]).astype(np.float32)
    return Shapes(
        np.array([BOX, *(s[0] for s in shapes)]), linear, (-centers / halves).astype(np.float32)
    )


@pytest.mark.parametrize("per_pixel", [1, 2])
def test_center_samples_are_the_same_at_every_rate(per_pixel):
    camera = Camera(np.zeros(3), np.eye(3), 0.8)
    shapes = stage((SPHERE, (0.5, 0.2, 4), (1, 2, 1)), (CYLINDER, (-1, 0, 3), (0.3, 1, 0.3)))
    rays = make_rays(camera, 24, 32, per_pixel)
    once = trace(shapes, make_rays(camera, 24, 32, 1))
    hits = trace(shapes, rays)
    assert rays.centers(hits.depth).shape == (24, 32)
    assert torch.equal(rays.centers(hits.depth), once.depth[1:-1, 1:-1])
    assert torch.allclose(rays.tent(torch.full(rays.shape, 0.25)), torch.full((24, 32), 0.25))


def test_culling_changes_nothing():
    """Every ray against every shape, without rectangles."""
    rng = np.random.default_rng(0)
    shapes = stage(
        *((k % 3, rng.uniform(-3, 3, 3) - [0, 0, 1], rng.uniform(0.1, 0.9, 3)) for k in range(40))
    )
    rotation = np.array([[0.8, 0.0, 0.6], [0.0, 1.0, 0.0], [-0.6, 0.0, 0.8]])
    rays = make_rays(Camera(np.array([0.1, 0.2, -4.0]), rotation, 0.8), 30, 40, 1)
    hits = trace(shapes, rays)
    best = torch.full(rays.shape, FAR)
    origin = torch.tensor([0.1, 0.2, -4.0])
    for p in range(len(shapes)):
        linear, offset = torch.from_numpy(shapes.linear[p]), torch.from_numpy(shapes.offset[p])
        local = torch.einsum("ij,jhw->ihw", linear, torch.stack(rays.direction))
        start = (linear @ origin + offset).tolist()
        best = torch.minimum(best, intersect(int(shapes.kind[p]), start, tuple(local), p == 0))
    assert len(hits.shape.unique()) > 8
    assert torch.allclose(hits.depth, best, atol=1e-4)


def test_shadow_of_a_ball_is_a_disk():
    # A light 4 m above the ground and a ball of radius 1 half way: on the ground the shadow's
    # radius is 4 tan(asin(1 / 2)) = 2.309 m.
    shapes = stage((SPHERE, (0, -2, 0), (1, 1, 1)))
    x = torch.tensor([0.0, 1.0, 2.28, 2.34, 5.0])
    points = (x, torch.zeros(5), torch.zeros(5))
    lights = (torch.zeros(5), torch.full((5,), -4.0), torch.zeros(5))
    hidden = occluded(shapes, [[1]], points, lights, np.array([0.0, -4.0, 0.0]), 0.1)
    assert hidden.tolist() == [True, True, True, False, False]


def test_level_of_detail_by_hand():
    # Focal length 0.8 of 40 columns: at a depth of 4 m a length of 1 m takes 8 pixels.
    near = (BOX, (0, 0, 4), (0.15, 0.05, 0.001))  # 2.4 x 0.8 pixels: built
    far = (BOX, (0, 0, 8), (0.15, 0.05, 0.001))  # 1.2 x 0.4 pixels: too small
    thin = (CYLINDER, (0, 0, 8), (0.001, 2, 0.001))  # 16 pixels high
    beside = (SPHERE, (0, 0, -0.5), (0.1, 0.1, 0.1))  # behind the camera, which may cast a shadow
    shapes, camera = stage(near, far, thin, beside), Camera(np.zeros(3), np.eye(3), 0.8)
    one = np.zeros(5, dtype=np.int64)
    assert built(shapes, one, camera, 30, 40).tolist() == [True, True, False, True, True]
    assert built(shapes, one, camera, 60, 80).tolist() == [True] * 5
    # An instance of its own, the first is 2.4 pixels in all: not enough.
    alone = np.arange(5)
    assert built(shapes, alone, camera, 30, 40).tolist() == [True, False, False, True, True]


def test_what_is_not_built_is_not_hit():
    rays = make_rays(Camera(np.zeros(3), np.eye(3), 0.8), 30, 40, 1)
    shapes = stage((SPHERE, (0, 0, 4), (1, 1, 1)))
    assert set(trace(shapes, rays).shape.unique().tolist()) == {0, 1}
    assert set(trace(shapes, rays, np.array([True, False])).shape.unique().tolist()) == {0}
