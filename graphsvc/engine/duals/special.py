"""The derivatives of functions of scipy.special, by name, for SciPy is imported only where a gate needs it.

Source:
    NIST Digital Library of Mathematical Functions, chapters 4 to 10 and 25; Bessel functions (10.6.1) and (10.29.1).
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from graphsvc.gates._gammas import polygamma

__all__ = ["SPECIAL"]

_ROOT_PI: Final = float(np.sqrt(np.pi))
_ROOT_2PI: Final = float(np.sqrt(2 * np.pi))

Partial = Callable[..., Any]


def _scipy(name: str) -> Callable[..., Any]:
    """Return what calls a function of scipy.special."""

    def call(*arguments: Any) -> Any:
        from scipy import special

        return getattr(special, name)(*arguments)

    return call


_psi, _zeta, _expit = _scipy("digamma"), _scipy("zeta"), _scipy("expit")
_betaln, _gammaln, _xlogy, _xlog1py = _scipy("betaln"), _scipy("gammaln"), _scipy("xlogy"), _scipy("xlog1py")
_iv, _ive, _jv, _kv, _yv = _scipy("iv"), _scipy("ive"), _scipy("jv"), _scipy("kv"), _scipy("yv")
_i0e, _i1, _i1e, _j0, _j1, _k0, _k1, _y1 = map(_scipy, ("i0e", "i1", "i1e", "j0", "j1", "k0", "k1", "y1"))


def _gammainc_x(t: Any, a: Any, x: Any) -> Any:
    return t * np.exp(_xlogy(a - 1, x) - x - _gammaln(a))


def _trigamma(x: Any) -> Any:
    """Return the derivative of digamma; of real numbers, however negative, without a step for every unit below 0."""
    return _zeta(2.0, x) if np.iscomplexobj(x) else polygamma(1, x)


def _spence(t: Any, z: Any, x: Any) -> Any:
    near = np.equal(x, 1)
    apart = np.where(near, 0.5, x)
    return t * np.where(near, -1, np.log(apart) / (1 - apart))


def _middle(of: Callable[..., Any], sign: int) -> Partial:
    """Return the derivative of a Bessel function in its argument: half of its neighbours' sum or difference."""
    return lambda t, z, n, x: t * (of(n - 1, x) + sign * of(n + 1, x)) / 2


SPECIAL: Final[Mapping[str, tuple[Partial | None, ...]]] = {
    "erf": (lambda t, z, x: t * (2 / _ROOT_PI * np.exp(-x * x)),),
    "erfc": (lambda t, z, x: -t * (2 / _ROOT_PI * np.exp(-x * x)),),
    "erfcx": (lambda t, z, x: t * (2 * x * z - 2 / _ROOT_PI),),
    "erfinv": (lambda t, z, x: t * (_ROOT_PI / 2 * np.exp(z * z)),),
    "erfcinv": (lambda t, z, x: -t * (_ROOT_PI / 2 * np.exp(z * z)),),
    "dawsn": (lambda t, z, x: t * (1 - 2 * x * z),),
    "ndtr": (lambda t, z, x: t * (np.exp(-x * x / 2) / _ROOT_2PI),),
    "ndtri": (lambda t, z, x: t * (_ROOT_2PI * np.exp(z * z / 2)),),
    "log_ndtr": (lambda t, z, x: t * (np.exp(-x * x / 2 - z) / _ROOT_2PI),),
    "gamma": (lambda t, z, x: t * z * _psi(x),),
    "rgamma": (lambda t, z, x: -t * z * _psi(x),),
    "gammaln": (lambda t, z, x: t * _psi(x),),
    "loggamma": (lambda t, z, x: t * _psi(x),),
    "psi": (lambda t, z, x: t * _trigamma(x),),
    "digamma": (lambda t, z, x: t * _trigamma(x),),
    "zeta": (None, lambda t, z, s, q: -t * s * _zeta(s + 1, q)),
    "_zeta": (None, lambda t, z, s, q: -t * s * _zeta(s + 1, q)),
    "beta": (
        lambda t, z, a, b: t * z * (_psi(a) - _psi(a + b)),
        lambda t, z, a, b: t * z * (_psi(b) - _psi(a + b)),
    ),
    "betaln": (lambda t, z, a, b: t * (_psi(a) - _psi(a + b)), lambda t, z, a, b: t * (_psi(b) - _psi(a + b))),
    "betainc": (
        None,
        None,
        lambda t, z, a, b, x: t * np.exp(_xlogy(a - 1, x) + _xlog1py(b - 1, -x) - _betaln(a, b)),
    ),
    "gammainc": (None, lambda t, z, a, x: _gammainc_x(t, a, x)),
    "gammaincc": (None, lambda t, z, a, x: -_gammainc_x(t, a, x)),
    "i0": (lambda t, z, x: t * _i1(x),),
    "i1": (lambda t, z, x: t * (_iv(0, x) + _iv(2, x)) / 2,),
    "i0e": (lambda t, z, x: t * (_i1e(x) - np.sign(x) * z),),
    "i1e": (lambda t, z, x: t * ((_i0e(x) + _ive(2, x)) / 2 - np.sign(x) * z),),
    "iv": (None, _middle(_iv, 1)),
    "ive": (None, lambda t, z, n, x: t * ((_ive(n - 1, x) + _ive(n + 1, x)) / 2 - np.sign(x) * z)),
    "j0": (lambda t, z, x: -t * _j1(x),),
    "j1": (lambda t, z, x: t * (_j0(x) - _jv(2, x)) / 2,),
    "jv": (None, _middle(_jv, -1)),
    "jn": (None, _middle(_jv, -1)),
    "y0": (lambda t, z, x: -t * _y1(x),),
    "yv": (None, _middle(_yv, -1)),
    "k0": (lambda t, z, x: -t * _k1(x),),
    "k1": (lambda t, z, x: -t * (_k0(x) + z / x),),
    "kv": (None, lambda t, z, n, x: -t * (_kv(n - 1, x) + _kv(n + 1, x)) / 2),
    "entr": (lambda t, z, x: -t * (np.log(x) + 1),),
    "rel_entr": (lambda t, z, x, y: t * (np.log(x / y) + 1), lambda t, z, x, y: -t * x / y),
    "kl_div": (lambda t, z, x, y: t * np.log(x / y), lambda t, z, x, y: t * (1 - x / y)),
    "xlogy": (
        lambda t, z, x, y: t * np.where(np.equal(x, 0) & np.less_equal(y, 0), 0, np.log(y)),
        lambda t, z, x, y: t * x / y,
    ),
    "xlog1py": (
        lambda t, z, x, y: t * np.where(np.equal(x, 0) & np.less_equal(y, -1), 0, np.log1p(y)),
        lambda t, z, x, y: t * x / (1 + y),
    ),
    "expit": (lambda t, z, x: t * z * (1 - z),),
    "log_expit": (lambda t, z, x: t * _expit(-x),),
    "logit": (lambda t, z, x: t / (x * (1 - x)),),
    "spence": (_spence,),
    "cosm1": (lambda t, z, x: -t * np.sin(x),),
    "_lambertw": (lambda t, z, x, k, tol: t * np.exp(-z) / (1 + z), None, None),
}
"""The partials of each, as in `ufuncs`."""
