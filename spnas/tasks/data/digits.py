"""The handwritten digits of scikit-learn as images, and as an ImageFolder.

Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998,
https://doi.org/10.24432/C50P49, as `sklearn.datasets.load_digits` ships it (1797 digits of 8 x 8 pixels).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]

# Cut, not shuffled: neighbours in the set may come from one writer.
_TRAIN_SHARE = 0.7

# Images of the classification set: enough for its accuracies to differ, few enough for a proxy of seconds.
IMAGES = {"train": 640, "val": 320}


def load_split(train: bool) -> tuple[Pixels, npt.NDArray[np.int64]]:
    """Give the digits `(N, 8, 8)`, 0..255, white on black, and their labels `(N,)`, of one side of the split."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = (digits.images * (255 / 16)).round().astype(np.uint8)
    cut = int(len(pixels) * _TRAIN_SHARE)
    side = slice(None, cut) if train else slice(cut, None)
    return pixels[side], digits.target[side].astype(np.int64)


def write_digits(folder: Path) -> None:
    """Write `train/<digit>/NNNN.png` and `val/<digit>/NNNN.png`, each 8 x 8 pixels, grey."""
    for split, count in IMAGES.items():
        digits, labels = load_split(split == "train")
        for number, (pixels, label) in enumerate(zip(digits[:count], labels[:count], strict=True)):
            file = folder / split / str(label) / f"{number:04d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(file)
