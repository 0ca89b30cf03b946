// Values as people write them, and as JSON.

const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;
const FRACTION = /([\d.]+(?:e[+-]?\d+)?)\s*\/\s*([\d.]+(?:e[+-]?\d+)?)/gi;
const SPECIAL = /"[^"]*"|([+-]?)\b(NaN|Infinity)\b/g;

// Returns the JSON of a value, or throws an Error that says what is wrong.
export function jsonOf(text) {
  const written = divided(text.trim());
  if (!written) throw new Error("Give it a value: a number, or a list such as [1, 2.5].");
  // JSON knows neither 5. nor +5.
  const json = NUMBER.test(written)
    ? isJson(written) ? written : String(Number(written))
    : listed(written).replace(SPECIAL, (found, sign, name) => (name ? `"${sign === "-" ? "-" : ""}${name}"` : found));
  if (!isJson(json) || !isNumbers(JSON.parse(json))) {
    throw new Error(`${brief(written)} is no value. Write a number, NaN, Infinity, or a list such as [1, 2.5].`);
  }
  return json;
}

// Returns a text with its fractions, such as 1/3, as decimals.
function divided(text) {
  return text.replace(FRACTION, (_, above, below) => String(above / below));
}

// Returns numbers with commas between them as a list.
function listed(text) {
  return /^[^[\]{}"]+,[^[\]{}"]*$/.test(text) ? `[${text}]` : text;
}

function isJson(text) {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

function isNumbers(data) {
  if (Array.isArray(data)) return data.every(isNumbers);
  if (data !== null && typeof data === "object") return "dtype" in data && "shape" in data && "data" in data;
  return ["number", "boolean"].includes(typeof data) || ["NaN", "Infinity", "-Infinity"].includes(data);
}

// Returns a text that fits on a line.
export function brief(text) {
  return text.length > 40 ? `${text.slice(0, 37)}…` : text;
}

// Returns the JSON of numbers that were computed. Large ones have an exponent, or they would be integers.
export function jsonOfNumbers(data) {
  if (Array.isArray(data)) return `[${data.map(jsonOfNumbers).join(", ")}]`;
  if (!Number.isFinite(data)) return `"${data}"`;
  return Math.abs(data) < 2 ** 53 ? String(data) : data.toExponential();
}

// Returns the text of JSON as people write it; JSON has the special numbers as strings.
export function textOf(json) {
  return json.replace(/"(NaN|-?Infinity)"/g, "$1");
}

// The number that a text is, or null where it is something else.
export function numberOf(text) {
  const written = divided(text.trim());
  return NUMBER.test(written) ? Number(written) : null;
}

// Returns `combine` of the numbers of two arrays of one shape.
export function combined(left, right, combine) {
  return Array.isArray(left)
    ? left.map((item, i) => combined(item, right[i], combine))
    : combine(Number(left), Number(right));
}

// Returns ones of a declared shape, or a 1 where none is declared.
export function beginning(entry) {
  const shape = (entry.shape ?? []).map((size) => size ?? 2);
  if (shape.reduce((product, size) => product * size, 1) > 64) return "";
  const one = entry.dtype === "bool" ? "true" : "1";
  return shape.reduceRight((inner, size) => `[${Array(size).fill(inner).join(", ")}]`, one);
}

// A step that changes about the second digit.
export function stepOf(number) {
  return 10 ** (Math.floor(Math.log10(Math.abs(number) || 1)) - 1);
}

export function moved(number, steps, step = stepOf(number)) {
  return String(Number((number + steps * step).toPrecision(12)));
}
