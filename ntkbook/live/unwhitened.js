// A two-layer linear network in the plane, on data with two variances. As in unwhitened.py; teacher of size 1.
const MOMENTS = 400, STEP = 0.05;

export function path({ range, rungeKutta }, ratio, angle, sigma) {
  const variances = [(2 * ratio) / (1 + ratio), 2 / (1 + ratio)], beta = [Math.cos(angle), Math.sin(angle)];
  const first = variances.map((v, i) => v * beta[i]), rate = Math.hypot(...first);
  const e = first.map((v) => v / rate);
  const t = range(0, Math.log(1 / sigma) / rate + 4 / variances[1], MOMENTS + 1);
  const slope = ([g11, g12, g22, f1, f2, a]) => { // of W^T W, of the function W^T a, of |a|^2
    const p1 = variances[0] * (beta[0] - f1), p2 = variances[1] * (beta[1] - f2);
    return [2 * f1 * p1, f1 * p2 + f2 * p1, 2 * f2 * p2, (a + g11) * p1 + g12 * p2, g12 * p1 + (a + g22) * p2, 2 * (f1 * p1 + f2 * p2)];
  };
  const cosine = ([g11, g12, g22], [x, y]) => (g11 * x * x + 2 * g12 * x * y + g22 * y * y) / Math.sqrt(g11 ** 2 + 2 * g12 ** 2 + g22 ** 2);
  const left = (f1, f2) => variances[0] * (beta[0] - f1) ** 2 + variances[1] * (beta[1] - f2) ** 2;
  const steps = Math.ceil(t[1] / STEP), out = { t, beta, e, loss: [], first: [], second: [], size: [], states: [] };
  let state = [1, 0, 1, 0, 0, 1].map((v) => v * sigma ** 2);
  for (let k = 0; k <= MOMENTS; k++) {
    if (k) for (let i = 0; i < steps; i++) state = rungeKutta(slope, state, t[1] / steps);
    const [g11, , g22, f1, f2, a] = state;
    out.states.push(state);
    out.loss.push(left(f1, f2) / left(0, 0));
    out.first.push(cosine(state, e));
    out.second.push(cosine(state, beta));
    out.size.push((g11 + g22 + 2 * a) / 3);
  }
  return out;
}

// The functions of equal norm: M^(1/2) times a circle, drawn by eigenvectors, with a mean radius of 1.
function level([m11, m12, m22], turn) {
  const middle = (m11 + m22) / 2, half = Math.hypot((m11 - m22) / 2, m12), tilt = Math.atan2(2 * m12, m11 - m22) / 2;
  const long = Math.sqrt(middle + half), short = Math.sqrt(Math.max(0, middle - half)), unit = Math.sqrt(long * short);
  return [0, 1].map((axis) => turn.map((a) => {
    const [x, y] = [(long / unit) * Math.cos(a), (short / unit) * Math.sin(a)];
    return axis ? x * Math.sin(tilt) + y * Math.cos(tilt) : x * Math.cos(tilt) - y * Math.sin(tilt);
  }));
}

const plain = (v) => String(Number(v.toPrecision(2)));

function tale({ t, loss, first, second }) {
  const half = loss.findIndex((v) => v <= 0.5), begun = loss.findIndex((v) => v < 0.9);
  const last = second.findLastIndex((v) => v < 0.9) + 1; // from here on it stays above
  const start = `The loss is halved at t = ${t[half].toFixed(1)}; there the matrix cosine is ${first[half].toFixed(2)} with Σβ and ${second[half].toFixed(2)} with β.`;
  if (last < begun) return `${start} Both were 0.9 before a tenth of the loss was gone: the alignment is silent.`;
  if (Math.max(...first.slice(0, begun)) < 0.9) return `${start} Nothing had turned when the loss began to fall: the start is too large.`;
  if (last > MOMENTS) return `${start} The kernel does not reach 0.9 with β here.`;
  return `${start} With β the cosine is 0.9 only when ${plain(100 * loss[last])} % of the loss is left: the second turn is not silent.`;
}

export function render(element, begin, kit) {
  const turn = kit.range(0, 2 * Math.PI, 121);
  kit.live(element, "unwhitened", begin, {
    controls: [
      { name: "log2_ratio", min: 0, max: 4, step: 0.5, words: (v) => `ratio of the two variances = ${plain(2 ** v)}` },
      { name: "angle", min: 0, max: 90, step: 5, words: (v) => `teacher β at ${v}° from the larger variance` },
      { name: "log10_sigma", min: -4, max: 0, step: 0.5, words: (v) => `weight scale σ = ${plain(10 ** v)}` },
      { name: "moment", min: 0, max: 100, step: 1, words: (v) => `time shown, in percent of the run: ${v}`, play: 0.5 },
    ],
    panels: [340, 330],
    draw({ log2_ratio, angle, log10_sigma, moment }, [plane, clocks], width) {
      const out = path(kit, 2 ** log2_ratio, (angle * Math.PI) / 180, 10 ** log10_sigma);
      const now = Math.min(MOMENTS, Math.round(4 * moment)), [g11, g12, g22, f1, f2, a] = out.states[now];
      const kernel = [g11 + a, g12, g22 + a].map((v) => v / (g11 + g22 + 2 * a));
      const high = 1.55, wide = (high * (width - 76)) / (340 - 76); // one scale on both axes
      plane.axes({
        x: [-wide, wide], y: [-high, high], xticks: [-1, 0, 1], yticks: [-1, 0, 1], title: "functions w · x of equal norm in the kernel",
        xlabel: "w₁, along the larger variance", ylabel: "w₂",
      });
      for (const [kind, [x, y], name] of [["two", out.e, "Σβ"], ["three", out.beta, "β"]]) {
        plane.line(kind, [-1.3 * x, 1.3 * x], [-1.3 * y, 1.3 * y]);
        if (kind === "three" || Math.abs(x - out.beta[0]) > 0.05) plane.say(1.4 * x + 0.03, 1.4 * y, name);
      }
      plane.line("faint", turn.map(Math.cos), turn.map(Math.sin), true);
      plane.line("one", ...level(kernel, turn), true);
      plane.dots("ink", [f1], [f2], 5);
      clocks.axes({
        x: [0, out.t.at(-1)], y: [0, 1.75], yticks: [0, 0.5, 1], xlabel: "time t", ylabel: "share, cosine",
        legend: [["one", "loss, start = 1"], ["two", "matrix cosine, Σβ"], ["three", "matrix cosine, β"], ["ink", "size of the kernel, end = 1"]],
      });
      clocks.line("faint", [out.t[now], out.t[now]], [0, 1.1]);
      clocks.line("ink", out.t, out.size);
      clocks.line("one", out.t, out.loss);
      clocks.line("two", out.t, out.first);
      clocks.line("three", out.t, out.second);
      const { loss, first, second, size } = out;
      return { curves: { loss, first, second, size, kernel, function: [f1, f2] }, words: tale(out) };
    },
  });
}
