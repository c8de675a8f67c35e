"""How a method's loss terms become the one scalar that a step minimizes.

A *weighting* gives every objective a weight. Objectives are the terms named like a task, as the
method weighted them; its other terms (consistency, pseudo labels) always have weight 1. Weights
average 1 over the tasks in every rule but ``Uncertainty``, so that the balance between objectives
and other terms stays the method's.

Partially labeled batches: an objective without a label in the batch is exactly 0 and has no
gradient. It is left out of that step: a rule's statistics do not see it, and a learned weight has
no gradient from it, though the optimizer's momentum from earlier steps may still move that one.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn

from mtpsl.registry import AboveZero, NonNegative, Positive, look_up, require_known
from mtpsl.tasks import TaskSet

TINY = 1e-12  # keeps quotients finite where a task has no label
FLOOR = 1e-3  # GradNorm's smallest weight: an optimizer's step could make one negative


class Weighting(nn.Module, ABC):
    """Loss terms -> the scalar to differentiate; learned weights are its parameters.

    What it learns or remembers lives in parameters and buffers: the engine optimizes, saves and
    restores them with the network.

    Args:
        tasks: Whose terms are the objectives, in the order of every vector of weights, (T,).
    """

    needs_shared: ClassVar[bool] = False  # whether it compares the tasks' gradients
    settings: ClassVar[tuple[str, ...]] = ()  # attributes that a run's checkpoint names
    lr: float | None = None  # of learned weights; None: the network's

    def __init__(self, tasks: TaskSet) -> None:
        super().__init__()
        self.names = tasks.names
        self.used: list[Tensor] = []  # of this epoch: sums of weights, and in how many steps

    @abstractmethod
    def forward(self, terms: Mapping[str, Tensor], shared: Sequence[nn.Parameter]) -> Tensor:
        """The scalar whose gradient trains the network, and the weights if they are learned.

        Args:
            terms: Scalars of one step; some tasks may be missing.
            shared: ``Method.shared_parameters``, in the order of the forward pass; may be empty
                where ``needs_shared`` is False.
        """

    def param_groups(self, lr: float) -> list[dict[str, Any]]:
        """Groups for the optimizer; ``lr`` is the network's.

        Weight decay would pull weights to a value that means nothing.
        """
        learned, own = list(self.parameters()), lr if self.lr is None else self.lr
        return [{"params": learned, "lr": own, "weight_decay": 0.0}] if learned else []

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={getattr(self, name)}" for name in self.settings)

    def after_step(self) -> None:
        """Runs after the optimizer step."""

    def after_epoch(self, means: Mapping[str, float]) -> dict[str, float]:
        """Learns from the epoch's mean terms.

        Returns:
            The weights that were in use, as means over the steps in which the task had a label;
            0 for a task that had none. Empty for a rule without weights.
        """
        if not self.used:
            return {}
        total, steps = self.used
        self.used = []
        return dict(zip(self.names, (total / steps.clamp(min=1)).tolist(), strict=True))

    def losses(self, terms: Mapping[str, Tensor]) -> Tensor:
        """(T,) values of the objectives without gradient; 0 where there is no label, or no term."""
        like = next(iter(terms.values()))
        values = [terms[n] if n in terms else torch.zeros_like(like) for n in self.names]
        return torch.stack([value.detach().float() for value in values])

    def combine(self, terms: Mapping[str, Tensor], weights: Tensor, active: Tensor) -> Tensor:
        """Sum of the terms, objectives times their weights (T,); ``active`` (T,) is for the log."""
        step = [weights.detach() * active, active.float()]
        self.used = [a + b for a, b in zip(self.used, step, strict=True)] if self.used else step
        weight = dict(zip(self.names, weights, strict=True))
        return sum(weight[n] * term if n in weight else term for n, term in terms.items())

    def gradients(
        self, terms: Mapping[str, Tensor], parameters: Sequence[nn.Parameter]
    ) -> list[tuple[Tensor, ...]]:
        """T times the gradient of an objective in every parameter; the graph stays.

        One backward pass per objective, each through its own head only.
        """
        return [
            torch.autograd.grad(terms[n], parameters, retain_graph=True, materialize_grads=True)
            if n in terms and terms[n].requires_grad
            else tuple(torch.zeros_like(p) for p in parameters)
            for n in self.names
        ]


@final
class Uniform(Weighting):
    """Every term as the method weighted it: their plain sum."""

    def forward(self, terms: Mapping[str, Tensor], shared: Sequence[nn.Parameter]) -> Tensor:
        return sum(terms.values())


@final
class Uncertainty(Weighting):
    """Weights from a learned variance per task: sum of L / (2 e^s) + s / 2 [Kendall18].

    Alex Kendall, Yarin Gal, Roberto Cipolla. Multi-Task Learning Using Uncertainty to Weigh Losses
    for Scene Geometry and Semantics. CVPR 2018. arXiv:1705.07115. The same form for every kind of
    loss and the start are those of the released code of MTAN. s / 2 counts only in steps in which
    the task has a label; otherwise every other step would raise a rarely labeled task's weight.

    Args:
        initial: s at the start, the log of the variance.
        lr: Learning rate of s; None for the network's.
    """

    settings = ("initial", "lr")

    def __init__(
        self, tasks: TaskSet, *, initial: float = -0.5, lr: NonNegative | None = None
    ) -> None:
        super().__init__(tasks)
        self.initial, self.lr = initial, lr
        self.s = nn.Parameter(torch.full((len(tasks),), initial))

    def forward(self, terms: Mapping[str, Tensor], shared: Sequence[nn.Parameter]) -> Tensor:
        active = self.losses(terms) != 0
        return self.combine(terms, 0.5 * (-self.s).exp(), active) + (active * self.s).sum() / 2


@final
class GradNorm(Weighting):
    """Weights that make all tasks train at similar rates [Chen18].

    Zhao Chen, Vijay Badrinarayanan, Chen-Yu Lee, Andrew Rabinovich. GradNorm: Gradient
    Normalization for Adaptive Loss Balancing in Deep Multitask Networks. ICML 2018.
    arXiv:1711.02257. Symbols of the paper: ``G`` is the norm of w_i times task i's gradient in the
    last shared layer, ``r`` the inverse training rate relative to the mean over tasks. G moves
    towards mean(G) r^alpha along the gradient of the absolute difference, in w alone.

    Args:
        alpha: Strength of the pull back to a common rate; 1.5 on NYUv2 in the paper.
        lr: Learning rate of w; None for the network's. At that one, short runs would end before the
            weights move.
        start: Labeled batches whose mean is L_i(0). 1 is the paper's; but in partially labeled
            data the loss of one batch says more about how many of its images are labeled.
    """

    needs_shared, settings = True, ("alpha", "lr", "start")

    def __init__(
        self,
        tasks: TaskSet,
        *,
        alpha: float = 1.5,
        lr: NonNegative | None = 0.025,
        start: Positive = 32,
    ) -> None:
        super().__init__(tasks)
        self.alpha, self.lr, self.start = alpha, lr, start
        self.w = nn.Parameter(torch.ones(len(tasks)))
        self.register_buffer("first", torch.zeros(len(tasks)))  # L(0)
        self.register_buffer("count", torch.zeros(len(tasks)))  # batches in it

    def forward(self, terms: Mapping[str, Tensor], shared: Sequence[nn.Parameter]) -> Tensor:
        layer = [p for p in shared if p.ndim > 1][-1]  # no normalization, no bias
        norms = torch.stack([g.float().norm() for (g,) in self.gradients(terms, [layer])])
        losses = self.losses(terms)
        active = (losses != 0) & (norms != 0)
        new = active & (self.count < self.start)
        self.count += new
        self.first += new * (losses - self.first) / self.count.clamp(min=1)

        def mean(values: Tensor) -> Tensor:
            return (active * values).sum() / active.sum().clamp(min=1)

        rate = losses / self.first.clamp(min=TINY)  # L~
        r = rate / mean(rate).clamp(min=TINY)
        target = mean(self.w.detach() * norms) * r**self.alpha
        distance = (self.w * norms - target).abs()  # |G - target|
        return self.combine(terms, self.w.detach(), active) + (active * distance).sum()

    @torch.no_grad()
    def after_step(self) -> None:
        """Makes the weights sum to T again."""
        self.w.clamp_(min=FLOOR)
        self.w.mul_(len(self.w) / self.w.sum())


@final
class MGDA(Weighting):
    """Weights of the shortest convex combination of the tasks' gradients [Sener18].

    Ozan Sener, Vladlen Koltun. Multi-Task Learning as Multi-Objective Optimization. NeurIPS 2018.
    arXiv:1810.04650. The min-norm point comes from TorchJD, with the limits of the authors' code;
    as there, weights act on the heads, too. Theirs sum to 1. Here they are multiplied by the
    number of labeled tasks: Adam would not notice, but a method's other terms would.

    Costs a backward pass through the backbone for every task, and on a GPU makes every step wait
    once, for the T x T products of gradients.

    Raises:
        ImportError: If TorchJD is not installed.
    """

    needs_shared = True

    def __init__(self, tasks: TaskSet) -> None:
        super().__init__(tasks)
        try:
            from torchjd.aggregation import MGDAWeighting
        except ImportError as error:
            raise ImportError(
                "weighting: expected the package torchjd for 'mgda', got none; "
                "run pip install -c constraints.txt torchjd"
            ) from error
        self.min_norm = MGDAWeighting(epsilon=1e-5, max_iters=250)

    def forward(self, terms: Mapping[str, Tensor], shared: Sequence[nn.Parameter]) -> Tensor:
        gradients = zip(*self.gradients(terms, shared), strict=True)  # by parameter
        rows = (torch.stack([g.flatten() for g in tasks]) for tasks in gradients)
        products = sum(row @ row.T for row in rows).cpu()  # there the solver need not wait
        active = products.diagonal() != 0
        weights = torch.zeros(len(self.names))
        if active.any():
            solution = self.min_norm(products[active][:, active].double())
            weights[active] = solution.float() * active.sum()
        device = next(iter(terms.values())).device
        return self.combine(terms, weights.to(device), active.to(device))


@final
class DWA(Weighting):
    """Weights from how fast the loss fell in the last two epochs: dynamic weight average [Liu19].

    Shikun Liu, Edward Johns, Andrew J. Davison. End-to-End Multi-Task Learning with Attention.
    CVPR 2019. arXiv:1803.10704. T softmax(r / temperature), r = L(e - 1) / L(e - 2) of the epochs'
    mean losses; 1 in the first two epochs.

    Args:
        temperature: Larger ones make weights more equal; 2 in the paper.
    """

    settings = ("temperature",)

    def __init__(self, tasks: TaskSet, *, temperature: AboveZero = 2.0) -> None:
        super().__init__(tasks)
        self.temperature = temperature
        self.register_buffer("weights", torch.ones(len(tasks)))
        self.register_buffer("before", torch.zeros(len(tasks)))  # the last epoch's mean losses

    def forward(self, terms: Mapping[str, Tensor], shared: Sequence[nn.Parameter]) -> Tensor:
        return self.combine(terms, self.weights, self.losses(terms) != 0)

    def after_epoch(self, means: Mapping[str, float]) -> dict[str, float]:
        used = super().after_epoch(means)
        now = self.before.new_tensor([means.get(name, 0.0) for name in self.names])
        r = torch.where(self.before > 0, now / self.before.clamp(min=TINY), 1.0)
        self.weights.copy_(len(r) * (r / self.temperature).softmax(0))
        self.before.copy_(now)
        return used


WEIGHTINGS: dict[str, type[Weighting]] = {
    "uniform": Uniform,
    "uncertainty": Uncertainty,
    "gradnorm": GradNorm,
    "mgda": MGDA,
    "dwa": DWA,
}


def build_weighting(name: str, tasks: TaskSet, args: Mapping[str, Any] | None = None) -> Weighting:
    """Builds a fresh weighting; nothing in it is random.

    Args:
        name: A key of ``WEIGHTINGS``.
        tasks: The tasks of the method it will weigh.
        args: Keyword arguments of its constructor.

    Raises:
        ValueError: If the name or an argument is unknown, suggesting the nearest.
        ImportError: If it needs a package that is not installed.
    """
    weighting = look_up("weighting", name, WEIGHTINGS)
    require_known("weighting_args", weighting, args or {})
    return weighting(tasks, **dict(args or {}))
