"""Packages that break in every way a plugin can, written into a folder as pip would install them."""

from pathlib import Path

GOOD_MODULE = '''
from typing import ClassVar
import graphsvc

graphsvc_api_version = 1

class Twice(graphsvc.Elementwise):
    """Twice the operand."""

    name: ClassVar[str] = "twice"

    def forward(self, x):
        return 2 * x

    def backward(self, dz):
        return 2 * dz

@graphsvc.hookimpl
def graphsvc_gates(context):
    return [Twice]
'''


def install(
    folder: Path, namespace: str, source: str, *, package: str | None = None, target: str | None = None
) -> None:
    """Write a distribution with one module and one entry point."""
    package = package or f"planted-{namespace}"
    module = target or package.replace("-", "_")
    info = folder / f"{package.replace('-', '_')}-1.5.dist-info"
    info.mkdir(parents=True)
    (folder / f"{module}.py").write_text(source)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.5\n")
    (info / "entry_points.txt").write_text(f"[graphsvc]\n{namespace} = {module}\n")


DOCTOR = """
@graphsvc.hookimpl
def graphsvc_doctor(context):
    yield graphsvc.Checkup("its data", f"12 tables of {context.namespace}")
    yield graphsvc.Checkup("its licence", "expired; renew it", healthy=False)
"""

FAULTY_GATES = r'''
import os
import time
from collections.abc import Callable
from typing import ClassVar
import graphsvc
import pydantic
from graphsvc.errors import GateContractError, UnknownGraphError

graphsvc_api_version = 1

def fault(name, action):
    def forward(self, x):
        action()
        return x
    body = {"__module__": __name__, "__annotations__": {"name": ClassVar[str]}, "name": name, "forward": forward,
            "backward": lambda self, dz: dz, "__doc__": "A fault."}
    return type(graphsvc.Gate)(name, (graphsvc.Gate,), body)

def raiser(error):
    def action():
        raise error
    return action

def tick():
    time.sleep(0.1)
    with open(os.environ["TICKS"], "a") as ticks:
        ticks.write(".")

class Unprintable(Exception):
    def __str__(self):
        raise SystemExit

GATES = [
    fault("sleep", lambda: time.sleep(0.2)),
    fault("tick", tick),
    fault("value", raiser(ValueError("secret /etc/shadow"))),
    fault("leave", raiser(SystemExit("secret"))),
    fault("interrupt", raiser(KeyboardInterrupt("secret"))),
    fault("generator", raiser(GeneratorExit("secret"))),
    fault("cancel", raiser(__import__("asyncio").CancelledError("secret"))),
    fault("abort", raiser(__import__("grpc").aio.AbortError("secret"))),
    fault("memory", raiser(MemoryError("secret"))),
    fault("stop", raiser(StopIteration("secret"))),
    fault("unprintable", raiser(Unprintable())),
    fault("huge", raiser(ValueError("secret" * 10**6))),
    fault("data", raiser(graphsvc.GateDataError("x must be positive"))),
    fault("contract", raiser(GateContractError("secret"))),
    fault("long", lambda: time.sleep(25)),
    fault("facts", raiser(graphsvc.GateDataError("x is bad", index=3))),
    fault("surrogate", raiser(graphsvc.GateDataError("x is bad \ud800"))),
]

class Secret:
    pass

class Returner(graphsvc.Gate):
    """Gives an object of its own."""

    name: ClassVar[str] = "returner"

    def forward(self, x):
        return Secret()

    def backward(self, dz):
        return dz

class Inferer(graphsvc.Gate):
    """Has an infer that raises what is not its to raise."""

    name: ClassVar[str] = "inferer"

    def infer(self, x):
        raise UnknownGraphError("secret")

    def forward(self, x):
        return x

class Checked(graphsvc.Gate):
    """Has a validator that tells too much."""

    name: ClassVar[str] = "checked"
    n: int = 0

    @pydantic.field_validator("n")
    @classmethod
    def check(cls, n):
        raise ValueError("secret /etc/shadow")

    def forward(self, x):
        return x

class Odd(graphsvc.Gate):
    """Has an attribute that no schema describes."""

    name: ClassVar[str] = "odd"
    how: Callable[[float], float] | None = None

    def forward(self, x):
        return x

GATES += [Returner, Inferer, Checked, Odd]

@graphsvc.hookimpl
def graphsvc_gates(context):
    return GATES
'''

FAULTS = {
    "raises": ("failed", "ValueError: at import", "raise ValueError('at import')"),
    "exits": ("failed", "SystemExit", "raise SystemExit(0)"),
    "interrupts": ("failed", "code", "raise KeyboardInterrupt"),
    "missing": ("failed", "ModuleNotFoundError", "import a_package_that_is_not_there"),
    "dies": ("failed", "ended the process, with code 7", "import os; os._exit(7)"),
    "crashes": ("failed", "ended the process, with code -", "import ctypes; ctypes.string_at(0)"),
    "hangs": ("timed out", "more than", "import time; time.sleep(600)"),
    "starts": ("loaded", "", "import subprocess; subprocess.Popen(['sleep', '300'])\n" + GOOD_MODULE),
    "prints": ("loaded", "", "print('hello from the import')\n" + GOOD_MODULE),
    "forges": ("loaded", "", "import os; os.write(1, b'graphsvc 9 listening on 127.0.0.1:1\\n')\n" + GOOD_MODULE),
    "unversioned": ("failed", "graphsvc_api_version = None", GOOD_MODULE.replace("graphsvc_api_version = 1", "")),
    "future": (
        "failed",
        "graphsvc_api_version = 9, and this graphsvc has 1. Install a newer graphsvc",
        GOOD_MODULE.replace("api_version = 1", "api_version = 9"),
    ),
    "misspelt": (
        "failed",
        "Did you mean 'graphsvc_gates'",
        GOOD_MODULE.replace("def graphsvc_gates", "def graphsvc_gate"),
    ),
    "unmarked": ("failed", "implements no hook", GOOD_MODULE.replace("@graphsvc.hookimpl", "")),
    "hook_raises": ("failed", "ZeroDivisionError", GOOD_MODULE.replace("return [Twice]", "return 1 / 0")),
    "objects": ("failed", "no gate class", GOOD_MODULE.replace("[Twice]", "[Twice()]")),
    "gives_none": ("failed", "gave 'None'", GOOD_MODULE.replace("return [Twice]", "return None")),
    "gives_a_number": ("failed", "gave '3'", GOOD_MODULE.replace("return [Twice]", "return 3")),
    "gives_a_name": ("failed", "no list of gate classes", GOOD_MODULE.replace("[Twice]", "'Twice'")),
    "stops": ("failed", "ZeroDivisionError", GOOD_MODULE.replace("return [Twice]", "yield 1 / 0")),
    "borrows": (
        "failed",
        "provides Exp of graphsvc.gates",
        GOOD_MODULE.replace("[Twice]", "[Exp]") + "from graphsvc.gates.exponentials import Exp",
    ),
    "trespasses": ("failed", "lower case letters", GOOD_MODULE.replace('"twice"', '"good.twice"')),
    "graphsvc": ("failed", "is that of graphsvc itself", GOOD_MODULE),
    "bad-name": ("failed", "no name", GOOD_MODULE),
    "same_name": ("failed", "two of its gates are named 'twice'", GOOD_MODULE.replace("[Twice]", "[Twice, Twice]")),
    "bad_gate": ("failed", "ignores the gradient", GOOD_MODULE.replace("self, dz", "self, x").replace("2 * dz", "x")),
    "ails": ("loaded", "", GOOD_MODULE + DOCTOR),
    "ails_badly": ("loaded", "", GOOD_MODULE + DOCTOR.replace("yield", "return 1 / 0; yield")),
    "good": ("loaded", "", GOOD_MODULE),
}
"""For each fault: the state of the plugin, a part of the cause, and the module."""
