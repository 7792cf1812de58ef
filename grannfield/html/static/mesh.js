/* Densities and their surfaces: a grid of one byte a voxel, cut by marching tetrahedra, periodic, in any cell. */

/** Values of a packed density [A*B*C], last index fastest, as shares of the ions. */
function gridOf(one) {
  const steps = Uint8Array.from(atob(one.bytes), (c) => c.charCodeAt(0));
  return { shape: one.shape, values: Float64Array.from(steps, (v) => one.top * (v / 255) ** 3), top: one.top };
}
/** Sum over the third axis, as rows along b. */
function flattened({ shape: [na, nb, nc], values }) {
  const rows = Array.from({ length: nb }, () => new Array(na).fill(0));
  for (let a = 0; a < na; a += 1) for (let b = 0; b < nb; b += 1) for (let c = 0; c < nc; c += 1) rows[b][a] += values[(a * nb + b) * nc + c];
  return rows;
}
const toCartesian = (cell, [a, b, c]) => [0, 1, 2].map((k) => a * cell[0][k] + b * cell[1][k] + c * cell[2][k]);

const CORNERS = [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1]];
const TETRAHEDRA = [[0, 5, 1, 6], [0, 1, 2, 6], [0, 2, 3, 6], [0, 3, 7, 6], [0, 7, 4, 6], [0, 4, 5, 6]];
/** Triangles of the surface where a density passes a level: {x, y, z, i, j, k} for a mesh3d. Voxel centres lie at (index + 0.5)/shape. */
function surfaceOf({ shape, values }, cell, level) {
  const [na, nb, nc] = shape, found = { x: [], y: [], z: [], i: [], j: [], k: [] }, made = new Map();
  const at = (a, b, c) => values[(((a + na) % na) * nb + ((b + nb) % nb)) * nc + ((c + nc) % nc)];
  const place = (a, b, c) => ((a + 1) * (nb + 2) + b + 1) * (nc + 2) + c + 1, most = (na + 2) * (nb + 2) * (nc + 2);
  const vertex = (p, q, vp, vq) => {
    const [m, n] = [place(...p), place(...q)], key = m < n ? m * most + n : n * most + m;
    if (made.has(key)) return made.get(key);
    const t = (level - vp) / (vq - vp), [x, y, z] = toCartesian(cell, [0, 1, 2].map((d) => (p[d] + t * (q[d] - p[d]) + 0.5) / shape[d]));
    made.set(key, found.x.length);
    found.x.push(x); found.y.push(y); found.z.push(z);
    return found.x.length - 1;
  };
  const point = (n) => [found.x[n], found.y[n], found.z[n]];
  /** A triangle whose outside is turned away from a corner of high density, so that light falls on all alike. */
  const triangle = (inner, i, j, k) => {
    const [p, q, r] = [point(i), point(j), point(k)], from = toCartesian(cell, [0, 1, 2].map((d) => (inner[d] + 0.5) / shape[d]));
    const u = [0, 1, 2].map((d) => q[d] - p[d]), v = [0, 1, 2].map((d) => r[d] - p[d]), w = [0, 1, 2].map((d) => p[d] - from[d]);
    const out = (u[1] * v[2] - u[2] * v[1]) * w[0] + (u[2] * v[0] - u[0] * v[2]) * w[1] + (u[0] * v[1] - u[1] * v[0]) * w[2];
    found.i.push(i); found.j.push(out < 0 ? k : j); found.k.push(out < 0 ? j : k);
  };
  for (let a = -1; a < na; a += 1) for (let b = -1; b < nb; b += 1) for (let c = -1; c < nc; c += 1) {
    const corners = CORNERS.map(([da, db, dc]) => [a + da, b + db, c + dc]), v = corners.map((p) => at(...p));
    const inside = v.reduce((n, x) => n + (x > level), 0);
    if (inside === 0 || inside === 8) continue;
    for (const tetrahedron of TETRAHEDRA) {
      const high = tetrahedron.filter((n) => v[n] > level), low = tetrahedron.filter((n) => v[n] <= level);
      const cut = (p, q) => vertex(corners[p], corners[q], v[p], v[q]);
      if (high.length === 1) triangle(corners[high[0]], ...low.map((q) => cut(high[0], q)));
      else if (high.length === 3) triangle(corners[high[0]], ...high.map((p) => cut(p, low[0])));
      else if (high.length === 2) {
        const [w, x, y, z] = [cut(high[0], low[0]), cut(high[0], low[1]), cut(high[1], low[1]), cut(high[1], low[0])];
        triangle(corners[high[0]], w, x, y); triangle(corners[high[0]], w, y, z);
      }
    }
  }
  return found;
}

const LIGHT = [0.25, -0.75, 0.61];
/** How much light falls on each vertex of a mesh, 0 to 1: half of it from all sides, so that nothing is black. */
function lightOn(mesh) {
  const normals = mesh.x.map(() => [0, 0, 0]);
  mesh.i.forEach((a, n) => {
    const [p, q, r] = [a, mesh.j[n], mesh.k[n]].map((m) => [mesh.x[m], mesh.y[m], mesh.z[m]]);
    const u = [0, 1, 2].map((d) => q[d] - p[d]), v = [0, 1, 2].map((d) => r[d] - p[d]);
    const out = [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]];
    for (const m of [a, mesh.j[n], mesh.k[n]]) for (const d of [0, 1, 2]) normals[m][d] += out[d];
  });
  return normals.map((n) => 0.5 + (0.5 * (n[0] * LIGHT[0] + n[1] * LIGHT[1] + n[2] * LIGHT[2])) / (Math.hypot(...n) || 1));
}
