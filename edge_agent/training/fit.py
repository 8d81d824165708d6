"""Fitting the network: batches, loss, and a running average of the weights. Importing this imports PyTorch."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from edge_agent.errors import TrainingError
from edge_agent.model.preprocess import Preprocessor
from edge_agent.training.augment import augment, crop_window
from edge_agent.training.checkpoint import Checkpoint
from edge_agent.training.network import InspectionNet
from edge_agent.training.pictures import UNLABELLED, Mask, Pictures, is_defect

BATCH = 8
_CROPPED = 0.7  # of the epochs look at pieces, the last ones at whole pictures
_RATE = 3e-3
_DECAY = 1e-2
_WARM_UP = 0.1  # of all steps
_AVERAGE = 0.99
_IMAGE_SHARE = 0.5
_OTHERS = 3  # hard normal pixels for each anomalous one


#: An image tensor (3, h, w), its mask (h, w) and its label.
_View = Tuple[npt.NDArray[np.float32], Mask, float]


@dataclass(frozen=True)
class Progress:
    """Where the fitting stands after an epoch.

    Attributes:
        epoch: just done, from 1.
        epochs: in all.
        loss: the epoch's mean.
        seconds: of this run.
        resumed: epochs that an earlier run had done.
    """

    epoch: int
    epochs: int
    loss: float
    seconds: float
    resumed: int


@dataclass(frozen=True)
class Fitted:
    """What came out.

    Attributes:
        net: on the CPU.
        losses: the mean of each epoch.
        earlier_s: seconds that an earlier run, which was cut short, had taken.
        device: that computed.
    """

    net: InspectionNet
    losses: List[float]
    earlier_s: float
    device: str


def fit(
    pictures: Pictures,
    preprocessor: Preprocessor,
    *,
    classes: int,
    epochs: int,
    seed: int,
    threads: int,
    device: str,
    checkpoint: Checkpoint,
    report: Callable[[Progress], None],
) -> Fitted:
    """Train a network on `pictures`; the same arguments on the same machine's CPU give the same network.

    Args:
        pictures: to learn from.
        preprocessor: of the package to be, so that training and inspection see the same numbers.
        classes: pixel classes, background included; 0 without masks.
        epochs: passes over the pictures.
        seed: of the first weights, the order and the augmentation.
        threads: of PyTorch.
        device: "cpu", "cuda", or "auto" for CUDA where there is some.
        checkpoint: to go on from, and to write to now and then.
        report: called after each epoch.

    Raises:
        TrainingError: no such device, or the checkpoint cannot be written.
    """
    chosen = _device(device)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return _Fitting(pictures, preprocessor, classes, epochs, seed, chosen).run(checkpoint, report)
    finally:
        torch.set_num_threads(before)


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    elif name == "cuda" and not torch.cuda.is_available():
        raise TrainingError("device cuda", "is not there for PyTorch", "Leave --device out, or install its CUDA build.")
    return torch.device(name)


class _Fitting:
    def __init__(
        self,
        pictures: Pictures,
        preprocessor: Preprocessor,
        classes: int,
        epochs: int,
        seed: int,
        device: torch.device,
    ) -> None:
        self._pictures = pictures
        self._preprocessor = preprocessor
        self._epochs = epochs
        self._device = device
        # A piece without its mask has no label: an anomalous picture is not anomalous everywhere.
        self._crops = classes > 0 and UNLABELLED not in pictures.masks
        self._random = np.random.RandomState(seed)
        self._net: InspectionNet = InspectionNet(classes).to(device, memory_format=torch.channels_last)
        self._average: InspectionNet = copy.deepcopy(self._net)
        self._loss = _Loss(pictures, classes, device)
        self._optimiser = torch.optim.AdamW(self._net.parameters(), lr=_RATE, weight_decay=_DECAY)
        self._steps = epochs * math.ceil(len(pictures.labels) / BATCH)
        self._step = 0
        self._losses: List[float] = []

    def run(self, checkpoint: Checkpoint, report: Callable[[Progress], None]) -> Fitted:
        began = time.monotonic()
        state = checkpoint.load()
        earlier_s = 0.0 if state is None else self._restore(state)
        done = len(self._losses)
        self._net.train()
        for epoch in range(done + 1, self._epochs + 1):
            crops = self._crops and epoch <= round(_CROPPED * self._epochs)
            self._losses.append(float(np.mean([self._learn(batch) for batch in self._batches(crops=crops)])))
            seconds = time.monotonic() - began
            if checkpoint.is_due() or epoch == self._epochs:
                checkpoint.save(self._state(earlier_s + seconds))
            report(Progress(epoch, self._epochs, self._losses[-1], seconds, done))
        self._average.eval()
        return Fitted(self._average.cpu(), self._losses, earlier_s, str(self._device))

    def _state(self, seconds: float) -> Dict[str, Any]:
        """All that the next epoch depends on, in the types that PyTorch reads without running anything."""
        random = self._random.get_state(legacy=False)
        return {
            "net": self._net.state_dict(),
            "average": self._average.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "step": self._step,
            "losses": self._losses,
            "seconds": seconds,
            "torch_random": torch.get_rng_state(),
            "random": {**random, "state": {**random["state"], "key": random["state"]["key"].tolist()}},
        }

    def _restore(self, state: Dict[str, Any]) -> float:
        """Go on from there; gives the seconds that were spent to get there."""
        self._net.load_state_dict(state["net"])
        self._average.load_state_dict(state["average"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._step = state["step"]
        self._losses = list(state["losses"])
        torch.set_rng_state(state["torch_random"])
        random = state["random"]
        key = np.array(random["state"]["key"], dtype=np.uint32)
        self._random.set_state({**random, "state": {**random["state"], "key": key}})
        return float(state["seconds"])

    def _batches(self, *, crops: bool) -> Iterator[Tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        order = self._random.permutation(len(self._pictures.labels))
        # A last batch of one image would give the batch normalisation nothing to normalise by.
        for chunk in np.array_split(order, max(1, round(len(order) / BATCH))):
            views = [view for index in chunk for view in self._views(index, crops=crops)]
            x = torch.from_numpy(np.stack([view[0] for view in views]))
            masks = torch.from_numpy(np.stack([view[1] for view in views]))
            labels = torch.tensor([view[2] for view in views], dtype=torch.float32)
            yield x.contiguous(memory_format=torch.channels_last), masks, labels

    def _views(self, index: int, *, crops: bool) -> List[_View]:
        """A picture as the network gets to see it this time: whole, or two pieces of it, with mask and label."""
        image, mask = augment(self._pictures.images[index], self._pictures.masks[index], self._random)
        tensor = self._preprocessor.run(image)[0]
        if not crops:
            return [(tensor.copy(), mask, float(self._pictures.labels[index]))]
        windows = [crop_window(mask, self._random, at_defect=True), crop_window(mask, self._random, at_defect=False)]
        pieces = [(tensor[(slice(None), *window)].copy(), mask[window]) for window in windows]
        return [(piece, part, float(is_defect(part).any())) for piece, part in pieces]

    def _learn(self, batch: Tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> float:
        images, masks, labels = (tensor.to(self._device) for tensor in batch)
        for group in self._optimiser.param_groups:
            group["lr"] = _RATE * _schedule(self._step / self._steps)
        self._optimiser.zero_grad(set_to_none=True)
        logits, odds = self._net(images)
        loss = self._loss(logits, odds[:, 0], masks, labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._net.parameters(), 5.0)
        self._optimiser.step()
        self._step += 1
        self._follow()
        return float(loss.detach())

    def _follow(self) -> None:
        """Move the averaged network towards the present one; faster in the beginning."""
        keep = min(_AVERAGE, self._step / (self._step + 10))
        with torch.no_grad():
            for mean, now in zip(self._average.state_dict().values(), self._net.state_dict().values()):
                if mean.dtype.is_floating_point:
                    mean.lerp_(now, 1 - keep)
                else:
                    mean.copy_(now)


def _schedule(share: float) -> float:
    """Up in a straight line, down along a cosine."""
    if share < _WARM_UP:
        return share / _WARM_UP + 0.01
    return 0.5 * (1 + math.cos(math.pi * (share - _WARM_UP) / (1 - _WARM_UP))) + 0.001


class _Loss:
    """Cross-entropy and Dice of the mask, and cross-entropy of the image label."""

    def __init__(self, pictures: Pictures, classes: int, device: torch.device) -> None:
        self._classes = classes
        anomalous = float(pictures.labels.mean())
        self._odds_weight = torch.tensor((1 - anomalous) / anomalous, device=device)

    def __call__(
        self, logits: Optional[torch.Tensor], odds: torch.Tensor, masks: torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        image_loss = functional.binary_cross_entropy_with_logits(odds, labels, pos_weight=self._odds_weight)
        if logits is None:
            return image_loss
        known = masks != UNLABELLED
        one_hot = functional.one_hot(torch.where(known, masks, 0).long(), self._classes).permute(0, 3, 1, 2).float()
        # The head answers at half the size: each of its pixels is asked for the shares of the four below it.
        wanted = functional.avg_pool2d(one_hot, 2)
        weight = functional.avg_pool2d(known[:, None].float(), 2)
        log_shares = functional.log_softmax(logits, dim=1)
        return _IMAGE_SHARE * image_loss + _entropy(log_shares, wanted, weight) + _dice(log_shares, wanted, weight)


def _entropy(log_shares: torch.Tensor, wanted: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of the anomalous pixels, and of as many times the hardest of the others.

    Defects cover a thousandth of a picture; in a mean over all pixels they would not be heard.
    """
    entropy = -(wanted * log_shares).sum(dim=1, keepdim=True) * weight
    anomalous = (wanted[:, :1] < 1) & (weight > 0)
    count = int(anomalous.sum())
    others = entropy[~anomalous]
    hardest = others.topk(min(max(_OTHERS * count, entropy.numel() // 400), others.numel())).values.mean()
    return hardest + entropy[anomalous].mean() if count else hardest


def _dice(log_shares: torch.Tensor, wanted: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """One minus the overlap of found and wanted, over the anomalous classes in the batch."""
    found = log_shares.exp() * weight
    both = (found * wanted).sum(dim=(0, 2, 3))[1:]
    either = (found + wanted * weight).sum(dim=(0, 2, 3))[1:]
    loss = 1 - (2 * both + 1) / (either + 1)
    present = ((wanted * weight).sum(dim=(0, 2, 3))[1:] > 0).float()
    return (loss * present).sum() / present.sum().clamp(min=1)
