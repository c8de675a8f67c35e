"""``CrossTaskLoss`` in a training loop of one's own, around a network that is not ours."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from properties import TASKS, random_batch, rewrite_withheld
from torch import Tensor, nn

from mtpsl.batch import Batch
from mtpsl.methods.base import Terms, supervised_terms
from mtpsl.models import build_backbone
from mtpsl.models._torchvision import import_torchvision
from mtpsl.papers.xtc.loss import CrossTaskLoss
from mtpsl.papers.xtc.method import XTC, two_views

TWO = TASKS.subset(("semseg", "depth"))


class PlainNet(nn.Module):
    """torchvision's ResNet-18 up to one of its layers, and a 1x1 convolution a task."""

    def __init__(self, layers: int = 4) -> None:
        super().__init__()
        resnet = import_torchvision("models.resnet").resnet18(weights=None)
        self.encoder = nn.Sequential(*list(resnet.children())[: 4 + layers])
        self.channels = 64 * 2 ** (layers - 1)
        self.heads = nn.ModuleDict({t.name: nn.Conv2d(self.channels, t.channels, 1) for t in TWO})

    def forward(self, images: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        features = self.encoder(images)
        raw = {name: head(features) for name, head in self.heads.items()}
        return {name: F.interpolate(m, images.shape[2:]) for name, m in raw.items()}, features


def partly_labeled(**args) -> Batch:
    return random_batch(TWO, **{"images": 4, "side": 64} | args)


def fresh(layers: int = 4, **options) -> tuple[PlainNet, CrossTaskLoss]:
    torch.manual_seed(0)
    net = PlainNet(layers)
    return net.train(), CrossTaskLoss(TWO, net.channels, **options).train()


def cross_task(net: PlainNet, loss: CrossTaskLoss, batch: Batch) -> tuple[Terms, list[Tensor]]:
    """The terms, and the gradient of their sum in the encoder and in the mapping network."""
    torch.manual_seed(1)  # of the Gumbel noise
    terms = loss(*net(batch.images), batch)
    weights = [*net.encoder.parameters(), *loss.parameters()]
    total = torch.stack(list(terms.values())).sum()
    if not total.requires_grad:
        return terms, []
    return terms, list(torch.autograd.grad(total, weights, materialize_grads=True))


def test_a_plain_loop_lowers_the_loss() -> None:
    net, loss = fresh()
    groups = [{"params": net.parameters()}, *loss.param_groups(lr=1e-2)]
    optimizer, totals = torch.optim.SGD(groups, lr=1e-2), []
    whole = partly_labeled(labeled=dict.fromkeys(TWO.names, torch.ones(4, dtype=torch.bool)))
    ids, meters = whole.targets["semseg"], whole.targets["depth"]
    labels = {"semseg": [ids[0], ids[1], None, None], "depth": [None, None, *meters[2:]]}
    batch = Batch.from_targets(whole.images, labels, TWO)
    for _ in range(4):
        torch.manual_seed(1)
        predictions, features = net(batch.images)
        terms = supervised_terms(TWO, predictions, batch) | loss(predictions, features, batch)
        optimizer.zero_grad()
        sum(terms.values()).backward()
        optimizer.step()
        totals.append(sum(terms.values()).item())
    assert tuple(terms) == (*TWO.names, "cross_task", "regularizer")
    assert totals[3] < totals[0]


@pytest.mark.parametrize("layers", [1, 2, 3, 4])
@pytest.mark.parametrize(
    ("mapping", "fits"), [("resnet18", False), ("resnet18", True), ("segnet", True)]
)
def test_features_of_any_stride_have_a_gradient(layers: int, mapping: str, fits: bool) -> None:
    stride = 2 ** (layers + 1)
    net, loss = fresh(layers, mapping=mapping, reduction=stride if fits else 32)
    terms, gradients = cross_task(net, loss, partly_labeled())
    assert all(term > 0 and term.shape == () for term in terms.values())
    assert all(g.isfinite().all() for g in gradients)
    encoder = len(list(net.encoder.parameters()))
    assert all(g.any() for g in gradients[:encoder]) and any(g.any() for g in gradients[encoder:])


def test_an_odd_size_and_small_predictions_are_brought_to_the_features() -> None:
    net, loss = fresh()
    batch = partly_labeled(side=72)  # features of 3 x 3
    predictions, features = net(batch.images)
    small = {name: maps[..., ::4, ::4] for name, maps in predictions.items()}
    assert features.shape[2:] == (3, 3)
    assert all(term > 0 for term in loss(small, features, batch).values())


def test_withheld_labels_never_reach_a_gradient() -> None:
    batch = partly_labeled()
    assert batch.targets["depth"].isnan().flatten(1).all(1).sum() == 2
    terms, gradients = cross_task(*fresh(), batch)
    others, same = cross_task(*fresh(), rewrite_withheld(batch, TWO))
    assert gradients and all(g.isfinite().all() for g in gradients)
    assert all(torch.equal(terms[name], others[name]) for name in terms)
    assert all(torch.equal(g, s) for g, s in zip(gradients, same, strict=True))


def test_a_batch_without_pairs_is_exactly_zero() -> None:
    batch = partly_labeled()
    nothing = dict.fromkeys(TWO.names, torch.zeros(4, dtype=torch.bool))
    terms, _ = cross_task(*fresh(), replace(batch, labeled=nothing))
    assert terms["cross_task"].item() == terms["regularizer"].item() == 0


def test_options_of_a_user() -> None:
    net, loss = fresh(ramp_up=0.5, regularize=False, film_lr=0.1, film_step=None)
    batch = partly_labeled()
    maps = net(batch.images)
    assert loss(*maps, batch, progress=0.0)["cross_task"] == 0
    assert tuple(loss(*maps, batch)) == ("cross_task",)
    rest, film = loss.param_groups(1e-3)
    assert film["lr"] == pytest.approx(1e-4) and "step_size" not in film
    assert len(rest["params"]) + len(film["params"]) == len(list(loss.parameters()))
    _, plain = fresh(condition=False)
    assert len(plain.param_groups(1e-3)) == 1


@pytest.mark.parametrize("per_image_mean", [False, True])
def test_the_method_is_this_loss(per_image_mean: bool) -> None:
    """A loss of one's own with the method's weights, on what the method's network predicts."""
    torch.manual_seed(0)
    options = {"weight": 1.5, "regularizer": 0.7, "per_image_mean": per_image_mean}
    method = XTC(TASKS, build_backbone("segnet", 0.125), **options).train()
    loss = CrossTaskLoss(TASKS, 64, mapping="segnet", **options).train()
    loss.load_state_dict(method.loss.state_dict())
    views = random_batch(seed=0), random_batch(seed=1)
    torch.manual_seed(1)
    terms = method.training_step(*views, progress=0.5)
    torch.manual_seed(1)
    first, last, features = two_views(method.net, views)
    supervised = supervised_terms(TASKS, first, views[0], per_image_mean=per_image_mean)
    expected = supervised | loss(last, features, views[1], progress=0.5)
    assert tuple(terms) == tuple(expected)
    assert all(torch.equal(terms[name], expected[name]) for name in terms)


def test_weights_of_the_method_are_listed_once_where_saved_runs_have_them() -> None:
    method = XTC(TASKS, build_backbone("segnet", 0.125))
    names = [name for name, _ in method.named_parameters(remove_duplicate=False)]
    assert {name.split(".")[0] for name in names} == {"net", "mapping"}
    assert len(names) == len({id(p) for p in method.parameters()})
    assert method.loss.mapping is method.mapping


def test_what_does_not_fit_is_refused() -> None:
    net, loss = fresh()
    batch = partly_labeled()
    predictions, features = net(batch.images)
    semseg, depth = predictions["semseg"], predictions["depth"]
    for maps, says in (
        ({"semseg": semseg}, r"predictions: expected the tasks .*add \['depth'\]"),
        ({"semseg": semseg, "dpth": depth}, "got .*'dpth'"),
        ({"semseg": semseg[:, 1:], "depth": depth}, r"'semseg'\]: expected \(4, 5, H, W\)"),
        ({"semseg": semseg, "depth": depth[:, 0]}, r"'depth'\]: expected \(4, 1, H, W\)"),
    ):
        with pytest.raises(ValueError, match=says):
            loss(maps, features, batch)
    for wrong in (features[:, 1:], features[:3], features[0]):
        with pytest.raises(ValueError, match=r"features: expected \(4, 512, h, w\), got \("):
            loss(predictions, wrong, batch)
    with pytest.raises(ValueError, match="batch: expected the tasks"):
        loss(predictions, features, replace(batch, targets={}))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"mapping": "vgg"}, "mapping: expected 'segnet', 'resnet18' or a MappingNet, got 'vgg'"),
        ({"reduction": 14}, "mapping: expected a reduction of 4, 8, 16 or 32, got 14"),
        ({"mapping": "segnet", "reduction": 64}, "expected a reduction of 4, 8, 16 or 32, got 64"),
        ({"distance": "far"}, "distance: expected one of"),
    ],
)
def test_unknown_options_are_refused(options: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        CrossTaskLoss(TWO, 64, **options)
