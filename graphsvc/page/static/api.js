// The server's API.

export class Refusal extends Error {
  // What the server says is wrong: `reason`, `message`, and `facts` such as line, column, node, input.
  constructor({ reason, message, facts }) {
    super(message);
    this.reason = reason;
    this.facts = facts ?? {};
  }
}

async function answered(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal({ reason: "UNREACHABLE", message: "The server does not answer. Is it still running?" });
  }
  const text = await response.text();
  let answer;
  try {
    answer = JSON.parse(text);
  } catch {
    throw new Refusal({ reason: "FAILED", message: `The server answered ${response.status} ${text.slice(0, 200)}` });
  }
  if (!response.ok) throw new Refusal(answer);
  return answer;
}

function post(path, body, signal) {
  return answered(path, { method: "POST", headers: { "Content-Type": "application/json" }, body, signal });
}

// Values are JSON already, as they were written: 2.0 and -0 would be lost on the way through a number.
function members(values) {
  return `{${[...values].map(([name, json]) => `${JSON.stringify(name)}:${json}`).join(",")}}`;
}

export function readGraph({ graph, unfold }, signal) {
  return post("api/graph", JSON.stringify({ graph, unfold }), signal);
}

export function evaluate({ graph, unfold, inputs, outputGradients, show = true }, signal) {
  const given = outputGradients.size ? members(outputGradients) : "null";
  const fields = JSON.stringify({ graph, unfold, show }).slice(1, -1);
  return post("api/evaluate", `{${fields},"inputs":${members(inputs)},"output_gradients":${given}}`, signal);
}

export function listGates() {
  return answered("api/gates");
}

export function describeGate(name) {
  return answered(`api/gates/${encodeURIComponent(name)}`);
}
