// The explorer: what is written is read, run and shown, again at every change.

import { evaluate, readGraph } from "./api.js";
import { Circuit } from "./circuit.js";
import { Descent } from "./descent.js";
import { find, made } from "./dom.js";
import { Editor } from "./editor.js";
import { EXAMPLES } from "./examples.js";
import { Gates } from "./gates.js";
import { additions } from "./insert.js";
import { link, linked } from "./link.js";
import { Rows } from "./rows.js";
import { Steps } from "./steps.js";
import { beginning, brief, jsonOf, textOf } from "./values.js";

const WAIT = 120;
// After so many milliseconds it is said that an answer takes its time; after a change to so long a text it will.
const SLOW = 500;
const LONG = 5000;
const TOO_LARGE = "Too large: Save it";

// What is asked: texts as they are written.
// By name in maps, since an input may be called __proto__.
const asked = { graph: "", inputs: new Map(), gradients: new Map(), unfold: [] };
// What was answered last: the graph, the run of it, and what is wrong with what was written since.
const got = { graph: null, answer: null, inputs: new Map(), problem: "", unread: false, isNew: false };
// Inputs whose values are made up here, until somebody gives them one.
const madeUp = new Set();
// Inputs whose values are still those given under a graph before one that was written anew.
const carried = new Set();

const circuit = new Circuit({ onNode: (name) => steps.select(name), onGroup: (group) => unfold([group]) });
const steps = new Steps(circuit);
const editor = new Editor((text, isAnew) => {
  asked.graph = text;
  asked.unfold = [];
  find("examples").value = "";
  if (isAnew) {
    for (const name of rows.inputs.keys()) if (!madeUp.has(name)) carried.add(name);
    descent.begin();
  } else descent.reset();
  if (text.length > LONG) document.body.classList.add("stale");
  later(read);
});
const rows = new Rows({
  onInput: (name, text) => {
    asked.inputs.set(name, text);
    madeUp.delete(name);
    carried.delete(name);
    descent.reset();
    later(run);
  },
  onGradient: (name, text) => {
    if (text.trim()) asked.gradients.set(name, text);
    else asked.gradients.delete(name);
    later(run);
  },
});
const descent = new Descent({
  settled,
  current: () => ({ answer: got.answer, inputs: got.inputs }),
  run: (inputs, show) => evaluate({ ...asked, inputs, outputGradients: gradientsGiven(), show }),
  onMoved: (texts, answer) => {
    give(texts);
    show(answer);
    linkLater();
  },
  onBack: (texts) => {
    give(texts);
    descent.reset();
    run();
  },
  onSet: () => linkLater(),
});
new Gates((call, values) => insert(call, values));

// Gives inputs values that nobody typed.
function give(texts) {
  for (const [name, text] of texts) asked.inputs.set(name, text);
  madeUp.clear();
  rows.calm();
  rows.arrange(got.graph, asked.inputs, asked.gradients);
}

// One question at a time: a later one takes the place of an earlier.

let timer = 0;
let unread = false;
let asking = new AbortController();
let working = Promise.resolve();

function later(what) {
  // Numbers that are changed while the graph is still to be read are run with it.
  unread ||= what === read;
  clearTimeout(timer);
  timer = setTimeout(now, WAIT);
}

function now() {
  clearTimeout(timer);
  timer = 0;
  working = unread ? read() : run();
  return working;
}

// Waits until what was written last is answered.
function settled() {
  return timer ? now() : working;
}

async function read({ moved, taken = false, told = [] } = {}) {
  clearTimeout(timer);
  timer = 0;
  unread = false;
  asking.abort();
  asking = new AbortController();
  linkLater();
  got.unread = true;
  if (!asked.graph.trim()) return refuse({ message: "Type an expression, such as f = (x + y) * z.", facts: {} });
  try {
    got.graph = await patiently(readGraph(asked, asking.signal));
    got.unread = false;
    got.isNew = true;
  } catch (error) {
    return refuse(error);
  }
  // Of an example or a link, what it has no value for is new; else what had no row.
  const news = arrived(new Set((taken ? asked : rows).inputs.keys()));
  for (const name of asked.gradients.keys()) if (!got.graph.outputs.includes(name)) asked.gradients.delete(name);
  rows.arrange(got.graph, asked.inputs, asked.gradients);
  rows.announce(new Map([...news, ...told]));
  descent.arrange(got.graph, moved);
  await run();
}

// Gives inputs without a value one, and returns what there is to say of those that were not there before.
function arrived(before) {
  const names = new Set(got.graph.inputs.map((entry) => entry.name));
  const gone = [...before].filter((name) => !names.has(name) && !madeUp.has(name));
  // A name that was half typed is not kept for when it comes back.
  for (const name of [...madeUp].filter((name) => !names.has(name))) {
    madeUp.delete(name);
    asked.inputs.delete(name);
  }
  const added = got.graph.inputs.filter(({ name }) => !before.has(name));
  // One that comes as another leaves may be that one, mistyped.
  const instead = gone.length === 1 && added.length === 1 ? ` (${gone[0]} is no longer used)` : "";
  const news = added.map((entry) => [entry.name, `${newsOf(entry)}${instead}`]);
  const kept = [...carried].filter((name) => names.has(name));
  for (const name of kept) carried.delete(name);
  return new Map([...news, ...kept.map((name) => [name, "Its value is that from before"])]);
}

// Gives an input that was not there a value, if it has none, and returns what there is to say of it.
function newsOf(entry) {
  if (asked.inputs.has(entry.name)) return "Back again, with its value from before";
  const value = beginning(entry);
  asked.inputs.set(entry.name, value);
  madeUp.add(entry.name);
  return value ? `New input, set to ${brief(value)}` : "New input, still without a value";
}

async function run() {
  if (!got.graph) return;
  asking.abort();
  asking = new AbortController();
  linkLater();
  try {
    const inputs = inputsGiven();
    const outputGradients = gradientsGiven();
    const answer = await patiently(evaluate({ ...asked, inputs, outputGradients }, asking.signal));
    show(answer);
  } catch (error) {
    // The circuit stands without numbers, so that the guilty node can be seen.
    if (error.name !== "AbortError") drawBare();
    refuse(error);
  }
}

// Awaits an answer, and says that it is awaited if it takes long.
async function patiently(answering) {
  const { signal } = asking;
  const timer = setTimeout(() => {
    document.body.classList.add("stale");
    find("working").textContent = "Working …";
  }, SLOW);
  try {
    return await answering;
  } finally {
    clearTimeout(timer);
    // Another question may be awaited by now.
    if (asking.signal === signal) find("working").textContent = "";
  }
}

// Browsers refuse an address that changes all the time.
let linking = 0;

function linkLater() {
  clearTimeout(linking);
  linking = setTimeout(() => {
    const fits = link(mine());
    if (fits && find("share").textContent === TOO_LARGE) answerOn(find("share"), "Share");
  }, 400);
}

// What was written, as JSON; texts of inputs that the graph has no more stay for when they come back.

function inputsGiven() {
  return new Map(got.graph.inputs.map(({ name }) => [name, judged(asked.inputs.get(name), { input: name })]));
}

function gradientsGiven() {
  return new Map([...asked.gradients].map(([name, text]) => [name, judged(text, {})]));
}

function judged(text, facts) {
  try {
    return jsonOf(text);
  } catch (error) {
    throw Object.assign(error, { facts });
  }
}

function mine() {
  const names = got.graph?.inputs.map((entry) => entry.name) ?? [...asked.inputs.keys()];
  const inputs = new Map(names.filter((name) => asked.inputs.has(name)).map((name) => [name, asked.inputs.get(name)]));
  return { graph: asked.graph, inputs, gradients: asked.gradients, ...descent.settings(names) };
}

// What is shown.

function show(answer) {
  got.answer = answer.svg || !got.answer ? answer : { ...answer, visits: got.answer.visits };
  got.inputs = inputsGiven();
  got.problem = "";
  editor.refuse(null);
  rows.refuse("", "");
  document.body.classList.remove("stale");
  rows.fill(answer);
  find("note").textContent = answer.note;
  if (answer.svg) {
    draw(answer);
    steps.take(answer, got.graph.gates);
  }
  descent.judge(answer);
  say(answer);
}

function draw({ svg, signs }) {
  circuit.show(svg, { signs, isNew: got.isNew });
  got.isNew = false;
}

function drawBare() {
  got.answer = null;
  draw(got.graph);
  find("note").textContent = "";
  steps.clear();
  rows.empty();
}

function refuse(error) {
  if (error.name === "AbortError") return;
  got.problem = error.message;
  descent.stop();
  descent.forbid("There is an error above, so nothing can be descended.");
  const { input, node } = error.facts ?? {};
  // What stands there is of what was written before.
  document.body.classList.toggle("stale", got.answer !== null);
  const ofRow = input !== undefined && rows.inputs.has(input);
  editor.refuse(ofRow ? null : error);
  rows.refuse(ofRow ? input : "", ofRow ? error.message : "");
  circuit.accuse(node);
}

// A screen reader hears the numbers once they have come to rest.
let speaking = 0;

function say(answer) {
  clearTimeout(speaking);
  const outputs = Object.entries(answer.outputs).map(([name, array]) => `${name} = ${array.text}`);
  const gradients = Object.entries(answer.shown_gradients).map(([name, array]) => `d${name} = ${array.text}`);
  const news = rows.news().map(([name, text]) => `${name}: ${text}`);
  speaking = setTimeout(() => (find("said").textContent = [...news, ...outputs, ...gradients].join(", ")), 800);
}

function unfold(groups) {
  asked.unfold = [...asked.unfold, ...groups.map((group) => group.replace(/^group /, ""))];
  run();
}

find("unfold").addEventListener("click", () => unfold(circuit.groups));

// Adds a call of a gate as a line, with names that are there if it runs on their values.
async function insert(call, values) {
  const texts = Object.fromEntries(Object.entries(values).map(([name, data]) => [name, textOf(JSON.stringify(data))]));
  const isDocument = asked.graph.trimStart().startsWith("{");
  if (isDocument) return refuse(new Error("A document takes no lines. Write an expression to insert gates into it."));
  const fits = await runs(additions(asked.graph, call, texts)[0]);
  // Somebody may have gone on writing.
  const chosen = additions(asked.graph, call, texts)[fits ? 0 : 1];
  for (const [name, text] of chosen.inputs) asked.inputs.set(name, text);
  asked.graph = chosen.graph;
  asked.unfold = [];
  find("examples").value = "";
  editor.write(asked.graph);
  editor.focusEnd();
  descent.reset();
  working = read({ told: new Map([...chosen.inputs.keys()].map((name) => [name, "New input, with the value of the example"])) });
}

async function runs({ graph, inputs }) {
  try {
    const given = new Map([...asked.inputs, ...inputs].map(([name, text]) => [name, jsonOf(text)]));
    const known = (await readGraph({ graph, unfold: [] })).inputs.map(({ name }) => [name, given.get(name)]);
    const gradients = { outputGradients: new Map(), show: false, unfold: [] };
    await evaluate({ graph, inputs: new Map(known), ...gradients });
    return true;
  } catch {
    return false;
  }
}

// Examples, files and links.

function take({ graph, inputs = {}, gradients = {}, rate, moved }) {
  const mapped = (texts) => new Map(Object.entries(texts));
  Object.assign(asked, { graph, inputs: mapped(inputs), gradients: mapped(gradients), unfold: [] });
  editor.write(graph);
  descent.begin(rate);
  steps.position = null;
  madeUp.clear();
  carried.clear();
  rows.calm();
  working = read({ moved, taken: true });
  return working;
}

find("examples").append(
  made("option", { value: "" }, "your own"),
  ...EXAMPLES.map((example, i) => made("option", { value: i }, example.name)),
);
find("examples").addEventListener("change", ({ target }) => target.value && take(EXAMPLES[target.value]));

find("open").addEventListener("click", () => find("file").click());
find("file").addEventListener("change", async ({ target }) => {
  const [file] = target.files;
  target.value = "";
  if (!file) return;
  find("examples").value = "";
  if (file.size > 4 * 2 ** 20) refuse(new Error(`${file.name} is larger than the 4 MiB that this page takes.`));
  else take({ graph: await file.text() });
});
find("save").addEventListener("click", ({ target }) => {
  if (!got.graph || got.unread) return answerOn(target, "Mend it first");
  const url = URL.createObjectURL(new Blob([got.graph.document], { type: "application/json" }));
  made("a", { href: url, download: "graph.json" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
});
find("share").addEventListener("click", async ({ target }) => {
  const fits = link(mine());
  try {
    if (!fits) throw new Error();
    await navigator.clipboard.writeText(location.href);
    answerOn(target, got.problem ? "Copied, with its error" : "Copied");
  } catch {
    answerOn(target, fits ? "See the address" : TOO_LARGE);
  }
});

// Says on a button for a moment, or until the graph changes, what became of it.
function answerOn(button, text) {
  button.dataset.text ??= button.textContent;
  button.textContent = text;
  clearTimeout(button.timer);
  if (text !== TOO_LARGE) button.timer = setTimeout(() => (button.textContent = button.dataset.text), 1800);
}

addEventListener("hashchange", () => linked() && take(linked()));

function begin() {
  const given = linked();
  if (given) return take(given);
  find("examples").value = "0";
  return take(EXAMPLES[0]);
}

begin();
