// How long a linear network of depth L waits, and what its kernel does meanwhile. As in time_scales.py.
const DIM = 30, WIDTH = 50, START = { 2: 0.8165, 3: 0.9341, 4: 0.9787, 5: 1.0003 };
const POINTS = 161, LAST = 0.9995, TURNED = 0.5, HALF = 1 - Math.SQRT1_2;

export function elapsed(u, L) {
  let total = (L === 2 ? Math.log(u) : -(u ** (2 - L)) / (L - 2)) - Math.log1p(-u) / L;
  for (let k = 1; k < L; k++) {
    const turn = (2 * Math.PI * k) / L, real = 1 - u * Math.cos(turn), imaginary = u * Math.sin(turn);
    const size = Math.log(Math.hypot(real, imaginary)), angle = Math.atan2(imaginary, real);
    total -= (Math.cos(2 * turn) * size - Math.sin(2 * turn) * angle) / L;
  }
  return total;
}

export function typical(L, sigma, s, kit) {
  const unit = s ** (1 / L), first = START[L] * sigma, logit = (x) => Math.log(x / (1 - x));
  const size = kit.range(logit((first / unit) ** L), logit(LAST), POINTS).map((z) => 1 / (1 + Math.exp(-z)));
  const u = size.map((x) => x ** (1 / L));
  const begin = elapsed(first / unit, L), when = (v) => (elapsed(v, L) - begin) * s ** (2 / L - 2);
  const across = (DIM - 1) / DIM, share = WIDTH / DIM, rest = (WIDTH * across * (DIM + WIDTH)) / DIM;
  const omega = u.map((v) => share + ((v * unit) / sigma) ** 2 - START[L] ** 2);
  const gap = TURNED ** -2 - 1, wanted = (across + Math.sqrt(across ** 2 + gap * rest)) / gap - share + START[L] ** 2;
  const turned = (sigma * Math.sqrt(wanted)) / unit;
  return {
    t: u.map((v, i) => (i ? when(v) : 0)), // not what rounding leaves
    loss: size.map((x) => (1 - x) ** 2),
    cosine: omega.map((w) => w / Math.sqrt(w ** 2 + 2 * across * w + rest)),
    kernel: size.map((x) => x ** (2 - 2 / L)),
    times: [when(HALF ** (1 / L)), turned < 1 ? when(turned) : -1],
  };
}

const plain = (t) => (t >= 1000 ? Math.round(t).toLocaleString("en") : String(Number(t.toPrecision(3))));
const name = (k) => `1/${2 ** -k}`;

export function render(element, start, kit) {
  kit.live(element, "time_scales", start, {
    controls: [
      { name: "L", min: 2, max: 5, words: (L) => `weight layers L = ${L}` },
      { name: "log2_sigma", min: -8, max: -1, words: (k) => `weight scale σ = ${name(k)}` },
      { name: "s", min: 0.5, max: 3, step: 0.25, words: (v) => `size of the teacher s = ${v}` },
      { name: "axis", label: "axis of time", options: ["logarithmic", "linear"] },
    ],
    panels: [300, 260],
    draw({ L, log2_sigma, s, axis }, [curve, wait]) {
      const curves = typical(L, 2 ** log2_sigma, s, kit), [halved, turned] = curves.times;
      const log = axis === "logarithmic", end = curves.t[POINTS - 1];
      const x = log ? [0.1, 10 ** Math.ceil(Math.log10(2 * halved))] : [0, Math.max(8, 1.6 * halved)];
      curve.axes({
        x, y: [0, 1.5], yticks: [0, 0.5, 1], xlog: log, xlabel: "time t", ylabel: "loss, cosine, kernel",
        legend: [["one", "loss"], ["two", "cosine"], ["three", "kernel, end = 1"]], corner: "tl",
      });
      const on = log ? 0.1 : 0, t = curves.t.map((v) => Math.max(v, on)).concat(Math.max(end, x[1]));
      for (const time of [halved, turned]) if (time >= on) curve.line("faint", [time, time], [0, 1.05]);
      for (const [kind, values] of [["one", curves.loss], ["two", curves.cosine], ["three", curves.kernel]])
        curve.line(kind, t, values.concat(values[POINTS - 1]));

      const path = kit.range(log2_sigma, -1, -log2_sigma);
      const both = path.map((k) => typical(L, 2 ** k, s, kit).times), scales = path.map((k) => 2 ** k);
      wait.axes({
        x: [2 ** -8, 1], y: [0.1, 1e7], xlog: true, ylog: true, xlabel: "weight scale σ, from 1/2 down to yours",
        xticks: [[2 ** -8, "1/256"], [2 ** -6, "1/64"], [2 ** -4, "1/16"], [2 ** -2, "1/4"], [1, "1"]],
        yticks: [0.1, 10, 1e3, 1e5, 1e7], ylabel: "time",
        legend: [["one dot", "half of the loss"], ["two dot", "cosine 1/2"]],
      });
      wait.dots("one", scales, both.map((b) => b[0]), 5);
      wait.dots("two", scales, both.map((b) => (b[1] >= 0 ? b[1] : NaN)), 5);

      const when = `L = ${L}, σ = ${name(log2_sigma)}, s = ${s}: half of the loss is gone at t = ${plain(halved)}`;
      const kernel = turned < 0 ? "; the cosine does not get to 1/2."
        : `; the cosine is 1/2 at t = ${plain(turned)}, ${(turned / halved).toFixed(2)} of that time.`;
      const before = log2_sigma < -1
        ? ` With twice the σ the wait was ${plain(both[1][0])}: halving σ added ${plain(halved - both[1][0])}, and made it ${(halved / both[1][0]).toFixed(2)} times as long.` : "";
      return { curves, words: when + kernel + before };
    },
  });
}
