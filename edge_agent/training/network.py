"""The network: a small encoder, a mask head at half the input's size, and an image head that looks at the mask.

Importing this module imports PyTorch. `graph.py` writes the same network as ONNX; the two change together.
"""

from __future__ import annotations

from typing import Optional, Tuple

import torch
from torch import nn
from torch.nn import functional

#: Channels at 1/2, 1/4, 1/8 and 1/16 of the input's size.
WIDTHS = (16, 24, 48, 72)
DILATIONS = (1, 2, 4)

#: Sides of the windows, in pixels of the mask, whose mean evidence the image head looks at.
WINDOWS = (1, 3, 7)

#: Evidence is a log-odds; beyond this it says nothing more.
LIMIT = 10.0


class ConvBlock(nn.Module):  # type: ignore[misc]  # PyTorch comes without the stubs that mypy is told to skip
    """3x3 convolution, batch normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride, dilation, dilation, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.norm(self.conv(x)))


class Residual(nn.Module):  # type: ignore[misc]  # see ConvBlock
    """Two convolutions beside a short cut; the second one dilated."""

    def __init__(self, width: int, dilation: int = 1) -> None:
        super().__init__()
        self.first = ConvBlock(width, width)
        self.second = ConvBlock(width, width, dilation=dilation)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.second(self.first(x))


class Encoder(nn.Module):  # type: ignore[misc]  # see ConvBlock
    """The image at four sizes."""

    def __init__(self) -> None:
        super().__init__()
        half, quarter, eighth, sixteenth = WIDTHS
        self.stem = ConvBlock(3, half, stride=2)
        self.down1 = ConvBlock(half, quarter, stride=2)
        self.stage1 = Residual(quarter)
        self.down2 = ConvBlock(quarter, eighth, stride=2)
        self.stage2 = Residual(eighth)
        self.down3 = ConvBlock(eighth, sixteenth, stride=2)
        self.stage3 = nn.ModuleList([Residual(sixteenth, dilation) for dilation in DILATIONS])

    def forward(self, x: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        half = self.stem(x)
        quarter = self.stage1(self.down1(half))
        eighth = self.stage2(self.down2(quarter))
        sixteenth = self.down3(eighth)
        for stage in self.stage3:
            sixteenth = stage(sixteenth)
        return half, quarter, eighth, sixteenth


class Merge(nn.Module):  # type: ignore[misc]  # see ConvBlock
    """Bring a coarse map to twice its size and refine it with the encoder's map of that size."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(inputs, outputs, 1)
        self.refine = ConvBlock(outputs, outputs)

    def forward(self, coarse: torch.Tensor, fine: torch.Tensor) -> torch.Tensor:
        return self.refine(fine + functional.interpolate(self.narrow(coarse), scale_factor=2, mode="nearest"))


class MaskHead(nn.Module):  # type: ignore[misc]  # see ConvBlock
    """Logits of the pixel classes at half the input's size."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        half, quarter, eighth, sixteenth = WIDTHS
        self.merge3 = Merge(sixteenth, eighth)
        self.merge2 = Merge(eighth, quarter)
        self.merge1 = Merge(quarter, half)
        self.logits = nn.Conv2d(half, classes, 1)

    def forward(self, maps: Tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]) -> torch.Tensor:
        half, quarter, eighth, sixteenth = maps
        return self.logits(self.merge1(self.merge2(self.merge3(sixteenth, eighth), quarter), half))


class EvidenceHead(nn.Module):  # type: ignore[misc]  # see ConvBlock
    """The image's log-odds of being anomalous, from the strongest places of the mask alone.

    It sees no more of the picture than that. A head of its own over the whole picture learns, from a few dozen
    images, whatever else happens to differ between the good and the bad ones: the light, a neighbour, the belt.
    """

    def __init__(self) -> None:
        super().__init__()
        self.weigh = nn.Linear(len(WINDOWS), 1)
        nn.init.constant_(self.weigh.weight, 1 / len(WINDOWS))
        nn.init.zeros_(self.weigh.bias)

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        odds = torch.logsumexp(logits[:, 1:], dim=1, keepdim=True) - logits[:, :1]
        odds = odds.clamp(-LIMIT, LIMIT)
        peaks = [
            functional.avg_pool2d(odds, window, 1, window // 2, count_include_pad=False).amax(dim=(2, 3))
            for window in WINDOWS
        ]
        return self.weigh(torch.cat(peaks, dim=1))


class PooledHead(nn.Module):  # type: ignore[misc]  # see ConvBlock
    """The image's log-odds of being anomalous where there are no masks to learn from."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.2)
        self.weigh = nn.Linear(2 * WIDTHS[-1], 1)

    def forward(self, sixteenth: torch.Tensor) -> torch.Tensor:
        pooled = torch.cat([sixteenth.mean(dim=(2, 3)), sixteenth.amax(dim=(2, 3))], dim=1)
        return self.weigh(self.drop(pooled))


class InspectionNet(nn.Module):  # type: ignore[misc]  # see ConvBlock
    """Image (N, 3, H, W) to mask logits (N, classes, H/2, W/2) or None, and log-odds of an anomaly (N, 1).

    Args:
        classes: pixel classes, background included; 0 leaves the mask head out.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.mask: Optional[MaskHead] = MaskHead(classes) if classes else None
        self.image = EvidenceHead() if classes else PooledHead()

    def forward(self, x: torch.Tensor) -> Tuple[Optional[torch.Tensor], torch.Tensor]:
        maps = self.encoder(x)
        if self.mask is None:
            return None, self.image(maps[-1])
        logits = self.mask(maps)
        return logits, self.image(logits)
