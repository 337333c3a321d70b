"""The composition tool: rule of thirds and visual balance. NumPy and Pillow only.

Saliency is the spectral residual of a small grey copy: the part of the log Fourier amplitudes above their local mean.
The subject is the point of the highest saliency. The score is the mean of two terms, each 0-10:

    thirds   exp(-d^2 / (2 * .17^2)), d from the subject to the nearest of the four crossings of the third lines
    balance  exp(-d^2 / (2 * .2^2)), d from the centre of all saliency to the middle

with distances in shares of width and height. The confidence is how much of the saliency is near the subject: the rule
does not apply to a picture without a subject.

Sources:
    Hou & Zhang, Saliency detection: a spectral residual approach (CVPR 2007).
    Liu et al., Optimizing photo composition (Computer Graphics Forum 29, 2010), for both terms and their widths.
Shape letters: H, W = pixels of the small copy, S = its side.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from paaplus.tools.pixels import LUMINANCE
from paaplus.tools.tool import on_scale

SIDE_PX = 64
THIRDS_SD, BALANCE_SD = 0.17, 0.2
SUBJECT_RADIUS = 0.2  # share of the frame that counts as near the subject
BLUR_SD_PX = 2.5
_MIN_VARIANCE = 1e-8


def composition(rgb_HW3: np.ndarray) -> tuple[float, float]:
    """Score 0-10 and confidence 0-1 of an RGB array 0-1, shape (H, W, 3). A uniform image gets 5 with confidence 0."""
    saliency_SS = saliency(rgb_HW3 @ LUMINANCE)
    if saliency_SS is None:
        return 5.0, 0.0
    place_S = (np.arange(SIDE_PX) + 0.5) / SIDE_PX
    row, column = np.unravel_index(int(saliency_SS.argmax()), saliency_SS.shape)
    y, x = place_S[row], place_S[column]
    to_thirds = min(np.hypot(y - v, x - h) for v in (1 / 3, 2 / 3) for h in (1 / 3, 2 / 3))
    share_SS = saliency_SS / saliency_SS.sum()
    centre_y, centre_x = share_SS.sum(1) @ place_S, share_SS.sum(0) @ place_S
    to_middle = np.hypot(centre_y - 0.5, centre_x - 0.5)
    thirds = np.exp(-(to_thirds**2) / (2 * THIRDS_SD**2))
    balance = np.exp(-(to_middle**2) / (2 * BALANCE_SD**2))
    near_SS = np.hypot(place_S[:, None] - y, place_S[None] - x) <= SUBJECT_RADIUS
    area = float(near_SS.mean())
    concentration = (float(share_SS[near_SS].sum()) - area) / (1.0 - area)
    return on_scale(float((thirds + balance) / 2), 0.0, 1.0), min(max(concentration, 0.0), 1.0)


def saliency(light_HW: np.ndarray) -> np.ndarray | None:
    """Saliency, shape (S, S), 0 or more; None for a uniform image.

    Args:
        light_HW: luminance, 0-1.
    """
    copy = Image.fromarray(light_HW.astype(np.float32)).resize((SIDE_PX, SIDE_PX), Image.Resampling.BOX)
    small_SS = np.asarray(copy, np.float64)
    if small_SS.var() < _MIN_VARIANCE:
        return None
    spectrum_SS = np.fft.fft2(small_SS)
    log_SS = np.log(np.abs(spectrum_SS) + 1e-6)
    around_SS = sum(np.roll(log_SS, (i, j), (0, 1)) for i in (-1, 0, 1) for j in (-1, 0, 1)) / 9.0
    residual_SS = np.fft.ifft2(np.exp(log_SS - around_SS + 1j * np.angle(spectrum_SS)))
    return _blurred(np.square(np.abs(residual_SS)))


def _blurred(field_SS: np.ndarray) -> np.ndarray:
    """Gaussian blur, mirrored at the edges."""
    reach = round(3 * BLUR_SD_PX)
    kernel = np.exp(-np.square(np.arange(-reach, reach + 1)) / (2 * BLUR_SD_PX**2))
    kernel /= kernel.sum()
    for axis in (0, 1):
        padding = [(reach, reach) if a == axis else (0, 0) for a in (0, 1)]
        padded = np.pad(field_SS, padding, mode="symmetric")
        field_SS = np.apply_along_axis(np.convolve, axis, padded, kernel, "valid")
    return field_SS
