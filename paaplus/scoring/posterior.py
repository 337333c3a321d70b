"""Bayesian linear regression on coordinates whose prior is standard normal: exact, by rows. NumPy only.

Rows are scaled: regressors and targets are divided by the standard deviation of the noise, so that the precisions of
prior and noise are both the identity.

Shape letters: N = rows, K = coordinates, M = kept directions, X = some rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from scipy.linalg import blas, cho_factor, cho_solve, lapack

from paaplus.errors import DivergedError
from paaplus.scoring.row_sums import RowSums

_NUM_SQUARINGS = 3  # of the matrix in the power method: its eighth power
_FEW = 32  # coordinates for each direction
_SMALLEST = 1e-12  # least eigenvalue, as a share of the total energy


@dataclass(frozen=True, eq=False)
class Posterior:
    """Posterior of K coordinates, given N scaled rows; for N = 0 the prior. Solves the smaller of the two systems.

    `around_K` replaces the mean by a point that was found otherwise, by gradient steps say: Laplace's approximation.
    `sums` are those of further rows.

    Raises:
        DivergedError: (at the first use) the squares of the rows are not finite.
    """

    scaled_NK: np.ndarray
    scaled_N: np.ndarray
    around_K: np.ndarray | None = None
    sums: RowSums | None = None

    @cached_property
    def mean_K(self) -> np.ndarray:
        """Posterior mean, float64."""
        if self.around_K is not None:
            return self.around_K
        if self.is_dual:
            return self.scaled_NK.T @ self._dual_N
        moment_K = self.scaled_NK.T @ self.scaled_N
        return self._solved(moment_K if self.sums is None else moment_K + self.sums.moment_K)

    @cached_property
    def loo_error_N(self) -> np.ndarray:
        """Leave-one-out errors: every row's target minus its prediction from all other rows, in noise sds.

        By the closed form for linear smoothers, without N refits.
        """
        if self.is_dual:
            return self._dual_N / np.square(self._root).sum(0)
        return self.loo_errors(self.scaled_NK, self.scaled_N)

    def loo_errors(self, scaled_XK: np.ndarray, scaled_X: np.ndarray) -> np.ndarray:
        """The same of some scaled rows, which may be among those that only their sums tell of."""
        assert not self.is_dual, "of fewer rows than coordinates all errors are known together"
        rooted_XK = blas.dtrmm(1.0, self._root, scaled_XK.T, lower=1).T  # half of a product: root is triangular
        leverage_X = np.einsum("xk,xk->x", rooted_XK, rooted_XK)
        return np.asarray((scaled_X - scaled_XK @ self.mean_K) / (1.0 - leverage_X))

    @cached_property
    def covariance_KK(self) -> np.ndarray:
        """Posterior covariance, float64."""
        if self.is_dual:
            return np.eye(self.scaled_NK.shape[1]) - self._reduction_KN @ self._reduction_KN.T
        return self._root.T @ self._root

    @cached_property
    def variance_K(self) -> np.ndarray:
        """The diagonal of the posterior covariance."""
        if self.is_dual:
            return 1.0 - np.square(self._reduction_KN).sum(1)
        return np.square(self._root).sum(0)

    def leading_reduction(self, energy_K: np.ndarray, num_directions: int) -> np.ndarray:
        """The directions of the largest variance reduction, B of shape (K, M): the covariance is about `I - B @ B.T`.

        An approximation: some iterations of a power method find more than 90 % of the reduction that all eigenvectors
        would, in a sixth of the time. `I - B @ B.T` is never below the covariance.

        Args:
            energy_K: mean square of every coordinate over images, above 0: the weight of its variance.
            num_directions: the largest M; M is never above the number of rows.
        """
        root_K = np.sqrt(energy_K)
        if self.is_dual:
            weighted_KN = root_K[:, None] * self._reduction_KN
            return self._reduction_KN @ _leading(weighted_KN.T @ weighted_KN, num_directions)
        if _FEW * num_directions <= len(root_K):  # then products with them are cheaper than powers of a matrix
            return self.scaled_reduction(np.ones(len(root_K)), energy_K, num_directions)
        reduction_KK = root_K[:, None] * (np.eye(len(root_K)) - self.covariance_KK) * root_K
        direction_KM = _leading(reduction_KK, num_directions)
        product_KM = reduction_KK @ direction_KM
        value_M, rotation_MM, _ = lapack.dsyevd(direction_KM.T @ product_KM, lower=1)
        return product_KM @ rotation_MM / np.sqrt(np.maximum(value_M, _SMALLEST * energy_K.sum())) / root_K[:, None]

    def scaled_reduction(self, sd_K: np.ndarray, energy_K: np.ndarray, num_directions: int) -> np.ndarray:
        """The same where coordinates are standard deviations of `sd_K`, each 1 at most, in the coordinates of sd 1.

        What a narrower prior narrows counts too. No small matrix holds it: a power method on products.

        Args:
            sd_K: of the prior that the rows are in units of.
            energy_K: of the coordinates of sd 1.
            num_directions: M at most.
        """
        root_K1 = np.sqrt(energy_K)[:, None]

        def narrowed(direction_KM: np.ndarray) -> np.ndarray:
            image_KM = root_K1 * direction_KM
            inner_KM = sd_K[:, None] * image_KM
            if self.is_dual:
                spread_KM = inner_KM - self._reduction_KN @ (self._reduction_KN.T @ inner_KM)
            else:
                spread_KM = self._root.T @ (self._root @ inner_KM)
            return root_K1 * (image_KM - sd_K[:, None] * spread_KM)

        direction_KM = np.eye(len(sd_K))
        if num_directions < len(sd_K):
            direction_KM = np.linalg.qr(_start(len(sd_K), num_directions))[0]
            for _ in range(2**_NUM_SQUARINGS):
                direction_KM = np.linalg.qr(narrowed(direction_KM))[0]
        seen_KM = narrowed(direction_KM)
        value_M, turn_MM = np.linalg.eigh(direction_KM.T @ seen_KM)
        return seen_KM @ turn_MM / np.sqrt(np.maximum(value_M, _SMALLEST * energy_K.sum())) / root_K1

    @property
    def is_dual(self) -> bool:
        """Whether the system has as many unknowns as there are rows, which are fewer than coordinates."""
        return self.sums is None and self.scaled_NK.shape[0] < self.scaled_NK.shape[1]

    @cached_property
    def _factor(self) -> np.ndarray:
        """The lower Cholesky factor of the system."""
        gram = self.scaled_NK @ self.scaled_NK.T if self.is_dual else self.scaled_NK.T @ self.scaled_NK
        if self.sums is not None:
            gram += self.sums.gram_KK
        gram.flat[:: len(gram) + 1] += 1.0
        if not len(gram):
            return gram
        # LAPACK directly: at this size its wrappers take as long as the computation
        factor, failed = lapack.dpotrf(gram, lower=1, clean=1)
        if failed or not np.isfinite(factor.diagonal().sum()):
            raise DivergedError("no Cholesky factor: the squares of some rows are not finite")
        return np.asarray(factor)

    @cached_property
    def _root(self) -> np.ndarray:
        """Inverse of the Cholesky factor: `root.T @ root` is the inverse of the system."""
        return np.asarray(lapack.dtrtri(self._factor, lower=1)[0]) if len(self._factor) else self._factor

    def _solved(self, right: np.ndarray) -> np.ndarray:
        return np.asarray(lapack.dpotrs(self._factor, right, lower=1)[0]) if len(right) else right

    @cached_property
    def _dual_N(self) -> np.ndarray:
        if self.around_K is not None:  # what is left over at the mean
            return self.scaled_N - self.scaled_NK @ self.around_K
        return self._solved(self.scaled_N)

    @cached_property
    def _reduction_KN(self) -> np.ndarray:
        return (self._root @ self.scaled_NK).T


def _leading(symmetric: np.ndarray, count: int) -> np.ndarray:
    """Orthonormal directions that approximate the leading eigenvectors of a matrix; all of them, if it is small.

    Args:
        symmetric: positive semidefinite, shape (S, S).
        count: number of directions; the result has shape (S, count) or (S, S).
    """
    size = len(symmetric)
    if size <= count:
        return np.eye(size)
    powered = symmetric / max(symmetric.trace(), np.finfo(np.float64).tiny)
    for _ in range(_NUM_SQUARINGS):
        powered = powered @ powered.T  # it is symmetric: NumPy then works out one half
        powered /= max(powered.trace(), np.finfo(np.float64).tiny)
    reflectors, scale, _, _ = lapack.dgeqrf(powered @ _start(size, count))
    return np.asarray(lapack.dorgqr(reflectors, scale)[0])


@lru_cache(maxsize=64)
def _start(size: int, count: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(size, count))


class RunningPosterior:
    """The same posterior, updated when a row is added or removed, at the cost of a few K x K products.

    Up to rounding, the result is that of a fit of the remaining rows. Adapter versions are not made from it: they are
    fitted from all rows, so that their bytes do not depend on the order of updates.
    """

    def __init__(self, num_coordinates: int) -> None:
        self.precision_KK = np.eye(num_coordinates)
        self.moment_K = np.zeros(num_coordinates)

    def add(self, scaled_K: np.ndarray, scaled_target: float) -> None:
        """Add a scaled row."""
        self.precision_KK += np.outer(scaled_K, scaled_K)
        self.moment_K += scaled_K * scaled_target

    def remove(self, scaled_K: np.ndarray, scaled_target: float) -> None:
        """Remove a row that was added with these values."""
        self.precision_KK -= np.outer(scaled_K, scaled_K)
        self.moment_K -= scaled_K * scaled_target

    def mean(self) -> np.ndarray:
        """Posterior mean, shape (K,), float64."""
        return cho_solve(cho_factor(self.precision_KK, lower=True), self.moment_K)
