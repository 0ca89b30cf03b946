"""How a gate moved in its forward pass, and how its methods are run on arrays that carry tangents."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from graphsvc.arrays import Array
from graphsvc.engine.calls import Record, handed, invoke, want_of_memory
from graphsvc.engine.duals.dual import Dual, LostTangent, noted, stripped
from graphsvc.engine.inference import BoundNode, described
from graphsvc.errors import GateDataError, TangentLostError

__all__ = ["Moved", "Primal", "paired", "run_on_duals"]


@dataclass(slots=True)
class Moved:
    """What of a gate's forward pass its backward will need, and the tangents of it.

    Attributes:
        record: As for a first derivative, with duals among the saved values.
        operands: All operands, because differences are taken at them.
        outputs: The outputs, for their size.
        operand_dots: Tangents of the operands; None where there is none.
        output_dots: Tangents of the outputs.
        constants: Whether a function that is constant almost everywhere met a tangent.
        unproven: Whether the tangents of the outputs come from elsewhere than backward, which they must agree with.
    """

    record: Record
    operands: list[Array]
    outputs: tuple[Array, ...]
    operand_dots: list[Array | None]
    output_dots: tuple[Array | None, ...]
    constants: bool = False
    unproven: bool = False


Primal = dict[str, tuple[tuple[Array, ...], Record | None]]
"""A forward pass that was run before: outputs and record by the name of the node."""


def paired(x: Any, dot: Array | None) -> Any:
    """Return an operand as the gate is given it, with its tangent if it has one."""
    return handed(x) if dot is None else Dual(handed(x), handed(dot))


def run_on_duals(node: BoundNode, method: str, function: Callable[..., Any], arguments: Sequence[Any]) -> Any:
    """Call a method of a gate on duals.

    Raises:
        TangentLostError: It cannot be run on them; whatever goes wrong means that.
        GateError: It fails without tangents, too.
        LimitError: There is not memory enough for it.
    """
    notes = noted()
    # A gate that holds a graph runs others meanwhile.
    before, notes.lost = notes.lost, None
    try:
        returned = function(node.gate, *arguments)
        if notes.lost is None:
            notes.lost = before
            return returned
        reason = notes.lost
    except GateDataError as error:
        # Where the data are at fault, they are so without tangents, too.
        invoke(node, method, function, *map(stripped, arguments))
        reason = str(error)
    except KeyboardInterrupt:
        raise
    except TangentLostError as error:
        raise error.at(node.name, node.gate_name) from error.__cause__
    except LostTangent as error:
        reason = notes.lost or str(error)
    except BaseException as error:
        if short := want_of_memory(node, method, error):
            raise short from error
        reason = notes.lost or described(error)
    msg = f"{method} cannot be followed by tangents: {reason.removesuffix('.')}. Its author can write it in plain NumPy"
    msg += ", or give the gate a jvp." if method == "forward" else "."
    raise TangentLostError(msg).at(node.name, node.gate_name)
