"""All fourteen filters of DA3Attacker as its `verify.py --filters` calls them; the study uses only seven of them."""

from __future__ import annotations

import numpy as np

from paaplus.evaluation.robustness import filters

_EPSILON = 1e-8
_TURN = 2 * np.pi
_SOBEL = np.array([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 8.0
_LEVELS = 255

_WITH_PARAMETER = {
    "adjust_contrast": filters.contrast,
    "adjust_brightness": filters.brightness,
    "adjust_saturation": filters.saturation,
    "adjust_gamma": filters.gamma,
    "adjust_hue": filters.hue,
}


def filtered(name: str, image_B3HW: np.ndarray, parameter_B: np.ndarray | None) -> np.ndarray:
    """One filter on a batch of images, shape (B, 3, H, W), float32."""
    images = np.asarray(image_B3HW, np.float64)
    if name in _WITH_PARAMETER:
        assert parameter_B is not None
        pairs = zip(images, np.asarray(parameter_B, np.float64).tolist(), strict=True)
        made = [_WITH_PARAMETER[name](image, p) for image, p in pairs]
    elif name == "equalize":
        made = [equalize(image) for image in np.asarray(image_B3HW, np.float32)]
    else:
        made = [_PLAIN[name](image) for image in images]
    return np.stack(made).astype(np.float32)


def equalize(pixel_3HW: np.ndarray) -> np.ndarray:
    """Every channel's histogram made even, in 256 steps. Counted in float32: a bin's border decides."""
    return np.stack([_equalize_one(channel_HW * np.float32(_LEVELS)) for channel_HW in pixel_3HW])


def _equalize_one(level_HW: np.ndarray) -> np.ndarray:
    bins = np.minimum(np.floor(level_HW * np.float32((_LEVELS + 1) / _LEVELS)).astype(np.int64), _LEVELS)
    count_N = np.bincount(bins.ravel(), minlength=_LEVELS + 1)
    filled = count_N[count_N > 0]
    step = (int(count_N.sum()) - int(filled[-1])) // _LEVELS
    if step == 0:
        return level_HW / np.float32(_LEVELS)
    table = (np.cumsum(count_N) + step // 2) // step
    table = np.clip(np.concatenate([[0], table[:-1]]), 0, _LEVELS)
    return (table[level_HW.astype(np.int64)] / _LEVELS).astype(np.float32)


def _sobel(pixel_3HW: np.ndarray) -> np.ndarray:
    padded = np.pad(pixel_3HW, ((0, 0), (1, 1), (1, 1)), mode="edge")
    across, down = (filters.convolved(padded, kernel) for kernel in (_SOBEL, _SOBEL.T))
    return np.sqrt(across**2 + down**2 + 1e-6)


def _rgb_to_yuv(pixel_3HW: np.ndarray) -> np.ndarray:
    matrix = np.array([[0.299, 0.587, 0.114], [-0.147, -0.289, 0.436], [0.615, -0.515, -0.1]])
    return np.tensordot(matrix, pixel_3HW, axes=1)


def _rgb_to_ycbcr(pixel_3HW: np.ndarray) -> np.ndarray:
    red, _, blue = pixel_3HW
    luma = np.tensordot(np.array([0.299, 0.587, 0.114]), pixel_3HW, axes=1)
    return np.stack([luma, (blue - luma) * 0.564 + 0.5, (red - luma) * 0.713 + 0.5])


def _rgb_to_hls(pixel_3HW: np.ndarray) -> np.ndarray:
    high, low = pixel_3HW.max(0), pixel_3HW.min(0)
    light, chroma = (high + low) / 2.0, high - low
    share = np.where(light < 0.5, chroma / (high + low + _EPSILON), chroma / (2.0 - high - low + _EPSILON))
    red, green, blue = pixel_3HW
    wide = chroma + _EPSILON
    offsets = ((green - blue) / wide, 2.0 + (blue - red) / wide, 4.0 + (red - green) / wide)
    angle = np.where(chroma == 0.0, 0.0, np.mod(np.choose(pixel_3HW.argmax(0), offsets) / 6.0, 1.0) * _TURN)
    return np.stack([angle, light, share])


_PLAIN = {
    "sharpness": filters.softer,
    "box_blur": filters.blur,
    "sobel": _sobel,
    "rgb_to_yuv": _rgb_to_yuv,
    "rgb_to_bgr": lambda pixel_3HW: pixel_3HW[::-1],
    "rgb_to_hls": _rgb_to_hls,
    "rgb_to_hsv": filters.rgb_to_hsv,
    "rgb_to_ycbcr": _rgb_to_ycbcr,
}
