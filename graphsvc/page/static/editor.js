// The field where the graph is written, with a mark at the word that an error is about.

import { find, made } from "./dom.js";

export class Editor {
  constructor(onText) {
    this.field = find("graph");
    this.marks = find("marks");
    this.problem = find("problem");
    this.known = "";
    // `onText(text, isAnew)` is told what is written, and whether in the place of something else.
    this.field.addEventListener("input", () => {
      const isAnew = isOther(this.known, this.text);
      this.known = this.text;
      this.size();
      this.mark(null);
      onText(this.text, isAnew);
    });
    this.field.addEventListener("scroll", () => (this.marks.scrollTop = this.field.scrollTop));
  }

  get text() {
    return this.field.value;
  }

  write(text) {
    this.field.value = this.known = text;
    this.size();
  }

  // Puts the cursor behind all that is written.
  focusEnd() {
    this.field.focus();
    this.field.setSelectionRange(this.text.length, this.text.length);
  }

  size() {
    this.field.rows = Math.max(3, Math.min(14, this.text.split("\n").length + 1));
  }

  // Shows what is wrong; null, that nothing is.
  refuse(error) {
    this.problem.hidden = !error;
    this.problem.textContent = error?.message ?? "";
    this.field.setAttribute("aria-invalid", String(Boolean(error)));
    this.mark(error);
  }

  mark(error) {
    const { line, column } = error?.facts ?? {};
    if (!line) {
      this.marks.replaceChildren();
      return;
    }
    const before = this.text.split("\n").slice(0, line - 1).reduce((sum, each) => sum + each.length + 1, 0);
    const at = before + Number(column) - 1;
    // A name as a whole, else a character; at the end there is none.
    const [word] = this.text.slice(at).match(/^[\w.]+|^\S|^/);
    this.marks.replaceChildren(this.text.slice(0, at), made("mark", {}, word || " "), this.text.slice(at + word.length));
    this.marks.scrollTop = this.field.scrollTop;
  }
}

// Tells whether a text was written anew: next to nothing is left of that before, or less than half of the shorter.
function isOther(before, after) {
  const shorter = Math.min(before.length, after.length);
  const first = [...before.slice(0, shorter)].findIndex((sign, i) => sign !== after[i]);
  if (first < 0) return after.trim().length < 3;
  let last = 0;
  while (last < shorter - first && before.at(-1 - last) === after.at(-1 - last)) last += 1;
  return first + last < shorter / 2;
}
