"""Small copies of NYUD-v2 in every layout, all of the same scenes."""

import math

import h5py
import numpy as np
import scipy.io
from PIL import Image

H, W = 36, 48
OURS = ((0, 1, 2), (1, 1, 1))
LADICKY = ((2, 1, 0), (1, 1, 1))  # channels (z, y, x)
TO_13 = (12, 5, 6, 1, 4, 9, 10, 12, 13, 6, 8, 6, 13, 10, 6, 13, 6, 7, 7, 5)
TO_13 += (7, 3, 2, 6, 11, 7, 7, 7, 7, 7, 7, 6, 7, 7, 7, 7, 7, 7, 6, 7)


def scene(i, height=H, width=W):
    """image (H, W, 3) uint8, forty (H, W) with 0 void to 40, depth (H, W) m and unit normals."""
    rng = np.random.default_rng(i)
    image = np.repeat(np.repeat(rng.integers(0, 256, (6, 8, 3)), 6, 0), 6, 1)[:height, :width]
    forty = np.repeat(np.repeat(rng.integers(0, 41, (6, 8)), 6, 0), 6, 1)[:height, :width]
    depth, normal = room(0.3 + 0.17 * i, height, width)
    return image.astype(np.uint8), forty, depth.astype(np.float32), normal


def room(yaw, height=H, width=W):
    """Depth and unit normals of a box seen from inside by NYUD-v2's field of view."""
    focal = width / 2 / math.tan(math.radians(31.5))
    v, u = np.mgrid[:height, :width]
    rays = np.stack([(u - (width - 1) / 2) / focal, (v - (height - 1) / 2) / focal, u * 0 + 1], -1)
    c, s = math.cos(yaw), math.sin(yaw)
    turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    planes = [((0, -1, 0), 0.8), ((0, 1, 0), 0.7), ((0, 0, -1), 3), ((1, 0, 0), 1), ((-1, 0, 0), 1)]
    depth, normal = np.full((height, width), np.inf), np.zeros((height, width, 3))
    for inward, distance in planes:
        inward = turn @ np.array(inward, dtype=float)
        closing = -(rays @ inward)
        t = np.where(closing > 1e-6, distance / np.maximum(closing, 1e-6), np.inf)
        normal[t < depth] = inward
        depth = np.minimum(depth, t)
    return depth, normal


def thirteen(forty):
    """(H, W) with -1 for void."""
    return np.array([-1, *(c - 1 for c in TO_13)])[forty]


def in_channels(normal, axes):
    stored = np.zeros_like(normal)
    for axis, (channel, sign) in enumerate(zip(*axes, strict=True)):
        stored[..., channel] = sign * normal[..., axis]
    return stored


def as_bytes(normal):
    """255 (v + 1) / 2, rounded."""
    return np.round((normal + 1) * 127.5).clip(0, 255).astype(np.uint8)


VARIANTS = {  # images, segmentation, depth, normals
    "astmt": (".jpg", ".mat", ".mat", ".jpg"),
    "survey": (".jpg", ".png", ".npy", ".npy"),
    "invpt": (".png", ".png", ".npy", ".png"),
}


def write_archive(root, variant="invpt", train=3, val=2, axes=OURS, names="{:04d}"):
    """NYUD_MT with the file types of a variant; returns ``root``."""
    image_type, label_type, depth_type, normal_type = VARIANTS[variant]
    base = root / "NYUD_MT"
    for folder in ("images", "segmentation", "depth", "normals", "edge", "gt_sets"):
        (base / folder).mkdir(parents=True, exist_ok=True)
    number = 0
    for split, images in (("train", train), ("val", val)):
        ids = [names.format(number + i) for i in range(images)]
        (base / "gt_sets" / f"{split}.txt").write_text("\n".join(ids) + "\n", encoding="utf-8")
        for i, name in enumerate(ids):
            image, forty, depth, normal = scene(number + i)
            normal = in_channels(normal, axes)
            Image.fromarray(image).save(
                base / "images" / (name + image_type), quality=98, subsampling=0
            )
            path = base / "segmentation" / (name + label_type)
            if label_type == ".mat":
                scipy.io.savemat(path, {"segmentation": forty.astype(np.uint8)})
            else:
                Image.fromarray(forty.astype(np.uint8)).save(path)
            path = base / "depth" / (name + depth_type)
            if depth_type == ".mat":
                scipy.io.savemat(path, {"depth": depth})
            else:
                np.save(path, depth)
            path = base / "normals" / (name + normal_type)
            if normal_type == ".npy":
                np.save(path, normal.astype(np.float32))
            else:
                Image.fromarray(as_bytes(normal)).save(path, quality=98, subsampling=0)
        number += images
    return root


def write_pngs(root, train=3, test=2, labels=("seg13", "seg40"), normals=".png", axes=LADICKY):
    """The tree of PNG files, names from 1; returns ``root``."""
    number = 0
    for split, images in (("train", train), ("test", test)):
        for _ in range(images):
            image, forty, depth, normal = scene(number)
            number += 1
            normal = in_channels(normal, axes)
            pictures = {
                "image": image,
                "seg13": np.where(forty == 0, 255, thirteen(forty)).astype(np.uint8),
                "seg40": np.where(forty == 0, 255, forty - 1).astype(np.uint8),
                "depth": (depth * 1e3).astype(np.uint16),
                "normal": as_bytes(normal),
            }
            for folder, array in pictures.items():
                if folder.startswith("seg") and folder not in labels:
                    continue
                if folder == "normal" and normals != ".png":
                    continue
                path = root / "NYUv2" / folder / split / f"{number:05d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(path)
            if normals == ".npy":
                path = root / "NYUv2" / "normal" / split / f"{number:05d}.npy"
                path.parent.mkdir(parents=True, exist_ok=True)
                np.save(path, normal)
    return root


def write_mat(root, images=5, normals=False, mapping13=True, axes=LADICKY):
    """The published file and its companions, as MATLAB stores them; returns ``root``."""
    root.mkdir(parents=True, exist_ok=True)
    scenes = [scene(i) for i in range(images)]
    of_forty = np.array([*range(1, 41), *range(40, 0, -1)])  # class 1 to 80 -> 1 to 40
    with h5py.File(root / "nyu_depth_v2_labeled.mat", "w", userblock_size=512) as file:
        file["images"] = np.stack([s[0].transpose(2, 1, 0) for s in scenes])
        labels = [np.where((s[1] > 0) & (s[0][..., 0] % 2 == 1), 81 - s[1], s[1]) for s in scenes]
        file["labels"] = np.stack([label.T for label in labels]).astype(np.uint16)
        file["depths"] = np.stack([s[2].T for s in scenes])
    with open(root / "nyu_depth_v2_labeled.mat", "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(512))
    train, test = [2, 4, 5][: images - 2], [1, 3]
    columns = {"trainNdxs": np.array(train)[:, None], "testNdxs": np.array(test)[:, None]}
    scipy.io.savemat(root / "splits.mat", {k: v.astype(np.uint16) for k, v in columns.items()})
    mapping = {"mapClass": of_forty.astype(np.uint8)[None], "className": "cell"}
    scipy.io.savemat(root / "classMapping40.mat", mapping)
    if mapping13:
        struct = {"labels13": np.array(TO_13, dtype=np.uint8)[None], "className": "x"}
        scipy.io.savemat(root / "class13Mapping.mat", {"classMapping13": struct})
    if normals:
        for split, numbers in (("train", train), ("test", test)):
            for number in numbers:
                path = root / "nyu_normals_gt" / split / f"{number:05d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(as_bytes(in_channels(scenes[number - 1][3], axes))).save(path)
    return root
