"""Prices of European options, and the volatility that a price implies."""

from collections.abc import Iterable
from typing import Annotated, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import Field
from scipy.special import ndtr

import graphsvc
from graphsvc import Array, ArraySpec, Example, GateDataError
from graphsvc.arrays import broadcast_shapes, narrowed, require_floating, widened

graphsvc_api_version = 1

_MOST_STEPS = 100


class _Greeks(NamedTuple):
    """The price of an option, and its derivatives."""

    price: Array
    delta: Array
    dual_delta: Array
    rho: Array
    vega: Array
    theta: Array


class _Option(graphsvc.Elementwise):
    """Base of the gates of European options that pay no dividend.

    Source:
        F. Black and M. Scholes, "The Pricing of Options and Corporate Liabilities" (1973), equations 13 and 14.
    """

    kind: Annotated[Literal["call", "put"], Field(description="The right to buy, or to sell.")] = "call"

    def infer(self, *operands: ArraySpec) -> ArraySpec:
        for name, operand in zip(self.signature.operands, operands, strict=True):
            require_floating(name, operand)
        dtype = np.result_type(*(operand.dtype for operand in operands))
        return ArraySpec(broadcast_shapes(*(operand.shape for operand in operands)), dtype)

    def _greeks(self, spot: Array, strike: Array, rate: Array, volatility: Array, maturity: Array) -> _Greeks:
        """Return the price and its derivatives; `theta` is that in the maturity."""
        sign = 1.0 if self.kind == "call" else -1.0
        root = np.sqrt(maturity)
        spread = volatility * root
        d1 = np.log(spot / strike) / spread + rate * root / volatility + spread * 0.5
        d2 = d1 - spread
        discount = np.exp(-rate * maturity)
        density = np.exp(-0.5 * d1 * d1) * (1.0 / (2.0 * np.pi) ** 0.5)
        delta = sign * ndtr(sign * d1)
        dual_delta = -sign * ndtr(sign * d2) * discount
        vega = spot * density * root
        return _Greeks(
            price=spot * delta + strike * dual_delta,
            delta=delta,
            dual_delta=dual_delta,
            rho=-strike * dual_delta * maturity,
            vega=vega,
            theta=vega * volatility / (2.0 * maturity) - strike * dual_delta * rate,
        )


class BlackScholes(_Option):
    """Price of a European option by Black and Scholes, element by element.

    Operands: price of the underlying, strike price, interest rate (continuous, per unit of time), volatility (per
    root of the unit of time), time to maturity; all but the rate above 0.
    """

    name: ClassVar[str] = "black_scholes"

    def forward(self, spot: Array, strike: Array, rate: Array, volatility: Array, maturity: Array) -> Array:
        if not np.all((spot > 0) & (strike > 0) & (volatility > 0) & (maturity > 0)):
            msg = "Spot, strike, volatility and maturity must be above 0. An option at maturity is worth max(s - k, 0)."
            raise GateDataError(msg)
        dtype = np.result_type(spot.dtype, strike.dtype, rate.dtype, volatility.dtype, maturity.dtype)
        operands = (widened(spot), widened(strike), widened(rate), widened(volatility), widened(maturity))
        return narrowed(self._greeks(*operands).price, dtype)

    def backward(
        self, dz: Array, spot: Array, strike: Array, rate: Array, volatility: Array, maturity: Array
    ) -> tuple[Array, Array, Array, Array, Array]:
        greeks = self._greeks(spot, strike, rate, volatility, maturity)
        return dz * greeks.delta, dz * greeks.dual_delta, dz * greeks.rho, dz * greeks.vega, dz * greeks.theta

    @classmethod
    def examples(cls) -> Iterable[Example]:
        for kind in ("call", "put"):
            yield Example(cls(kind=kind), *_market())


class ImpliedVolatility(_Option):
    """Volatility at which Black and Scholes give the price of a European option, element by element.

    Operands: price of the option, and then as `black_scholes` has them. A price outside the bounds of no arbitrage has
    no volatility and is refused. Where ``p = price(s, k, r, z, t)``, the implicit function theorem gives
    ``dz/dp = 1 / vega`` and ``dz/ds = -delta / vega``, and so on.
    """

    name: ClassVar[str] = "implied_volatility"

    def forward(self, price: Array, spot: Array, strike: Array, rate: Array, maturity: Array) -> Array:
        if not np.all((spot > 0) & (strike > 0) & (maturity > 0)):
            msg = "Spot, strike and maturity must be above 0."
            raise GateDataError(msg)
        worth = strike * np.exp(-rate * maturity)
        least, most = (spot - worth, spot) if self.kind == "call" else (worth - spot, worth)
        if not np.all((price > np.maximum(least, 0.0)) & (price < most)):
            msg = f"A {self.kind} must cost more than at once and less than ever: between max(0, s - k exp(-r t))"
            msg += " and s for a call, max(0, k exp(-r t) - s) and k exp(-r t) for a put."
            raise GateDataError(msg)
        return self._solved(*np.broadcast_arrays(price, spot, strike, rate, maturity))

    def _solved(self, price: Array, spot: Array, strike: Array, rate: Array, maturity: Array) -> Array:
        """Solve by Newton's method; a step that leaves the bracket is replaced by its middle."""
        dtype = np.result_type(price, spot, strike, rate, maturity)
        price, spot, strike, rate, maturity = (x.astype(np.float64) for x in (price, spot, strike, rate, maturity))
        low, high = np.zeros_like(price), np.full_like(price, 1.0)
        # The price grows with the volatility; the upper end is doubled until it is dear enough.
        for _ in range(_MOST_STEPS):
            cheap = self._greeks(spot, strike, rate, high, maturity).price < price
            if not np.any(cheap):
                break
            high = np.where(cheap, 2.0 * high, high)
        z = 0.5 * high
        for _ in range(_MOST_STEPS):
            greeks = self._greeks(spot, strike, rate, z, maturity)
            low, high = np.where(greeks.price < price, z, low), np.where(greeks.price < price, high, z)
            step = z - (greeks.price - price) / greeks.vega
            moved = np.where((step > low) & (step < high), step, 0.5 * (low + high))
            if np.all(np.abs(moved - z) <= 4 * np.finfo(np.float64).eps * z):
                break
            z = moved
        else:
            msg = "The price is too close to its bounds for the volatility to be found."
            raise GateDataError(msg)
        return np.asarray(moved, dtype)

    def backward(
        self, dz: Array, spot: Array, strike: Array, rate: Array, maturity: Array, z: Array
    ) -> tuple[Array, Array, Array, Array, Array]:
        greeks = self._greeks(spot, strike, rate, z, maturity)
        share = dz / greeks.vega
        return share, -share * greeks.delta, -share * greeks.dual_delta, -share * greeks.rho, -share * greeks.theta

    @classmethod
    def examples(cls) -> Iterable[Example]:
        spot, strike, rate, volatility, maturity = _market()
        for kind in ("call", "put"):
            price = BlackScholes(kind=kind).forward(spot, strike, rate, volatility, maturity)
            yield Example(cls(kind=kind), price, spot, strike, rate, maturity)


def _market() -> tuple[Array, Array, Array, Array, Array]:
    """Return spot, strike, rate, volatility and maturity of some options, for the examples."""
    return (
        np.array([100.0, 90.0, 105.0]),
        np.array([[95.0], [110.0]]),
        np.array(0.03),
        np.array([0.2, 0.35, 0.5]),
        np.array([[0.5], [2.0]]),
    )


@graphsvc.hookimpl
def graphsvc_gates(context: graphsvc.PluginContext) -> list[type[graphsvc.Gate]]:
    """Provide the gates of this package."""
    return [BlackScholes, ImpliedVolatility]
