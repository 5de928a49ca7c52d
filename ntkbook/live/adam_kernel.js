// A two-layer linear network in the plane under Adam or gradient descent. As in adam_kernel.py.
const STEPS = 200, RATES = { Adam: 0.005, "gradient descent": 0.05 };
const START = [1, -0.8, 0.6, -1, 0.9, 0.5, -0.5, -1, 0.4, 0.8, -1, -0.3].map((v) => v / 100); // readout, then the first layer

export function path(rule, angle) {
  const beta = [Math.cos(angle), Math.sin(angle)], adam = rule === "Adam";
  const out = { beta, theta: [], rates: [], f: [], loss: [], teacher: [], signs: [] };
  let theta = [...START], mean = theta.map(() => 0), squares = theta.map(() => 0);
  for (let k = 0; k <= STEPS; k++) {
    const w = (i, j) => theta[4 + 2 * i + j], units = [0, 1, 2, 3], sum = (g) => units.reduce((s, i) => s + g(i), 0);
    const f = [0, 1].map((j) => sum((i) => theta[i] * w(i, j))), left = [beta[0] - f[0], beta[1] - f[1]];
    const slope = [...units.map((i) => -(w(i, 0) * left[0] + w(i, 1) * left[1])), ...units.flatMap((i) => [-theta[i] * left[0], -theta[i] * left[1]])];
    mean = mean.map((m, j) => 0.9 * m + 0.1 * slope[j]);
    squares = squares.map((v, j) => 0.999 * v + 0.001 * slope[j] ** 2);
    const rates = squares.map((v) => (adam ? 1 / (Math.sqrt(v / (1 - 0.999 ** (k + 1))) + 1e-8) : 1));
    const turn = Math.atan2(2 * sum((i) => w(i, 0) * w(i, 1)), sum((i) => w(i, 0) ** 2 - w(i, 1) ** 2)) / 2;
    out.theta.push(theta);
    out.rates.push(rates);
    out.f.push(f);
    out.loss.push((left[0] ** 2 + left[1] ** 2) / (out.first ??= left[0] ** 2 + left[1] ** 2));
    out.teacher.push(Math.abs(beta[0] * Math.cos(turn) + beta[1] * Math.sin(turn)));
    out.signs.push(Math.abs(Math.cos(turn) + Math.sin(turn)) / Math.SQRT2);
    const step = adam ? rates.map((r, j) => (r * mean[j]) / (1 - 0.9 ** (k + 1))) : slope;
    theta = theta.map((v, j) => v - RATES[rule] * step[j]);
  }
  return out;
}

function kernel(theta, rates) { // entries 11, 12, 22 of the kernel's matrix, with trace one
  const m = [0, 0, 0];
  for (let i = 0; i < 4; i++) {
    const [x, y] = theta.slice(4 + 2 * i), a = theta[i] ** 2;
    m[0] += rates[i] * x * x + rates[4 + 2 * i] * a;
    m[1] += rates[i] * x * y;
    m[2] += rates[i] * y * y + rates[5 + 2 * i] * a;
  }
  return m.map((v) => v / (m[0] + m[2]));
}

// The functions of equal norm: M^(1/2) times a circle, drawn by eigenvectors, with a mean radius of 0.5.
function level([m11, m12, m22], turn) {
  const middle = (m11 + m22) / 2, half = Math.hypot((m11 - m22) / 2, m12), tilt = Math.atan2(2 * m12, m11 - m22) / 2;
  const long = Math.sqrt(middle + half), short = Math.sqrt(Math.max(1e-12, middle - half)), unit = 2 * Math.sqrt(long * short);
  return [0, 1].map((axis) => turn.map((a) => {
    const x = (long / unit) * Math.cos(a), y = (short / unit) * Math.sin(a);
    return axis ? x * Math.sin(tilt) + y * Math.cos(tilt) : x * Math.cos(tilt) - y * Math.sin(tilt);
  }));
}

function tale({ loss, teacher, signs }, rule) {
  const begun = loss.findIndex((v) => v <= 0.9), half = loss.findIndex((v) => v <= 0.5), last = loss.findIndex((v) => v <= 0.001);
  const where = `When a tenth of the loss is gone, step ${begun}, the first layer's direction has the cosine ${teacher[begun].toFixed(2)} with the teacher and ${signs[begun].toFixed(2)} with its signs.`;
  const end = last < 0 ? "The loss does not reach a thousandth here." : `The loss is halved at step ${half} and first below a thousandth at step ${last}.`;
  return `${rule}. ${where} ${end}`;
}

export function render(element, begin, kit) {
  const turn = kit.range(0, 2 * Math.PI, 121);
  kit.live(element, "adam_kernel", begin, {
    controls: [
      { name: "rule", label: "trained by", options: Object.keys(RATES) },
      { name: "angle", min: 5, max: 85, step: 5, words: (v) => `teacher β at ${v}° from the first axis` },
      { name: "step", min: 0, max: STEPS, step: 2, words: (v) => `step shown: ${v}`, play: 0.5 },
    ],
    panels: [340, 300],
    draw({ rule, angle, step }, [plane, clocks], width) {
      const out = path(rule, (angle * Math.PI) / 180), now = Math.min(STEPS, Math.round(step));
      const plain = kernel(out.theta[now], out.theta[now].map(() => 1)), own = kernel(out.theta[now], out.rates[now]);
      const high = 1.3, wide = (high * (width - 76)) / (340 - 76); // one scale on both axes
      plane.axes({
        x: [-wide, wide], y: [-high, high], xticks: [-1, 0, 1], yticks: [-1, 0, 1], title: "functions w · x: path and two kernels",
        xlabel: "w₁", ylabel: "w₂", legend: [["one", "plain"], ["two", "with rates"]], corner: "tl",
      });
      plane.line("faint", [0, 1.2], [0, 1.2]);
      plane.line("three", [0, out.beta[0]], [0, out.beta[1]]);
      plane.say(1.06 * out.beta[0] + 0.03, 1.06 * out.beta[1], "β");
      plane.line("one", ...level(plain, turn), true);
      plane.line("two", ...level(own, turn), true);
      plane.line("ink", out.f.slice(0, now + 1).map((f) => f[0]), out.f.slice(0, now + 1).map((f) => f[1]));
      plane.dots("ink", [out.f[now][0]], [out.f[now][1]], 5);
      const steps = out.loss.map((_, k) => k);
      clocks.axes({
        x: [0, STEPS], y: [0, 1.6], yticks: [0, 0.5, 1], xlabel: "steps", ylabel: "share, cosine",
        legend: [["ink", "loss, start = 1"], ["three", "cosine, teacher β"], ["four", "cosine, signs of β"]],
      });
      clocks.line("faint", [now, now], [0, 1.1]);
      clocks.line("ink", steps, out.loss);
      clocks.line("three", steps, out.teacher);
      clocks.line("four", steps, out.signs);
      const { loss, teacher, signs } = out;
      return { curves: { loss, teacher, signs, function: out.f[now], kernels: [...plain, ...own] }, words: tale(out, rule) };
    },
  });
}
