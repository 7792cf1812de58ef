/* The panel of one cell. */
const panel = find("#panel");
let opener = null, leaving = [];

function openPanel(title, under, reference, contents, from) {
  opener = from ?? document.activeElement;
  hideTip();
  const close = el("button", { type: "button", class: "button", onclick: () => panel.close() }, "Close");
  fill(panel,
    el("div", { class: "head" }, noticeOf(reference), el("div", { class: "title" }, el("div", {}, el("h1", { id: "panel-title" }, title), el("p", {}, under)), close)),
    el("div", { class: "body" }, contents));
  if (!panel.open) panel.showModal();
  panel.scrollTop = 0;
  close.focus();
}
panel.addEventListener("close", () => {
  for (const redraw of leaving) { redraw.leave?.(); app.plots.delete(redraw); }
  leaving = [];
  panel.replaceChildren();
  if (opener?.isConnected) opener.focus();
  opener = null;
});
panel.addEventListener("click", (event) => { if (event.target === panel) panel.close(); });
/** Plots made while a panel is filled leave with it. */
function ownPlots(make) {
  const before = new Set(app.plots), made = make();
  leaving.push(...[...app.plots].filter((redraw) => !before.has(redraw)));
  return made;
}

function figureOf(one, column) {
  if (one.outcome === "number") {
    return el("p", { class: "figure" }, el("strong", {}, one.value), el("span", {}, column.unit), el("span", {}, one.interval ? `${one.bounds} ${one.interval}` : "no interval"), el("span", {}, `n = ${one.n}`));
  }
  const head = one.outcome === "error" ? "error" : "n/a";
  return el("p", { class: "figure" }, el("strong", { class: one.failed ? "none failed" : "none" }, `${head}: ${one.reason}`), el("span", {}, one.detail ?? ""), one.interval ? el("span", {}, `bound ${one.interval}`) : null);
}
function factsOf(one, column) {
  const rows = [["how it was made", one.note], ["verdict", one.verdict], [one.own_name ?? "", one.own], ["test against it", one.test && `${one.test.label}: ${one.test.text}`], ["tier in this column", one.tier], ["kinship", one.kinship], ["better", { higher: "higher", lower: "lower", closer: "closer to the reference" }[column.better]]];
  return el("dl", {}, rows.filter(([what, text]) => what && text).map(([what, text]) => [el("dt", {}, what), el("dd", {}, text)]));
}
const verdictsOf = (one) => ["stable", "fusion", "lattice mismatch"].filter((v) => one.verdict?.startsWith(v)).concat(/; \d+ cold/.test(one.verdict ?? "") ? ["cold"] : [], one.test && one.outcome === "number" ? [one.test.label] : []);

function contentsOf(one, column, plots) {
  const badges = verdictsOf(one).map(badgeOf);
  return [
    figureOf(one, column), badges.length ? el("p", {}, badges) : null, el("p", { class: "quiet" }, `${column.about}.`), factsOf(one, column), plots,
    one.tables?.length ? el("h2", {}, "What it is made of") : null, (one.tables ?? []).map((table) => el("div", { class: "plot" }, tableOf(table))),
    one.commands ? [el("h2", {}, "Check it yourself"), one.commands.map(commandOf)] : null,
    one.origin?.length ? [el("h2", {}, "Where it comes from"), listOf(one.origin)] : null,
  ];
}
async function openCell(number_, material, metric, from) {
  const column = columnOf(metric), model = app.data.models[number_], under = `${model.name} on ${shortOf(material)}${model.preset ? `, preset ${model.preset}` : ""}`;
  try {
    const [numbers, plots] = await Promise.all([pack(`model-${number_}`), pack(`plots-${number_}-${material}`)]);
    const one = numbers.scores[material][metric];
    if (!one) throw new Error(`${metric} of ${model.label} on ${material} is not stored`);
    openPanel(column.title, under, one.reference ?? model.references[material], contentsOf(one, column, ownPlots(() => plotsFor(metric, one, { ...plots, label: model.name }, number_, material))), from);
  } catch (problem) { openPanel(column.title, under, model.references[material], failure(problem), from); }
}
async function openReference(number_, metric, from) {
  const column = columnOf(metric), { label, material } = app.data.references[number_];
  try {
    const one = (await pack("reference"))[number_]?.[metric];
    const told = one ? contentsOf(one, column, one.runs?.length > 1 ? ownPlots(() => section("Single runs", plotOf("Values of single runs", () => runsPlot(one.runs, column)))) : null) : el("p", {}, find(`tbody.references tr[data-reference="${number_}"] td[data-m="${metric}"]`).dataset.hint ?? "");
    openPanel(column.title, `The reference itself on ${shortOf(material)}`, label, told, from);
  } catch (problem) { openPanel(column.title, shortOf(material), label, failure(problem), from); }
}

const section = (title, ...contents) => el("div", {}, el("h2", {}, title), contents);
function missingOf(what, reason, label) {
  const run = el("code", {}, `pytest benchmarks/ --model ${label}`);
  return el("div", { class: "missing" }, el("b", {}, `${what}: `), reason ?? "no curves were kept.", el("br"), "The runs behind it are made by ", run, "; then ", el("code", {}, "grannfield board"), " draws them.");
}
const PLOTS_OF = {
  parity: ["force_r2", "force_r2_random", "force_mae", "force_mae_high", "force_slope", "force_cosine"], energy: ["energy_rank", "energy_r2"], rdf: ["rdf_mae", "rdf_wasserstein"],
  survival: ["failed_share", "survival_ps"], msd: ["diffusivity", "diffusion_anisotropy", "framework_drift"], arrhenius: ["diffusivity", "activation_energy", "neg_log_sigma"],
  density: ["density_overlap", "outside_channels"], scene: ["density_overlap", "outside_channels", "jump_rate", "path_overlap", "diffusion_anisotropy"],
};
/** The plots that belong to a column. */
function plotsFor(metric, one, plots, number_, material) {
  const found = [], wants = (kind) => PLOTS_OF[kind].includes(metric), label = app.data.models[number_].label;
  for (const kind of ["parity", "energy", "rdf", "survival", "msd", "arrhenius", "density", "scene"]) if (wants(kind)) found.push(kindOf(kind, [plots], [number_], material, one, label));
  if (one.runs?.length > 1) found.push(section("Single runs", plotOf(`Single runs of ${columnOf(metric).title}`, () => runsPlot(one.runs, columnOf(metric)))));
  return found;
}
/** One kind of plot of one model, or two in the same axes. */
function kindOf(kind, many, numbers, material, one = null, label = "") {
  const has = many.filter((plots) => plots[kind === "energy" ? "parity" : kind === "scene" ? "density" : kind]), missing = many.find((plots) => !has.includes(plots));
  const why = () => missingOf({ parity: "Force parity", energy: "Energy parity", rdf: "g(r)", survival: "Survival", msd: "Displacement", arrhenius: "Arrhenius", density: "Li density", scene: "Li paths" }[kind], missing?.missing?.[kind === "energy" ? "parity" : kind === "scene" ? "density" : kind], label || app.data.models[numbers[0]].label);
  if (kind === "survival") {
    const shown = many.map((p) => (p.survival ? p : one?.curve?.time_ps ? { ...p, survival: one.curve } : null)).filter(Boolean);
    return section("Survival", shown.length ? plotOf("Share of runs without a failure against time", () => survivalPlot(shown)) : why());
  }
  if (!has.length) return section({ parity: "Forces, predicted against reference", energy: "Energies", rdf: "Radial distribution", msd: "Mean squared displacement", arrhenius: "Diffusivity against temperature", density: "Li density along c", scene: "Li paths" }[kind], why());
  const rest = missing ? why() : null;
  if (kind === "parity") return section("Forces, predicted against reference", has.map((p) => [has.length > 1 ? el("h3", {}, p.label) : null, el("p", { class: "quiet" }, `${p.parity.n} frames; ${p.parity.held_out}; counts on a logarithmic scale`), plotOf("Histograms of predicted against reference forces by element and axis", () => parityPlot(p.parity))]), rest);
  if (kind === "energy") return section("Energies, each less its mean", has.map((p) => [has.length > 1 ? el("h3", {}, p.label) : null, plotOf("Predicted against reference energies", () => energyPlot(p.parity))]), rest);
  if (kind === "rdf") return section("Radial distribution", rdfChooser(has), rest);
  if (kind === "msd") return section("Mean squared displacement of Li", plotOf("Mean squared displacement against lag", () => msdPlot(has)), rest);
  if (kind === "arrhenius") return section("Diffusivity against temperature", plotOf("D against inverse temperature with intervals", () => arrheniusPlot(has)), has.map((p) => p.arrhenius.no_line && el("p", { class: "quiet" }, `${p.label}: no line: ${p.arrhenius.no_line}.`)), rest);
  if (kind === "density") return section("Li density, summed along c", projections(has[0], numbers[many.indexOf(has[0])], material), rest);
  const at = numbers[many.indexOf(has[0])];
  return section("Li paths", el("p", {}, el("a", { class: "button", href: routeOf("paths", app.data.models[at].label, material), onclick: () => { opener = null; panel.close(); } }, "Open the three-dimensional view")));
}
function rdfChooser(many) {
  const pairs = [...new Set(many.flatMap((p) => p.rdf.runs.flatMap((run) => Object.keys(run.g))))], ts = [...new Set(many.flatMap((p) => p.rdf.runs.map((run) => String(run.t))))];
  const chosen = { pair: "all", t: ts.at(-1) };
  const place = plotOf("Radial distribution functions of the runs and the reference", () => rdfPlot(many, chosen.pair, chosen.t));
  const menu = (name, options, key, text) => el("label", {}, name, el("select", { onchange: (event) => { chosen[key] = event.target.value; place.redraw(); } }, options.map((o) => el("option", { value: o, selected: o === chosen[key] }, text(o)))));
  return [el("div", { class: "controls" }, menu("Pair", pairs, "pair", (p) => (p === "all" ? "all atoms" : p)), ts.length > 1 ? menu("Temperature", ts, "t", (t) => `${t} K`) : null), place];
}
function projections(plots, number_, material) {
  const holder = el("div", {}), redraws = new Set(app.plots);
  sidesOf(number_, material).then(({ model, reference }) => {
    const many = [[plots.label, gridOf(model.density)], ...(reference.density ? [["reference", gridOf(reference.density)]] : [])], [a, b] = model.cell.map((row) => Math.hypot(...row));
    holder.append(plotOf("Li density of the model and the reference seen along c", () => projectionPlot(many, [a, b])), el("p", { class: "quiet" }, `${model.about}; overlap of what is drawn ${plots.density.overlap}`));
    if (panel.open && panel.contains(holder)) leaving.push(...[...app.plots].filter((redraw) => !redraws.has(redraw)));
  }).catch((problem) => holder.append(failure(problem)));
  return holder;
}
