"""Randomness without state: 64-bit keys per sample, from which any number of draws follow.

A draw depends on (seed, epoch, index, draw number) and on nothing else: not on the batch, the order, the device or
the process. The mixer is SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators",
OOPSLA 2014): a Weyl sequence through a bijective finaliser, here in wrapping int64 arithmetic.
"""

import torch
from torch import Tensor

_GAMMA = 0x9E3779B97F4A7C15
_FIRST = 0xBF58476D1CE4E5B9
_SECOND = 0x94D049BB133111EB
_MASK = (1 << 64) - 1


def fold(*parts: int) -> int:
    """One signed 64-bit integer from several integers of any size; every part and its place matter."""
    state = 0
    for part in parts:
        state = (state + part + _GAMMA) & _MASK
        state = ((state ^ (state >> 30)) * _FIRST) & _MASK
        state = ((state ^ (state >> 27)) * _SECOND) & _MASK
        state ^= state >> 31
    return _signed(state)


def sample_keys(seed: int, epoch: int, index: Tensor) -> Tensor:
    """The key of every sample in an epoch (or view).

    Args:
        seed: any integer.
        epoch: number of the epoch, or of the view.
        index: sample identities, int64, shape `[N]`.

    Returns:
        Keys, int64, shape `[N]`, on the device of ``index``.
    """
    return _mix(index * _signed(_GAMMA) + fold(seed, epoch))


def draw(key: Tensor, number: int) -> Tensor:
    """The ``number``-th 64 random bits of every key: int64, the shape of ``key``."""
    return _mix(key + _signed(((number + 1) * _GAMMA) & _MASK))


def uniform(key: Tensor, number: int) -> Tensor:
    """The ``number``-th draw of every key as float32, uniform on the multiples of 2^-24 in `[0, 1)`."""
    return _shift(draw(key, number), 40).to(torch.float32) * 2.0**-24


def below(key: Tensor, number: int, bound: int) -> Tensor:
    """The ``number``-th draw of every key as an integer in `[0, bound)`, int64; ``bound`` at most 2^31."""
    return (_shift(draw(key, number), 32) * bound) >> 32


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _shift(x: Tensor, places: int) -> Tensor:
    """Shift right without copying the sign: torch has no unsigned arithmetic on every device."""
    return (x >> places) & ((1 << (64 - places)) - 1)


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shift(x, 30)) * _signed(_FIRST)
    x = (x ^ _shift(x, 27)) * _signed(_SECOND)
    return x ^ _shift(x, 31)
