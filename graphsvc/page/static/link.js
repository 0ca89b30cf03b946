// The link that holds a graph: everything stands behind the #, which never leaves the browser.

const LONGEST = 16000;

export function linked() {
  const fields = new URLSearchParams(location.hash.slice(1));
  const graph = fields.get("graph");
  if (graph === null) return null;
  try {
    const texts = (name) => onlyTexts(JSON.parse(fields.get(name) ?? "{}"));
    const rate = fields.get("rate") ?? undefined;
    return { graph, inputs: texts("inputs"), gradients: texts("gradients"), rate, moved: namesOf(fields.get("moved")) };
  } catch {
    return { graph, inputs: {}, gradients: {} };
  }
}

function onlyTexts(data) {
  return Object.fromEntries(Object.entries(data ?? {}).filter(([, text]) => typeof text === "string"));
}

function namesOf(json) {
  const names = JSON.parse(json);
  return Array.isArray(names) ? names : undefined;
}

// Puts a graph into the address; false where it is too large for that.
export function link({ graph, inputs, gradients, rate, moved }) {
  const json = (texts) => JSON.stringify(Object.fromEntries(texts));
  const fields = new URLSearchParams({ graph, inputs: json(inputs), rate, moved: JSON.stringify(moved) });
  if (gradients.size) fields.set("gradients", json(gradients));
  const fits = fields.toString().length <= LONGEST;
  history.replaceState(null, "", fits ? `#${fields}` : location.pathname);
  return fits;
}
