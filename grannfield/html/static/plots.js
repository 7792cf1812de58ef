/* Two-dimensional plots. Each maker gives {data, layout}; colours are those of the page at the time of drawing. */
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const faded = (hex, share) => `${hex}${Math.round(255 * share).toString(16).padStart(2, "0")}`;
const config = { displaylogo: false, responsive: true, modeBarButtons: [["zoom2d", "pan2d", "resetScale2d", "toImage"]] };
const DASHES = ["solid", "dash", "dot", "dashdot"];

function base(more = {}) {
  const axis = { gridcolor: colour("line"), zerolinecolor: colour("line-strong"), linecolor: colour("line-strong"), ticks: "outside", tickcolor: colour("line-strong"), automargin: true };
  const { xaxis = {}, yaxis = {}, ...rest } = more;
  return {
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: colour("text") }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    margin: { l: 56, r: 14, t: 34, b: 48 }, height: 330, hovermode: "closest", hoverlabel: { bgcolor: colour("text"), font: { color: colour("page") } },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("quiet"), activecolor: colour("accent") }, legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 }, xaxis: { ...axis, ...xaxis }, yaxis: { ...axis, ...yaxis }, axis, ...rest,
  };
}
const band = (x, low, high, fill, more = {}) => [
  { x, y: high, mode: "lines", line: { width: 0 }, hoverinfo: "skip", showlegend: false, ...more },
  { x, y: low, mode: "lines", line: { width: 0 }, fill: "tonexty", fillcolor: fill, hoverinfo: "skip", showlegend: false, ...more },
];
const named = (run, many) => (many ? `${run.t} K, run ${run.replica + 1}` : `${run.t} K`);

/** A place where a plot is drawn when it comes into sight, and again when the theme changes. */
function plotOf(describe, make) {
  const place = el("div", { class: "plot", role: "img", "aria-label": describe });
  let drawn = null;
  const draw = async () => {
    try {
      const Plotly = await plotly();
      const { data, layout, after } = make();
      delete layout.axis;
      await Plotly.react(place, data, layout, config);
      drawn = Plotly;
      after?.(place, Plotly);
    } catch (problem) { place.replaceChildren(failure(problem)); }
  };
  const watch = new IntersectionObserver((seen) => { if (seen.some((one) => one.isIntersecting)) { watch.disconnect(); draw(); } }, { rootMargin: "200px" });
  watch.observe(place);
  const redraw = () => { if (drawn && place.isConnected) draw(); };
  redraw.leave = () => { watch.disconnect(); if (drawn) drawn.purge(place); drawn = null; };
  app.plots.add(redraw);
  place.redraw = redraw;
  return place;
}

/** g(r): the runs at one temperature over the reference's; pairs and temperatures by menus. */
function rdfPlot(many, pair, temperature) {
  const first = many[0].rdf, data = [];
  const reference = many.map((one) => one.rdf.reference[temperature]?.[pair]).find(Boolean);
  if (reference) data.push({ x: first.r, y: reference, name: "reference", line: { color: colour("reference"), width: 4 }, opacity: 0.45 });
  many.forEach((one, i) => {
    one.rdf.runs.filter((run) => String(run.t) === temperature).forEach((run, j) => data.push({
      x: one.rdf.r, y: run.g[pair], name: `${one.label}${run.verdict ? ` (${run.verdict})` : ""}`, line: { color: colour(i ? "other" : "model"), width: 1.8, dash: DASHES[j % 4] },
    }));
  });
  return { data, layout: base({ xaxis: { title: { text: "r (Å)" } }, yaxis: { title: { text: `g(r), ${pair === "all" ? "all atoms" : pair}` }, rangemode: "tozero" } }) };
}
function msdPlot(many) {
  const data = [], seen = new Set();
  many.forEach((one, i) => one.msd.forEach((run, j) => {
    if (run.reference && !seen.has(run.t)) {
      seen.add(run.t);
      data.push({ x: run.lag, y: run.reference, name: `reference, ${run.t} K`, line: { color: colour("reference"), width: 4 }, opacity: 0.45 });
    }
    data.push({ x: run.lag, y: run.msd, name: `${one.label}, ${named(run, one.msd.length > 1)}`, line: { color: colour(i ? "other" : "model"), width: 1.8, dash: DASHES[j % 4] } });
  }));
  return { data, layout: base({ xaxis: { title: { text: "lag (ps)" }, rangemode: "tozero" }, yaxis: { title: { text: "mean squared displacement (Å²)" }, rangemode: "tozero" } }) };
}
function arrheniusPlot(many) {
  const data = [], inverse = (ts) => ts.map((t) => 1000 / t);
  const points = (list, name, tint, symbol) => {
    const good = list.filter((p) => number(p[1])), bounds = list.filter((p) => !number(p[1]) && number(p[3]) && p[3] > 0);
    if (good.length) data.push({ x: inverse(good.map((p) => p[0])), y: good.map((p) => p[1]), name, mode: "markers", marker: { color: tint, size: 9, symbol },
      error_y: { type: "data", symmetric: false, array: good.map((p) => (p[3] ?? p[1]) - p[1]), arrayminus: good.map((p) => p[1] - (p[2] ?? p[1])), color: tint }, text: good.map((p) => `${p[0]} K, n = ${p[4]}`) });
    if (bounds.length) data.push({ x: inverse(bounds.map((p) => p[0])), y: bounds.map((p) => p[3]), name: `${name}: at most`, mode: "markers", marker: { color: tint, size: 10, symbol: "triangle-down-open" }, text: bounds.map((p) => `${p[0]} K: ${p[5]}`) });
  };
  const line = (one, name, tint, dash) => { if (one) data.push(...band(inverse(one.t), one.low, one.high, faded(tint, 0.15)), { x: inverse(one.t), y: one.d, name, mode: "lines", line: { color: tint, dash } }); };
  line(many[0].arrhenius.reference_line, "reference, fit", colour("reference"), "dot");
  points(many[0].arrhenius.reference_points, "reference", colour("reference"), "diamond");
  many.forEach((one, i) => { const tint = colour(i ? "other" : "model"); line(one.arrhenius.line, `${one.label}, fit`, tint, "solid"); points(one.arrhenius.points, one.label, tint, "circle"); });
  return { data, layout: base({ xaxis: { title: { text: "1000 K / T" } }, yaxis: { title: { text: "D (cm²/s)" }, type: "log", exponentformat: "power" } }) };
}
function survivalPlot(many) {
  const data = [];
  many.forEach((one, i) => {
    const s = one.survival, tint = colour(i ? "other" : "model"), shape = { line: { width: 0, shape: "hv" } };
    if (s.low?.some(number)) data.push(...band(s.time_ps, s.low, s.high, faded(tint, 0.15), shape));
    data.push({ x: s.time_ps, y: s.survival, name: `${one.label}${s.n ? `, ${s.n} run${s.n > 1 ? "s" : ""}` : ""}${s.cold ? `, ${s.cold} cold` : ""}`, mode: "lines", line: { color: tint, width: 2.2, shape: "hv" } });
    if (s.censored_ps?.length) data.push({ x: s.censored_ps, y: s.censored_ps.map(() => s.survival.at(-1)), name: "watched to the end", mode: "markers", marker: { symbol: "line-ns-open", size: 11, color: tint }, showlegend: false });
  });
  return { data, layout: base({ xaxis: { title: { text: "time (ps)" }, rangemode: "tozero" }, yaxis: { title: { text: "share of runs without a failure" }, range: [-0.03, 1.06] } }) };
}
function parityPlot(parity) {
  const elements = [...new Set(parity.forces.map((f) => f.element))], axes = [...new Set(parity.forces.map((f) => f.axis))], data = [];
  const layout = base({ height: 210 * axes.length + 60, grid: { rows: axes.length, columns: elements.length, pattern: "independent", xgap: 0.16, ygap: 0.34 }, showlegend: false, annotations: [], margin: { l: 52, r: 10, t: 30, b: 44 } });
  const axis = layout.axis;
  delete layout.xaxis; delete layout.yaxis;
  parity.forces.forEach((f) => {
    const at = axes.indexOf(f.axis) * elements.length + elements.indexOf(f.element) + 1, tail = at === 1 ? "" : String(at);
    const step = (2 * f.reach) / f.size, ends = Array.from({ length: f.size }, (_, i) => -f.reach + (i + 0.5) * step), z = ends.map(() => ends.map(() => null));
    f.at.forEach((place, i) => { z[place % f.size][Math.floor(place / f.size)] = Math.log10(f.counts[i]); });
    const scale = [[0, faded(colour("model"), 0.18)], [1, colour("text")]];
    data.push({ type: "heatmap", x: ends, y: ends, z, xaxis: `x${tail}`, yaxis: `y${tail}`, colorscale: scale, showscale: false, hovertemplate: "reference %{x:.2f}, predicted %{y:.2f} eV/Å<extra></extra>" },
      { x: [-f.reach, f.reach], y: [-f.reach, f.reach], xaxis: `x${tail}`, yaxis: `y${tail}`, mode: "lines", line: { color: colour("other"), width: 1 }, hoverinfo: "skip" });
    const last = axes.indexOf(f.axis) === axes.length - 1, range = [-f.reach, f.reach];
    layout[`xaxis${tail}`] = { ...axis, range, nticks: 4, title: last ? { text: "reference (eV/Å)", font: { size: 11 } } : undefined };
    layout[`yaxis${tail}`] = { ...axis, range, nticks: 4, title: elements.indexOf(f.element) ? undefined : { text: "predicted (eV/Å)", font: { size: 11 } } };
    layout.annotations.push({ text: `<b>${f.element} ${f.axis}</b>  R² ${number(f.r2[0]) ? f.r2[0].toFixed(3) : "n/a"}`, xref: `x${tail} domain`, yref: `y${tail} domain`, x: 0, y: 1.02, yanchor: "bottom", xanchor: "left", showarrow: false, font: { size: 11 } });
  });
  return { data, layout };
}
function energyPlot(parity) {
  const e = parity.energy, ts = [...new Set(e.t)], ends = [Math.min(...e.reference), Math.max(...e.reference)];
  const data = ts.map((t, i) => ({ x: e.reference.filter((_, k) => e.t[k] === t), y: e.predicted.filter((_, k) => e.t[k] === t), name: number(t) ? `${t} K` : "frames", mode: "markers", marker: { size: 6, opacity: 0.75, color: colour(i % 2 ? "other" : "model"), symbol: i % 2 ? "diamond" : "circle" } }));
  data.unshift({ x: ends, y: ends, mode: "lines", line: { color: colour("reference"), width: 1 }, hoverinfo: "skip", showlegend: false });
  return { data, layout: base({ xaxis: { title: { text: "reference energy less its mean (meV/atom)" } }, yaxis: { title: { text: "predicted (meV/atom)" } } }) };
}
/** Values of single runs, or stretches of frames, with their intervals. */
function runsPlot(runs, column) {
  const ts = [...new Set(runs.map((r) => r[0]))].sort((a, b) => a - b), tint = colour("model"), x = [], text = [];
  runs.forEach((r) => { x.push(number(r[0]) ? `${r[0]} K` : "frames"); text.push(`run ${(r[1] ?? 0) + 1}${r[5] ? `, ${r[5]}` : ""}`); });
  const spread = runs.map((r, i) => { const same = runs.filter((q) => q[0] === r[0]); return ts.indexOf(r[0]) + (same.length > 1 ? (0.6 * same.indexOf(r)) / (same.length - 1) - 0.3 : 0); });
  const data = [{ x: spread, y: runs.map((r) => r[2]), text, mode: "markers", marker: { color: tint, size: 8 }, hovertemplate: "%{text}: %{y}<extra></extra>",
    error_y: { type: "data", symmetric: false, array: runs.map((r) => (number(r[4]) ? r[4] - r[2] : 0)), arrayminus: runs.map((r) => (number(r[3]) ? r[2] - r[3] : 0)), color: tint, thickness: 1.2, visible: runs.some((r) => number(r[3])) } }];
  const log = column.log10 && runs.every((r) => r[2] > 0);
  return { data, layout: base({ height: 260, showlegend: false, xaxis: { tickvals: ts.map((_, i) => i), ticktext: ts.map((t) => (number(t) ? `${t} K` : "all frames")), range: [-0.6, ts.length - 0.4] }, yaxis: { title: { text: `${column.title}${column.unit ? ` (${column.unit})` : ""}` }, type: log ? "log" : "linear", exponentformat: "power" } }) };
}
/** A density seen along c: model beside reference, one colour scale. */
function projectionPlot(many, cellLengths) {
  const sums = many.map(([, grid]) => flattened(grid)), top = Math.max(...sums.flat(2));
  const data = sums.map((z, i) => ({ type: "heatmap", z, x0: cellLengths[0] / z[0].length / 2, dx: cellLengths[0] / z[0].length, y0: cellLengths[1] / z.length / 2, dy: cellLengths[1] / z.length, xaxis: `x${i ? i + 1 : ""}`, yaxis: `y${i ? i + 1 : ""}`, zmin: 0, zmax: top,
    colorscale: [[0, colour("surface")], [0.25, faded(colour("model"), 0.4)], [1, colour("model")]], showscale: false, zsmooth: "best", hovertemplate: "%{x:.1f}, %{y:.1f} Å<extra></extra>" }));
  const layout = base({ height: 320, grid: { rows: 1, columns: many.length, pattern: "independent" }, annotations: many.map(([name], i) => ({ text: name, xref: `x${i ? i + 1 : ""} domain`, yref: `y${i ? i + 1 : ""} domain`, x: 0, y: 1.02, yanchor: "bottom", xanchor: "left", showarrow: false })) });
  many.forEach((_, i) => {
    const tail = i ? String(i + 1) : "";
    layout[`xaxis${tail}`] = { ...layout.axis, title: { text: "along a (Å)" }, constrain: "domain" };
    layout[`yaxis${tail}`] = { ...layout.axis, title: i ? undefined : { text: "along b (Å)" }, scaleanchor: `x${tail}`, constrain: "domain" };
  });
  return { data, layout };
}
