// A gate from the catalogue as a line of its own, with inputs on which it runs.

const NAME = /[A-Za-z_]\w*/g;
const RESULTS = ["y", "z", "u", "v", "w"];

// Returns two ways to add a call to a graph: with the names of its example, and with others for those that are taken.
//
// Each is a graph, and the example's values for the inputs that are new in it.
export function additions(graph, call, values) {
  const taken = new Set(graph.replace(/#.*/g, "").match(NAME));
  const own = new Map(Object.keys(values).map((name) => [name, name]));
  const others = new Map();
  for (const name of own.keys()) {
    const elsewhere = new Set([...taken, ...own.keys(), ...others.values()]);
    others.set(name, taken.has(name) ? free([name], elsewhere) : name);
  }
  return [own, others].map((names) => {
    const result = free(RESULTS, new Set([...taken, ...names.values()]));
    // Names of attributes, which stand before a sign of equality, stay.
    const [gate, operands] = [call.slice(0, call.indexOf("(")), call.slice(call.indexOf("("))];
    const written = operands.replace(/[A-Za-z_]\w*(?!\w*=)/g, (name) => names.get(name) ?? name);
    const inputs = [...names].filter(([, name]) => !taken.has(name)).map(([name, given]) => [given, values[name]]);
    const before = graph.trim() ? `${graph.trimEnd()}\n` : "";
    return { graph: `${before}${result} = ${gate}${written}`, inputs: new Map(inputs) };
  });
}

// Returns the first name that is not taken: one of these, or the first of them with a number.
function free(names, taken) {
  const numbered = Array.from({ length: taken.size + 1 }, (_, i) => `${names[0]}${i + 1}`);
  return [...names, ...numbered].find((name) => !taken.has(name));
}
