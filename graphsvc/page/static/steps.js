// Stepping through a run: forward gate by gate, and backward gate by gate with the chain rule spelled out.

import { pictured } from "./arrays.js";
import { find, made } from "./dom.js";

export class Steps {
  constructor(circuit) {
    this.circuit = circuit;
    this.visits = this.backward = [];
    this.why = "";
    this.position = null;
    for (const [id, to] of [
      ["first", () => 0],
      ["previous", () => this.before],
      ["next", () => this.at + 1],
      ["last", () => null],
    ]) {
      find(id).addEventListener("click", () => this.go(to()));
    }
    find("position").addEventListener("input", (event) => this.go(Number(event.target.value)));
    find("circuit").addEventListener("keydown", (event) => {
      const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!way || !this.visits.length) return;
      event.preventDefault();
      this.go(way < 0 ? this.before : this.at + 1);
    });
  }

  // Takes a run of so many gates; where somebody is stepping, it stays at that step.
  take(answer, gates) {
    const isFolded = this.circuit.groups.length > 0;
    this.visits = isFolded ? [] : answer.visits;
    this.why = !gates
      ? "No gates yet: combine values, as in f = x * 2."
      : gates > answer.most_visits
        ? `This graph has ${gates.toLocaleString("en")} gates, too many to step through: ${answer.most_visits} are the ` +
          "most. To step, write down a part of it."
        : "Gates are folded into the dashed boxes, and only single gates are stepped through.";
    find("unfold").hidden = !isFolded || gates > answer.most_visits;
    this.backward = this.visits.filter((visit) => visit.outputs.some((output) => output.gradient)).toReversed();
    this.go(this.position);
  }

  // Forgets the run, where the graph has none.
  clear() {
    this.visits = this.backward = [];
    this.why = "";
    find("unfold").hidden = true;
    this.go(null);
  }

  get count() {
    return this.visits.length + this.backward.length;
  }

  get at() {
    return this.position ?? this.count;
  }

  // The step before: where all is shown, the last one.
  get before() {
    return this.position === null ? this.count : this.at - 1;
  }

  // Goes to the step of a gate: backward if it has one.
  select(name) {
    const backward = this.backward.findIndex((visit) => visit.node === name);
    const forward = this.visits.findIndex((visit) => visit.node === name);
    if (backward >= 0) this.go(this.visits.length + backward + 1);
    else if (forward >= 0) this.go(forward + 1);
  }

  go(position) {
    // Where there are no steps to stay at, the next graph is shown as a whole.
    this.position = position === null || !this.count ? null : Math.max(0, Math.min(this.count, position));
    const forward = Math.min(this.at, this.visits.length);
    const back = Math.max(0, this.at - this.visits.length);
    const stepping = this.position !== null;
    const visit = !stepping ? null : back ? this.backward[back - 1] : this.visits[forward - 1];
    if (this.visits.length) {
      this.circuit.reveal({
        later: new Set(this.visits.slice(forward).map((v) => v.node)),
        pending: new Set(this.backward.slice(back).map((v) => v.node)),
        outputs: forward === this.visits.length && (back > 0 || !stepping || this.at === this.visits.length),
        current: visit?.node,
      });
      if (visit) this.circuit.center(visit.node);
    }
    this.control(back, forward, visit);
    find("explained").replaceChildren(...(visit ? (back ? explainBackward(visit) : explainForward(visit)) : this.hint()));
  }

  control(back, forward, visit) {
    find("stepper").hidden = !this.visits.length;
    find("unstepped").textContent = this.visits.length ? "" : this.why;
    Object.assign(find("position"), { max: this.count, value: this.at });
    find("first").disabled = find("previous").disabled = this.at === 0;
    find("next").disabled = this.at === this.count;
    find("last").disabled = this.position === null;
    const gates = `${this.visits.length} gate${this.visits.length === 1 ? "" : "s"}`;
    find("where").textContent = back && visit
      ? `backward ${back} of ${this.backward.length}`
      : this.position === null
        ? `${gates}, all shown`
        : `forward ${forward} of ${this.visits.length}`;
  }

  hint() {
    if (!this.visits.length) return [];
    const said =
      this.position === 0
        ? "The inputs are known. ▶ runs the first gate forward."
        : "Choose a gate, or step with ◀ and ▶, to see how its gradients come about.";
    return [made("p", { class: "hint" }, said)];
  }
}

function explainForward(visit) {
  const computed = (output) => equated(output.name, visit.formula, visit.numbers, output.value.text);
  return [
    heading("Forward", visit),
    ...visit.outputs.map((output) => made("div", { class: "rule" }, code("value", computed(output)))),
    ...found(visit, "forward"),
    ...visit.outputs.map((output) => pictured(output.value, output.name)).filter(Boolean),
  ];
}

function explainBackward(visit) {
  const arriving = visit.outputs.filter((output) => output.gradient);
  const came = arriving.map((output) => `d${output.name} = ${output.gradient.text}`).join(", ");
  return [
    heading("Backward", visit),
    made("p", {}, code("gradient", came), " arrives. By the chain rule, each gradient is the local one times that:"),
    ...visit.operands.map((operand) => explainOperand(operand, visit, arriving[0])),
    ...found(visit, "backward"),
  ];
}

// Says where and why a number that is not finite first came up, if that was here.
function found(visit, way) {
  return visit.finding.startsWith(way) ? visit.finding.split("\n").map((line) => made("p", {}, line)) : [];
}

function explainOperand(operand, visit, output) {
  const name = `d${operand.label}`;
  if (!operand.gradient) {
    const why = isConstant(operand) ? "a constant needs none" : "no gradient passes this way, or nobody needs it";
    return made("div", { class: "rule hint" }, code("", `nothing to ${operand.label}`), made("span", {}, why));
  }
  const formula = operand.formula || (operand.local && `∂${output.name}/∂${operand.label} · d${output.name}`);
  const by = formula ? "" : `by the backward of ${visit.gate}, from d${output.name}`;
  const small = isSmall(operand.gradient) && isSmall(output.gradient);
  const factors = operand.local && small && !operand.formula ? multiplied(operand.local, output.gradient) : "";
  const computed = equated(formula, operand.numbers || factors, operand.gradient.text);
  const pictures = [pictured(operand.gradient, name)];
  if (operand.local && !small) {
    const local = pictured(operand.local, `∂${output.name}/∂${operand.label}`);
    pictures.unshift(local, "·", pictured(output.gradient, `d${output.name}`), "=");
  }
  return made(
    "div",
    { class: "rule" },
    code("gradient", operand.uses > 1 ? `to ${name}: ${computed}` : equated(name, computed)),
    made("span", { class: "hint" }, [by, operand.note].filter(Boolean).join("; ")),
    operand.total ? code("gradient", equated(name, operand.total)) : null,
    made("div", { class: "product" }, ...pictures),
  );
}

// Returns texts as equal, those that there are, each once.
function equated(...texts) {
  const there = texts.filter(Boolean);
  return there.filter((text, i) => text !== there[i - 1]).join(" = ");
}

function isConstant(operand) {
  return operand.source.startsWith("constant.") && operand.label !== operand.source;
}

function isSmall(array) {
  return array.shape.reduce((product, size) => product * size, 1) <= 4;
}

// Numbers stand as their symbols do; a minus behind a sign is in brackets.
function multiplied(local, arriving) {
  const factor = bracketed(arriving);
  return `${bracketed(local)} · ${factor.startsWith("-") ? `(${factor})` : factor}`;
}

function bracketed(array) {
  return array.text.includes(" ") && !array.text.startsWith("[") ? `(${array.text})` : array.text;
}

function heading(way, visit) {
  return made("h3", {}, `${way}: ${visit.gate} ${visit.label}`);
}

function code(kind, text) {
  return made("code", { class: kind }, text);
}
