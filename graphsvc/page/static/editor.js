// The field where the graph is written, with a mark at the word that an error is about.

import { find, made } from "./dom.js";

export class Editor {
  constructor(onText) {
    this.field = find("graph");
    this.marks = find("marks");
    this.problem = find("problem");
    this.field.addEventListener("input", () => {
      this.size();
      this.mark(null);
      onText(this.field.value);
    });
    this.field.addEventListener("scroll", () => (this.marks.scrollTop = this.field.scrollTop));
  }

  get text() {
    return this.field.value;
  }

  write(text) {
    this.field.value = text;
    this.size();
  }

  // Puts a text where the cursor is.
  insert(text) {
    this.field.focus();
    this.field.setRangeText(text, this.field.selectionStart, this.field.selectionEnd, "end");
    this.field.dispatchEvent(new Event("input"));
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
