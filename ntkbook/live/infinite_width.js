// The NTK of two inputs against the angle between them: infinite width, and one random network.
const ANGLES = 37;
const W_VAR = 2; // variance of the weights, as W_STD**2 in infinite_width.py

// E[phi(u) phi(v)] and E[phi'(u) phi'(v)] for Gaussians of variance v and covariance c.
const moments = {
  relu(c, v) {
    const cosine = Math.min(1, Math.max(-1, c / v));
    const angle = 1 - Math.abs(cosine) < 1e-14 ? (cosine > 0 ? 0 : Math.PI) : Math.acos(cosine);
    const second = (v * (Math.sin(angle) + (Math.PI - angle) * Math.cos(angle))) / (2 * Math.PI);
    return [second, (Math.PI - angle) / (2 * Math.PI)];
  },
  erf(c, v) {
    const scale = 1 + 2 * v;
    return [
      (2 / Math.PI) * Math.asin((2 * c) / scale),
      4 / Math.PI / Math.sqrt(scale * scale - 4 * c * c),
    ];
  },
};

export function infiniteKernels(activation, depth, cosine) {
  let nngp = W_VAR * cosine, variance = W_VAR, ntk = nngp;
  for (let layer = 0; layer < depth; layer++) {
    const [second, derivative] = moments[activation](nngp, variance);
    variance = W_VAR * moments[activation](variance, variance)[0];
    nngp = W_VAR * second;
    ntk = nngp + W_VAR * derivative * ntk;
  }
  return { nngp, ntk };
}

// erf by Abramowitz & Stegun 7.1.26 (error below 2e-7), for the random network only.
function erf(z) {
  const t = 1 / (1 + 0.3275911 * Math.abs(z));
  const poly = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t;
  return Math.sign(z) * (1 - poly * Math.exp(-z * z));
}

const phi = {
  relu: [(z) => Math.max(0, z), (z) => (z > 0 ? 1 : 0)],
  erf: [erf, (z) => (2 / Math.sqrt(Math.PI)) * Math.exp(-z * z)],
};

// Layer inputs and backward signals of one input; K = sum over layers of products of their Grams.
function signals(dot, weights, [f, slope], x) {
  const inputs = [x], zs = [];
  weights.slice(0, -1).forEach((w) => {
    const g = inputs.at(-1), scale = Math.sqrt(W_VAR / g.length);
    const z = w.map((row) => scale * dot(row, g));
    zs.push(z);
    inputs.push(Float64Array.from(z, f));
  });
  let b = Float64Array.of(1);
  const back = [b];
  for (let l = weights.length - 1; l > 0; l--) {
    const n = inputs[l].length, scale = Math.sqrt(W_VAR / n), next = new Float64Array(n);
    weights[l].forEach((row, i) => { for (let j = 0; j < n; j++) next[j] += row[j] * b[i]; });
    for (let j = 0; j < n; j++) next[j] *= scale * slope(zs[l - 1][j]);
    back.unshift((b = next));
  }
  return { inputs, back };
}

export function randomKernel({ normals, dot }, activation, depth, width, seed, angles) {
  const normal = normals(seed);
  const sizes = [2, ...Array(depth).fill(width), 1];
  const weights = sizes.slice(1).map((rows, l) =>
    Array.from({ length: rows }, () => Float64Array.from({ length: sizes[l] }, normal)));
  const at = (angle) => signals(dot, weights, phi[activation],
    Float64Array.of(Math.SQRT2 * Math.cos(angle), Math.SQRT2 * Math.sin(angle)));
  const first = at(0);
  return angles.map((angle) => {
    const { inputs, back } = at(angle);
    return inputs.reduce((sum, g, l) =>
      sum + (W_VAR / g.length) * dot(first.inputs[l], g) * dot(first.back[l], back[l]), 0);
  });
}

const LOWEST = { relu: -0.2, erf: -1.4 }; // an odd activation has an odd kernel

export function render(element, start, kit) {
  const angles = kit.range(0, Math.PI, ANGLES);
  const degrees = [0, 45, 90, 135, 180].map((a) => [(a * Math.PI) / 180, `${a}°`]);
  let seed = 1;
  kit.live(element, "infinite_width", start, {
    controls: [
      { name: "log2_width", min: 2, max: 9, words: (v) => `width n = ${2 ** v}` },
      { name: "depth", min: 1, max: 6, words: (v) => `hidden layers = ${v}` },
      { name: "activation", options: ["relu", "erf"] },
      { button: "Draw another network", action: () => { seed += 1; } },
    ],
    draw({ activation, depth, log2_width }, [panel]) {
      const curves = angles.map((a) => infiniteKernels(activation, depth, Math.cos(a)));
      const scale = curves[0].ntk;
      const drawn = randomKernel(kit, activation, depth, 2 ** log2_width, seed, angles).map((k) => k / scale);
      const ntk = curves.map((c) => c.ntk / scale), nngp = curves.map((c) => c.nngp / scale);
      panel.axes({
        x: [0, Math.PI], y: [LOWEST[activation], 1.8], xticks: degrees,
        yticks: [-1, -0.5, 0, 0.5, 1, 1.5].filter((k) => k > LOWEST[activation]),
        xlabel: "angle between the two inputs", ylabel: "kernel / NTK at angle 0",
        legend: [["one", "NTK, infinite width"], ["two", "NNGP, infinite width"], ["dot", "NTK of one random network"]],
      });
      panel.line("two", angles, nngp);
      panel.line("one", angles, ntk);
      panel.dots("ink", angles, drawn);

      const error = Math.sqrt(drawn.reduce((s, k, i) => s + (k - ntk[i]) ** 2, 0) / kit.dot(ntk, ntk));
      const layers = depth === 1 ? "1 hidden layer" : `${depth} hidden layers`;
      return {
        curves: { ntk, nngp },
        words: `${activation}, ${layers}, width ${2 ** log2_width}: this network's kernel is ${(100 * error).toFixed(0)} % away from the infinite-width NTK.`,
      };
    },
  });
}
