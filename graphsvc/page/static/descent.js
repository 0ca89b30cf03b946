// Gradient descent: a step against the gradients, or a hundred, with the curve of the loss.

import { drawn, find, made } from "./dom.js";
import { combined, jsonOfNumbers, textOf } from "./values.js";

export class Descent {
  // `run(inputs, show)` evaluates the graph with these JSON values and returns the answer; `onMoved` is told of steps,
  // `onBack` of the values before them, and `onSet` that the rate or what moves was chosen.
  constructor({ settled, run, current, onMoved, onBack, onSet }) {
    Object.assign(this, { settled, run, current, onMoved, onBack, onSet });
    this.losses = [];
    this.start = null;
    this.still = new Set();
    this.playing = false;
    this.why = "";
    find("step").addEventListener("click", () => this.descend(1));
    find("play").addEventListener("click", () => (this.playing ? this.stop() : this.descend(100)));
    find("back").addEventListener("click", () => this.onBack(this.start));
    find("rate").addEventListener("input", () => this.onSet());
    find("descend").addEventListener("submit", (event) => event.preventDefault());
  }

  // What a link keeps of it.
  settings(names) {
    return { rate: find("rate").value, moved: names.filter((name) => !this.still.has(name)) };
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
        this.onSet();
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
    this.start = null;
    this.draw();
    this.say(this.why);
  }

  stop() {
    this.playing = false;
  }

  async descend(count) {
    const rate = Number(find("rate").value);
    await this.settled();
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
    if (!this.losses.length) {
      this.losses.push(this.loss(answer));
      this.start = textsOf(inputs);
    }
    for (let i = 0; i < count && this.playing && !this.why; i += 1) {
      const next = this.stepped(inputs, answer.gradients, rate);
      // A large circuit is drawn again at the end alone.
      const small = (this.current().answer?.visits.length || Infinity) <= 40;
      answer = await this.run(next, small || i === count - 1);
      if (!this.playing) return;
      const loss = this.loss(answer);
      if (!Number.isFinite(loss)) throw notTaken(`the loss ${loss}`);
      inputs = next;
      this.losses.push(loss);
      this.onMoved(textsOf(next), answer);
      this.draw();
      if (!this.why) this.say(this.told());
      await new Promise(requestAnimationFrame);
    }
  }

  // Returns the inputs after a step against the gradients.
  stepped(inputs, gradients, rate) {
    const next = new Map(inputs);
    for (const [name, gradient] of this.moving(gradients)) {
      const moved = combined(JSON.parse(inputs.get(name)), gradient, (x, dx) => x - rate * dx);
      const wrong = spoiled(moved);
      if (wrong !== undefined) throw notTaken(`${name} = ${wrong}`);
      next.set(name, jsonOfNumbers(moved));
    }
    return next;
  }

  moving(gradients) {
    return Object.entries(gradients).filter(([name]) => !this.still.has(name));
  }

  told() {
    const [first, last] = [this.losses[0], this.losses.at(-1)];
    const grows = last > first ? ". The loss grows: try a smaller rate." : "";
    return `${counted(this.losses.length - 1)}: from ${short(first)} to ${short(last)}${grows}`;
  }

  problem(answer) {
    const [[name, output], another] = Object.entries(answer.outputs);
    if (another || output.shape.length) {
      return "Descent needs one output of one number, the loss. Reduce it, as in mean(...) or sum(...).";
    }
    const moving = this.moving(answer.gradients);
    const numbers = [[name, output.elements], ...moving.map(([key, gradient]) => [`d${key}`, gradient])];
    for (const [key, data] of numbers) {
      const wrong = spoiled(data);
      if (wrong !== undefined) return `${key} is ${wrong}, so nothing can be descended; see the marked gate.`;
    }
    return moving.length ? "" : "No input is chosen to move.";
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
    find("back").disabled = losses.length < 2;
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

// Returns the first number of an array that is not finite.
function spoiled(data) {
  return [data].flat(Infinity).find((item) => !Number.isFinite(Number(item)));
}

function notTaken(where) {
  return new Error(`The next step leads to ${where}, and was not taken. Try a smaller rate.`);
}

function textsOf(inputs) {
  return new Map([...inputs].map(([name, json]) => [name, textOf(json)]));
}

function counted(count) {
  return count === 1 ? "1 step" : `${count} steps`;
}

function short(number) {
  return String(Number(number.toPrecision(4)));
}
