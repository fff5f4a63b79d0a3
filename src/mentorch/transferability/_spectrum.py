"""Eigenvalues of a symmetric matrix, and coordinates along eigenvectors that need not be known."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

_SMALL = 128  # below it a full decomposition costs nothing


@dataclass(frozen=True, eq=False)
class Spectrum:
    """The eigenvalues of a matrix that stand out of its rounding errors, and what can be asked about their vectors.

    Attributes:
        values: largest first, shape ``[k]``.
        rotate: coordinates of columns ``[n, T]`` along the eigenvectors, ``[k, T]``.
        form: the eigenvectors themselves, ``[n, k]``; the expensive part.
    """

    values: Tensor
    rotate: Callable[[Tensor], Tensor]
    form: Callable[[], Tensor]

    @cached_property
    def vectors(self) -> Tensor:
        """Eigenvectors, one per column, shape ``[n, k]``; formed when first asked for."""
        return self.form()


def spectrum(matrix: Tensor, noise: float) -> Spectrum:
    r"""The spectrum of a symmetric positive semidefinite matrix, float64, shape ``[n, n]``.

    The matrix is reduced to a tridiagonal one, :math:`A = Q T Q^\top`, and that is decomposed, :math:`T = Z \Lambda
    Z^\top`. Coordinates :math:`Z^\top Q^\top b` need Q as reflections only: forming the eigenvectors QZ, a third of the
    work and more, waits until somebody needs them. LAPACK does this on the CPU; elsewhere, and for small matrices, the
    vectors are there at once.

    Args:
        matrix: its lower triangle counts.
        noise: eigenvalues below this share of the largest are left out.
    """
    found = _tridiagonal(matrix, noise) if matrix.device.type == "cpu" and len(matrix) >= _SMALL else None
    return found if found is not None else _full(matrix, noise)


def _full(matrix: Tensor, noise: float) -> Spectrum:
    values, vectors = torch.linalg.eigh(matrix)
    keep = values > values[-1] * noise
    kept = vectors[:, keep].flip(1)
    return Spectrum(values[keep].flip(0), lambda columns: kept.mT @ columns, lambda: kept)


def _tridiagonal(matrix: Tensor, noise: float) -> Spectrum | None:
    """By relatively robust representations; None where LAPACK gives up."""
    from scipy.linalg import eigh_tridiagonal, lapack

    size = len(matrix)
    work = int(lapack.dsytrd_lwork(size, lower=1)[0])
    reduced, diagonal, beside, scales, info = lapack.dsytrd(matrix.numpy(), lower=1, lwork=work)
    if info:
        return None
    try:
        values, inner = eigh_tridiagonal(diagonal, beside, lapack_driver="stemr")
    except np.linalg.LinAlgError:
        return None
    keep = values > values[-1] * noise
    inner = np.asfortranarray(inner[:, keep][:, ::-1])
    reflectors = np.asfortranarray(reduced[1:, :-1])

    def reflect(columns: np.ndarray, direction: str) -> np.ndarray:
        """``Q b`` or, with direction T, ``Q^T b``: the first coordinate stays, the reflections act on the others."""
        result = np.array(columns, order="F")
        rest = np.asfortranarray(result[1:])
        space = int(lapack.dormqr("L", direction, reflectors, scales, rest, -1)[1][0])
        result[1:] = lapack.dormqr("L", direction, reflectors, scales, rest, space)[0]
        return result

    return Spectrum(
        torch.from_numpy(values[keep][::-1].copy()),
        lambda columns: torch.from_numpy(inner.T @ reflect(columns.numpy(), "T")),
        lambda: torch.from_numpy(np.ascontiguousarray(reflect(inner, "N"))),
    )
