"""Short polynomials in place of library functions, for kernels of our own."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
from numpy.polynomial import Polynomial
from numpy.polynomial.chebyshev import Chebyshev


@functools.cache
def fitted(function: Callable, low: float, high: float, degree: int) -> tuple[np.float32, ...]:
    """Coefficients, lowest first, of the polynomial nearest to a function on an interval."""
    polynomial = Chebyshev.interpolate(function, degree, domain=[low, high]).convert(kind=Polynomial)
    return tuple(np.float32(c) for c in polynomial.coef)


def log1p_ratio(a: np.ndarray) -> np.ndarray:
    return np.log1p(a) / a
