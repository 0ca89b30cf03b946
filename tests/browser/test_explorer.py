"""The explorer in a real browser, as people use it."""

import json
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect

from tests.browser.conftest import ROOT

expect.set_options(timeout=20_000)

PICTURES = ROOT / "build" / "pictures"


def gradient(page: Page, name: str) -> Locator:
    """Return where the gradient of an input stands."""
    return page.locator(f"[data-input='{name}'] output.gradient")


def value(page: Page, name: str) -> Locator:
    """Return where the value of an output stands."""
    return page.locator(f"[data-output='{name}'] output.value")


def edge(page: Page, source: str, target: str) -> Locator:
    """Return an edge of the circuit."""
    return page.locator(f"#circuit [data-source='{source}'][data-target='{target}']")


def type_circuit(page: Page) -> None:
    """Type the first circuit of the lecture, as a person does."""
    page.locator("#graph").press("Control+a")
    page.keyboard.type("q = x + y\nf = q * z")
    for name, number in {"x": "-2", "y": "5", "z": "-4"}.items():
        page.fill(f"#input-{name}", number)


def test_the_first_circuit_is_typed_and_read_off(page: Page):
    """Typed into the page, it has the output -12 and the gradients -4, -4 and 3, in the rows and in the circuit."""
    type_circuit(page)
    expect(value(page, "f")).to_have_text("f = -12")
    for name, expected in {"x": "dx = -4", "y": "dy = -4", "z": "dz = 3"}.items():
        expect(gradient(page, name)).to_have_text(expected)
    expect(edge(page, "q", "f").locator("text.value")).to_have_text("3")
    expect(edge(page, "q", "f").locator("text.gradient")).to_have_text("-4")
    expect(page.locator("#said")).to_have_text("f = -12, dx = -4, dy = -4, dz = 3")


def test_names_that_are_typed_become_inputs(page: Page):
    """A new name begins with 1; one that is gone leaves, and comes back as it was."""
    page.fill("#graph", "f = x * speed")
    expect(page.locator("#input-speed")).to_have_value("1")
    page.fill("#input-speed", "7")
    page.fill("#graph", "f = x * x")
    expect(page.locator("#input-speed")).to_have_count(0)
    page.fill("#graph", "f = x * speed")
    expect(gradient(page, "x")).to_have_text("dx = 7")


def test_a_new_input_is_told_of(page: Page):
    """A mistyped name is one: it has a value of its own, and says so until that is given."""
    type_circuit(page)
    expect(gradient(page, "z")).to_have_text("dz = 3")
    expect(page.locator(".news:visible")).to_have_count(0)
    page.fill("#graph", "q = x + y\nf = qq * z")
    expect(page.locator("#input-qq-news")).to_have_text("New input, set to 1")
    expect(page.locator(".news:visible")).to_have_count(1)
    expect(page.locator("#input-qq")).to_have_value("1")
    expect(page.locator("#input-z")).to_have_value("-4")
    expect(page.locator("#said")).to_contain_text("qq: New input, set to 1")
    page.fill("#input-qq", "7")
    expect(page.locator("#input-qq-news")).to_be_hidden()
    for graph in ("q = x + y\nf = q * z", "q = x + y\nf = qq * z"):
        page.fill("#graph", graph)
        expect(page.locator("#input-qq")).to_have_count(int("qq" in graph))
    expect(page.locator("#input-qq-news")).to_have_text("Back again, with its value from before")
    expect(page.locator("#input-qq")).to_have_value("7")


def test_an_input_says_whose_place_it_takes_and_what_it_keeps(page: Page):
    """A mistyped name, and values from before under a graph that is written anew; an example says nothing."""
    page.fill("#graph", "q = x + y\nf = q * zz")
    expect(page.locator("#input-zz-news")).to_have_text("New input, set to 1 (z is no longer used)")
    page.fill("#rate", "0.5")
    page.locator("#moved input").first.uncheck()
    page.fill("#graph", "loss = mean(x**2)")
    expect(page.locator("#input-x-news")).to_have_text("Its value is that from before")
    expect(page.locator("#rate")).to_have_value("0.01")
    expect(page.locator("#moved input:checked")).to_have_count(1)
    page.select_option("#examples", label="One value, two ways")
    expect(gradient(page, "x")).to_have_text("dx = 6")
    expect(page.locator(".news:visible")).to_have_count(0)


def test_values_are_written_as_people_write_them(page: Page):
    """A list without brackets and a fraction; an array says why it has no handle."""
    page.fill("#graph", "f = sum(x)")
    page.fill("#input-x", "1/3")
    expect(value(page, "f")).to_have_text("f = 0.3333")
    expect(page.locator("[data-input='x'] .grip")).to_be_visible()
    page.fill("#input-x", "1, 2,3/2")
    expect(value(page, "f")).to_have_text("f = 4.5")
    expect(page.locator("[data-input='x'] .grip")).to_be_hidden()
    expect(page.locator("#input-x")).to_have_attribute("title", re.compile("Only a single number is dragged"))
    page.fill("#input-x", "1,,2")
    expect(page.locator("#input-x-wrong")).to_contain_text("1,,2 is no value")


def test_what_takes_long_is_said_to_be_awaited(page: Page):
    """The picture from before is grey until the answer is there."""
    held: list[Route] = []
    page.route("**/api/evaluate", lambda route: held.append(route))
    page.fill("#input-z", "-5")
    expect(page.locator("#working")).to_have_text("Working …")
    expect(page.locator("body")).to_have_class("stale")
    held[-1].continue_()
    page.unroute("**/api/evaluate")
    expect(gradient(page, "x")).to_have_text("dx = -5")
    expect(page.locator("#working")).to_have_text("")
    expect(page.locator("body")).not_to_have_class("stale")


def test_a_name_that_was_half_typed_leaves_nothing(page: Page):
    """When it comes back it is new."""
    for name in ("spe", "speed", "spe"):
        page.fill("#graph", f"f = x * {name}")
        expect(page.locator(f"#input-{name}-news")).to_have_text("New input, set to 1")


def test_gates_are_stepped_through_forward_and_backward(page: Page):
    """Values come one by one, then gradients; each gate's chain rule is spelled out with its numbers."""
    type_circuit(page)
    expect(gradient(page, "z")).to_have_text("dz = 3")
    page.click("#first")
    expect(edge(page, "x", "q").locator("text.value")).to_be_visible()
    expect(edge(page, "q", "f").locator("text.value")).to_be_hidden()
    expect(edge(page, "x", "q").locator("text.gradient")).to_be_hidden()
    page.click("#next")
    expect(page.locator("#explained")).to_contain_text("q = x + y = -2 + 5 = 3")
    expect(edge(page, "q", "f").locator("text.value")).to_be_visible()
    page.click("#next")
    page.click("#next")
    expect(page.locator("#where")).to_have_text("backward 1 of 2")
    expect(page.locator("#explained")).to_contain_text("dq = z · df = -4 · 1 = -4")
    expect(page.locator("#explained")).to_contain_text("dz = q · df = 3 · 1 = 3")
    expect(edge(page, "z", "f").locator("text.gradient")).to_be_visible()
    expect(edge(page, "x", "q").locator("text.gradient")).to_be_hidden()
    page.click("#next")
    expect(page.locator("#explained")).to_contain_text("dx = 1 · dq = 1 · (-4) = -4")
    expect(edge(page, "x", "q").locator("text.gradient")).to_be_visible()


def test_the_chain_rule_has_numbers_in_the_places_of_its_symbols(page: Page):
    """Those of a sigmoid stand in the order of `f · (1 - f) · df`."""
    page.fill("#graph", "f = sigmoid(x)")
    page.fill("#input-x", "1")
    expect(value(page, "f")).to_have_text("f = 0.7311")
    page.click("#previous")
    expect(page.locator("#explained")).to_contain_text("dx = f · (1 - f) · df = 0.7311 · (1 - 0.7311) · 1 = 0.1966")


def test_a_step_says_why(page: Page):
    """Of a choice the reason, of branches the sum, and of a number that is not finite the cause."""
    page.fill("#graph", "q = x + x * x; f = max(q, 0)")
    page.fill("#input-x", "-0.5")
    expect(value(page, "f")).to_have_text("f = 0")
    page.click("#previous")
    expect(page.locator("#explained")).to_contain_text("dx = 0 + 0 + 0 = 0")
    page.click("#previous")
    page.click("#previous")
    expect(page.locator("#explained")).to_contain_text("dq = 0as q < 0, so none of df goes to q")
    page.fill("#graph", "f = log(x)")
    page.click("#first")
    page.click("#next")
    expect(page.locator("#explained")).to_contain_text("it lies outside of the gate's domain")


def test_nodes_without_names_have_the_letters_of_the_circuit(page: Page):
    """What is spoken of stands at a gate of the circuit."""
    page.select_option("#examples", label="A neuron, gate by gate")
    expect(value(page, "f")).to_have_text("f = 0.7311")
    page.locator("#circuit [data-node='add.1'] circle").click()
    expect(page.locator("#explained")).to_contain_text("dq1 = 1 · dq3 = 1 · 0.1966 = 0.1966")
    for number, name in {1: "multiply.1", 2: "multiply.2", 3: "add.1"}.items():
        expect(page.locator(f"#circuit [data-node='{name}'] text.small")).to_have_text(f"q{number}")
    assert "multiply.1" not in page.locator("#explained").inner_text()


def test_a_gate_is_chosen_in_the_circuit(page: Page):
    """By mouse, or by keyboard alone, and arrow keys go on from there."""
    page.locator("#circuit [data-node='f'] circle").click()
    expect(page.locator("#explained h3")).to_have_text("Backward: multiply f")
    page.locator("#circuit [data-node='q']").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#explained h3")).to_have_text("Backward: add q")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#explained h3")).to_have_text("Backward: multiply f")


def test_a_number_is_dragged(page: Page):
    """Gradients follow the mouse, and the arrow keys."""
    expect(gradient(page, "x")).to_have_text("dx = -4")
    grip = page.locator("[data-input='z'] .grip")
    box = grip.bounding_box()
    assert box
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    page.mouse.down()
    page.mouse.move(box["x"] + 45, box["y"] + 5, steps=5)
    page.mouse.up()
    expect(page.locator("#input-z")).to_have_value("-3")
    expect(gradient(page, "x")).to_have_text("dx = -3")
    page.locator("#input-z").press("ArrowUp")
    expect(page.locator("#input-z")).to_have_value("-2.9")


def test_a_syntax_error_is_shown_at_its_character(page: Page):
    """The message with its caret, and a mark in the field; both go when it is mended."""
    page.fill("#graph", "q = x + )\nf = q * z")
    expect(page.locator("#problem")).to_contain_text("line 1, column 9")
    expect(page.locator("#marks mark")).to_have_text(")")
    page.fill("#graph", "q = x + y\nf = q * z")
    expect(page.locator("#problem")).to_be_hidden()
    expect(page.locator("#marks mark")).to_have_count(0)
    expect(gradient(page, "z")).to_have_text("dz = 3")


def test_an_unknown_gate_is_shown_at_its_name(page: Page):
    """With a near one, and where all are listed; the name is marked as a whole."""
    page.fill("#graph", "q = x + y\nf = q * sinn(z)")
    expect(page.locator("#problem")).to_contain_text(
        "Did you mean 'sin'? All are listed under Gates, above. At line 2, column 9"
    )
    expect(page.locator("#marks mark")).to_have_text("sinn")


def test_an_error_is_shown_at_its_input_or_its_node(page: Page):
    """What is no number is told beside its field; shapes that do not fit at their gate."""
    page.fill("#input-x", "two")
    expect(page.locator("#input-x-wrong")).to_contain_text("two is no value")
    expect(page.locator("#input-x")).to_have_attribute("aria-invalid", "true")
    page.fill("#graph", "q = W @ x\nf = sum(q**2)")
    page.fill("#input-x", "[1, 2, 3]")
    page.fill("#input-W", "[[1, 2], [3, 4]]")
    expect(page.locator("#problem")).to_contain_text("got (2, 2) and (3,)")
    expect(page.locator("#marks mark")).to_have_text("@")
    expect(page.locator("#circuit .guilty")).to_have_attribute("data-node", "q")
    page.fill("#input-x", "[0.2, 0.4]")
    expect(page.locator("#circuit .guilty")).to_have_count(0)


def test_arrays_have_heat_maps_and_histograms(page: Page):
    """Of values and of gradients, each with what it shows in words."""
    page.select_option("#examples", label="Matrix and vector")
    expect(value(page, "f")).to_have_text("f = 0.116")
    expect(gradient(page, "x")).to_have_text("dx = [-0.112, 0.636]")
    heat = page.locator("[data-input='W'] canvas")
    expect(heat).to_have_count(2)
    expect(heat.nth(1)).to_have_attribute("aria-label", re.compile(r"dW: float64, shape 2×2"))
    page.select_option("#examples", label="Two layers and a loss")
    expect(page.locator("[data-input='w1'] .histogram")).to_have_count(2)


def test_descent_goes_down(page: Page):
    """A step moves against the gradient; a hundred draw the curve of the loss."""
    page.select_option("#examples", label="A bowl to descend into")
    expect(value(page, "f")).to_have_text("f = 53")
    page.click("#step")
    expect(page.locator("#descent-status")).to_contain_text("1 step: from 53")
    expect(page.locator("#input-y")).to_have_value("2.84")
    page.click("#play")
    expect(page.locator("#descent-status")).to_contain_text("101 steps: from 53 to")
    last = float(page.locator("#descent-status").inner_text().split()[-1])
    assert last < 0
    points = page.locator("#curve polyline").get_attribute("points")
    assert len((points or "").split()) == 102
    page.click("#back")
    expect(page.locator("#input-y")).to_have_value("3")
    expect(value(page, "f")).to_have_text("f = 53")
    expect(page.locator("#curve svg")).to_have_count(0)
    expect(page.locator("#back")).to_be_disabled()


def test_descent_keeps_to_numbers_that_are_finite(page: Page):
    """A step that leads to others is not taken; one that leads up says so; from others there is none, and why."""
    page.select_option("#examples", label="Rosenbrock's valley")
    page.fill("#rate", "1")
    page.click("#step")
    expect(page.locator("#descent-status")).to_contain_text("The loss grows: try a smaller rate.")
    page.click("#play")
    expect(page.locator("#descent-status")).to_contain_text("was not taken. Try a smaller rate.")
    expect(value(page, "f")).not_to_contain_text("inf")
    page.fill("#graph", "f = log(x)")
    page.fill("#input-x", "-1")
    expect(page.locator("#descent-status")).to_have_text("f is NaN, so nothing can be descended; see the marked gate.")
    expect(page.locator("#circuit .finding")).to_have_count(1)
    page.fill("#graph", "f = sqrt(x)")
    page.fill("#input-x", "0")
    expect(page.locator("#descent-status")).to_contain_text("dx is Infinity, so nothing can be descended")


def test_another_example_descends_from_its_beginning(page: Page):
    """With its own rate, and all inputs that it does not hold still."""
    page.select_option("#examples", label="Two layers and a loss")
    expect(page.locator("#moved input:checked")).to_have_count(2)
    page.select_option("#examples", label="A bowl to descend into")
    expect(page.locator("#moved label")).to_have_text([" x", " y"])
    expect(page.locator("#moved input:checked")).to_have_count(2)
    expect(page.locator("#rate")).to_have_value("0.01")


def test_there_is_no_descent_where_there_is_an_error(page: Page):
    """Its buttons are off and say why; they are on again when it is mended."""
    expect(page.locator("#step")).to_have_attribute("aria-disabled", "false")
    page.fill("#graph", "f = (x + ")
    for button in ("#step", "#play"):
        expect(page.locator(button)).to_have_attribute("aria-disabled", "true")
        page.click(button, force=True)
    expect(page.locator("#descent-status")).to_have_text("There is an error above, so nothing can be descended.")
    expect(page.locator("#input-x")).to_have_value("-2")
    page.fill("#graph", "a = x * x\nb = x + 1")
    expect(page.locator("#descent-status")).to_contain_text("Descent needs one output of one number")
    expect(page.locator("#play")).to_have_attribute("aria-disabled", "true")
    page.fill("#graph", "f = x * x")
    expect(page.locator("#play")).to_have_attribute("aria-disabled", "false")
    expect(page.locator("#descent-status")).to_have_text("")
    page.fill("#graph", "f = log(x - x) * 0")
    expect(page.locator("#descent-status")).to_contain_text("f is NaN, so nothing can be descended")
    page.fill("#graph", "f = x * x")
    page.uncheck("#moved input")
    expect(page.locator("#descent-status")).to_have_text("No input is chosen to move.")


def test_an_error_is_shared_as_one_and_not_saved(page: Page):
    """The button says what was copied; a graph that is not there is not saved as that from before."""
    expect(value(page, "f")).to_have_text("f = -12")
    page.fill("#graph", "f = (x + ")
    expect(page.locator("#problem")).to_be_visible()
    page.click("#share")
    expect(page.locator("#share")).to_have_text("Copied, with its error")
    page.click("#save")
    expect(page.locator("#save")).to_have_text("Mend it first")
    expect(page.locator("#save")).to_have_text("Save")
    page.fill("#graph", "")
    expect(page.locator("#problem")).to_contain_text("Type an expression")
    page.click("#save")
    expect(page.locator("#save")).to_have_text("Mend it first")
    page.fill("#graph", "f = x + 1")
    expect(page.locator("#problem")).to_be_hidden()
    page.click("#share")
    expect(page.locator("#share")).to_have_text("Copied")


def test_a_link_holds_the_graph(page: Page, browser: Browser):
    """Who opens it sees the same, whatever its inputs are called."""
    page.fill("#graph", "f = constructor * __proto__ + toString")
    for name, number in {"constructor": "2", "__proto__": "3", "toString": "-0.5"}.items():
        page.fill(f"#input-{name}", number)
    expect(value(page, "f")).to_have_text("f = 5.5")
    page.fill("#rate", "0.5")
    page.locator("#moved input").first.uncheck()
    page.click("#share")
    expect(page.locator("#share")).to_have_text("Copied")
    copied = page.evaluate("navigator.clipboard.readText()")
    other = browser.new_page()
    other.goto(copied)
    expect(value(other, "f")).to_have_text("f = 5.5")
    expect(other.locator("#input-__proto__")).to_have_value("3")
    expect(gradient(other, "constructor")).to_have_text("dconstructor = 3")
    expect(other.locator("#rate")).to_have_value("0.5")
    expect(other.locator("#moved input:checked")).to_have_count(2)
    other.close()


def test_what_is_too_large_for_a_link_is_said_until_it_is_not(page: Page):
    """A large graph is to be saved; when it is smaller, it is shared again."""
    page.fill("#graph", "f = x" + " + x" * 5000)
    expect(page.locator("#problem")).to_be_hidden()
    page.click("#share")
    expect(page.locator("#share")).to_have_text("Too large: Save it")
    page.fill("#graph", "f = x + x")
    expect(page.locator("#share")).to_have_text("Share")


def test_two_outputs_want_to_be_told_their_gradients(page: Page):
    """The note says why there are none; the field beside an output gives one."""
    # A name that every object of JavaScript knows.
    page.fill("#graph", "a = constructor * constructor\nb = 2 * constructor")
    page.fill("#input-constructor", "3")
    expect(page.locator("#note")).to_contain_text("No gradients")
    expect(value(page, "a")).to_have_text("a = 9")
    expect(gradient(page, "constructor")).to_have_text("")
    page.fill("#gradient-a", "1")
    expect(gradient(page, "constructor")).to_have_text("dconstructor = 6")


def test_gates_are_searched_and_inserted(page: Page):
    """Under the names of other libraries as well; what is chosen is a line of its own."""
    page.click("#show-gates")
    page.fill("#words", "unsqueeze")
    expect(page.locator("#catalogue > li")).to_have_count(1)
    page.click("#catalogue summary")
    page.click("#catalogue button")
    expect(page.locator("#gates")).to_be_hidden()
    expect(page.locator("#graph")).to_have_value("q = x + y\nf = q * z\nu = expand_dims(x, axis=0)")
    expect(value(page, "u")).to_have_text("u = [-2]")


def test_an_inserted_gate_runs(page: Page):
    """On what there is where that fits, else on inputs of its own with the values of its example; words stay whole."""
    for words, line in {"softmax": "u = softmax(x1)", "matmul": "v = matmul(x2, y1)"}.items():
        page.locator("#graph").press("Home")
        page.click("#show-gates")
        page.fill("#words", words)
        page.locator("#catalogue summary").first.click()
        page.locator("#catalogue button").first.click()
        expect(page.locator("#graph")).to_have_value(
            re.compile(r"^q = x \+ y\nf = q \* z\n.*" + re.escape(line) + "$", re.S)
        )
        expect(page.locator("#problem")).to_be_hidden()
    expect(page.locator("#input-x1-news")).to_have_text("New input, with the value of the example")
    expect(value(page, "v")).to_contain_text("v = ")
    expect(page.locator("#input-x")).to_have_value("-2")


def test_the_search_of_gates_is_cleared_by_one_press(page: Page):
    """A second closes it; where nothing is found there is advice."""
    page.click("#show-gates")
    page.fill("#words", "xyzzy")
    expect(page.locator("#found")).to_contain_text("0 of 306 gates: try one word")
    page.locator("#words").press("Escape")
    expect(page.locator("#words")).to_have_value("")
    expect(page.locator("#catalogue > li")).to_have_count(306)
    expect(page.locator("#gates")).to_be_visible()
    page.locator("#words").press("Escape")
    expect(page.locator("#gates")).to_be_hidden()


@pytest.mark.parametrize(
    ("words", "first"),
    [
        ("*", "multiply"),
        ("**", "power"),
        ("σ", "sigmoid"),
        ("@", "matmul"),
        ("-", "subtract"),
        ("softmax", "softmax"),
        ("mul", "multiply"),
        ("x >= y", "greater_equal"),
        ("unsqueeze", "expand_dims"),
        ("fully connected", "affine"),
    ],
)
def test_gates_are_found_by_name_sign_and_words(page: Page, words: str, first: str):
    """What is called or written so stands first."""
    page.click("#show-gates")
    page.fill("#words", words)
    expect(page.locator("#catalogue .call").first).to_contain_text(f"{first}(")


@pytest.mark.parametrize("width", [1280, 390])
def test_the_catalogue_is_a_table(page: Page, width: int):
    """Signs, names and words each begin at one line, whatever their length."""
    page.set_viewport_size({"width": width, "height": 860})
    page.click("#show-gates")
    expect(page.locator("#catalogue > li").nth(300)).to_be_attached()
    left = "(elements) => [...new Set(elements.map((element) => element.getBoundingClientRect().left))]"
    for column in (".symbol", ".call", "summary > :last-child"):
        assert len(page.locator(f"#catalogue {column}").evaluate_all(left)) == 1
    assert page.evaluate("document.querySelector('#gates').scrollWidth <= document.querySelector('#gates').clientWidth")


def test_a_step_is_in_sight(page: Page):
    """Where the circuit is wider than its place, it is scrolled to the gate that is explained; ends fade that go on."""
    page.set_viewport_size({"width": 900, "height": 860})
    page.select_option("#examples", label="A neuron, gate by gate")
    expect(value(page, "f")).to_have_text("f = 0.7311")
    expect(page.locator("#circuit")).to_have_class("more-right")
    page.click("#previous")
    for _ in range(8):
        page.click("#previous")
        inside, host = page.locator("#circuit .current").bounding_box(), page.locator("#circuit").bounding_box()
        assert inside
        assert host
        assert host["x"] <= inside["x"] <= inside["x"] + inside["width"] <= host["x"] + host["width"]


def scrolled(page: Page) -> list[float]:
    """Return how far the circuit is scrolled, and how far it goes beyond its frame."""
    return page.evaluate("(({ scrollLeft: x, scrollWidth: w, clientWidth: c }) => [x, w - c])(document.all.circuit)")


def test_another_graph_is_seen_from_its_beginning(page: Page):
    """Not from where that before was scrolled to; numbers that change leave it where it is."""
    page.set_viewport_size({"width": 900, "height": 860})
    page.select_option("#examples", label="A neuron, gate by gate")
    expect(page.locator("#circuit")).to_have_class("more-right")
    page.evaluate("document.all.circuit.scrollLeft = 200")
    page.fill("#input-w2", "-3.5")
    expect(gradient(page, "w2")).to_have_text("dw2 = 0.235")
    assert scrolled(page)[0] == 200
    page.select_option("#examples", label="A long expression")
    expect(gradient(page, "y")).to_contain_text("dy =")
    assert scrolled(page)[0] == 0
    assert scrolled(page)[1] > 200


def test_a_picture_fits_into_its_frame_at_a_press(page: Page):
    """There is the button where it does not."""
    expect(gradient(page, "z")).to_have_text("dz = 3")
    expect(page.locator("#fit")).to_be_hidden()
    page.set_viewport_size({"width": 900, "height": 860})
    page.select_option("#examples", label="A neuron, gate by gate")
    expect(page.locator("#fit")).to_be_visible()
    assert scrolled(page)[1] > 0
    page.click("#fit")
    expect(page.locator("#fit")).to_have_attribute("aria-pressed", "true")
    assert scrolled(page)[1] == 0
    page.click("#fit")
    assert scrolled(page)[1] > 0


def test_what_the_signs_of_a_picture_mean_stands_below_it(page: Page):
    """Where it does not scroll away, and where there is such a sign."""
    expect(gradient(page, "z")).to_have_text("dz = 3")
    for hidden in ("#signs", "#spoiled", "#statistics"):
        expect(page.locator(hidden)).to_be_hidden()
    page.fill("#graph", "f = x * 0.000000001 + y + log(0 - z)")
    expect(page.locator("#signs")).to_contain_text("dotted: the gradient vanishes")
    expect(page.locator("#circuit")).not_to_contain_text("dotted")
    expect(page.locator("#spoiled")).to_be_hidden()
    page.fill("#input-z", "1")
    expect(page.locator("#spoiled")).to_be_visible()
    page.fill("#graph", "f = sum(x)")
    page.fill("#input-x", "[1, 2, 3, 4, 5, 6]")
    expect(page.locator("#statistics")).to_be_visible()


def test_a_graph_without_gates_says_so(page: Page):
    """It has nothing folded; the next is shown as a whole, wherever somebody was stepping before."""
    expect(gradient(page, "z")).to_have_text("dz = 3")
    page.click("#previous")
    page.click("#previous")
    expect(page.locator("#where")).to_contain_text("backward")
    page.fill("#graph", "f = x")
    expect(page.locator("#unstepped")).to_contain_text("No gates yet")
    page.fill("#graph", "f = x * x")
    expect(page.locator("#where")).to_have_text("1 gate, all shown")


def test_hostile_texts_stay_texts(page: Page):
    """Markup in an expression, in a link and in a document is shown or refused, and never run."""
    page.fill("#graph", '<img src=x onerror="alert(1)">')
    expect(page.locator("#problem")).to_contain_text("Expected a value")
    page.goto(f"/#graph={quote('<script>alert(1)</script>')}&inputs={quote(json.dumps({'<b>': '<script>', 'x': 3}))}")
    page.reload()
    expect(page.locator("#problem")).to_contain_text("line 1, column 1")
    open_file(page, "name.json", document(inputs=["<script>alert(1)</script>"]))
    expect(page.locator("#problem")).to_contain_text("<script>")
    assert page.locator("main script, main img").count() == 0


def test_a_document_of_ten_thousand_nodes_is_folded_and_unfolded(page: Page):
    """It is run and drawn in groups, which open by a click."""
    nodes = [{"name": "layer0.h0", "gate": "sin", "operands": ["x"]}]
    for i in range(1, 10_000):
        before = nodes[-1]["name"]
        nodes.append({"name": f"layer{i // 100}.h{i % 100}", "gate": "sin", "operands": [before]})
    open_file(page, "large.json", document(inputs=["x"], nodes=nodes, output=nodes[-1]["name"]))
    expect(page.locator("#circuit .group")).to_have_count(100, timeout=60_000)
    expect(gradient(page, "x")).to_contain_text("dx =")
    expect(page.locator("#stepper")).to_be_hidden()
    expect(page.locator("#unfold")).to_be_hidden()
    expect(page.locator("#unstepped")).to_contain_text("This graph has 10,000 gates, too many to step through: 300")
    page.locator("#circuit [data-node='group layer3'] .body").click()
    expect(page.locator("#circuit [data-node='layer3.h50']")).to_have_count(1, timeout=60_000)


def test_a_folded_graph_says_how_it_is_stepped_through(page: Page):
    """By opening its groups, for which there is a button; then those of the steps are there."""
    lines = [f"a{i} = sin({f'a{i - 1}' if i else 'x'})" for i in range(160)]
    page.fill("#graph", "\n".join(lines))
    expect(page.locator("#unstepped")).to_contain_text("only single gates are stepped through")
    expect(page.locator("#stepper")).to_be_hidden()
    page.click("#unfold")
    expect(page.locator("#circuit .group")).to_have_count(0)
    expect(page.locator("#unfold")).to_be_hidden()
    expect(page.locator("#stepper")).to_be_visible()
    expect(page.locator("#unstepped")).to_be_hidden()


def test_graphs_that_multiply_each_other_are_refused(page: Page):
    """Loops in loops are counted before anything runs, and the page says which limit they are over."""
    held = [{"name": "g0", "inputs": [{"name": "x"}], "nodes": [{"name": "y", "gate": "tanh", "operands": ["x"]}]}]
    for depth in range(1, 12):
        inner = {"fun": {"graph": f"g{depth - 1}"}}
        node = {"name": "y", "gate": "map", "operands": ["x"], "attributes": inner}
        held.append({"name": f"g{depth}", "inputs": [{"name": "x"}], "nodes": [node]})
    graphs = [graph | {"constants": [], "outputs": [{"name": "y", "source": "y"}]} for graph in held]
    top = {"name": "f", "gate": "map", "operands": ["x"], "attributes": {"fun": {"graph": "g11"}}}
    open_file(page, "laughs.json", document(inputs=["x"], nodes=[top], output="f", graphs=graphs))
    expect(page.locator("#problem")).to_be_visible(timeout=60_000)
    page.select_option("#examples", index=1)
    expect(value(page, "f")).to_have_text("f = -12")


def document(
    inputs: list[str], nodes: list[dict] | None = None, output: str | None = None, graphs: list[dict] | None = None
) -> dict:
    """Return a document."""
    return {
        "graphsvc": 1,
        "gates": {},
        "inputs": [{"name": name} for name in inputs],
        "constants": [],
        "nodes": nodes or [],
        "outputs": [{"name": "f", "source": output or inputs[0]}],
    } | ({"graphs": graphs} if graphs else {})


def open_file(page: Page, name: str, data: dict) -> None:
    """Open a document as a person does who has it in a file."""
    page.set_input_files("#file", {"name": name, "mimeType": "application/json", "buffer": json.dumps(data).encode()})


def test_a_graph_is_saved_and_opened(page: Page, tmp_path: Path):
    """What is saved is a document that the command line takes as well."""
    expect(value(page, "f")).to_have_text("f = -12")
    with page.expect_download() as download:
        page.click("#save")
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    command = [sys.executable, "-m", "graphsvc", "grad", str(path), "x=-2", "y=5", "z=-4"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "-12" in done.stdout
    page.set_input_files("#file", path)
    expect(page.locator("#graph")).to_have_value(re.compile(r'^\{\s*"graphsvc": 1'))


# A function that returns the texts that are too pale to be read.
PALE = (Path(__file__).parent / "pale.js").read_text(encoding="utf-8")

SCREENS = {"wide": {"width": 1200, "height": 700}, "narrow": {"width": 390, "height": 1240}}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", SCREENS)
def test_every_screen_shows_all(browser: Browser, url: str, screen: str, scheme: str):
    """Nothing runs over the side of a screen, wide or narrow; pictures for people are in `build/pictures`."""
    context = browser.new_context(base_url=url, viewport=SCREENS[screen], color_scheme=scheme)
    page = context.new_page()
    page.goto("/")
    expect(gradient(page, "z")).to_have_text("dz = 3")
    # Back from where all is shown: the last step first.
    assert page.evaluate(PALE) == []
    for said in ("Green, above a line: the value", "Red, below it: the gradient", "↔ beside an input: drag it"):
        expect(page.locator("#legend")).to_contain_text(said)
    page.click("#previous")
    expect(page.locator("#where")).to_have_text("backward 2 of 2")
    page.click("#previous")
    expect(page.locator("#explained")).to_contain_text("dq = z · df = -4 · 1 = -4")
    assert page.evaluate("document.documentElement.scrollWidth") <= SCREENS[screen]["width"]
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=PICTURES / f"explorer-{screen}-{scheme}.png")
    page.select_option("#examples", label="Two layers and a loss")
    expect(value(page, "loss")).to_contain_text("loss =")
    assert page.evaluate("document.documentElement.scrollWidth") <= SCREENS[screen]["width"]
    page.screenshot(path=PICTURES / f"layers-{screen}-{scheme}.png", full_page=True)
    context.close()
