"""What people21 has to fulfill: exact geometry, and enough of every class, part and region."""

from collections.abc import Sequence
from pathlib import Path

import torch
from acceptance import probes, shared
from acceptance.shared import Finding, between

from mtpsl.batch import Batch
from mtpsl.data.scenes import people21
from mtpsl.data.scenes.people21 import changes, thin
from mtpsl.data.scenes.render import surface

BACKGROUND = (0.62, 0.76)  # share of labeled pixels; 0.734 in VOC, whose subjects are smaller
VOID = (0.02, 0.08)  # share of pixels without a class, 0.055 in VOC
LEAST_PIXELS, LEAST_IMAGES = 0.3, 3.0  # percent, of every class
PEOPLE = (0.42, 0.58)  # share of images with a person; 0.30 in VOC, where there are more images
FOREGROUND = (0.6, 0.85)  # intersection over union of saliency and all classes but background
NORMALS = (0.3, 0.65)  # share of pixels with a normal: regions known from rooms only
EDGES = (0.02, 0.08)  # share of pixels on an edge, at 128x128

# Without edges, whose metric matches pixels one by one: eight of the twenty ordered pairs of tasks
# have no probe. Edges are checked against the geometry instead.
LADDER = probes.Ladder(
    tasks=people21.TASKS.subset(("semseg", "human_parts", "normals", "saliency")),
    text="mIoU {:.1%}, parts {:.1%}, normals {:.1f} deg, saliency {:.1%}",
    perfect={"semseg": 0.95, "human_parts": 0.95, "normals": 2.0, "saliency": 0.95},
    most=0.20,
    gain=1.4,
)


def acceptance_report(
    device: torch.device | str = "cpu", cache_dir: str | Path | None = None
) -> list[Finding]:
    """All acceptance tests, the probe ladder included: about ten minutes on two cores."""
    dataset = people21.People21("test", height=128, width=128, images=800, cache_dir=cache_dir)
    batches = shared.in_batches(dataset)
    train, test = (
        people21.People21(split, height=64, width=64, images=n, cache_dir=cache_dir)
        .load(range(n))
        .to(device)
        for split, n in (("train", 1000), ("test", 200))
    )
    ladder = probes.ladder(LADDER, train, test)
    return [*geometry(), *class_shares(batches), *people(batches), *maps(batches), *ladder]


def geometry(scenes: int = 8) -> list[Finding]:
    """The shared geometry checks on the first scenes of the test split, and the edges."""
    pictures = [people21.People21.scene("test", i)[0] for i in range(scenes)]
    seen = [surface(p, 256, 256) for p in pictures]
    off = sum(int((thin(lines) & ~lines).sum()) for lines in (changes(s.classes) for s in seen))
    return [
        *shared.geometry([(s, p.camera) for s, p in zip(seen, pictures, strict=True)]),
        Finding("edges where no context changes", f"{off} pixels", "0", off == 0),
    ]


def class_shares(batches: Sequence[Batch]) -> list[Finding]:
    """Shares of pixels and images of every class, of the background and of void."""
    pixels, shown, known = torch.zeros(21), torch.zeros(21), torch.zeros(0)
    for batch in batches:
        target, valid = batch.targets["semseg"], batch.valid["semseg"]
        each = torch.stack([(target == c).flatten(1).sum(dim=1) for c in range(21)])
        pixels, shown = pixels + each.sum(dim=1), shown + (each > 0).sum(dim=1)
        known = torch.cat([known, valid.float().flatten(1).mean(dim=1)])
    shares, frequency = 100 * pixels / pixels.sum(), 100 * shown / len(known)
    expected = f">= {LEAST_PIXELS} %, >= {LEAST_IMAGES:.0f} %"
    return [
        *(
            Finding(
                name,
                f"{share:.2f} % of pixels, {often:.1f} % of images",
                expected,
                share >= LEAST_PIXELS and often >= LEAST_IMAGES,
            )
            for name, share, often in zip(
                people21.CLASSES, shares.tolist(), frequency.tolist(), strict=True
            )
        ),
        between("background, closer", float(shares[0]) / 100, *BACKGROUND),
        between("void", 1 - float(known.mean()), *VOID),
    ]


def people(batches: Sequence[Batch]) -> list[Finding]:
    """How often a person is seen, and how the parts of a body compare."""
    pixels, images, shown = torch.zeros(7), 0, 0
    for batch in batches:
        target, valid = batch.targets["human_parts"], batch.valid["human_parts"]
        images, shown = images + len(batch), shown + int(valid[:, 0, 0, 0].sum())
        pixels += torch.bincount(target[valid], minlength=7)
    _, head, torso, upper_arm, lower_arm, upper_leg, lower_leg = (pixels / pixels.sum()).tolist()
    return [
        between("images with a person", shown / images, *PEOPLE),
        between("torso / head", torso / head, 1.3, 3.3),  # about 2 on two real persons
        between("upper leg / upper arm", upper_leg / upper_arm, 1.0, 3.0),
        between("lower leg / upper leg", lower_leg / upper_leg, 0.25, 1.0),  # often cut
        between("least part", min(head, lower_arm, lower_leg), 0.005, 0.1, "{:.3f}"),
    ]


def maps(batches: Sequence[Batch]) -> list[Finding]:
    """Saliency against the foreground, and the shares of edges and normals."""
    both = either = edges = normals = images = 0.0
    for batch in batches:
        known = batch.valid["semseg"]
        foreground = (batch.targets["semseg"] > 0) & known
        salient = (batch.targets["saliency"] > 0) & known
        both += float((foreground & salient).sum())
        either += float((foreground | salient).sum())
        edges += float(batch.targets["edges"].mean()) * len(batch)
        normals += float(batch.valid["normals"].float().mean()) * len(batch)
        images += len(batch)
    return [
        between("IoU of saliency and foreground", both / either, *FOREGROUND),
        between("share of edges", edges / images, *EDGES, "{:.3f}"),
        between("share with normals", normals / images, *NORMALS),
    ]
