"""Whisper's input: a log-mel spectrogram of 16 kHz sound, 80 bands, a frame every 10 ms.

Radford et al. 2022, section 2.2; the bands are Slaney's (linear below 1 kHz, logarithmic above, of equal area).
"""

from __future__ import annotations

import functools

import numpy as np
from scipy import fft, sparse

RATE = 16_000
WINDOW = 400
HOP = 160
BANDS = 80
SHORTEST = WINDOW
"""Samples below which the mirrored edges of the transform would overlap; shorter sound is filled up with silence."""


def log_mel(sound: np.ndarray) -> np.ndarray:
    """Sound of 16 kHz, float32 [samples] -> float32 [80, samples // 160]. Each value is in about [-1, 1.5]; what lies more than
    80 dB below the loudest value is cut."""
    if len(sound) < SHORTEST:
        sound = np.pad(sound, (0, SHORTEST - len(sound)))
    padded = np.pad(sound, WINDOW // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP][: len(sound) // HOP]
    spectrum = fft.rfft(frames * _hann(), axis=1)
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    # The filters are sparse, and a sparse product sums in one order; a BLAS product may depend on its thread count.
    bands = np.log10(np.maximum(_bands() @ power.T, 1e-10))
    bands = np.maximum(bands, bands.max() - 8.0)
    return np.ascontiguousarray((bands + 4.0) / 4.0, dtype=np.float32)


@functools.cache
def _hann() -> np.ndarray:
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)).astype(np.float32)


@functools.cache
def _bands() -> sparse.csr_array:
    """Triangular filters, float32 [80, 201]."""
    edges = _hertz(np.linspace(_mel(0.0), _mel(RATE / 2), BANDS + 2))
    bins = np.linspace(0, RATE / 2, WINDOW // 2 + 1)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    return sparse.csr_array((triangles * 2.0 / (edges[2:] - edges[:-2])).T.astype(np.float32))


_BREAK_HERTZ, _BREAK_MEL = 1000.0, 15.0
_STEP = 27.0 / np.log(6.4)


def _mel(hertz: float) -> float:
    if hertz < _BREAK_HERTZ:
        return hertz * 3.0 / 200.0
    return float(_BREAK_MEL + np.log(hertz / _BREAK_HERTZ) * _STEP)


def _hertz(mel: np.ndarray) -> np.ndarray:
    return np.where(mel < _BREAK_MEL, mel * 200.0 / 3.0, _BREAK_HERTZ * np.exp((mel - _BREAK_MEL) / _STEP))
