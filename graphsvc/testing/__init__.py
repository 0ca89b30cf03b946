"""For those who write gates: the conformance kit, central differences, and a real server.

A gate's test in one line::

    graphsvc.testing.check_gate(Smooth(width=3), np.linspace(0.0, 1.0, 8))

and that of all gates of a plugin::

    @graphsvc.testing.parametrize_gates("signal")
    def test_a_gate_obeys_every_law(gate):
        graphsvc.testing.check_gate(gate)
"""

from graphsvc.testing.differences import GradientCheck, central_difference, check_gradients
from graphsvc.testing.kit import check_gate, examine_gate, gates_in, parametrize_gates
from graphsvc.testing.laws import LAWS
from graphsvc.testing.report import Failure, GateReport
from graphsvc.testing.serving import serving

__all__ = [
    "LAWS",
    "Failure",
    "GateReport",
    "GradientCheck",
    "central_difference",
    "check_gate",
    "check_gradients",
    "examine_gate",
    "gates_in",
    "parametrize_gates",
    "serving",
]
