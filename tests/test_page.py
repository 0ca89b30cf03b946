"""The explorer's API over HTTP, on a real server: the same answers, limits and errors as over gRPC."""

import http.client
import json
import re
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from email.message import Message
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT

import graphsvc
from graphsvc.document import document_to_json
from graphsvc.page.openapi import openapi
from tests.pages import page_serving
from tests.test_lecture import CASES, Case

Ask = Callable[..., tuple[int, Any]]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Where a server has its page."""
    with page_serving(environment={"GRAPHSVC_MAX_SECONDS": "20"}) as url:
        yield url.removeprefix("http://").strip("/")


def request(address: str, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Message, bytes]:
    """Send a request; bytes go as they are, anything else as JSON."""
    connection = http.client.HTTPConnection(address, timeout=60)
    given = {"Content-Type": "application/json"} | {key.replace("_", "-"): value for key, value in headers.items()}
    data = body if body is None or isinstance(body, bytes) else json.dumps(body)
    connection.request(method, path, data, given)
    response = connection.getresponse()
    answer = response.status, response.headers, response.read()
    connection.close()
    return answer


@pytest.fixture
def ask(address: str) -> Ask:
    """Sends a request and reads the JSON of the answer."""

    def asked(method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        status, _, text = request(address, method, path, body, **headers)
        return status, json.loads(text)

    return asked


def as_data(inputs: dict[str, Any]) -> dict[str, Any]:
    """Return arrays as lists."""
    return {name: np.asarray(value).tolist() for name, value in inputs.items()}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_case_of_the_lecture_is_answered(ask: Ask, case: Case):
    """Outputs and gradients of the lecture, drawn; a visit of each gate, whose products are the gradients it gave."""
    ones = {name: np.ones(np.shape(value)).tolist() for name, value in case.outputs.items()}
    question = {"graph": case.expression, "inputs": as_data(case.inputs), "output_gradients": ones}
    status, answer = ask("POST", "/api/evaluate", question)
    assert status == 200
    for name, value in case.outputs.items():
        np.testing.assert_allclose(answer["outputs"][name]["elements"], value, rtol=1e-14)
    for name, gradient in case.gradients.items():
        np.testing.assert_allclose(answer["gradients"][name], gradient, rtol=1e-14, atol=1e-15)
    nodes = [node.name for node in graphsvc.parse(case.expression).document().nodes]
    assert sorted(visit["node"] for visit in answer["visits"]) == sorted(nodes)
    for visit in answer["visits"]:
        (output,) = visit["outputs"]
        for operand in visit["operands"]:
            if operand["local"]:
                product = np.multiply(operand["local"]["elements"], output["gradient"]["elements"])
                np.testing.assert_allclose(operand["gradient"]["elements"], product, rtol=1e-14)
    assert answer["svg"].startswith("<svg")


def test_the_chain_rule_of_a_gate_is_spelled_out(ask: Ask):
    """That dq is z * df, -4 * 1, as the lecture has it."""
    question = {"graph": "q = x + y; f = q * z", "inputs": {"x": -2, "y": 5, "z": -4}}
    _, answer = ask("POST", "/api/evaluate", question)
    (multiply,) = [visit for visit in answer["visits"] if visit["gate"] == "multiply"]
    q = multiply["operands"][0]
    arriving = multiply["outputs"][0]["gradient"]["elements"]
    assert (q["source"], q["local"]["elements"], arriving, q["gradient"]["elements"]) == ("q", -4, 1, -4)


def test_a_local_derivative_is_there_only_where_it_is_one_factor(ask: Ask):
    """Neither a matrix product nor an operand that is broadcast has a gradient that is a product by elements."""
    question = {"graph": "f = sum((W @ x) * y)", "inputs": {"W": [[1, 2], [3, 4]], "x": [1, 2], "y": 2}}
    _, answer = ask("POST", "/api/evaluate", question)
    has_local = {
        (visit["gate"], operand["name"]): operand["local"] is not None
        for visit in answer["visits"]
        for operand in visit["operands"]
    }
    assert has_local == {
        ("matmul", "x"): False,
        ("matmul", "y"): False,
        ("multiply", "x"): True,
        ("multiply", "y"): False,
        ("sum", "x"): True,
    }


def test_a_graph_is_read_and_drawn_without_numbers(ask: Ask):
    """Its inputs, outputs and document; an expression and its document are one graph."""
    status, answer = ask("POST", "/api/graph", {"graph": "f = (x + y) * z"})
    assert (status, [entry["name"] for entry in answer["inputs"]], answer["outputs"]) == (200, ["x", "y", "z"], ["f"])
    _, again = ask("POST", "/api/graph", {"graph": answer["document"]})
    assert again == answer


def test_what_has_no_gradients_is_answered_with_its_values(ask: Ask):
    """Two outputs have none until somebody says which arrive; the note tells so."""
    question = {"graph": "a = x * x; b = 2 * x", "inputs": {"x": 3}}
    _, answer = ask("POST", "/api/evaluate", question)
    assert (answer["outputs"]["a"]["elements"], answer["gradients"]) == (9, {})
    assert "No gradients" in answer["note"]
    _, answer = ask("POST", "/api/evaluate", question | {"output_gradients": {"a": 1}})
    assert answer["gradients"] == {"x": 6}


def test_the_example_of_every_gate_runs_on_its_values(ask: Ask):
    """Those that the page gives the inputs of a gate that is inserted; gates that hold graphs are not written so."""
    _, gates = ask("GET", "/api/gates")
    described = [ask("GET", f"/api/gates/{gate['name']}")[1] for gate in gates]
    written = [gate for gate in described if "=..." not in gate["example"]]
    questions = [{"graph": g["example"], "inputs": g["example_values"], "show": False} for g in written]
    assert len(written) > 290
    for gate, question in zip(written, questions, strict=True):
        status, answer = ask("POST", "/api/evaluate", question)
        assert status == 200, answer
        for operand, shown in answer["shown_inputs"].items():
            assert gate["example_operands"][operand].endswith(str(shown["shape"]))
            assert ("complex" in gate["example_operands"][operand]) == ("complex" in shown["dtype"])


def test_numbers_that_are_not_finite_go_both_ways(ask: Ask):
    """They are the strings that documents have."""
    question = {"graph": "f = x * y", "inputs": {"x": "-Infinity", "y": 2}}
    _, answer = ask("POST", "/api/evaluate", question)
    assert (answer["outputs"]["f"]["elements"], answer["gradients"]) == ("-Infinity", {"x": 2, "y": "-Infinity"})


def test_whole_numbers_are_labels_where_a_gate_takes_nothing_else(ask: Ask):
    """JSON of a browser has no integers apart."""
    question = {"graph": "f = softmax_cross_entropy(x, y)", "inputs": {"x": [1, 2, 3], "y": 1}}
    status, answer = ask("POST", "/api/evaluate", question)
    assert (status, answer["shown_inputs"]["y"]["dtype"], list(answer["gradients"])) == (200, "int64", ["x"])


def test_large_arrays_are_thinned_and_their_gradients_whole(ask: Ask):
    """The page shows some of 10,000 elements; it descends along all of them."""
    question = {"graph": "f = sum(x**2)", "inputs": {"x": [1.0] * 10_000}}
    _, answer = ask("POST", "/api/evaluate", question)
    shown = answer["shown_gradients"]["x"]
    assert (shown["shape"], shown["whole"], answer["gradients"]["x"]) == ([10_000], False, [2.0] * 10_000)
    assert np.size(shown["elements"]) <= 64 * 64


SHAPES = {"node": "f", "line": "1", "column": "7"}

BAD = {
    "syntax": ({"graph": "f = (x + ) * z"}, 400, "EXPRESSION_INVALID", {"line": "1", "column": "10"}),
    "gate": (
        {"graph": "q = x + y\nf = 2 * sigmoyd(q)"},
        404,
        "GATE_NOT_FOUND",
        {"gates": "sigmoyd", "line": "2", "column": "9"},
    ),
    "attribute": (
        {"graph": "f = 1 + sum(x, axs=0)"},
        400,
        "ATTRIBUTE_INVALID",
        {"node": "sum.1", "line": "1", "column": "9"},
    ),
    "not a document": ({"graph": "{}"}, 400, "NOT_A_GRAPH", {}),
    "key twice": ({"graph": '{"graphsvc": 1, "graphsvc": 1}'}, 400, "NOT_A_GRAPH", {}),
    "no graph": ({}, 400, "REQUEST_INVALID", {"path": "graph"}),
    "stray": ({"graph": "f = x * x", "stray": 1}, 400, "REQUEST_INVALID", {"path": "stray"}),
    "no value": ({"graph": "f = x * y", "inputs": {"x": 1}}, 400, "INPUT_MISSING", {"input": "y"}),
    "unknown input": ({"graph": "f = x * x", "inputs": {"x": 1, "y": 1}}, 400, "INPUT_UNKNOWN", {"input": "y"}),
    "text": ({"graph": "f = x * x", "inputs": {"x": "one"}}, 400, "REQUEST_INVALID", {"input": "x"}),
    "ragged": ({"graph": "f = x * x", "inputs": {"x": [[1], [1, 2]]}}, 400, "SHAPE_MISMATCH", {"input": "x"}),
    "shapes": ({"graph": "f = x @ y", "inputs": {"x": [1], "y": [1, 2]}}, 400, "SHAPE_MISMATCH", SHAPES),
    "no array": (
        {"graph": "f = x * x", "inputs": {"x": {"dtype": "bool", "shape": [0], "data": [1]}}},
        400,
        "REQUEST_INVALID",
        {"input": "x"},
    ),
    "group": ({"graph": "f = x * x", "inputs": {"x": 1}, "unfold": [1]}, 400, "REQUEST_INVALID", {"path": "unfold.0"}),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_questions_are_told_with_their_place(ask: Ask, name: str):
    """The reason and the place are those of the error in process."""
    body, status, reason, facts = BAD[name]
    path = "/api/evaluate" if "inputs" in body else "/api/graph"
    got, answer = ask("POST", path, body)
    assert (got, answer["reason"]) == (status, reason)
    assert facts.items() <= answer["facts"].items()
    assert ("^" in answer["message"]) == ("line" in facts)


def test_messages_speak_of_what_is_on_the_page(ask: Ask):
    """Of no command and of no argument of Python; of a long error as much as elsewhere."""
    _, answer = ask("POST", "/api/graph", {"graph": f"f = {'x + ' * 300}{'g' * 100}(x)"})
    assert answer["message"].endswith("^")
    assert "All are listed under Gates, above." in answer["message"]
    assert "graphsvc gates" not in answer["message"]
    for graph, said in {
        "a = x * x; b = x + 1": "there are several outputs; fill in da, the gradient that arrives at one of them.",
        "f = x * array": "f is no single number; write sum(...) around it, or fill in df.",
        "f = x > 1": "Output 'f' is bool and has no gradient.",
    }.items():
        inputs = {"x": 1, "array": [1, 2]} if "array" in graph else {"x": 1}
        _, answer = ask("POST", "/api/evaluate", {"graph": graph, "inputs": inputs})
        assert answer["note"].endswith(said)
        assert "={" not in answer["svg"]


SCRIPT_AS_A_NAME = {
    "graphsvc": 1,
    "gates": {},
    "inputs": [{"name": "<script>alert(1)</script>"}],
    "constants": [],
    "nodes": [],
    "outputs": [{"name": "f", "source": "<script>alert(1)</script>"}],
}

HOSTILE = {
    "no JSON": b"{",
    "no UTF-8": b'{"graph": "\xff"}',
    "a constant that JSON has not": b'{"graph": "f = x", "inputs": {"x": NaN}}',
    "a key twice": b'{"graph": "f = x", "graph": "f = y"}',
    "deep": b'{"graph": "f = x", "inputs": {"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
    "deep lists": json.dumps({"graph": "f = x", "inputs": {"x": json.loads("[" * 90 + "]" * 90)}}).encode(),
    "minus signs": json.dumps({"graph": "f = " + "-" * 100_000 + "x", "inputs": {"x": 1}}).encode(),
    "a list": b"[]",
    "nothing": b"",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_questions_are_refused(ask: Ask, name: str):
    """Each with a reason, and the server goes on."""
    status, answer = ask("POST", "/api/evaluate", HOSTILE[name])
    assert (status, answer["reason"]) in {(400, "REQUEST_INVALID"), (400, "EXPRESSION_INVALID")}
    assert ask("GET", "/healthz") == (200, {"status": "serving"})


def test_a_question_that_is_too_large_is_refused(ask: Ask):
    """Four megabytes are read, and no more."""
    status, answer = ask("POST", "/api/graph", b" " * (4 * 2**20 + 1))
    assert (status, answer["reason"]) == (429, "LIMIT_EXCEEDED")


def test_a_graph_that_takes_too_much_is_refused_before_it_runs(ask: Ask):
    """Admission is the same as over gRPC."""
    graph = "a = outer(x, x); b = outer(a, a); f = sum(b)"
    status, answer = ask("POST", "/api/evaluate", {"graph": graph, "inputs": {"x": [1] * 1000}})
    assert (status, answer["reason"]) == (429, "LIMIT_EXCEEDED")
    assert answer["facts"]["limit"] == "max_tensor_bytes"


def test_graphs_that_multiply_each_other_are_refused(ask: Ask):
    """Sixteen loops in each other, each of a thousand rounds, are counted and not run."""
    loops = [{"name": "g0", "inputs": [{"name": "x"}], "nodes": [{"name": "y", "gate": "tanh", "operands": ["x"]}]}]
    for depth in range(1, 15):
        attributes = {"body": {"graph": f"g{depth - 1}"}, "length": 1000}
        node = {"name": "y", "gate": "scan", "operands": ["x"], "attributes": attributes}
        loops.append({"name": f"g{depth}", "inputs": [{"name": "x"}], "nodes": [node]})
    for loop in loops:
        loop |= {"constants": [], "outputs": [{"name": "y", "source": "y"}]}
    document = {"graphsvc": 1, "gates": {}, **loops.pop(), "graphs": loops}
    del document["name"]
    status, answer = ask("POST", "/api/evaluate", {"graph": json.dumps(document), "inputs": {"x": 1}})
    assert status in (400, 429), answer


def test_a_graph_of_ten_thousand_nodes_is_folded(ask: Ask):
    """It is answered, drawn in groups, with no visits."""
    lines = ["v0 = x + 1"] + [f"v{i}=sin(v{i - 1})*x" for i in range(1, 5000)]
    graph = graphsvc.parse("\n".join(lines))
    outputs, gradients = graph.value_and_grad({"x": 0.5})
    status, answer = ask("POST", "/api/evaluate", {"graph": document_to_json(graph.document()), "inputs": {"x": 0.5}})
    assert (status, answer["visits"]) == (200, [])
    np.testing.assert_allclose(answer["gradients"]["x"], gradients["x"], rtol=1e-12)
    np.testing.assert_allclose(answer["outputs"]["v4999"]["elements"], outputs["v4999"], rtol=1e-12)
    assert len(re.findall("data-node", answer["svg"])) <= 150


def test_gates_are_listed_and_described(ask: Ask):
    """All that are installed, with the words of other libraries."""
    _, gates = ask("GET", "/api/gates")
    words = {gate["name"]: gate["words"] for gate in gates}
    assert "unsqueeze" in words["expand_dims"]
    signs = {gate["name"]: (gate["symbol"], gate["operator"]) for gate in gates}
    assert (signs["multiply"], signs["sigmoid"], signs["softmax"]) == (("×", "x * y"), ("σ", ""), ("", ""))
    _, gate = ask("GET", "/api/gates/softmax")
    assert (gate["operands"], gate["example"]) == (["x"], "softmax(x)")
    status, answer = ask("GET", "/api/gates/softmix")
    assert (status, answer["reason"]) == (404, "GATE_NOT_FOUND")


def test_the_api_is_described(ask: Ask):
    """Every path of it, and every model that it speaks of."""
    _, described = ask("GET", "/api/openapi.json")
    assert described == json.loads(json.dumps(openapi()))
    assert set(described["paths"]) == {"/api/graph", "/api/evaluate", "/api/gates", "/api/gates/{name}", "/healthz"}
    for name in re.findall(r'"#/components/schemas/(\w+)"', json.dumps(described)):
        assert name in described["components"]["schemas"]


def test_the_page_brings_all_that_it_needs(address: str):
    """Whatever it speaks of is there, and nothing is of another place."""
    pending, seen = ["/", "/static/main.js"], set()
    while pending:
        path = pending.pop()
        if path in seen:
            continue
        seen.add(path)
        status, headers, body = request(address, "GET", path)
        assert status == 200, path
        assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self';")
        text = body.decode()
        assert not re.findall(r"(?:https?:)?//(?!www\.w3\.org)[a-z]+\.", text)
        pending += [f"/{name}" for name in re.findall(r'"(static/[\w.]+)"', text)]
        pending += [f"/static/{name}" for name in re.findall(r'from "\./([\w.]+)"', text)]
    assert len(seen) >= 12


def test_other_sites_cannot_ask(address: str):
    """Neither under a name of theirs that leads here, nor by a form, nor from a script."""
    status, _, body = request(address, "GET", "/", Host="evil.example")
    assert (status, body) == (400, b"Invalid host header")
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        status, _, body = request(address, "POST", "/api/graph", {"graph": "f = x"}, Content_Type=kind)
        assert (status, json.loads(body)["reason"]) == (400, "REQUEST_INVALID")
    status, headers, _ = request(address, "OPTIONS", "/api/graph", Origin="https://evil.example")
    assert status == 405
    assert "access-control-allow-origin" not in headers


def test_what_looks_like_markup_stays_text(ask: Ask):
    """Names cannot be markup, and attributes are escaped where they are drawn."""
    status, answer = ask("POST", "/api/graph", {"graph": json.dumps(SCRIPT_AS_A_NAME)})
    assert (status, answer["reason"]) == (400, "NAME_INVALID")
    status, answer = ask("POST", "/api/graph", {"graph": 'f = pad(x, ((1, 1),), mode="<script>alert(1)</script>")'})
    assert status == 400 or "<script" not in answer["svg"]


@pytest.mark.parametrize(
    ("value", "said"),
    [("8080", "127.0.0.1:8080"), ("example.com:80", "127.0.0.1:8080"), ("127.0.0.1:99999", "127.0.0.1:8080")],
)
def test_a_wrong_address_of_the_page_is_told(value: str, said: str):
    """Only addresses and ports, as in the example that is given."""
    command = [sys.executable, "-m", "graphsvc", "serve", "--port", "0", "--http", value]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "--http" in done.stderr
    assert said in done.stderr


def test_an_address_that_is_taken_is_told(address: str):
    """The server does not start without the page that it was asked for."""
    command = [sys.executable, "-m", "graphsvc", "serve", "--port", "0", "--http", address]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert address in done.stderr


def test_the_wheel_has_all_files_of_the_page(tmp_path: Path):
    """No build step of a user's brings them."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", tmp_path]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=100)
    (wheel,) = tmp_path.glob("*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    static = [path.relative_to(ROOT).as_posix() for path in (ROOT / "graphsvc" / "page" / "static").iterdir()]
    assert len(static) > 12
    assert set(static) <= inside


@pytest.mark.parametrize("host", ["localhost", "[::1]"])
def test_the_page_listens_on_other_names_of_this_machine(host: str):
    """Under the address that is printed it is found."""
    with page_serving("--http", f"{host}:0") as url:
        assert url.startswith(f"http://{host}:")
        assert request(url.removeprefix("http://").strip("/"), "GET", "/healthz")[0] == 200


@pytest.fixture(scope="module")
def impatient() -> Iterator[tuple[str, int]]:
    """A server that waits for its clients one second."""
    with page_serving(environment={"GRAPHSVC_STALL_SECONDS": "1"}) as url:
        host, port = url.removeprefix("http://").strip("/").split(":")
        yield host, int(port)


HEAD = b"POST /api/graph HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 400\r\n\r\n"
AFTER_AN_ANSWER = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 400\r\n\r\n"
SLOW = {
    "nothing": (b"", b""),
    "a head": (b"GET / HTTP/1.1\r\nX: ", b"x"),
    "a second head": (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HTTP/1.1\r\nX: ", b"x"),
    "a body": (HEAD, b" "),
    "a body that nobody reads": (AFTER_AN_ANSWER, b" "),
}


@pytest.mark.parametrize("name", SLOW)
def test_a_slow_client_is_hung_up_on(impatient: tuple[str, int], name: str):
    """Whatever it goes on sending bit by bit, the connection ends."""
    first, more = SLOW[name]
    with socket.create_connection(impatient, timeout=20) as connection:
        connection.sendall(first)
        dripping = threading.Event()

        def drip() -> None:
            with suppress(OSError):
                while not dripping.wait(0.1) and more:
                    connection.sendall(more)

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            with suppress(ConnectionResetError):
                while connection.recv(2**16):
                    pass
        finally:
            dripping.set()
            thread.join()


def test_a_client_that_reads_nothing_is_hung_up_on(impatient: tuple[str, int]):
    """Answers that it does not take are not kept for it."""
    with socket.create_connection(impatient, timeout=20) as connection:
        asked = 400
        connection.sendall(b"GET /api/gates HTTP/1.1\r\nHost: localhost\r\n\r\n" * asked)
        # What the kernels hold is there; the rest is gone once the server gave up.
        time.sleep(4)
        received = bytearray()
        with suppress(ConnectionResetError):
            while part := connection.recv(2**20):
                received += part
        assert 0 < received.count(b"HTTP/1.1 200 OK") < asked


def test_slow_clients_give_their_places_back(impatient: tuple[str, int]):
    """As many as there may be keep others out for a moment alone."""
    with ExitStack() as stack:
        for _ in range(256):
            stack.enter_context(socket.create_connection(impatient, timeout=20))
        while request(f"{impatient[0]}:{impatient[1]}", "GET", "/healthz")[0] != 200:
            time.sleep(0.1)
