"""Numbers, arrays and attributes as plain JSON data and back, exact to the bit."""

import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn, TypeAlias

import numpy as np
from pydantic_core import PydanticCustomError

from graphsvc.arrays import DTYPES, MAX_DIMENSION, MAX_RANK, Array, fits_memory
from graphsvc.errors import quoted

__all__ = [
    "Attribute",
    "GraphReference",
    "array_from_entry",
    "array_to_data",
    "array_to_entry",
    "attribute_from_data",
    "attribute_to_data",
    "attribute_value",
    "complain",
    "literal_or_array",
    "number_from_data",
    "number_to_data",
]


@dataclass(frozen=True, slots=True)
class GraphReference:
    """The name of one of the document's graphs, as the value of an attribute that holds a graph."""

    name: str


Attribute: TypeAlias = bool | int | float | str | tuple["Attribute", ...] | GraphReference | None
"""What an attribute may be: plain data, with tuples at most two deep, or the name of a graph."""

_SPECIAL: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_NAN_BITS: Final = re.compile(r"NaN\(0x([0-9a-f]{1,16})\)")
_LONGEST_LIST: Final = 1024
_LONGEST_TEXT: Final = 4096
_is_graph_name: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}").fullmatch


def _fits_int64(value: int) -> bool:
    return -(2**63) <= value < 2**63


def number_to_data(value: float) -> float | int | str:
    """Return a number as JSON can hold it: non-finite floats become `NaN`, `Infinity` and `-Infinity`.

    A NaN with other bits than the usual one is written with them, as `NaN(0xfff8000000000000)`.
    """
    if not isinstance(value, float) or math.isfinite(value):
        return value
    if not math.isnan(value):
        return "Infinity" if value > 0 else "-Infinity"
    bits = struct.unpack("<Q", struct.pack("<d", value))[0]
    return "NaN" if bits == 0x7FF8000000000000 else f"NaN(0x{bits:x})"


def number_from_data(value: object) -> object:
    """Undo `number_to_data`; anything else passes through."""
    if not isinstance(value, str):
        return value
    if value in _SPECIAL:
        return _SPECIAL[value]
    if bits := _NAN_BITS.fullmatch(value):
        number: float = struct.unpack("<d", int(bits[1], 16).to_bytes(8, "little"))[0]
        if math.isnan(number):
            return number
    return value


def array_to_data(array: Array) -> Any:
    """Return an array as JSON can hold it: a number or nested lists of numbers; complex ones as pairs.

    Unlike `array_to_entry`, this is for reading and not exact: every NaN is `NaN`.
    """
    if array.dtype.kind == "c":
        array = np.stack([array.real, array.imag], axis=-1)
    if array.dtype.kind != "f" or np.all(np.isfinite(array)):
        return array.tolist()
    flat = ["NaN" if math.isnan(v) else number_to_data(v) for v in array.ravel().tolist()]
    for size in reversed(array.shape[1:]):
        flat = [flat[i : i + size] for i in range(0, len(flat), size)]  # type: ignore[misc]
    return flat if array.ndim else flat[0]


def array_to_entry(array: Array) -> dict[str, Any]:
    """Return an array with its dtype and shape. Its elements stand in C order in one list, exact to the bit."""
    real = array.view(f"f{array.itemsize // 2}") if array.dtype.kind == "c" and array.ndim else array
    if array.dtype.kind == "c" and not array.ndim:
        real = array.reshape(1).view(f"f{array.itemsize // 2}")
    flat = np.ascontiguousarray(real).reshape(-1)
    data = flat.tolist()
    if flat.dtype.kind == "f" and not np.all(np.isfinite(flat)):
        data = [_element_to_data(value, element) for value, element in zip(data, flat, strict=True)]
    return {"dtype": array.dtype.name, "shape": list(array.shape), "data": data}


def _element_to_data(value: float, element: np.floating[Any]) -> float | str:
    if not math.isnan(value):
        return number_to_data(value)
    bits = int(element.view(f"u{element.itemsize}"))
    usual = int(element.dtype.type(math.nan).view(f"u{element.itemsize}"))
    return "NaN" if bits == usual else f"NaN(0x{bits:x})"


def array_from_entry(entry: object) -> object:
    """Undo `array_to_entry`; anything but a mapping passes through.

    Raises:
        PydanticCustomError: The mapping is no array.
    """
    if not isinstance(entry, Mapping):
        return entry
    if set(entry) != {"dtype", "shape", "data"}:
        complain("an array has exactly the fields 'dtype', 'shape' and 'data'")
    dtype, shape, data = entry["dtype"], entry["shape"], entry["data"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        complain(f"'dtype' must be one of {', '.join(DTYPES)}")
    if not isinstance(shape, list | tuple) or len(shape) > MAX_RANK:
        complain(f"'shape' must be a list of at most {MAX_RANK} integers")
    if not all(type(size) is int and 0 <= size <= MAX_DIMENSION for size in shape) or not fits_memory(shape, 16):
        complain("'shape' must hold integers from 0 whose product is below 2^63")
    parts = 2 if DTYPES[dtype].kind == "c" else 1
    if not isinstance(data, list) or len(data) != math.prod(shape) * parts:
        complain(f"'data' must be a list of {math.prod(shape) * parts} numbers, for shape {list(shape)}")
    return _elements(data, DTYPES[dtype]).reshape(shape)


def _elements(data: list[object], dtype: np.dtype[Any]) -> Array:
    """Return the listed numbers as a flat array of `dtype`, and refuse any that it cannot hold exactly."""
    if dtype.kind == "b":
        if not all(type(value) is bool for value in data):
            complain("'data' of a bool array must hold true and false")
        return np.array(data, dtype)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        if not all(type(value) is int and limits.min <= value <= limits.max for value in data):
            complain(f"'data' of an {dtype} array must hold integers from {limits.min} to {limits.max}")
        return np.array(data, dtype)
    part = np.dtype(f"f{dtype.itemsize // 2}") if dtype.kind == "c" else dtype
    flat = np.empty(len(data), part)
    for i, value in enumerate(data):
        if isinstance(value, str) and (bits := _NAN_BITS.fullmatch(value)) and len(bits[1]) <= 2 * part.itemsize:
            flat[i : i + 1].view(f"u{part.itemsize}")[0] = int(bits[1], 16)
            continue
        number = number_from_data(value)
        if type(number) not in (int, float):
            complain(f"'data' must hold numbers, got {quoted(value)} at place {i}")
        try:
            with np.errstate(over="ignore"):
                flat[i] = number
        except OverflowError:
            complain(f"'data' holds an integer that {part} cannot hold, at place {i}")
        if math.isfinite(number) and float(flat[i]) != number:  # type: ignore[arg-type]
            complain(f"'data' holds {number}, which {part} cannot hold exactly, at place {i}")
    return flat.view(dtype)


def complain(problem: str) -> NoReturn:
    """Raise what pydantic turns into an error of the entry that is being read."""
    kind, template = "document", "{problem}"
    raise PydanticCustomError(kind, template, {"problem": problem})


def literal_or_array(value: object) -> object:
    """Return the value of a constant: a Python number, or a read-only array of its own."""
    value = array_from_entry(number_from_data(value))
    if isinstance(value, np.ndarray):
        return _frozen(value)
    if type(value) not in (int, float):
        complain("a constant is a number or an array with 'dtype', 'shape' and 'data'")
    if isinstance(value, int) and not _fits_int64(value):
        complain(f"the integer {quoted(value)} does not fit 64 bits")
    return value


def _frozen(value: Array) -> Array:
    if value.flags.writeable:
        value = value.copy()
        value.flags.writeable = False
    return value


def attribute_value(value: object, depth: int = 0) -> Attribute:
    """Return `value` as an attribute: NumPy numbers become Python's, lists become tuples.

    Raises:
        PydanticCustomError: `value` is no plain data, does not fit 64 bits, or nests deeper than two.
    """
    if isinstance(value, np.bool_ | np.integer | np.floating):
        value = value.item()
    if isinstance(value, list | tuple):
        if depth == 2:
            complain("lists in an attribute nest at most two deep")
        if len(value) > _LONGEST_LIST:
            complain(f"a list in an attribute has at most {_LONGEST_LIST} items, got {len(value)}")
        return tuple(attribute_value(v, depth + 1) for v in value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Mapping) and value.keys() == {"graph"} and isinstance(value["graph"], str):
        value = GraphReference(value["graph"])
    if isinstance(value, GraphReference) and depth == 0:
        if not _is_graph_name(value.name):
            complain(f"{quoted(value.name)} is no name of a graph")
        return value
    # Exactly Python's own types: an enumeration is what it is a kind of.
    if isinstance(value, int):
        if not _fits_int64(int(value)):
            complain(f"the integer {quoted(int(value))} does not fit 64 bits")
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, str):
        if len(value) > _LONGEST_TEXT or not _is_unicode(value):
            complain(f"a text in an attribute has at most {_LONGEST_TEXT} characters of Unicode")
        return str.__str__(value)
    complain(f"an attribute is a number, string, true, false, null or a list of them, not {type(value).__name__}")


def _is_unicode(text: str) -> bool:
    """Tell whether a text can be written as UTF-8; lone surrogates cannot."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def attribute_from_data(value: object, depth: int = 0) -> object:
    """Undo `attribute_to_data`; what it cannot have made passes through."""
    if isinstance(value, list) and depth <= 2:
        return tuple(attribute_from_data(v, depth + 1) for v in value)
    if isinstance(value, dict) and value.keys() == {"text"} and isinstance(value["text"], str):
        return value["text"]
    if isinstance(value, dict) and value.keys() == {"graph"} and isinstance(value["graph"], str):
        return GraphReference(value["graph"])
    return number_from_data(value)


def attribute_to_data(value: Attribute) -> Any:
    """Return an attribute as JSON can hold it. A string that reads as a number, such as "NaN", is wrapped as text."""
    if isinstance(value, GraphReference):
        return {"graph": value.name}
    if isinstance(value, tuple):
        return [attribute_to_data(v) for v in value]
    if isinstance(value, str):
        return value if number_from_data(value) is value else {"text": value}
    return number_to_data(value) if isinstance(value, float) else value
