// The circuit as the server drew it, with what is not computed yet left out.

import { find } from "./dom.js";

const SMALLEST = 0.7;
const ROOM = 60;

export class Circuit {
  constructor({ onNode, onGroup }) {
    this.host = find("circuit");
    this.onNode = onNode;
    this.onGroup = onGroup;
    this.host.addEventListener("scroll", () => this.fade());
    new ResizeObserver(() => this.fade()).observe(this.host);
    find("fit").addEventListener("click", () => this.fitWhole(!this.isWhole));
  }

  // Shows a drawing of the server; that of another graph from its beginning.
  show(text, { signs, isNew }) {
    const drawing = new DOMParser().parseFromString(text, "image/svg+xml").documentElement;
    const svg = document.importNode(drawing, true);
    // An image would hide its gates from who cannot see it.
    svg.setAttribute("role", "group");
    this.host.replaceChildren(svg);
    find("signs").textContent = signs.join("; ");
    find("spoiled").hidden = !svg.querySelector(".loud, .finding");
    find("statistics").hidden = !svg.textContent.includes("±");
    if (isNew) this.host.scrollTo(0, 0);
    this.fit(svg);
    this.nodes = [...svg.querySelectorAll("[data-node]")];
    this.edges = [...svg.querySelectorAll("[data-target]")];
    for (const node of this.nodes) this.makeButton(node);
  }

  // Makes a drawing a little smaller where it fits then; a larger one is scrolled.
  fit(svg) {
    const width = Number(svg.getAttribute("width"));
    const fits = width * SMALLEST <= this.host.clientWidth;
    svg.classList.toggle("fitted", fits);
    this.fade();
  }

  get isWhole() {
    return this.host.classList.contains("whole");
  }

  // Shows all of a drawing in its frame, however small it becomes, or lets it be scrolled.
  fitWhole(isWhole) {
    this.host.classList.toggle("whole", isWhole);
    find("fit").setAttribute("aria-pressed", String(isWhole));
    this.fade();
  }

  // Lets an end fade behind which there is more.
  fade() {
    const { scrollLeft, scrollWidth, clientWidth, scrollHeight, clientHeight } = this.host;
    find("fit").hidden = !this.isWhole && scrollWidth <= clientWidth && scrollHeight <= clientHeight;
    this.host.classList.toggle("more-left", scrollLeft > 1);
    this.host.classList.toggle("more-right", scrollLeft + clientWidth < scrollWidth - 1);
  }

  makeButton(node) {
    const chosen = node.classList.contains("group") ? this.onGroup : this.onNode;
    if (!node.classList.contains("gate") && !node.classList.contains("group")) return;
    node.setAttribute("tabindex", "0");
    node.setAttribute("role", "button");
    node.addEventListener("click", () => chosen(node.dataset.node));
    node.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      chosen(node.dataset.node);
    });
  }

  // The names of what is drawn folded.
  get groups() {
    return this.nodes.filter((node) => node.classList.contains("group")).map((node) => node.dataset.node);
  }

  node(name) {
    return this.nodes.find((node) => node.dataset.node === name);
  }

  // Shows values of `later` gates and gradients that `pending` gates give as not there yet.
  reveal({ later, pending, outputs, current }) {
    const isLater = (name) => later.has(name);
    for (const edge of this.edges) {
      const { source, target } = edge.dataset;
      const gradient = target.startsWith("output ") ? outputs : !pending.has(target);
      toggle(edge, ".value", !isLater(source));
      toggle(edge, ".gradient", gradient);
      edge.classList.toggle("unknown", !gradient);
    }
    for (const node of this.nodes) {
      const leaving = this.edges.filter((edge) => edge.dataset.source === node.dataset.node);
      toggle(node, ".gradient", leaving.every((edge) => !edge.classList.contains("unknown")));
      node.classList.toggle("later", isLater(node.dataset.node));
      node.classList.toggle("current", node.dataset.node === current);
    }
  }

  // Scrolls so that a node is to be seen, with some of what is around it.
  center(name) {
    const node = this.node(name)?.getBoundingClientRect();
    const host = this.host.getBoundingClientRect();
    if (!node) return;
    const across = off(node.left, node.right, host.left, host.right);
    this.host.scrollBy(across, off(node.top, node.bottom, host.top, host.bottom));
  }

  // Marks the node that an error is about.
  accuse(name) {
    for (const node of this.nodes ?? []) node.classList.toggle("guilty", node.dataset.node === name);
  }
}

// Returns how far from the middle something is that reaches beyond its place, and 0 for what does not.
function off(low, high, start, end) {
  return low < start + ROOM || high > end - ROOM ? (low + high - start - end) / 2 : 0;
}

function toggle(parent, selector, there) {
  for (const element of parent.querySelectorAll(selector)) element.classList.toggle("unseen-yet", !there);
}
