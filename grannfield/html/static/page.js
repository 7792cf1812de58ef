"use strict";
/* What all parts of the page share: elements made of text alone, packs opened on demand, the theme, hints, routes. */
const app = { data: JSON.parse(document.getElementById("data").textContent), plots: new Set() };
const find = (selector, root = document) => root.querySelector(selector);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const number = (x) => typeof x === "number" && Number.isFinite(x);

/** An element; attributes by name, children are elements or texts, never markup. */
function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key === "style") Object.assign(made.style, value);
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false && child !== ""));
  return made;
}

/** The same for an element that is there: its children are replaced. */
const fill = (place, ...children) => place.replaceChildren(...el("div", {}, children).childNodes);

const opened = new Map();
/** The text of a pack. */
async function unpack(name) {
  const holder = find(`script[data-pack="${CSS.escape(name)}"]`);
  if (!holder) throw new Error(`${name} is not in this file`);
  if (typeof DecompressionStream === "undefined") throw new Error("this browser is too old for panels and plots (2023 or later is needed)");
  const bytes = Uint8Array.from(atob(holder.textContent), (c) => c.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}
/** The contents of a pack of JSON, opened once. */
function pack(name) {
  if (!opened.has(name)) opened.set(name, unpack(name).then(JSON.parse));
  return opened.get(name);
}
let drawing = null;
/** plotly.js, run when the first plot is drawn. */
function plotly() {
  drawing ??= unpack("plotly").then((source) => {
    const script = document.createElement("script");
    script.textContent = source;
    document.head.append(script);
    return window.Plotly;
  });
  return drawing;
}

const said = find("#said");
const announce = (text) => { said.textContent = text; };
const badgeOf = (label) => el("span", { class: `badge ${label.replaceAll(" ", "-").replaceAll("/", "-")}` }, label);
const shortOf = (material) => app.data.materials[material]?.short ?? material;
const columnOf = (metric) => app.data.columns.find((column) => column.metric === metric);
const modelNumber = (label) => app.data.models.findIndex((model) => model.label === label);

function noticeOf(reference) {
  const surrogate = reference.startsWith("surrogate");
  return el("div", { class: "notice", role: "note" }, el("b", {}, `Reference: ${reference || "not named"}.`),
    surrogate ? " Not AIMD: errors here are errors against it." : "");
}
function tableOf(table) {
  const rows = table.rows.map((row) => el("tr", {}, row.map((text, i) => el(i ? "td" : "th", i ? {} : { scope: "row" }, text))));
  const head = el("thead", {}, el("tr", {}, table.head.map((text) => el("th", { scope: "col" }, text))));
  return el("div", { class: "scroller", tabindex: "0", role: "region", "aria-label": table.caption },
    el("table", { class: "small" }, el("caption", {}, table.caption), head, el("tbody", {}, rows)));
}
const isHash = (text) => /^[0-9a-f]{10,64}$/.test(text) || /\b[0-9a-f]{40,64}\b/.test(text);
const listOf = (rows) => el("dl", { class: "wide" }, rows.map(([what, text]) =>
  [el("dt", {}, what), el("dd", { class: isHash(text) ? "hash" : null }, text)]));
function commandOf(text) {
  const button = el("button", { type: "button", class: "button" }, "Copy");
  button.addEventListener("click", async () => {
    try { await navigator.clipboard.writeText(text); } catch (_) {
      const area = el("textarea", { class: "vh" }); area.value = text; button.after(area); area.select();
      document.execCommand("copy"); area.remove(); button.focus();
    }
    button.textContent = "Copied"; announce("Command copied"); setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  return el("div", { class: "command" }, el("code", { tabindex: "0" }, text), button);
}

/* Light and dark. */
const themeButton = find("#theme");
function nameTheme() {
  const dark = document.documentElement.dataset.theme === "dark";
  themeButton.textContent = dark ? "Light" : "Dark";
  themeButton.setAttribute("aria-label", `Switch to ${dark ? "light" : "dark"} colours`);
}
themeButton.addEventListener("click", () => {
  const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  document.documentElement.dataset.theme = next;
  try { localStorage.setItem("grannfield-theme", next); } catch (_) { /* not remembered then */ }
  nameTheme();
  for (const redraw of app.plots) redraw();
});

/* Hints on hover and focus. */
const tip = find("#tip");
let hinted = null;
function showTip(target) {
  const holder = target?.closest?.("[data-hint]");
  if (!holder) return hideTip();
  if (holder === hinted) return undefined;
  hideTip();
  hinted = holder;
  tip.textContent = holder.dataset.hint;
  tip.hidden = false;
  (find("button", holder) ?? holder).setAttribute("aria-describedby", "tip");
  const box = holder.getBoundingClientRect(), own = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(12, Math.min(box.left, innerWidth - own.width - 12))}px`;
  tip.style.top = `${box.bottom + own.height + 10 < innerHeight ? box.bottom + 6 : Math.max(6, box.top - own.height - 6)}px`;
  return undefined;
}
function hideTip() {
  if (hinted) (find("button", hinted) ?? hinted).removeAttribute("aria-describedby");
  hinted = null;
  tip.hidden = true;
}
document.addEventListener("mouseover", (event) => showTip(event.target));
document.addEventListener("focusin", (event) => { if (event.target.matches(":focus-visible")) showTip(event.target); else hideTip(); });
document.addEventListener("scroll", hideTip, true);
document.addEventListener("keydown", (event) => { if (event.key === "Escape") hideTip(); });

/* Routes: #board, #model=NAME, #compare=A,B, #paths=NAME,MATERIAL. */
const routes = new Map();
const routeOf = (page, ...parts) => `#${page}${parts.length ? `=${parts.map(encodeURIComponent).join(",")}` : ""}`;
function decoded(text) { try { return decodeURIComponent(text); } catch (_) { return text; } }
async function follow(focus = true) {
  const [page, rest] = location.hash.slice(1).split(/=(.*)/s);
  const parts = rest ? rest.split(",").map(decoded) : [];
  const section = find(`section[data-page="${CSS.escape(page)}"]`) ?? find('section[data-page="board"]');
  for (const other of all("section[data-page]")) other.hidden = other !== section;
  const shown = section.dataset.page === "model" ? "models" : section.dataset.page;
  for (const link of all("nav a")) {
    if (link.getAttribute("href") === `#${shown}`) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
  }
  hideTip();
  for (const close of [...app.plots]) close.leave?.();
  app.plots.clear();
  await routes.get(section.dataset.page)?.(section, parts);
  if (focus) { scrollTo(0, 0); find("#main").focus({ preventScroll: true }); }
}
/** What went wrong, in the place of what was to be shown. */
const failure = (problem) => el("p", { class: "missing", role: "alert" }, `This cannot be shown: ${problem.message}.`);
