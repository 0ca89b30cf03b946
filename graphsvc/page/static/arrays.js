// Arrays to be looked at: a heat map and a histogram.

import { drawn, made } from "./dom.js";

const LOW = [33, 102, 172];
const MIDDLE = [247, 247, 247];
const HIGH = [178, 60, 20];
const SPOILED = [191, 0, 143];

// Returns pictures of an array, or null for one that a text says all of.
export function pictured(array, what) {
  if (array.shape.reduce((product, size) => product * size, 1) < 2 || array.elements === null) return null;
  const label = `${what}: ${array.dtype}, shape ${array.shape.join("×")}; ${array.text}`;
  const caption = array.whole ? "" : " (some rows and columns)";
  const colours = "Blue is below 0, red above, magenta NaN or infinite";
  return made(
    "div",
    { class: "pictures", title: `${label}${caption}\n${colours}` },
    heatMap(array, label),
    array.histogram.length ? histogram(array.histogram, label) : null,
  );
}

function heatMap(array, label) {
  const rows = matrix(array.elements);
  const bound = Math.max(Math.abs(Number(array.smallest)), Math.abs(Number(array.largest))) || 1;
  const canvas = made("canvas", { class: "heat", width: rows[0].length, height: rows.length, role: "img" });
  canvas.setAttribute("aria-label", `Heat map of ${label}`);
  const scale = Math.max(1, Math.min(14, Math.floor(150 / Math.max(rows.length, rows[0].length))));
  canvas.style.width = `${rows[0].length * scale}px`;
  canvas.style.height = `${rows.length * scale}px`;
  const context = canvas.getContext("2d");
  const image = context.createImageData(rows[0].length, rows.length);
  rows.flat().forEach((value, i) => image.data.set([...colour(Number(value) / bound), 255], 4 * i));
  context.putImageData(image, 0, 0);
  return canvas;
}

function colour(place) {
  if (!Number.isFinite(place)) return SPOILED;
  const end = place < 0 ? LOW : HIGH;
  return MIDDLE.map((middle, i) => middle + (end[i] - middle) * Math.min(1, Math.abs(place)));
}

// Returns elements of any shape as rows.
function matrix(elements) {
  if (!Array.isArray(elements[0])) return [elements];
  return Array.isArray(elements[0][0]) ? elements.flatMap(matrix) : elements;
}

function histogram(counts, label) {
  const most = Math.max(...counts);
  const bars = counts.map((count, i) =>
    drawn("rect", { x: 6 * i, y: 30 - (30 * count) / most, width: 5, height: (30 * count) / most }),
  );
  const svg = drawn("svg", { class: "histogram", viewBox: `0 0 ${6 * counts.length} 30`, role: "img" }, ...bars);
  svg.setAttribute("aria-label", `Histogram of ${label}`);
  return svg;
}
