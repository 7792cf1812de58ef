/* Pages of one model, of two side by side, and of the paths. */
const groupsOf = () => app.data.columns.reduce((found, column) => found.set(column.group, [...(found.get(column.group) ?? []), column]), new Map());
const textOf = (one) => (!one ? "not run" : one.outcome === "number" ? `${one.value}${one.interval ? ` ${one.interval}` : ""}` : `${one.outcome === "error" ? "error" : "n/a"}: ${one.reason}`);
const selectOf = (label, options, value, change) => el("label", {}, label, el("select", { onchange: (event) => change(event.target.value) }, options.map(([key, text]) => el("option", { value: key, selected: key === value }, text))));
const unknown = (label) => [el("h1", {}, "No such model"), el("p", { class: "missing" }, `There is no model called ${label} in these results. `, el("a", { href: "#models" }, "All models"))];
const KINDS = ["rdf", "survival", "msd", "arrhenius", "density", "scene", "parity", "energy"];

function cellButton(one, metric, number_, material) {
  if (!one) return el("span", { class: "none" }, columnOf(metric).measured_on && columnOf(metric).measured_on !== material ? "—" : "not run");
  const button = el("button", { type: "button", class: "cell", onclick: () => openCell(number_, material, metric, button) });
  if (one.outcome === "number") button.append(el("b", {}, one.value), el("i", {}, `${one.interval ?? "no interval"} n = ${one.n}`));
  else button.append(el("span", { class: one.failed ? "none failed" : "none" }, textOf(one)));
  button.append(...verdictsOf(one).map(badgeOf));
  return button;
}
/** All plots of some models in one material at a time. */
function plotsByMaterial(numbers, materials) {
  const place = el("div", { class: "grid" }), buttons = el("div", { class: "segments", role: "group", "aria-label": "Material of the plots" });
  const show = async (material) => {
    for (const button of buttons.children) button.setAttribute("aria-pressed", String(button.value === material));
    for (const redraw of [...app.plots]) { redraw.leave?.(); app.plots.delete(redraw); }
    try {
      const many = (await Promise.all(numbers.map((n) => pack(`plots-${n}-${material}`).catch(() => ({}))))).map((plots, i) => ({ ...plots, label: app.data.models[numbers[i]].name }));
      fill(place, ...KINDS.map((kind) => el("div", { class: "card" }, kindOf(kind, many, numbers, material))));
    } catch (problem) { fill(place, failure(problem)); }
  };
  buttons.append(...materials.map((material) => el("button", { type: "button", value: material, onclick: () => show(material) }, shortOf(material))));
  if (materials.length) show(materials[0]);
  return [el("div", { class: "controls" }, buttons), place];
}
async function modelPage(place, [label = ""]) {
  const number_ = modelNumber(label), model = app.data.models[number_];
  if (!model) { fill(place, ...unknown(label)); return; }
  const about = await pack(`model-${number_}`), materials = model.materials;
  const head = el("tr", {}, el("th", { scope: "col" }, "Column"), materials.map((m) => el("th", { scope: "col" }, shortOf(m))));
  const groups = [...groupsOf()].map(([group, columns]) => el("tbody", {}, el("tr", { class: "ref" }, el("th", { scope: "colgroup", colspan: String(materials.length + 1) }, group)), columns.map((column) =>
    el("tr", {}, el("th", { scope: "row", "data-hint": column.about }, `${column.title}${column.unit ? ` (${column.unit})` : ""}`), materials.map((m) => el("td", {}, cellButton(about.scores[m]?.[column.metric], column.metric, number_, m)))))));
  const other = app.data.models.find((m, n) => n !== number_ && m.preset === model.preset) ?? app.data.models.find((_, n) => n !== number_);
  fill(place, 
    el("h1", {}, model.name), el("p", { class: "marks" }, el("span", { class: "mark" }, `preset ${model.preset}`), about.reduced ? el("span", { class: "mark reduced" }, "reduced") : null, about.behaviour ? el("span", { class: "mark" }, about.behaviour === "published" ? "arithmetic as published" : "default behaviour") : null),
    el("div", { class: "controls" }, other ? el("a", { class: "button", href: routeOf("compare", label, other.label) }, "Compare with another model") : null, el("a", { class: "button", href: routeOf("paths", label, materials[0]) }, "Li paths in three dimensions")),
    el("div", { class: "grid" }, about.sections.filter(([, rows]) => rows.length).map(([heading, rows]) => el("div", { class: "card" }, el("h2", {}, heading), listOf(rows)))),
    about.differences.length ? el("details", { class: "card" }, el("summary", {}, el("b", {}, "How the default behaviour differs from the published arithmetic")), el("ul", { class: "plain" }, about.differences.map((text) => el("li", {}, text)))) : null,
    el("h2", {}, "All numbers"), el("div", { class: "scroller", tabindex: "0", role: "region", "aria-label": "All numbers" }, el("table", { class: "board numbers" }, el("caption", { class: "vh" }, `All numbers of ${model.name}`), el("thead", {}, head), groups)),
    el("h2", {}, "Plots"), ...plotsByMaterial([number_], materials));
}
async function comparePage(place, [first, second]) {
  const models = app.data.models, a = first === undefined ? 0 : modelNumber(first);
  if (a < 0) { fill(place, ...unknown(first)); return; }
  const b = second === undefined ? Math.max(0, models.findIndex((m, n) => n !== a && m.preset === models[a].preset)) || models.findIndex((_, n) => n !== a) : modelNumber(second);
  if (b < 0 || models.length < 2) { fill(place, ...(second === undefined ? [el("h1", {}, "Compare"), el("p", { class: "missing" }, "There is only one model; score another to compare them.")] : unknown(second))); return; }
  const options = models.map((m) => [m.label, m.name]), go = (x, y) => { location.hash = routeOf("compare", x, y); };
  const [one, two, pairs] = await Promise.all([pack(`model-${a}`), pack(`model-${b}`), pack("pairs")]), turned = !(`${a},${b}` in pairs), paired = pairs[`${a},${b}`] ?? pairs[`${b},${a}`];
  const materials = [...new Set([...models[a].materials, ...models[b].materials])].sort();
  const bodies = [...groupsOf()].map(([group, columns]) => el("tbody", {}, el("tr", { class: "ref" }, el("th", { scope: "colgroup", colspan: "5" }, group)), columns.flatMap((column) => materials.filter((m) => one.scores[m]?.[column.metric] || two.scores[m]?.[column.metric]).map((m, row, shown) => el("tr", { class: row ? "again" : "first" },
    row ? null : el("th", { scope: "rowgroup", rowspan: String(shown.length), "data-hint": column.about }, `${column.title}${column.unit ? ` (${column.unit})` : ""}`), el("td", { class: "plain" }, shortOf(m)),
    el("td", {}, cellButton(one.scores[m]?.[column.metric], column.metric, a, m)), el("td", {}, cellButton(two.scores[m]?.[column.metric], column.metric, b, m)),
    row ? null : el("td", { class: "plain verdict", rowspan: String(shown.length) }, pairText(paired?.[column.metric], turned, column, models[a], models[b])))))));
  fill(place, el("h1", {}, `${models[a].name} and ${models[b].name}`),
    el("div", { class: "controls" }, selectOf("First", options, models[a].label, (x) => go(x, models[b].label)), selectOf("Second", options, models[b].label, (y) => go(models[a].label, y)), el("a", { class: "button", href: routeOf("compare", models[b].label, models[a].label) }, "Swap")),
    el("p", {}, paired ? "The last column is a paired test over the cells both have (material, temperature, replica): the mean difference turned so that more is better, its 95% interval and p. A failed run counts as worse than the worst number. p is of this pair alone, not corrected for all the pairs one could look at." : "No paired verdicts: the two ran under different presets, so that their runs differ in length, or one of them made the reference."),
    el("div", { class: "scroller", tabindex: "0", role: "region", "aria-label": "Numbers side by side" }, el("table", { class: "board numbers" }, el("caption", { class: "vh" }, "Numbers side by side"), el("thead", {}, el("tr", {}, ["Column", "Material", models[a].name, models[b].name, "Paired"].map((text) => el("th", { scope: "col" }, text)))), bodies)),
    el("h2", {}, "Plots"), el("p", { class: "quiet" }, `${models[a].name} in blue, ${models[b].name} in orange, the reference in grey.`), ...plotsByMaterial([a, b], materials));
}
function pairText(found, turned, column, first, second) {
  if (!found) return el("span", { class: "none" }, column.measured_on ? "speeds: compare the quartiles" : "not paired");
  if (typeof found === "string") return el("span", { class: "none" }, found);
  const [gap, low, high, p, verdict, cells, materials, kind] = found, sign = turned ? -1 : 1, ends = turned ? [-high, -low] : [low, high];
  const show = (x) => Number(x.toPrecision(3)).toString(), ahead = sign * gap > 0 ? first.name : second.name;
  return [badgeOf(verdict), verdict === "different" ? el("b", {}, `${ahead} is better`) : null, el("i", {}, `${show(sign * gap)} [${show(ends[0])}, ${show(ends[1])}]${column.log10 ? " in log10" : column.unit ? ` ${column.unit}` : ""}`), el("i", {}, `p = ${p < 0.001 ? p.toExponential(0) : p.toFixed(3)}; ${cells} ${kind} in ${materials} material${materials > 1 ? "s" : ""}`)];
}
const view = firstView();
async function pathsPage(place, [label, wanted]) {
  const models = app.data.models, number_ = label === undefined ? 0 : modelNumber(label), model = models[number_];
  if (!model) { fill(place, ...unknown(label)); return; }
  const material = model.materials.includes(wanted) ? wanted : model.materials[0], go = (x, m) => { location.hash = routeOf("paths", x, m); };
  const top = [el("h1", {}, "Where the Li ions go"), el("p", { class: "lead" }, `${model.name} in ${shortOf(material)}, beside the reference: the surface encloses where Li is found more often than so many times the mean. Both views turn together.`), noticeOf(model.references[material] ?? "")],  menus = [selectOf("Model", models.map((m) => [m.label, m.name]), model.label, (x) => go(x, material)), selectOf("Material", model.materials.map((m) => [m, shortOf(m)]), material, (m) => go(model.label, m))];
  try {
    const { model: own, reference, overlap, missing } = await sidesOf(number_, material), frame = app.data.materials[material]?.framework;
    const sides = [{ title: model.name, side: own, tint: "model" }, ...(reference.density || reference.paths ? [{ title: reference.label ?? "reference", side: reference, tint: "reference" }] : [])];
    const drawn = scenes(sides, frame, view, `Li paths in ${shortOf(material)}`);
    const key = frame ? [...new Set(frame.tetrahedra.map((t) => t[0]))].map((e) => `${e}${frame.ligand}₄ tetrahedra`).join(", ") : "";
    fill(place, ...top, el("div", { class: "controls" }, menus, viewControls(view, drawn.draw)), drawn.element, el("p", { class: "quiet" }, [overlap ? `Overlap of the two densities as drawn: ${overlap}.` : "", key ? `Framework: ${key}; the cell in thin lines.` : "", missing.paths ? `No ways: ${missing.paths}.` : ""].filter(Boolean).join(" ")));
    await drawn.draw();
  } catch (problem) { fill(place, ...top, el("div", { class: "controls" }, menus), missingOf("Li paths", `${problem.message}.`, model.label)); }
}
