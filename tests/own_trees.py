"""A small folder of one's own with every task, and one missing label of each."""

from pathlib import Path

import numpy as np
from PIL import Image

H, W = 24, 32
CLASSES = ("wall", "floor", "chair")
TOML = """
[semseg]
classes = ["wall", "floor", "chair"]

[depth]

[normals]

[human_parts]

[saliency]

[edges]
"""
TASKS = ("semseg", "depth", "normals", "human_parts", "saliency", "edges")
TRAIN = ("a room", "chambre à coucher", "c", "d", "e", "f", "g")
TEST = ("x", "y")


def content(name, split):
    """Task -> (H, W) or (H, W, 3) array as the file has it; and the photograph."""
    rng = np.random.default_rng([*f"{split}/{name}".encode()])
    big = lambda low, high: np.kron(  # noqa: E731
        rng.integers(low, high, (H // 4, W // 4)), np.ones((4, 4), dtype=int)
    )
    normals = rng.normal(size=(H, W, 3)).astype(np.float32)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    normals[0] = 0
    semseg = big(0, 3)
    semseg[0] = 255
    saliency = np.where(big(0, 2) > 0, 255, 0)
    saliency[0] = 128
    depth = big(500, 5000)
    depth[0] = 0
    return {
        "image": rng.integers(0, 256, (H, W, 3)).astype(np.uint8),
        "semseg": semseg.astype(np.uint8),
        "depth": depth.astype(np.uint16),
        "normals": normals,
        "human_parts": big(0, 7).astype(np.uint8),
        "saliency": saliency.astype(np.uint8),
        "edges": np.where(big(0, 5) > 3, 255, 0).astype(np.uint8),
    }


def missing(number):
    """The tasks whose label the image at that number lacks."""
    return {TASKS[number % len(TASKS)]} if number < len(TASKS) else set()


def write_own(root, tasks=TASKS, toml=None, train=TRAIN, test=TEST):
    """Writes the folder; image i lacks the label of task i."""
    root = Path(root)
    root.mkdir(parents=True, exist_ok=True)
    if toml is None:
        blocks = TOML.strip().split("\n\n")
        toml = "\n".join(b for b in blocks if b.splitlines()[0][1:-1] in tasks)
    (root / "mtpsl.toml").write_text(toml, encoding="utf-8")
    for split, names in (("train", train), ("test", test)):
        for number, name in enumerate(names):
            for what, array in content(name, split).items():
                if what == "image" or (what in tasks and what not in missing(number)):
                    write(root / split / what / name, array)
    return root


def write(place, array):
    """With the ending that fits."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if array.dtype.kind == "f":
        np.save(place.with_name(f"{place.name}.npy"), array)
    else:
        Image.fromarray(array).save(place.with_name(f"{place.name}.png"))
