"""Tests of the option prices."""

import numpy as np
import pytest

from graphsvc import GateDataError, parse
from graphsvc.testing import check_gate, parametrize_gates

MARKET = {"s": 42.0, "k": 40.0, "r": 0.1, "v": 0.2, "t": 0.5}


@parametrize_gates("finance")
def test_a_gate_obeys_every_law(gate):
    """All laws of the conformance kit, on all examples."""
    check_gate(gate)


def test_prices_are_those_of_the_textbook():
    """J. Hull, "Options, Futures and Other Derivatives", example 15.6: a call is worth 4.76, a put 0.81."""
    for kind, price in (("call", 4.76), ("put", 0.81)):
        outputs, _ = parse(f"f = finance.black_scholes(s, k, r, v, t, kind='{kind}')").value_and_grad(MARKET)
        assert outputs["f"] == pytest.approx(price, abs=0.005)


def test_put_and_call_are_in_parity():
    """A call less a put is a forward: `s - k exp(-r t)`, in price and in every sensitivity."""
    parity = parse(
        "f = finance.black_scholes(s, k, r, v, t) - finance.black_scholes(s, k, r, v, t, kind='put')"
        "- s + k * exp(-r * t)"
    )
    outputs, gradients = parity.value_and_grad(MARKET)
    assert outputs["f"] == pytest.approx(0.0, abs=1e-12)
    for gradient in gradients.values():
        assert gradient == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("kind", ["call", "put"])
@pytest.mark.parametrize("volatility", [0.03, 0.2, 1.5, 6.0])
def test_the_implied_volatility_gives_the_price_again(kind, volatility):
    """Over deep and far strikes, small and large volatilities."""
    strikes = {"k": np.array([35.0, 42.0, 50.0])} if volatility > 0.1 else {"k": np.array([40.0, 44.0])}
    market = MARKET | strikes | {"v": volatility}
    prices, _ = parse(f"f = finance.black_scholes(s, k, r, v, t, kind='{kind}')").value_and_grad(market, wrt=[])
    implied = parse(f"f = finance.implied_volatility(p, s, k, r, t, kind='{kind}')")
    market = {name: value for name, value in market.items() if name != "v"} | {"p": prices["f"]}
    outputs, _ = implied.value_and_grad(market, wrt=[])
    np.testing.assert_allclose(outputs["f"], volatility, rtol=1e-6)


@pytest.mark.parametrize("price", [0.0, 3.0, 43.0, np.nan])
def test_a_price_that_allows_arbitrage_is_refused(price):
    """A call costs more than `s - k exp(-r t)`, 3.95 here, and less than the underlying."""
    graph = parse("f = finance.implied_volatility(p, s, k, r, t)")
    with pytest.raises(GateDataError, match="between max"):
        graph.value_and_grad({"p": price, **{name: MARKET[name] for name in "skrt"}})


@pytest.mark.parametrize("name", ["s", "k", "v", "t"])
def test_what_must_be_above_zero_is(name):
    """An option at maturity, or of no volatility, has a kink, and is refused."""
    with pytest.raises(GateDataError, match="above 0"):
        parse("f = finance.black_scholes(s, k, r, v, t)").value_and_grad(MARKET | {name: 0.0})
