// The catalogue of gates, with search by name, by sign and by what is said of them.

import { describeGate, listGates } from "./api.js";
import { find, made } from "./dom.js";

export class Gates {
  // `onInsert(call, values)` is told which call of a gate is chosen, and the values of its operands.
  constructor(onInsert) {
    this.onInsert = onInsert;
    find("show-gates").addEventListener("click", () => this.open());
    find("words").addEventListener("input", () => this.list());
    // The first press clears the search, the next closes the catalogue.
    find("words").addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !find("words").value) return;
      event.preventDefault();
      find("words").value = "";
      this.list();
    });
  }

  async open() {
    find("gates").showModal();
    find("words").focus();
    try {
      this.known ??= await listGates();
      this.list();
    } catch (error) {
      find("found").textContent = error.message;
    }
  }

  list() {
    if (!this.known) return;
    const text = find("words").value.trim().toLowerCase();
    const ranked = this.known.map((gate) => [rank(gate, text), gate]).filter(([place]) => place < NOWHERE);
    // The order of the names stays where places are the same.
    const matching = ranked.sort(([a], [b]) => a - b).map(([, gate]) => gate);
    const advice = matching.length ? "" : ": try one word, a part of a name, or a sign such as @";
    find("found").textContent = `${matching.length} of ${this.known.length} gates${advice}`;
    find("catalogue").replaceChildren(...matching.map((gate) => this.item(gate)));
  }

  item(gate) {
    const [first] = gate.documentation.split("\n");
    const more = made("div", { class: "more" });
    const item = made(
      "details",
      {},
      made(
        "summary",
        {},
        made("code", { class: "symbol" }, gate.symbol),
        made("code", { class: "call" }, ...breakable(`${gate.name}(${gate.operands.join(", ")})`)),
        marked(first),
      ),
      more,
    );
    item.addEventListener("toggle", () => item.open && !more.children.length && this.describe(gate, more), { once: true });
    return made("li", {}, item);
  }

  async describe(gate, host) {
    try {
      const found = await describeGate(gate.name);
      const rest = found.documentation.split("\n").slice(1).join("\n").trim();
      const attributes = Object.entries(found.attributes).map(([name, schema]) =>
        made("li", {}, made("code", {}, `${name}=${JSON.stringify(schema.default) ?? "…"}`), ` ${schema.description ?? ""}`),
      );
      const operands = Object.entries(found.example_operands).map(([name, spec]) => `${name}: ${spec}`).join(", ");
      const written = gate.operator ? made("p", {}, "Written ", made("code", {}, gate.operator), " as well.") : "";
      // An expression has no word for a graph.
      const holdsGraph = found.example.includes("=...");
      const insert = holdsGraph ? "in a document" : made("button", { type: "button" }, "Insert");
      if (!holdsGraph) insert.addEventListener("click", () => {
        find("gates").close();
        const call = found.example || `${gate.name}(${gate.operands.join(", ").replaceAll("*", "")})`;
        this.onInsert(call, found.example_values);
      });
      host.append(
        ...[rest && made("pre", {}, rest), attributes.length && made("ul", {}, ...attributes)].filter(Boolean),
        written,
        made("p", {}, found.example ? made("code", {}, found.example) : "", operands ? ` with ${operands} ` : " ", insert),
      );
    } catch (error) {
      host.append(made("p", { class: "problem" }, error.message));
    }
  }
}

// A long name is broken where its words end.
function breakable(text) {
  return text.split(/(?<=[_(])/).flatMap((part) => [made("wbr"), part]);
}

const NOWHERE = 9;

// Returns where among the gates found one belongs: what is called or written so, what begins so, what is said so.
function rank(gate, text) {
  if (!text) return 0;
  // Of `x * y` the sign in the middle, too.
  const signs = [gate.symbol, gate.operator, gate.operator.split(" ")[1]];
  if (gate.name === text || signs.includes(text)) return 1;
  if (gate.words.split(" ").includes(text)) return 2;
  const places = text.split(/\s+/).map((word) => {
    if (gate.name.startsWith(word)) return 3;
    if (gate.name.includes(word)) return 4;
    return `${gate.documentation} ${gate.words}`.toLowerCase().includes(word) ? 5 : NOWHERE;
  });
  return Math.max(...places);
}

// A line of documentation with what stands in double backquotes as code.
function marked(line) {
  const parts = line.split("``").map((part, i) => (i % 2 ? made("code", {}, part) : part));
  return made("span", {}, ...parts);
}
