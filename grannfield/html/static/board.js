/* The board: sorting, filters, the choice of columns. */
const board = find("#board"), body = find("tbody.models", board);
const rowsInOrder = all("tr", body), referenceRows = all("tbody.references tr", board);
const state = { sort: "", worst: false, material: "", model: "", preset: "", verdict: "", search: "" };
const cellIn = (row, metric) => find(`td[data-m="${metric}"]`, row);

function sortKey(row, metric) {
  const cell = cellIn(row, metric);
  return "k" in cell.dataset ? Number(cell.dataset.k) : "number" in cell.dataset ? -Infinity : null;
}
/** Best first or worst first; numbers without a rank, then rows without a number, come last either way. */
function sorted() {
  const { sort, worst } = state, sign = worst ? -1 : 1;
  if (!sort || (sort === "model" && !worst)) return rowsInOrder;
  if (sort === "model") return [...rowsInOrder].reverse();
  if (sort === "material") return [...rowsInOrder].sort((a, b) => sign * a.dataset.material.localeCompare(b.dataset.material));
  const keys = new Map(rowsInOrder.map((row) => [row, sortKey(row, sort)]));
  const rank = (key) => (key === null ? 2 : key === -Infinity ? 1 : 0);
  return [...rowsInOrder].sort((a, b) => {
    const [x, y] = [keys.get(a), keys.get(b)];
    return rank(x) - rank(y) || (rank(x) === 0 ? sign * (y - x) : 0);
  });
}
function ariaSort(header) {
  const { better, sort } = header.dataset;
  if (sort !== state.sort) return null;
  if (better === "closer") return "other";
  const bestIsLow = better !== "higher";
  return bestIsLow === state.worst ? "descending" : "ascending";
}
function sortBy(metric) {
  const same = state.sort === metric;
  if (same && state.worst) Object.assign(state, { sort: "", worst: false });
  else Object.assign(state, { sort: metric, worst: same });
  body.append(...sorted());
  for (const header of all("thead th[data-sort]", board)) {
    const order = ariaSort(header);
    if (order) header.setAttribute("aria-sort", order); else header.removeAttribute("aria-sort");
    find(".arrow", header).textContent = header.dataset.sort === state.sort ? (state.worst ? " ▲" : " ▼") : "";
  }
  group();
  const title = columnOf(metric)?.title ?? metric;
  announce(state.sort ? `Sorted by ${title}, ${state.worst ? "worst" : "best"} first; rows without a number are last` : "In the order of the mean force R²");
}

const shownMetrics = () => all(".choices input", board.closest("section")).filter((box) => box.checked).map((box) => box.value);
function matches(row, metrics) {
  const { material, model, preset, verdict, search } = state, own = row.dataset;
  if ((material && own.material !== material) || (model && own.model !== model) || (preset && own.preset !== preset)) return false;
  if (search && !search.split(/\s+/).every((word) => own.words.includes(word))) return false;
  if (!verdict) return true;
  return metrics.some((metric) => (cellIn(row, metric).dataset.v ?? "").split("|").includes(verdict));
}
function filter() {
  const metrics = shownMetrics();
  let count = 0;
  for (const row of rowsInOrder) {
    row.hidden = !matches(row, metrics);
    count += !row.hidden;
    for (const cell of all("td[data-m]", row)) {
      cell.classList.toggle("match", Boolean(state.verdict) && (cell.dataset.v ?? "").split("|").includes(state.verdict));
    }
  }
  for (const row of referenceRows) {
    row.hidden = Boolean(state.material && row.dataset.material !== state.material) || Boolean(state.verdict || state.model || state.preset)
      || Boolean(state.search && !state.search.split(/\s+/).every((word) => row.dataset.words.includes(word)));
  }
  find("#count").textContent = count === rowsInOrder.length ? `${count} rows` : `${count} of ${rowsInOrder.length} rows`;
  group();
}
/** A model's name once above its rows, where they stand together. */
function group() {
  let before = null;
  for (const row of body.rows) {
    if (row.hidden) continue;
    row.classList.toggle("again", row.dataset.model === before);
    row.classList.toggle("first", row.dataset.model !== before);
    before = row.dataset.model;
  }
}
function choose(metrics) {
  const chosen = new Set(metrics);
  for (const box of all(".choices input")) box.checked = chosen.has(box.value);
  for (const cell of all("[data-m]", board)) cell.hidden = !chosen.has(cell.dataset.m);
  filter();
}
function press(value) {
  state.material = value;
  for (const button of all("#material button")) button.setAttribute("aria-pressed", String(button.value === value));
  filter();
}

for (const header of all("thead th[data-sort]", board)) find("button", header).addEventListener("click", () => sortBy(header.dataset.sort));
for (const button of all("#material button")) button.addEventListener("click", () => press(button.value));
for (const name of ["model", "preset", "verdict"]) find(`#${name}`).addEventListener("change", (event) => { state[name] = event.target.value; filter(); });
find("#search").addEventListener("input", (event) => { state.search = event.target.value.trim().toLowerCase(); filter(); });
find(".choices").addEventListener("change", () => choose(shownMetrics()));
for (const button of all("[data-choose]")) {
  button.addEventListener("click", () => choose(button.dataset.choose === "all" ? app.data.columns.map((c) => c.metric) : app.data.default));
}
find("#reset").addEventListener("click", () => {
  Object.assign(state, { sort: "model", worst: true, model: "", preset: "", verdict: "", search: "" });
  for (const name of ["model", "preset", "verdict", "search"]) find(`#${name}`).value = "";
  sortBy("model");
  press("");
  choose(app.data.default);
});
const chooser = find("details.chooser");
document.addEventListener("click", (event) => { if (!chooser.contains(event.target)) chooser.open = false; });
chooser.addEventListener("keydown", (event) => { if (event.key === "Escape") { chooser.open = false; find("summary", chooser).focus(); } });
body.closest("table").addEventListener("click", (event) => {
  const button = event.target.closest(".cell");
  if (!button) return;
  const row = button.closest("tr"), metric = button.closest("td").dataset.m;
  if (row.dataset.model !== undefined) openCell(Number(row.dataset.model), row.dataset.material, metric, button);
  else openReference(Number(row.dataset.reference), metric, button);
});
