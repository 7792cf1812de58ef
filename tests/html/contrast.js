/* What a reader could not read: [texts with a contrast below 4.5, controls without a name, a heading is there, headers without scope]. */
() => {
  const linear = (v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4);
  const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const parts = (text) => text.match(/[\d.]+/g).map(Number);
  const ground = (node) => {
    for (; node; node = node.parentElement) {
      const colour = parts(getComputedStyle(node).backgroundColor);
      if (colour.length < 4 || colour[3] === 1) return colour.slice(0, 3);
    }
    return [255, 255, 255];
  };
  const poor = new Set();
  for (const node of document.querySelectorAll("section:not([hidden]) *, header *, footer *")) {
    const text = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
    if (!text || !node.getClientRects().length) continue;
    const [a, b] = [luminance(parts(getComputedStyle(node).color)), luminance(ground(node))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) poor.add(`${node.className || node.tagName}: ${ratio.toFixed(2)}`);
  }
  const named = (node) => node.textContent.trim() || node.getAttribute("aria-label") || node.labels?.length;
  const bare = [...document.querySelectorAll("button, select, input, a")].filter((node) => !named(node)).map((node) => node.outerHTML);
  return [[...poor], bare, document.querySelectorAll("h1").length > 0, document.querySelectorAll("th:not([scope])").length];
}
