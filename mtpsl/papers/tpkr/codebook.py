"""A codebook of latent knowledge, and the reconstruction that it learns from [TPKR, Eq. 1, 2].

The nearest code of every position is added to the backbone's features. A small decoder rebuilds the
image from the sum; no label is needed. How codes learn is left open by the paper: ``UPDATES``.
"""

from typing import Literal, final, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtpsl.models.backbone import scale_channels, to_size
from mtpsl.models.resnet import MEAN, STD

Update = Literal["gather", "straight_through", "ema"]
Start = Literal["normal", "tokens"]
Target = Literal["unit", "normalized"]

UPDATES: dict[Update, str] = {
    "gather": "f^q are the chosen codes themselves, which so learn from whatever follows; f^e "
    "learns through the sum f^e + f^q",
    "straight_through": "f^q passes its gradient on to f^e; codes move towards the features that "
    "chose them, and features towards their codes at a quarter of that [VQ-VAE]",
    "ema": "as straight_through, but codes are moving averages of the features that chose them",
}
CODES = 4096  # [TPKR, Sec. 4.2]
CHUNK = 2048  # tokens whose distances to all codes are held at once
COMMITMENT, DECAY = 0.25, 0.99  # [van den Oord et al. 2017]
LEAST = 1e-3  # tokens a step that a code must be chosen by to move, under "ema"
HIDDEN = (256, 64)  # channels between the convolutions of the decoder of images


@torch.no_grad()
def nearest_code(tokens: Tensor, codes: Tensor) -> Tensor:
    """(n, c) and (K, c) -> (n,) int64, the code at the smallest Euclidean distance.

    The distances are those of float32, also under autocast, where many would be equal, and at most
    ``CHUNK`` x K of them exist at a time.
    """
    with in_float32(tokens):
        turned, halves = codes.float().T.contiguous(), codes.float().square().sum(1) / 2
        chunks = tokens.float().split(CHUNK)  # |z|^2 / 2 - x z decides as |x - z|^2 does
        return torch.cat([torch.addmm(halves, x, turned, alpha=-1).argmin(1) for x in chunks])


@final
class Codebook(nn.Module):
    """Finds the nearest of its codes for every position of a map [TPKR, Eq. 1].

    Args:
        channels: c, of the features and of a code.
        size: K, how many codes there are.
        update: How codes learn: a key of ``UPDATES``.
        start: Codes begin as noise of variance 1 / c, or as ``"tokens"`` of the first batch.

    Raises:
        ValueError: If an option is unknown.

    Attributes:
        readings: Of the last call, scalars without gradient: the share of codes in use, their
            perplexity, and the mean length of f^q over that of f^e.
    """

    codes: Tensor  # (K, c)
    counts: Tensor  # (K,) moving average of how often a code is chosen; "ema" alone
    sums: Tensor  # (K, c) and of the sum of the features that choose it
    begun: Tensor  # () bool, whether codes have begun as tokens

    def __init__(
        self,
        channels: int,
        size: int = CODES,
        *,
        update: Update = "gather",
        start: Start = "normal",
    ) -> None:
        super().__init__()
        require_one_of("codes", update, Update)
        require_one_of("code_start", start, Start)
        self.update, self.readings = update, dict[str, Tensor]()
        codes = torch.randn(size, channels) * channels**-0.5
        if update == "ema":
            self.register_buffer("codes", codes)
            self.register_buffer("counts", torch.ones(size))
            self.register_buffer("sums", codes.clone())
        else:
            self.codes = nn.Parameter(codes)
        self.tokens = start == "tokens"
        if self.tokens:
            self.register_buffer("begun", torch.zeros((), dtype=torch.bool))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Looks up the nearest codes of a map [TPKR, Eq. 1].

        Args:
            features: f^e, (B, c, h, w).

        Returns:
            f^q of the same shape; a scalar to minimize, 0 unless codes need a loss of their own;
            and the numbers of the codes, (B, h, w) int64.
        """
        tokens = features.permute(0, 2, 3, 1).flatten(0, 2)  # (B h w, c)
        if self.tokens and self.training and not self.begun:
            self._begin(tokens)
        number = nearest_code(tokens, self.codes)
        found = self.look_up(number)
        loss = features.new_zeros((), dtype=torch.float32)
        if self.update != "gather":
            distance = F.mse_loss(tokens.float(), found.detach())
            loss = COMMITMENT * distance
            if self.update == "straight_through":
                loss = loss + F.mse_loss(found, tokens.detach().float())
        if not tokens.is_meta:  # where shapes alone are counted, no code is chosen
            self._read(tokens, number, found)
        if self.update == "ema" and self.training:
            self._average(tokens.detach().float(), number)
        if self.update != "gather":
            found = tokens + (found - tokens).detach()
        shape = len(features), *features.shape[2:]
        return found.unflatten(0, shape).permute(0, 3, 1, 2), loss, number.view(shape)

    def look_up(self, number: Tensor) -> Tensor:
        """Numbers of codes (...) -> the codes (..., c)."""
        return F.embedding(number, self.codes)

    @torch.no_grad()
    def others(self, number: Tensor) -> Tensor:
        """As ``look_up``, but each code in the place of another: (B, h, w) -> (B, c, h, w).

        A loss that stays the same with these does not use the codebook.
        """
        return self.look_up((number + len(self.codes) // 2) % len(self.codes)).movedim(-1, 1)

    @torch.no_grad()
    def _read(self, tokens: Tensor, number: Tensor, found: Tensor) -> None:
        share = number.bincount(minlength=len(self.codes)) / len(number)
        self.readings = {
            "codes_used": (share > 0).float().mean(),
            "code_perplexity": torch.special.entr(share).sum().exp(),
            "code_length": found.norm(dim=1).mean() / tokens.float().norm(dim=1).mean(),
        }

    @torch.no_grad()
    def _begin(self, tokens: Tensor) -> None:
        """Takes tokens as codes, with repetition where there are fewer."""
        chosen = torch.randint(len(tokens), (len(self.codes),), device=tokens.device)
        self.codes.copy_(tokens[chosen])
        if self.update == "ema":
            self.sums.copy_(self.codes)
        self.begun.fill_(True)

    @torch.no_grad()
    def _average(self, tokens: Tensor, number: Tensor) -> None:
        """Moves the averages towards this batch; a code that hardly anybody chooses stays."""
        size = len(self.codes)
        added = torch.zeros_like(self.sums).index_add_(0, number, tokens)
        self.counts.lerp_(number.bincount(minlength=size).float(), 1 - DECAY)
        self.sums.lerp_(added, 1 - DECAY)
        means = self.sums / self.counts.clamp(min=LEAST).unsqueeze(1)
        self.codes.copy_(torch.where(self.counts.unsqueeze(1) > LEAST, means, self.codes))


@final
class Reconstruction(nn.Module):
    """Rebuilds the image from f^i, and compares the two: L_tae [TPKR, Eq. 2].

    Args:
        channels: c.
        target: The image in [0, 1], or ``"normalized"`` by the mean and deviation of ImageNet.
        width_factor: Scales the channels between the convolutions.

    Raises:
        ValueError: If the target is unknown.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, channels: int, target: Target = "unit", width_factor: float = 1.0) -> None:
        super().__init__()
        require_one_of("target", target, Target)
        wide, narrow = (scale_channels(width, width_factor) for width in HIDDEN)
        self.decoder = nn.Sequential(
            nn.Conv2d(channels, wide, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(wide, narrow, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(narrow, 3, 3, padding=1),
        )
        mean, std = (MEAN, STD) if target == "normalized" else ((0.0,) * 3, (1.0,) * 3)
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def forward(self, features: Tensor, images: Tensor) -> Tensor:
        """f^i (B, c, h, w) and images (B, 3, H, W) in [0, 1] -> L_tae, a mean over all pixels."""
        rebuilt = to_size(self.decoder(features), images)  # I^r
        return F.smooth_l1_loss(rebuilt, (images - self.mean) / self.std)  # Eq. (2)


def in_float32(x: Tensor) -> torch.autocast:
    """Inside, autocast leaves tensors on the device of this one alone."""
    return torch.autocast("cpu" if x.is_meta else x.device.type, enabled=False)


def require_one_of(name: str, value: object, choices: object) -> None:
    """Raises ValueError unless a value is one of a ``Literal``."""
    if value not in get_args(choices):
        raise ValueError(f"{name}: expected one of {get_args(choices)}, got {value!r}")
