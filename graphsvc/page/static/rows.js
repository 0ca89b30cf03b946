// The rows of inputs and outputs, made once for a graph and filled at every run.

import { pictured } from "./arrays.js";
import { find, made } from "./dom.js";
import { moved, numberOf, stepOf } from "./values.js";

export class Rows {
  // `onInput(name, text)` and `onGradient(name, text)` are told what is written.
  constructor({ onInput, onGradient }) {
    this.onInput = onInput;
    this.onGradient = onGradient;
    this.inputs = new Map();
    this.outputs = new Map();
  }

  // Makes rows for a graph, and keeps those that there are.
  arrange(graph, texts, gradients) {
    const inputs = graph.inputs.map((entry) => [
      entry.name,
      this.inputs.get(entry.name) ?? new InputRow(entry, (text) => this.onInput(entry.name, text)),
    ]);
    this.inputs = new Map(inputs);
    const outputs = graph.outputs.map((name) => [
      name,
      this.outputs.get(name) ?? new OutputRow(name, (text) => this.onGradient(name, text)),
    ]);
    this.outputs = new Map(outputs);
    for (const [name, row] of this.inputs) row.write(texts.get(name));
    // A single output has 1 unless another is given.
    for (const [name, row] of this.outputs) row.write(gradients.get(name) ?? "", this.outputs.size === 1 ? "1" : "");
    place(find("inputs"), this.inputs, "Names that are not assigned in the graph become inputs.");
    place(find("outputs"), this.outputs, "");
  }

  // Says at inputs what there is to know of them, until their values are given.
  announce(news) {
    for (const [name, text] of news) this.inputs.get(name).announce(text);
  }

  calm() {
    for (const row of this.inputs.values()) row.announce("");
  }

  // Returns what is said at inputs, by their names.
  news() {
    return [...this.inputs].map(([name, row]) => [name, row.news.textContent]).filter(([, text]) => text);
  }

  fill(answer) {
    for (const [name, row] of this.inputs) row.fill(answer, name);
    for (const [name, row] of this.outputs) row.fill(answer, name);
  }

  // Leaves out all results, where there are none.
  empty() {
    for (const row of [...this.inputs.values(), ...this.outputs.values()]) row.empty();
  }

  // Shows what is wrong with an input; with none, that nothing is.
  refuse(name, message) {
    for (const [key, row] of this.inputs) row.refuse(key === name ? message : "");
  }
}

function place(host, rows, nothing) {
  const elements = [...rows.values()].map((row) => row.element);
  if (!elements.length) host.replaceChildren(made("p", { class: "hint" }, nothing));
  else if (elements.length !== host.children.length || elements.some((element, i) => host.children[i] !== element)) {
    host.replaceChildren(...elements);
  }
}

class InputRow {
  constructor(entry, onText) {
    const id = `input-${entry.name}`;
    this.onText = onText;
    const described = `${id}-news ${id}-wrong`;
    this.field = made("textarea", { id, class: "field", rows: 1, spellcheck: false, "aria-describedby": described });
    this.name = made("label", { for: id, class: "name" }, entry.name);
    this.grip = made("span", { class: "grip", title: "Drag to change it", "aria-hidden": "true" }, "↔");
    this.gradient = made("output", { class: "gradient", for: id });
    this.news = made("p", { id: `${id}-news`, class: "news", hidden: true });
    this.wrong = made("p", { id: `${id}-wrong`, class: "problem", hidden: true });
    this.pictures = made("div", { class: "looks" });
    this.element = made("div", { class: "row", "data-input": entry.name });
    this.element.append(this.name, this.field, this.grip, this.gradient, this.news, this.wrong, this.pictures);
    this.field.addEventListener("input", () => this.told());
    this.field.addEventListener("keydown", (event) => this.key(event));
    for (const handle of [this.grip, this.name]) handle.addEventListener("pointerdown", (event) => this.drag(event, handle));
  }

  write(text) {
    if (this.field.value !== text && document.activeElement !== this.field) this.field.value = text;
    this.size();
  }

  size() {
    const isNumber = numberOf(this.field.value) !== null;
    const long = this.field.value.length;
    this.field.rows = isNumber ? 1 : Math.min(4, Math.ceil(long / 38));
    this.element.classList.toggle("wide", !isNumber && long > 14);
    this.grip.hidden = !isNumber;
    this.element.classList.toggle("array", !isNumber);
    this.field.title = isNumber ? "" : "Only a single number is dragged; type here to change these";
  }

  announce(text) {
    this.news.textContent = text;
    this.news.hidden = !text;
  }

  told() {
    this.size();
    this.announce("");
    this.onText(this.field.value);
  }

  set(text) {
    this.field.value = text;
    this.told();
  }

  key(event) {
    const way = { ArrowUp: 1, ArrowDown: -1 }[event.key];
    const number = numberOf(this.field.value);
    if (!way || number === null) return;
    event.preventDefault();
    this.set(moved(number, way * (event.shiftKey ? 10 : 1)));
  }

  drag(event, handle) {
    const start = numberOf(this.field.value);
    if (start === null || event.button) return;
    event.preventDefault();
    const step = stepOf(start);
    handle.setPointerCapture(event.pointerId);
    const move = (moving) => this.set(moved(start, Math.round((moving.clientX - event.clientX) / 4), step));
    const end = () => {
      handle.removeEventListener("pointermove", move);
      if (matchMedia("(pointer: fine)").matches) this.field.focus();
    };
    handle.addEventListener("pointermove", move);
    handle.addEventListener("lostpointercapture", end, { once: true });
  }

  fill(answer, name) {
    const gradient = Object.hasOwn(answer.shown_gradients, name) ? answer.shown_gradients[name] : null;
    const said = answer.disconnected.includes(name) ? `${gradient.text} (no path)` : gradient?.text;
    this.gradient.textContent = gradient ? `d${name} = ${said}` : "";
    this.gradient.title = gradient ? "" : "It has no gradient";
    const looks = [pictured(answer.shown_inputs[name], name), gradient && pictured(gradient, `d${name}`)];
    this.pictures.replaceChildren(...looks.filter(Boolean));
  }

  empty() {
    this.gradient.textContent = "";
    this.pictures.replaceChildren();
  }

  refuse(message) {
    this.wrong.textContent = message;
    this.wrong.hidden = !message;
    this.field.setAttribute("aria-invalid", String(Boolean(message)));
  }
}

class OutputRow {
  constructor(name, onText) {
    const id = `gradient-${name}`;
    this.name = name;
    this.value = made("output", { class: "value" });
    this.field = made("input", { id, class: "field", spellcheck: false });
    this.label = made("label", { for: id, class: "gradient", title: "The gradient that arrives at this output; 1 shows what the output itself depends on" }, `d${name} =`);
    this.pictures = made("div", { class: "looks" });
    this.element = made("div", { class: "row output", "data-output": name });
    this.element.append(this.value, this.label, this.field, this.pictures);
    this.field.addEventListener("input", () => onText(this.field.value));
  }

  write(text, otherwise) {
    if (this.field.value !== text && document.activeElement !== this.field) this.field.value = text;
    this.field.placeholder = otherwise;
  }

  fill(answer, name) {
    this.value.textContent = `${name} = ${answer.outputs[name].text}`;
    this.pictures.replaceChildren(...[pictured(answer.outputs[name], name)].filter(Boolean));
  }

  empty() {
    this.value.textContent = `${this.name} = ?`;
    this.pictures.replaceChildren();
  }
}
