"""The one door to torchvision, and to timm, which imports it and which not everybody has.

PyPI's torchvision for Linux is built for CUDA. Beside a CPU-only torch its compiled library
cannot load, and importing it fails with ``operator torchvision::nms does not exist``, because
two Python modules describe operators that the library should have registered. Declaring these
two operators first is enough for networks and transforms; the compiled operators themselves
(nms, roi_align, image decoding) stay unavailable there, and nothing here needs them.
"""

import importlib
from types import ModuleType

import torch

_OPERATORS = ("nms", "qnms")
_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_declared: torch.library.Library | None = None  # operators vanish with the object


def import_torchvision(submodule: str = "") -> ModuleType:
    """Imports torchvision, or one of its submodules, with whatever torch is installed.

    Args:
        submodule: Below ``torchvision``, such as ``"models.resnet"``; empty for the package.

    Raises:
        ImportError: If torchvision is not installed.
        RuntimeError: If it does not fit the installed torch in any other way.
    """
    global _declared
    name = f"torchvision.{submodule}" if submodule else "torchvision"
    try:
        return importlib.import_module(name)
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    _declared = torch.library.Library("torchvision", "DEF")
    for operator in _OPERATORS:
        _declared.define(operator + _SCHEMA)
    return importlib.import_module(name)


def import_optional(module: str) -> ModuleType:
    """Imports timm, or Hugging Face's client that it brings along, or a submodule of them.

    Args:
        module: Its full name, such as ``"timm.models.hrnet"``.

    Raises:
        ImportError: If the package or what it needs is not installed.
    """
    import_torchvision()  # timm does not know what to do beside a CPU-only torch
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ImportError(
            f"{module.partition('.')[0]}: expected the package to be installed for this backbone, "
            f"got no module {error.name!r}; run pip install -c constraints.txt timm"
        ) from error
