"""Short polynomials in place of library functions, for kernels of our own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.polynomial import Polynomial
from numpy.polynomial.chebyshev import Chebyshev


def fitted(function: Callable, low: float, high: float, degree: int) -> list[np.float32]:
    """Coefficients, lowest first, of the polynomial nearest to a function on an interval."""
    return [
        np.float32(c) for c in Chebyshev.interpolate(function, degree, domain=[low, high]).convert(kind=Polynomial).coef
    ]


def log1p_ratio(a: np.ndarray) -> np.ndarray:
    return np.log1p(a) / a
