"""One run in several processes, as ``torchrun`` starts them: they share the batches of a step.

A step's gradient is the mean over ``accumulate`` batches. Here every process trains its part of
them, and the parts are added up. So an experiment has one key and one result, whether one process
trains it or four: only the order of sums differs. Running statistics of BatchNorm become what they
would be if the batches had come in turn.
"""

import math
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, TypeVar, final

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

Result = TypeVar("Result")


def processes() -> int:
    """How many share this run; 1 where nobody started several."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def is_first() -> bool:
    """Whether this process writes and reports for all."""
    return processes() == 1 or dist.get_rank() == 0


@contextmanager
def joined(device: torch.device) -> Iterator[torch.device]:
    """Inside, this process shares its run with the others that ``torchrun`` started, if any.

    Args:
        device: A CPU, which all processes share, or a GPU, in whose place each takes its own.

    Yields:
        The device of this process.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield device
    finally:
        dist.destroy_process_group()


def agree(compute: Callable[[], Result]) -> Result:
    """What the first process computes, in all of them; the others wait."""
    if processes() == 1:
        return compute()
    result: list[Any] = [compute() if is_first() else None]
    dist.broadcast_object_list(result)
    return result[0]


def first_alone(compute: Callable[[], Result]) -> Result:
    """What every process computes for itself, the others when the first one has finished."""
    if is_first():
        result = compute()
    if processes() > 1:
        dist.barrier()
    return result if is_first() else compute()


def add_up(values: dict[str, float]) -> dict[str, float]:
    """Sums of numbers with the same name, over all processes."""
    if processes() == 1:
        return values
    parts: list[Any] = [None] * processes()
    dist.all_gather_object(parts, values)
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: math.fsum(part.get(name, 0.0) for part in parts) for name in names}


@final
class Division:
    """Who trains which batches of a step, and how the parts are put together.

    Each process trains neighboring batches, the first process the first of them.

    Args:
        method: The one that is trained, with the same weights in all processes.
        accumulate: Batches of a step.

    Raises:
        ValueError: If ``accumulate`` cannot be divided among the processes.
    """

    def __init__(self, method: nn.Module, accumulate: int) -> None:
        self.count = processes()
        if accumulate % self.count:
            raise ValueError(
                f"accumulate: expected a multiple of {self.count}, the number of processes, got "
                f"{accumulate}; each trains so many batches of a step"
            )
        self.share, self.accumulate = accumulate // self.count, accumulate
        if self.count == 1:
            return
        norms = [m for m in method.modules() if isinstance(m, _NormBase)]
        self.norms = [m for m in norms if m.running_mean is not None]
        self.calls = torch.zeros(len(self.norms), dtype=torch.int64)  # of a step, in training
        for number, norm in enumerate(self.norms):
            norm.register_forward_hook(lambda m, *_, number=number: self._count(m, number))
        self.buffers = {name: (now, now.clone()) for name, now in method.named_buffers()}

    def trains(self, batch: int) -> bool:
        """Whether this process trains the batch of that number in its epoch."""
        if self.count == 1:
            return True
        return batch % self.accumulate // self.share == dist.get_rank()

    def batches(self, loader: Any, epoch: int, done: int) -> Iterator[Any]:
        """The batches of an epoch that this process trains, but for the first ``done`` of all."""
        if self.count == 1:
            return islice(loader.epoch(epoch), done, None)
        return iter(loader.epoch(epoch, [i for i in range(done, loader.steps) if self.trains(i)]))

    @torch.no_grad()
    def combine(self, parameters: Iterable[nn.Parameter]) -> None:
        """Adds up the gradients of all processes, and makes their running statistics one.

        Raises:
            ValueError: If training a batch has changed any other buffer.
        """
        if self.count == 1:
            return
        parameters = list(parameters)
        used = torch.stack([p.new_tensor(float(p.grad is not None)) for p in parameters])
        dist.all_reduce(used)
        parameters = [p for p, n in zip(parameters, used.tolist(), strict=True) if n]
        own = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
        total = torch.cat([gradient.flatten() for gradient in own])
        dist.all_reduce(total)
        for p, part in zip(parameters, total.split([p.numel() for p in parameters]), strict=True):
            p.grad = torch.empty_like(p).copy_(part.view_as(p))  # laid out as the parameter
        self._combine_statistics()

    def _combine_statistics(self) -> None:
        """r -> d r + c of all processes, one after the other; d is the decay of all calls of each.

        Counters are added up.
        """
        calls = [torch.zeros_like(self.calls) for _ in range(self.count)]
        dist.all_gather_object(calls, self.calls)
        rank = dist.get_rank()
        decays = {}  # of a tensor of statistics: in this process, in later ones, in all
        for norm, *each in zip(self.norms, *(c.tolist() for c in calls), strict=True):
            numbers = each[rank], sum(each[rank + 1 :]), sum(each)
            for tensor in (norm.running_mean, norm.running_var):
                decays[tensor.data_ptr()] = [(1 - norm.momentum) ** n for n in numbers]
        for name, (now, then) in self.buffers.items():
            here, later, every = decays.get(now.data_ptr(), (1, 1, 1))
            if now.data_ptr() not in decays and not name.endswith("num_batches_tracked"):
                if not torch.equal(now, then):
                    raise ValueError(
                        "processes: expected a method that remembers nothing of a batch, got one "
                        f"that changes {name!r}; train it in one process"
                    )
                continue
            now.sub_(then * here).mul_(later)
            dist.all_reduce(now)
            then.copy_(now.add_(then * every))
        self.calls.zero_()

    def _count(self, norm: nn.Module, number: int) -> None:
        self.calls[number] += norm.training
