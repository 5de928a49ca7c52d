// A kernel that grows at rate 1 and turns at a rate of its own, and the function learned with it.
const P = 6, POINTS = 81, LENGTH = 0.12, SPIKE = 2, CLOCK = 3.5, WIGGLE = 0.2; // as in silent_alignment.py
const MOMENTS = 200, AFTER = 20, STEP = 0.1;

const feature = (x) => Math.sin(Math.PI * x);
const bump = (a, b) => Math.exp(-((a - b) ** 2) / 2 / LENGTH ** 2);

// Solves matrix @ z = v by elimination; the matrix is positive definite.
function solve(matrix, v) {
  const rows = matrix.map((row, i) => [...row, v[i]]);
  for (let i = 0; i < rows.length; i++)
    for (let j = 0; j < rows.length; j++) {
      if (j === i) continue;
      const c = rows[j][i] / rows[i][i];
      for (let k = i; k <= rows.length; k++) rows[j][k] -= c * rows[i][k];
    }
  return rows.map((row, i) => row[rows.length] / row[i]);
}

export function problem({ range, dot }) {
  const x = range(-0.85, 0.85, P), grid = range(-1, 1, POINTS), all = [...x, ...grid];
  const k0 = all.map((a) => x.map((b) => CLOCK * bump(a, b)));
  const kInf = all.map((a, i) => x.map((b, j) => k0[i][j] + CLOCK * SPIKE * feature(a) * feature(b)));
  const y = x.map((a, i) => feature(a) + WIGGLE * (-1) ** i);
  const machine = kInf.map((row) => solve(kInf.slice(0, P), row)); // from outputs at x to those everywhere
  const zero = solve(k0.slice(0, P), y), first = k0.map((row) => dot(row, zero));
  const last = machine.map((row) => dot(row, y));
  const apart = Math.hypot(...grid.map((_, i) => first[P + i] - last[P + i]));
  return { x, grid, all, k0, kInf, y, machine, first, last, apart };
}

export function path({ range, dot, rungeKutta }, toy, p, eps, leak, start) {
  const { all, k0, kInf, y, machine, apart } = toy;
  const t = range(0, Math.log(1 / eps) + AFTER, MOMENTS + 1), steps = Math.ceil(t[1] / STEP);
  const slope = ([size, unturned, ...f]) => { // of the size, of the share not yet turned, of the outputs
    const growth = size * (1 - size), turning = -p * (unturned - leak * (1 - size)) - leak * growth;
    const rest = y.map((target, j) => (size * (target - f[j])) / P);
    return [growth, turning, ...all.map((_, i) => {
      let sum = 0;
      for (let j = 0; j < P; j++) sum += (kInf[i][j] + unturned * (k0[i][j] - kInf[i][j])) * rest[j];
      return sum;
    })];
  };
  const begin = all.map((a) => start * Math.cos(Math.PI * a)), square = (v) => dot(v, v);
  const left = (f) => square(y.map((target, j) => target - f[j]));
  const out = { t, loss: [], size: [], alignment: [], gap: [], unturned: [] };
  let state = [eps, 1 - leak * eps, ...begin];
  for (let k = 0; k <= MOMENTS; k++) {
    if (k) for (let i = 0; i < steps; i++) state = rungeKutta(slope, state, t[1] / steps);
    const [size, unturned, ...f] = state, train = f.slice(0, P);
    const matrix = y.map((_, i) => y.map((_, j) => kInf[i][j] + unturned * (k0[i][j] - kInf[i][j])));
    out.loss.push(left(f) / left(begin));
    out.size.push(size);
    out.unturned.push(unturned);
    out.alignment.push(dot(y, matrix.map((row) => dot(row, y))) / square(y) / Math.sqrt(square(matrix.flat())));
    const gap = Math.sqrt(square(f.slice(P).map((v, i) => v - dot(machine[P + i], train)))) / apart;
    out.gap.push(gap < 1e-9 ? 0 : gap); // else rounding is taken for a curve
    out.f = f.slice(P);
  }
  return out;
}

const percent = (v) => (v < 0.001 ? "less than 0.1 %" : `${(100 * v).toPrecision(2)} %`);
const when = (t, hit) => (hit < 0 ? null : t[hit].toFixed(1));

function tale({ t, loss, unturned, gap }) {
  const turned = unturned.findIndex((v) => v <= 0.1), half = loss.findIndex((v) => v <= 0.5);
  const first = turned < 0 ? "The kernel has not turned when the figure ends" : `The kernel has turned by nine tenths at t = ${when(t, turned)}`;
  const second = half < 0 ? "the loss is not halved" : `the loss is halved at t = ${when(t, half)}`;
  const end = gap.at(-1);
  const verdict = end < 0.01 ? "It is regression with the final kernel: the alignment was silent."
    : end < 0.1 ? "It is close to regression with the final kernel, but not on it."
      : "It is not regression with the final kernel.";
  return `${first}; ${second}. The learned function ends at ${percent(end)} of the distance between the two regressions. ${verdict}`;
}

export function render(element, begin, kit) {
  const toy = problem(kit);
  kit.live(element, "silent_alignment", begin, {
    controls: [
      { name: "log2_rate", min: -3, max: 2, step: 0.5, words: (v) => `rate of turning, in rates of growth: p = ${Number((2 ** v).toPrecision(2))}` },
      { name: "log10_eps", min: -6, max: 0, step: 0.5, words: (v) => `size at the start: ε = ${Number((10 ** v).toPrecision(2))}` },
      { name: "leak", min: 0, max: 1, step: 0.1, words: (v) => `share that turns with the growth: δ = ${v}` },
      { name: "start", min: 0, max: 1, step: 0.1, words: (v) => `size of the function at the start = ${v}` },
    ],
    panels: [330, 350],
    draw({ log2_rate, log10_eps, leak, start }, [above, below]) {
      const out = path(kit, toy, 2 ** log2_rate, 10 ** log10_eps, leak, start);
      above.axes({
        x: [-1, 1], y: [-2.2, 3], yticks: [-2, -1, 0, 1, 2], xlabel: "input x", ylabel: "f(x)",
        legend: [["one", "learned"], ["two", "regression, final kernel"], ["four", "regression, initial kernel"], ["ink dot", "data"]],
      });
      above.line("four", toy.grid, toy.first.slice(P));
      above.line("one", toy.grid, out.f);
      above.line("two", toy.grid, toy.last.slice(P));
      above.dots("ink", toy.x, toy.y, 4.5);
      below.axes({
        x: [0, out.t.at(-1)], y: [0, 1.65], yticks: [0, 0.5, 1], xlabel: "time, in units of 1 / rate of growth", ylabel: "share",
        legend: [["one", "loss"], ["three", "alignment with y"], ["ink", "size g of the kernel"], ["four", "distance from regression, final kernel"]],
      });
      below.line("ink", out.t, out.size);
      below.line("one", out.t, out.loss);
      below.line("three", out.t, out.alignment);
      below.line("four", out.t, out.gap);
      const { f, loss, size, alignment, gap } = out;
      return { curves: { f, loss, size, alignment, gap }, words: tale(out) };
    },
  });
}
