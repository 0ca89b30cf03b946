() => {
  // WCAG 2.2, success criterion 1.4.3, level AA: a contrast of 4.5 to 1 with what is behind a text.
  const LEAST = 4.5;

  const numbers = (colour) => colour.match(/[\d.]+/g).map(Number);
  const linear = (part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
  const luminance = (colour) => {
    const [red, green, blue] = numbers(colour).map((part) => linear(part / 255));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const contrast = (one, other) => {
    const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const behind = (element) => {
    const paper = element.closest("svg")?.querySelector(".paper");
    if (paper) return getComputedStyle(paper).fill;
    const colour = getComputedStyle(element).backgroundColor;
    return numbers(colour)[3] === 0 ? behind(element.parentElement) : colour;
  };
  const ink = (element) => getComputedStyle(element)[element.closest("svg") ? "fill" : "color"];
  const isText = (element) => [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());

  return [...document.querySelectorAll("body *")]
    .filter((element) => isText(element) && element.checkVisibility() && !element.disabled)
    .filter((element) => contrast(ink(element), behind(element)) < LEAST)
    .map((element) => element.outerHTML);
}
