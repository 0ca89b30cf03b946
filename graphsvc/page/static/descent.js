// Gradient descent: a step against the gradients, or a hundred, with the curve of the loss.

import { drawn, find, made } from "./dom.js";
import { combined, jsonOfNumbers, textOf } from "./values.js";

export class Descent {
  // `run(inputs, show)` evaluates the graph with these JSON values and returns the answer.
  constructor({ run, current, onMoved }) {
    Object.assign(this, { run, current, onMoved });
    this.losses = [];
    this.still = new Set();
    this.playing = false;
    this.why = "";
    find("step").addEventListener("click", () => this.descend(1));
    find("play").addEventListener("click", () => (this.playing ? this.stop() : this.descend(100)));
    find("descend").addEventListener("submit", (event) => event.preventDefault());
  }

  // Offers the inputs of a graph to be moved: its parameters where it has some, else all.
  arrange(graph, moved) {
    const parameters = graph.inputs.filter((entry) => entry.parameter).map((entry) => entry.name);
    const chosen = moved ?? (parameters.length ? parameters : null);
    const boxes = graph.inputs.map(({ name }) => {
      if (chosen) this.still[chosen.includes(name) ? "delete" : "add"](name);
      const box = made("input", { type: "checkbox", checked: !this.still.has(name) });
      box.addEventListener("change", () => {
        this.still[box.checked ? "delete" : "add"](name);
        if (this.current().answer) this.judge(this.current().answer);
      });
      return made("label", {}, box, ` ${name}`);
    });
    find("moved").replaceChildren(made("legend", {}, "Inputs that move"), ...boxes);
  }

  // Lets a run be descended from, or says why it cannot be.
  judge(answer) {
    this.forbid(this.problem(answer));
  }

  forbid(why) {
    if (this.why || why) this.say(why);
    this.why = why;
    for (const button of [find("step"), find("play")]) {
      button.setAttribute("aria-disabled", String(Boolean(why)));
      button.title = why;
    }
  }

  // Begins with another graph, of which all moves.
  begin(rate = "0.01") {
    find("rate").value = rate;
    this.still.clear();
    this.reset();
  }

  // Forgets what was descended.
  reset() {
    this.stop();
    this.losses = [];
    this.draw();
    this.say(this.why);
  }

  stop() {
    this.playing = false;
  }

  async descend(count) {
    const rate = Number(find("rate").value);
    if (this.playing) return;
    if (this.why) return this.say(this.why);
    if (!(rate > 0)) return this.say("The rate must be a number above 0.");
    this.playing = true;
    find("play").textContent = count > 1 ? "Stop" : "100 steps";
    try {
      await this.steps(count, rate);
    } catch (error) {
      this.say(error.message);
    } finally {
      this.playing = false;
      find("play").textContent = "100 steps";
    }
  }

  async steps(count, rate) {
    let { answer, inputs } = this.current();
    if (!this.losses.length) this.losses.push(this.loss(answer));
    for (let i = 0; i < count && this.playing; i += 1) {
      const next = new Map(inputs);
      for (const [name, gradient] of Object.entries(answer.gradients)) {
        if (this.still.has(name)) continue;
        const value = JSON.parse(inputs.get(name));
        next.set(name, jsonOfNumbers(combined(value, gradient, (x, dx) => x - rate * dx)));
      }
      // A large circuit is drawn again at the end alone.
      const small = (this.current().answer?.visits.length || Infinity) <= 40;
      answer = await this.run(next, small || i === count - 1);
      if (!this.playing) return;
      const loss = this.loss(answer);
      if (!Number.isFinite(loss)) return this.say("The loss is no longer a finite number. Try a smaller rate.");
      inputs = next;
      this.losses.push(loss);
      this.onMoved(new Map([...next].map(([name, json]) => [name, textOf(json)])), answer);
      this.draw();
      this.say(`${counted(this.losses.length - 1)}: from ${short(this.losses[0])} to ${short(loss)}`);
      await new Promise(requestAnimationFrame);
    }
  }

  problem(answer) {
    const [output, another] = Object.values(answer.outputs);
    if (another || output.shape.length) {
      return "Descent needs one output of one number, the loss. Reduce it, as in mean(...) or sum(...).";
    }
    if (!Number.isFinite(this.loss(answer))) return "The output is no finite number, so nothing can be descended.";
    return Object.keys(answer.gradients).some((name) => !this.still.has(name)) ? "" : "No input is chosen to move.";
  }

  loss(answer) {
    const [output] = Object.values(answer.outputs);
    return Number(output.elements);
  }

  say(text) {
    find("descent-status").textContent = text;
  }

  draw() {
    const losses = this.losses;
    if (losses.length < 2) return find("curve").replaceChildren();
    const [low, high] = [Math.min(...losses), Math.max(...losses)];
    const x = (i) => 60 + (232 * i) / (losses.length - 1);
    const y = (loss) => 8 + 74 * (high === low ? 0.5 : (high - loss) / (high - low));
    const label = `Loss over ${counted(losses.length - 1)}, from ${short(losses[0])} to ${short(losses.at(-1))}`;
    find("curve").replaceChildren(
      drawn(
        "svg",
        { viewBox: "0 0 300 100", role: "img", "aria-label": label },
        drawn("path", { class: "axis", d: "M60 4V86H296" }),
        drawn("text", { x: 56, y: 13, "text-anchor": "end" }, short(high)),
        drawn("text", { x: 56, y: 86, "text-anchor": "end" }, short(low)),
        drawn("text", { x: 296, y: 98, "text-anchor": "end" }, counted(losses.length - 1)),
        drawn("polyline", { class: "loss", points: losses.map((loss, i) => `${x(i)},${y(loss)}`).join(" ") }),
      ),
    );
  }
}

function counted(count) {
  return count === 1 ? "1 step" : `${count} steps`;
}

function short(number) {
  return String(Number(number.toPrecision(4)));
}
