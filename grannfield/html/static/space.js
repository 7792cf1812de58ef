/* The ways of the ions in three dimensions: framework, cell, density, ways, sites and jumps. */
const ELEMENTS = { Li: "#7e57c2", P: "#e08a1e", Ge: "#3f9c95", Si: "#8d7a5b", S: "#c9a800", O: "#d33f3f", Cl: "#3d9a3d", Na: "#7e57c2" };
/** A colour on the way to another. */
function mixed(from, to, share) {
  const parts = (hex) => [1, 3, 5].map((n) => parseInt(hex.slice(n, n + 2), 16)), [a, b] = [parts(from), parts(to)];
  return `rgb(${a.map((v, n) => Math.round(v + share * (b[n] - v))).join(",")})`;
}
const tintOf = (element) => ELEMENTS[element] ?? "#888888";

function cellLines(cell) {
  const x = [], y = [], z = [], put = (f) => { const p = toCartesian(cell, f); x.push(p[0]); y.push(p[1]); z.push(p[2]); };
  for (const d of [0, 1, 2]) for (const u of [0, 1]) for (const v of [0, 1]) {
    const from = [0, 0, 0]; from[(d + 1) % 3] = u; from[(d + 2) % 3] = v;
    const to = [...from]; to[d] = 1;
    put(from); put(to); x.push(null); y.push(null); z.push(null);
  }
  return { type: "scatter3d", mode: "lines", x, y, z, line: { color: colour("line-strong"), width: 2 }, hoverinfo: "skip", name: "cell" };
}
function frameworkTraces(frame) {
  const traces = [];
  for (const element of new Set(frame.tetrahedra.map((t) => t[0]))) {
    const mesh = { type: "mesh3d", x: [], y: [], z: [], i: [], j: [], k: [], color: tintOf(element), opacity: 0.28, flatshading: true, hoverinfo: "skip", name: `${element}${frame.ligand}₄` };
    for (const [, , corners] of frame.tetrahedra.filter((t) => t[0] === element)) {
      const start = mesh.x.length;
      corners.forEach((p) => { mesh.x.push(p[0]); mesh.y.push(p[1]); mesh.z.push(p[2]); });
      for (const [i, j, k] of [[0, 1, 2], [0, 1, 3], [0, 2, 3], [1, 2, 3]]) { mesh.i.push(start + i); mesh.j.push(start + j); mesh.k.push(start + k); }
    }
    traces.push(mesh);
  }
  const balls = new Map(), put = (element, p) => { if (!balls.has(element)) balls.set(element, []); balls.get(element).push(p); };
  for (const [centre, at, corners] of frame.tetrahedra) { put(centre, at); corners.forEach((p) => put(frame.ligand, p)); }
  for (const [element, ...p] of frame.atoms) put(element, p);
  for (const [element, ps] of balls) {
    traces.push({ type: "scatter3d", mode: "markers", x: ps.map((p) => p[0]), y: ps.map((p) => p[1]), z: ps.map((p) => p[2]), name: element, marker: { size: element === frame.ligand ? 3.5 : 5, color: tintOf(element), line: { width: 0 } }, hovertemplate: `${element}<extra></extra>` });
  }
  return traces;
}
function densityTrace(density, cell, share, tint) {
  const grid = gridOf(density), mean = 1 / grid.values.length;
  const mesh = surfaceOf(grid, cell, share * mean), shades = [[0, mixed(tint, "#000000", 0.55)], [0.55, tint], [1, mixed(tint, "#ffffff", 0.45)]];
  return { type: "mesh3d", ...mesh, intensity: lightOn(mesh), cmin: 0, cmax: 1, colorscale: shades, showscale: false, opacity: 1, hoverinfo: "skip", name: "Li density",
    lighting: { ambient: 1, diffuse: 0, specular: 0, fresnel: 0 } };
}
/** Ways folded into the cell: a line is broken where it leaves through a face. */
function wayTrace(paths, cell, tint) {
  const inverse = inverted(cell), x = [], y = [], z = [], gap = () => { x.push(null); y.push(null); z.push(null); };
  for (const way of paths.ways) {
    let before = null;
    for (let n = 0; n < way.length; n += 3) {
      const p = [way[n] / 100, way[n + 1] / 100, way[n + 2] / 100], f = toCartesian(inverse, p), image = f.map(Math.floor);
      if (before && image.some((m, d) => m !== before[d])) gap();
      before = image;
      const q = toCartesian(cell, f.map((u, d) => u - image[d]));
      x.push(q[0]); y.push(q[1]); z.push(q[2]);
    }
    gap();
  }
  return { type: "scatter3d", mode: "lines", x, y, z, line: { color: tint, width: 2.5 }, opacity: 0.85, hoverinfo: "skip", name: "Li ways" };
}
function inverted(m) {
  const [[a, b, c], [d, e, f], [g, h, i]] = m, det = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g);
  return [[e * i - f * h, c * h - b * i, b * f - c * e], [f * g - d * i, a * i - c * g, c * d - a * f], [d * h - e * g, b * g - a * h, a * e - b * d]].map((row) => row.map((v) => v / det));
}
function siteTraces(sites, names, jumps, cell, tint) {
  const ps = sites.map((f) => toCartesian(cell, f)), traces = [];
  traces.push({ type: "scatter3d", mode: "markers", x: ps.map((p) => p[0]), y: ps.map((p) => p[1]), z: ps.map((p) => p[2]), text: names, hovertemplate: "site %{text}<extra></extra>", name: "Li sites", marker: { size: 5, color: colour("surface"), line: { color: tint, width: 2 } } });
  const most = Math.max(1, ...jumps.map((j) => j[5]));
  for (const [low, high, width] of [[0, 0.25, 2], [0.25, 0.6, 5], [0.6, 1, 9]]) {
    const x = [], y = [], z = [];
    for (const [from, to, da, db, dc, n] of jumps) {
      if (n / most <= low || n / most > high) continue;
      const target = toCartesian(cell, sites[to].map((u, d) => u + [da, db, dc][d]));
      x.push(ps[from][0], target[0], null); y.push(ps[from][1], target[1], null); z.push(ps[from][2], target[2], null);
    }
    if (x.length) traces.push({ type: "scatter3d", mode: "lines", x, y, z, line: { color: tint, width }, opacity: 0.9, hoverinfo: "skip", name: `jumps, ${low ? `over ${low * 100}` : "up to 25"}% of the most` });
  }
  return traces;
}
/** What is in sight, the same for every scene of a cell: its box and as much more as a tetrahedron reaches, in one scale along x, y and z. */
function boxOf(cell) {
  const corners = CORNERS.map((f) => toCartesian(cell, f)), axes = [0, 1, 2].map((k) => corners.map((p) => p[k]));
  const ranges = axes.map((v) => [Math.min(...v) - 2.2, Math.max(...v) + 2.2]), reach = ranges.map(([low, high]) => high - low), scale = (innerWidth < 640 ? 1.9 : 2.9) / Math.hypot(...reach);
  return { ranges, ratio: { x: reach[0] * scale, y: reach[1] * scale, z: reach[2] * scale } };
}
function sceneLayout(cell) {
  const box = boxOf(cell), axis = (k) => ({ visible: false, showspikes: false, range: box.ranges[k] }), ends = ["a", "b", "c"].map((text, d) => {
    const p = toCartesian(cell, [0, 1, 2].map((k) => (k === d ? 1.04 : 0)));
    return { x: p[0], y: p[1], z: p[2], text: `<i>${text}</i>`, showarrow: false, font: { size: 14, color: colour("quiet") } };
  });
  return { font: { family: getComputedStyle(document.body).fontFamily, color: colour("text") }, paper_bgcolor: "rgba(0,0,0,0)", margin: { l: 0, r: 0, t: 0, b: 0 }, showlegend: false, uirevision: "kept",
    scene: { aspectmode: "manual", aspectratio: box.ratio, xaxis: axis(0), yaxis: axis(1), zaxis: axis(2), annotations: ends, camera: { projection: { type: "orthographic" }, eye: { x: 0.9, y: -1.6, z: 0.75 } } } };
}
/** One scene: what `view` asks for of a side {density, paths, sites}. */
function tracesOf(side, frame, view, tint) {
  const traces = [cellLines(side.cell)];
  if (view.framework && frame) traces.push(...frameworkTraces(frame));
  if (view.density && side.density) traces.push(densityTrace(side.density, side.cell, view.level, tint));
  if (view.ways && side.paths) traces.push(wayTrace(side.paths, side.cell, tint));
  if (view.jumps && side.sites && side.jumps) traces.push(...siteTraces(side.sites, side.names, side.jumps, side.cell, tint));
  return traces;
}
/** What a model's run and its reference show in a material; throws with the reason where there is nothing. */
async function sidesOf(number, material) {
  const plots = await pack(`plots-${number}-${material}`), shared = await pack(`shared-${material}`).catch(() => ({}));
  const { density, paths, missing = {} } = plots;
  const cell = density?.cell ?? app.data.materials[material]?.framework?.cell;
  if (!density && !paths) throw new Error(missing.density ?? missing.paths ?? "no curves were kept");
  const both = shared[(density ?? paths).shared] ?? {};
  const about = (d) => (d ? `${plots.density?.t ?? paths?.t} K, ${d.frames} frames` : "");
  return {
    model: { cell, density, paths, sites: both.paths?.sites, names: both.paths?.names, jumps: paths?.jumps, about: about(density) },
    reference: { cell, density: both.density && { ...both.density }, paths: both.paths, sites: both.paths?.sites, names: both.paths?.names, jumps: both.paths?.jumps, about: about(both.density), label: plots.reference },
    overlap: density?.overlap, missing,
  };
}
/** Scenes side by side whose cameras move together. `wanted`: [{title, side, tint}]. */
function scenes(wanted, frame, view, described) {
  const holders = wanted.map(({ title, side }) => el("div", { class: "scene", role: "img", "aria-label": `${described}: ${title}. ${side.about}` },
    el("div", { class: "where3d" }, el("b", {}, title), el("br"), el("span", { class: "quiet" }, side.about)), el("div", { class: "wait" }, "drawing …"), el("div", { class: "canvas", style: { height: "100%" } })));
  let moving = false, library = null;
  const canvases = holders.map((holder) => find(".canvas", holder));
  const draw = async () => {
    try {
      const Plotly = await plotly();
      await Promise.all(wanted.map(({ side, tint }, n) => Plotly.react(canvases[n], tracesOf(side, frame, view, colour(tint)), sceneLayout(side.cell), { ...config, displayModeBar: false })));
      holders.forEach((holder) => find(".wait", holder)?.remove());
      if (!library) canvases.forEach((canvas) => canvas.on("plotly_relayout", (event) => follow3d(canvas, event)));
      library = Plotly;
      document.documentElement.dataset.drawn3d = String(Number(document.documentElement.dataset.drawn3d ?? 0) + 1);
    } catch (problem) { holders.forEach((holder) => { find(".wait", holder)?.replaceChildren(failure(problem)); }); }
  };
  const follow3d = (canvas, event) => {
    const camera = event["scene.camera"];
    if (!camera || moving) return;
    moving = true;
    Promise.all(canvases.filter((other) => other !== canvas).map((other) => library.relayout(other, { "scene.camera": camera }))).finally(() => { moving = false; });
  };
  const redraw = () => { if (holders[0]?.isConnected) draw(); };
  redraw.leave = () => { if (library) canvases.forEach((canvas) => library.purge(canvas)); };
  app.plots.add(redraw);
  return { element: el("div", { class: "grid" }, holders), draw };
}
/** Switches of what a scene shows; calls back when one moves. */
function viewControls(view, changed) {
  const check = (name, label) => el("label", {}, el("input", { type: "checkbox", checked: view[name], onchange: (event) => { view[name] = event.target.checked; changed(); } }), label);
  const range = el("input", { type: "range", min: "1", max: "30", step: "0.5", value: String(view.level), "aria-label": "density level, times the mean" });
  const shown = el("output", {}, `${view.level}× mean`);
  range.addEventListener("input", () => { shown.textContent = `${range.value}× mean`; });
  range.addEventListener("change", () => { view.level = Number(range.value); changed(); });
  return el("div", { class: "checks", role: "group", "aria-label": "What is drawn" }, check("framework", "framework"), check("density", "Li density"), el("label", {}, "level", range, shown), check("jumps", "sites and jumps"), check("ways", "single ways"));
}
const firstView = () => ({ framework: true, density: true, ways: false, jumps: false, level: 3 });
