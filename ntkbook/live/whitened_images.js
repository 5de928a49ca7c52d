// A two-layer ReLU network on 24 whitened points, of which only scalar products matter. As in whitened_images.py.
const POINTS = 24, STEP = 0.05, MOMENTS = 100;
const label = (p) => (p < POINTS / 2 ? 1 : -1);
const stepsOf = (log10Sigma) => MOMENTS * (2 + roundEven(-log10Sigma));
const roundEven = (v) => (v % 1 === 0.5 ? 2 * Math.round(v / 2) : Math.round(v)); // as Python does

export function path({ normals }, log10Sigma, log2Width, seed) {
  const n = 2 ** log2Width, sigma = 10 ** log10Sigma, normal = normals(seed), scale = sigma * Math.sqrt(POINTS / (POINTS - 1));
  const a = new Float64Array(n), z = Array.from({ length: n }, () => new Float64Array(POINTS));
  for (let i = 0; i < n; i++) {
    const row = Array.from({ length: 27 }, normal);
    a[i] = (sigma / Math.sqrt(n)) * row[0];
    const mean = row.slice(1, POINTS + 1).reduce((s, v) => s + v, 0) / POINTS;
    for (let p = 0; p < POINTS; p++) z[i][p] = scale * (row[p + 1] - mean);
  }
  const states = [], steps = stepsOf(log10Sigma);
  for (let step = 0; step <= steps; step++) {
    if (step % (steps / MOMENTS) === 0) states.push({ t: step * STEP, a: a.slice(), z: z.map((row) => row.slice()) });
    const left = Array.from({ length: POINTS }, (_, p) => {
      let f = 0;
      for (let i = 0; i < n; i++) if (z[i][p] > 0) f += a[i] * z[i][p];
      return (label(p) - f) / POINTS;
    });
    for (let i = 0; i < n; i++) {
      let sum = 0, drive = 0;
      for (let p = 0; p < POINTS; p++) if (z[i][p] > 0) { sum += left[p]; drive += left[p] * z[i][p]; }
      for (let p = 0; p < POINTS; p++) z[i][p] += STEP * a[i] * ((z[i][p] > 0 ? POINTS * left[p] : 0) - sum);
      a[i] += STEP * drive;
    }
  }
  return states;
}

export function measure({ a, z }) {
  const n = a.length, total = a.reduce((s, v) => s + v * v, 0);
  let loss = 0, square = 0, aligned = 0, own = 0, other = 0;
  for (let p = 0; p < POINTS; p++) {
    let f = 0;
    for (let i = 0; i < n; i++) if (z[i][p] > 0) {
      f += a[i] * z[i][p];
      const share = (a[i] * a[i]) / total / (POINTS / 2);
      if (a[i] * label(p) > 0) own += share; else other += share;
    }
    loss += (label(p) - f) ** 2 / POINTS;
    for (let q = 0; q < POINTS; q++) {
      let k = 0;
      for (let i = 0; i < n; i++) if (z[i][p] > 0 && z[i][q] > 0) k += a[i] * a[i] * (p === q ? POINTS - 1 : -1) + z[i][p] * z[i][q];
      square += k * k;
      aligned += k * label(p) * label(q);
    }
  }
  const size = Math.sqrt(square);
  return { loss, size, alignment: ((aligned / size / POINTS) * Math.sqrt(POINTS + 2)) / 2, own, other };
}

const percent = (v) => `${Math.round(100 * v)} %`;

export function render(element, begin, kit) {
  const runs = new Map();
  const run = (s, w, seed) => {
    const key = `${s} ${w} ${seed}`;
    if (!runs.has(key)) {
      const states = path(kit, s, w, seed), curves = states.map(measure);
      runs.set(key, { states, curves });
    }
    return runs.get(key);
  };
  kit.live(element, "whitened_images", begin, {
    controls: [
      { name: "log10_sigma", min: -3, max: 0, step: 0.5, words: (v) => `weight scale σ = ${Number((10 ** v).toPrecision(2))}` },
      { name: "log2_width", min: 3, max: 5, step: 1, words: (v) => `hidden units n = ${2 ** v}` },
      { name: "moment", min: 0, max: MOMENTS, step: 1, words: (v) => `time shown, in percent of the run: ${v}`, play: 0.25 },
      { button: "Other weights", action: (state) => { state.seed = (state.seed % 100) + 1; } },
    ],
    panels: [300, 360],
    draw({ log10_sigma, log2_width, moment, seed }, [clocks, units], width) {
      const { states, curves } = run(log10_sigma, log2_width, seed), now = Math.min(MOMENTS, Math.round(moment));
      const t = states.map((s) => s.t), pick = (name) => curves.map((c) => c[name]);
      const last = curves[MOMENTS].size, size = pick("size").map((v) => v / last);
      clocks.axes({
        x: [0, t[MOMENTS]], y: [0, 1.95], yticks: [0, 0.5, 1], xlabel: "time t", ylabel: "share",
        legend: [["one", "loss (labels = 1)"], ["two", "size of the kernel (end = 1)"], ["three", "alignment (linear network = 1)"], ["faint", "½, 1 and ReLU's ¾"]],
      });
      for (const level of [0.5, 0.75, 1]) clocks.line("faint", [0, t[MOMENTS]], [level, level]);
      clocks.line("faint", [t[now], t[now]], [0, 1.25]);
      clocks.line("one", t, pick("loss"));
      clocks.line("two", t, size);
      clocks.line("three", t, pick("alignment"));
      const { a, z } = states[now], n = a.length;
      const order = Array.from(states[MOMENTS].a.keys()).sort((i, j) => states[MOMENTS].a[j] - states[MOMENTS].a[i]);
      const most = Math.max(...z.map((row) => Math.max(...row)));
      units.axes({
        x: [-0.5, POINTS - 0.5], y: [n - 0.5, -0.5], xticks: [[5.5, "class +1"], [17.5, "class −1"]], yticks: [],
        title: "which unit answers to which point", xlabel: "training points", ylabel: "units, final readout falling",
      });
      units.line("faint", [POINTS / 2 - 0.5, POINTS / 2 - 0.5], [-0.5, n - 0.5]);
      const room = Math.min((width - 76) / POINTS, 280 / n) / 2 - 0.4;
      order.forEach((i, row) => {
        for (let p = 0; p < POINTS; p++) {
          if (z[i][p] <= 0) continue;
          const r = room * Math.max(0.25, Math.sqrt(z[i][p] / most));
          units.dots(a[i] > 0 ? "one" : "two", [p], [row], Math.min(6, r));
        }
      });
      const { loss, own, other } = curves[now];
      const words = `t = ${t[now].toFixed(1)}: ${percent(loss)} of the loss is left. Weighted by readout, units answer to ${percent(own)} of the points of their class and to ${percent(other)} of the other class.`;
      const active = [];
      for (const row of z) for (const v of row) active.push(Math.max(0, v));
      return { curves: { loss: pick("loss"), size, alignment: pick("alignment"), own: pick("own"), other: pick("other"), active }, words };
    },
  });
}
