// The catalogue of gates, with search.

import { describeGate, listGates } from "./api.js";
import { find, made } from "./dom.js";

export class Gates {
  constructor(onInsert) {
    this.onInsert = onInsert;
    find("show-gates").addEventListener("click", () => this.open());
    find("words").addEventListener("input", () => this.list());
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
    const words = find("words").value.toLowerCase().split(/\s+/).filter(Boolean);
    const matching = this.known.filter((gate) => {
      const said = `${gate.name} ${gate.documentation} ${gate.words}`.toLowerCase();
      return words.every((word) => said.includes(word));
    });
    // What bears the name comes first.
    const rank = (gate) => (words.some((word) => gate.name.startsWith(word)) ? 0 : 1);
    matching.sort((a, b) => rank(a) - rank(b));
    find("found").textContent = `${matching.length} of ${this.known.length} gates`;
    find("catalogue").replaceChildren(...matching.map((gate) => this.item(gate)));
  }

  item(gate) {
    const [first] = gate.documentation.split("\n");
    const more = made("div", { class: "more" });
    const item = made(
      "details",
      {},
      made("summary", {}, made("code", {}, `${gate.name}(${gate.operands.join(", ")})`), made("span", {}, marked(first))),
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
      const insert = made("button", { type: "button" }, "Insert");
      insert.addEventListener("click", () => {
        find("gates").close();
        this.onInsert(found.example || `${gate.name}(${gate.operands.join(", ")})`);
      });
      host.append(
        ...[rest && made("pre", {}, rest), attributes.length && made("ul", {}, ...attributes)].filter(Boolean),
        made("p", {}, found.example ? made("code", {}, found.example) : "", operands ? ` with ${operands} ` : " ", insert),
      );
    } catch (error) {
      host.append(made("p", { class: "problem" }, error.message));
    }
  }
}

// A line of documentation with what stands in double backquotes as code.
function marked(line) {
  const parts = line.split("``").map((part, i) => (i % 2 ? made("code", {}, part) : part));
  return made("span", {}, ...parts);
}
