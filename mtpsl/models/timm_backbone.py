"""HRNet and vision transformers from timm, the backbones of later papers [RDC, TPKR].

Jingdong Wang, Ke Sun, Tianheng Cheng, Borui Jiang, Chaorui Deng, Yang Zhao, Dong Liu, Yadong Mu,
Mingkui Tan, Xinggang Wang, Wenyu Liu, Bin Xiao. Deep High-Resolution Representation Learning for
Visual Recognition. TPAMI 2021. arXiv:1908.07919

Alexey Dosovitskiy et al. An Image is Worth 16x16 Words: Transformers for Image Recognition at
Scale. ICLR 2021. arXiv:2010.11929

RDC names its backbones "HRNet18", whose released code is ``hrnet_w18_small_v2`` with ImageNet
weights and images that are not normalized (``mean=(0, 0, 0), std=(1, 1, 1)``), and "ViT-Large",
inside another paper's network. TPKR has a table with a ViT-L baseline, and no settings for it.

timm is an optional dependency: only building one of these asks for it.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtpsl.models._torchvision import import_optional
from mtpsl.models.backbone import (
    Features,
    pointwise_head,
    require_multiples,
    require_positive,
    scale_channels,
)
from mtpsl.models.pretrained import HUB, load_pretrained
from mtpsl.registry import look_up

HEAD_DIM = 64  # channels of an attention head, in transformers of every size
VIT_HEADS = {"vit_base_patch16_224": 12, "vit_large_patch16_224": 16}
VIT_HEAD_WIDTH = 256  # between the two convolutions of SETR-Naive
DEPTHS = 4  # how many maps of a transformer are handed on, evenly spaced, the last one included


class TimmBackbone(nn.Module, ABC):
    """A network of timm's that normalizes its images itself.

    Args:
        name: timm's, without the tag of its weights.
        width_factor: Multiplies channel counts; 1 is the published network.
        weights: None for random weights; ``"pretrained"`` for timm's own choice, or the name of
            others of timm's (``"hrnet_w18.ms_in1k"``, ``"vit_base_patch16_224.dino"``); a
            repository on Hugging Face with weights of timm (``"hf-hub:<owner>/<name>"``), or a
            local file; see ``load_pretrained``.
        weights_sha256: Hex digest that the file must have; empty to skip the check.
        mean: Red, green and blue, subtracted from images. None: the one that the weights named
            were trained with; for a file, a repository and random weights that of
            ``"pretrained"``. Weights of transformers differ in it.
        std: By which images are divided then; None as for ``mean``.

    Raises:
        ImportError: If timm is not installed.
        ValueError: If an argument makes no sense, or the weights do not fit.
        Damaged: If the file is not the one with that digest.
        ConnectionError: If the weights are not on this machine and cannot be downloaded.
    """

    reduction: int  # image size / size of ``Features.bottleneck``
    stride: int  # image size / size of ``Features.decoder``
    classifier: tuple[str, ...]  # prefixes of the names of weights that are left out

    def __init__(
        self,
        name: str,
        width_factor: float = 1.0,
        *,
        weights: str | None = None,
        weights_sha256: str = "",
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        require_positive(width_factor)
        self.width_factor = width_factor
        self.net = self.create(name)
        timm = import_optional("timm")
        tags = timm.list_pretrained(f"{name}.*")
        config = timm.get_pretrained_cfg(weights if weights in tags else name)
        for what, given, known in (("mean", mean, config.mean), ("std", std, config.std)):
            values = known if given is None else given
            if len(values) != 3:
                raise ValueError(f"{what}: expected a number for red, green and blue, got {values}")
            # Saved with a run: they depend on its start.
            self.register_buffer(what, torch.tensor(values, dtype=torch.float32).view(3, 1, 1))
        self.pretrained = load_pretrained(
            self.net,
            weights,
            published_weights(name),
            sha256=weights_sha256,
            skip=self.classifier,
            convert=self.convert,
        )

    @abstractmethod
    def create(self, name: str) -> nn.Module:
        """timm's network with random weights; sets the channels of a ``Backbone``."""

    def convert(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weights as they were read -> with the names and shapes of ``net``."""
        return state


@final
class HRNet(TimmBackbone):
    """Four branches, at 1/4 to 1/32 of the image, that exchange what they see all the time.

    The heads read all branches at 1/4, joined by their channels, as HRNet's own segmentation head
    and multi-task networks on HRNet do. The bottleneck is the coarsest branch.

    Args:
        name: timm's, such as ``"hrnet_w18"``: 9,562,260 parameters without its classifier;
            ``"hrnet_w18_small_v2"`` has 3,860,720.
        width_factor: Multiplies the channels of all branches and of the first stage (at least 8).
            1 is the published network.
        **start: As for ``TimmBackbone``.
    """

    reduction = 32  # the coarsest branch
    stride = 4
    classifier = ("incre_modules.", "downsamp_modules.", "final_layer.", "classifier.")

    def create(self, name: str) -> nn.Module:
        config = look_up("name", name, import_optional("timm.models.hrnet").cfg_cls)

        def scaled(channels: int) -> int:
            """Not in multiples of 8, unlike ``scale_channels``: HRNet-W18 has 18 channels."""
            return max(8, round(channels * self.width_factor))

        def scaled_stage(stage: Mapping[str, Any]) -> dict[str, Any]:
            return {**stage, "num_channels": tuple(map(scaled, stage["num_channels"]))}

        net = import_optional("timm").create_model(
            name,
            features_only=True,
            feature_location="",  # before the layers that only the classifier reads
            out_indices=(1, 2, 3, 4),
            stem_width=scaled(config["stem_width"]),
            **{f"stage{i}": scaled_stage(config[f"stage{i}"]) for i in (1, 2, 3, 4)},
        )
        self.stage_channels = tuple(net.feature_info.channels())
        self.channels, self.bottleneck_channels = sum(self.stage_channels), self.stage_channels[-1]
        return net

    def forward(self, images: Tensor) -> Features:
        """(B, 3, H, W) in [0, 1] -> features; H and W must be multiples of 32.

        Decoder (B, sum of channels, H / 4, W / 4), bottleneck (B, C, H / 32, W / 32), stages the
        four branches.

        Raises:
            ValueError: If they are not.
        """
        require_multiples(images, self.reduction)
        stages = self.net((images - self.mean) / self.std)
        size = stages[0].shape[2:]
        coarse = (F.interpolate(s, size, mode="bilinear", align_corners=False) for s in stages[1:])
        return Features(
            decoder=torch.cat([stages[0], *coarse], dim=1),
            bottleneck=stages[-1],
            stages=tuple(stages),
        )

    def build_head(self, out: int) -> nn.Module:
        """A fresh head: ``Features.decoder`` -> (B, out, H / 4, W / 4), before ``activate``."""
        return pointwise_head(self.channels, out, hidden=self.channels)


@final
class ViT(TimmBackbone):
    """A plain vision transformer on patches of 16x16 pixels; the heads read its last map.

    Maps at four depths are handed on, all through the network's last normalization. There is no
    decoder: a head is two 1x1 convolutions at 1/16 of the image, SETR-Naive of [Zheng et al., CVPR
    2021, arXiv:2012.15840]. Position embeddings are learned for 14x14 patches and interpolated to
    any other grid (bicubic, as timm does), so every image size and every file fits.

    Args:
        name: A key of ``VIT_HEADS``. Base has 85,798,656 parameters without its classifier, Large
            303,301,632.
        width_factor: Multiplies the heads of its attention (rounded, at least 1), and by them all
            channels: a head has 64. Half of Base is the published ViT-S, a quarter ViT-Ti.
        **start: As for ``TimmBackbone``.
    """

    reduction = 16
    stride = 16
    classifier = ("head.",)

    def create(self, name: str) -> nn.Module:
        heads = max(1, round(look_up("name", name, VIT_HEADS) * self.width_factor))
        width = heads * HEAD_DIM
        net = import_optional("timm").create_model(
            name, num_classes=0, embed_dim=width, num_heads=heads, dynamic_img_size=True
        )
        blocks = len(net.blocks)
        self.depths = [blocks * (i + 1) // DEPTHS - 1 for i in range(DEPTHS)]
        self.channels = self.bottleneck_channels = width
        self.head_channels = scale_channels(VIT_HEAD_WIDTH, self.width_factor)
        self.stage_channels = (width,) * DEPTHS
        return net

    def convert(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Resamples position embeddings of another grid."""
        return import_optional("timm.models.vision_transformer").checkpoint_filter_fn(
            state, self.net
        )

    def forward(self, images: Tensor) -> Features:
        """(B, 3, H, W) in [0, 1] -> features; H and W must be multiples of 16.

        The same map (B, C, H / 16, W / 16) as decoder and bottleneck, and the last of four stages
        of that shape.

        Raises:
            ValueError: If they are not.
        """
        require_multiples(images, self.reduction)
        stages = self.net.forward_intermediates(
            (images - self.mean) / self.std, self.depths, norm=True, intermediates_only=True
        )
        return Features(decoder=stages[-1], bottleneck=stages[-1], stages=tuple(stages))

    def build_head(self, out: int) -> nn.Module:
        """A fresh head: ``Features.decoder`` -> (B, out, H / 16, W / 16), before ``activate``."""
        return pointwise_head(self.channels, out, self.head_channels)


def published_weights(name: str) -> dict[str, str]:
    """What timm knows of weights of one of its networks: name -> place, for ``load_pretrained``."""
    timm = import_optional("timm")
    tags = {tag: tag for tag in timm.list_pretrained(f"{name}.*")} | {"pretrained": name}
    places = {tag: timm.get_pretrained_cfg(known).hf_hub_id for tag, known in tags.items()}
    return {tag: HUB + place for tag, place in places.items() if place}
