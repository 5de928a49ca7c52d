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

function normals(seed) { // mulberry32 and Box-Muller
  let state = seed >>> 0;
  const uniform = () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  let spare = null;
  return () => {
    if (spare !== null) { const z = spare; spare = null; return z; }
    const r = Math.sqrt(-2 * Math.log(1 - uniform())), a = 2 * Math.PI * uniform();
    spare = r * Math.sin(a);
    return r * Math.cos(a);
  };
}

const dot = (a, b) => { let s = 0; for (let i = 0; i < a.length; i++) s += a[i] * b[i]; return s; };

// Layer inputs and backward signals of one input; K = sum over layers of products of their Grams.
function signals(weights, [f, slope], x) {
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

export function randomKernel(activation, depth, width, seed, angles) {
  const normal = normals(seed);
  const sizes = [2, ...Array(depth).fill(width), 1];
  const weights = sizes.slice(1).map((rows, l) =>
    Array.from({ length: rows }, () => Float64Array.from({ length: sizes[l] }, normal)));
  const at = (angle) => signals(weights, phi[activation],
    Float64Array.of(Math.SQRT2 * Math.cos(angle), Math.SQRT2 * Math.sin(angle)));
  const first = at(0);
  return angles.map((angle) => {
    const { inputs, back } = at(angle);
    return inputs.reduce((sum, g, l) =>
      sum + (W_VAR / g.length) * dot(first.inputs[l], g) * dot(first.back[l], back[l]), 0);
  });
}

const H = 330, LEFT = 56, RIGHT = 24, TOP = 14, BOTTOM = 46, HIGHEST = 1.8;
const LOWEST = { relu: -0.2, erf: -1.4 }; // an odd activation has an odd kernel

function make(tag, attributes, parent, text) {
  const svg = ["svg", "path", "circle", "text", "g", "title"].includes(tag);
  const e = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
  if (text !== undefined) e.textContent = text;
  parent.append(e);
  return e;
}

export function render(element, start) {
  const state = { ...start, seed: 1 };
  const angles = Array.from({ length: ANGLES }, (_, i) => (Math.PI * i) / (ANGLES - 1));
  const controls = make("div", { class: "controls" }, element);
  controls.addEventListener("keydown", (event) => { // else JupyterLab takes arrows and letters for shortcuts
    if (!(event.ctrlKey || event.metaKey || event.altKey)) event.stopPropagation();
  });

  function slider(name, min, max, words) {
    const label = make("label", {}, controls);
    const text = make("span", {}, label);
    const input = make("input", { type: "range", min, max, step: 1, value: state[name] }, label);
    const say = () => {
      text.textContent = words(state[name]);
      input.setAttribute("aria-valuetext", words(state[name]));
    };
    input.addEventListener("input", () => { state[name] = Number(input.value); say(); draw(); });
    say();
  }
  slider("log2_width", 2, 9, (v) => `width n = ${2 ** v}`);
  slider("depth", 1, 6, (v) => `hidden layers = ${v}`);
  const pick = make("select", {}, make("label", {}, controls, "activation"));
  for (const name of ["relu", "erf"]) make("option", { value: name }, pick, name);
  pick.value = state.activation;
  pick.addEventListener("change", () => { state.activation = pick.value; draw(); });
  const again = make("button", { type: "button" }, controls, "Draw another network");
  again.addEventListener("click", () => { state.seed += 1; draw(); });

  const svg = make("svg", { role: "img" }, element);
  const title = make("title", {}, svg);
  const frame = make("g", {}, svg);
  const nngp = make("path", { class: "two" }, svg), ntk = make("path", { class: "one" }, svg);
  const dots = make("g", {}, svg);
  const said = make("output", {}, element);

  function drawFrame(W, X, Y) {
    frame.replaceChildren();
    make("path", { class: "axis", d: `M${LEFT} ${TOP}V${H - BOTTOM}H${W - RIGHT}M${LEFT} ${Y(0)}H${W - RIGHT}` }, frame);
    for (const degrees of [0, 45, 90, 135, 180])
      make("text", { x: X((degrees * Math.PI) / 180), y: H - BOTTOM + 18, "text-anchor": "middle" }, frame, `${degrees}°`);
    for (const k of [-1, -0.5, 0, 0.5, 1, 1.5].filter((k) => k > LOWEST[state.activation]))
      make("text", { x: LEFT - 8, y: Y(k) + 4, "text-anchor": "end" }, frame, k);
    make("text", { x: (W + LEFT) / 2, y: H - 6, "text-anchor": "middle" }, frame, "angle between the two inputs");
    const middle = (H - BOTTOM) / 2;
    make("text", { x: 14, y: middle, "text-anchor": "middle", transform: `rotate(-90 14 ${middle})` }, frame, "kernel / NTK at angle 0");
    const legend = [["one", "NTK, infinite width"], ["two", "NNGP, infinite width"], ["dot", "NTK of one random network"]];
    legend.forEach(([kind, words], i) => {
      const y = TOP + 12 + 20 * i;
      if (kind === "dot") make("circle", { class: kind, cx: W - 222, cy: y, r: 3.5 }, frame);
      else make("path", { class: kind, d: `M${W - 238} ${y}h32` }, frame);
      make("text", { x: W - 198, y: y + 4 }, frame, words);
    });
  }

  function draw() {
    const { activation, depth, log2_width, seed } = state, lowest = LOWEST[activation];
    const W = Math.max(320, Math.min(640, element.clientWidth)); // text keeps its size on a phone
    const X = (angle) => LEFT + ((W - LEFT - RIGHT) * angle) / Math.PI;
    const Y = (k) => H - BOTTOM
      - ((H - TOP - BOTTOM) * (Math.min(HIGHEST, Math.max(lowest, k)) - lowest)) / (HIGHEST - lowest);
    svg.setAttribute("viewBox", `0 0 ${W} ${H}`);
    drawFrame(W, X, Y);

    const curves = angles.map((a) => infiniteKernels(activation, depth, Math.cos(a)));
    const scale = curves[0].ntk;
    const drawn = randomKernel(activation, depth, 2 ** log2_width, seed, angles).map((k) => k / scale);
    const values = { ntk: curves.map((c) => c.ntk / scale), nngp: curves.map((c) => c.nngp / scale) };
    const line = (ks) => "M" + ks.map((k, i) => `${X(angles[i]).toFixed(2)} ${Y(k).toFixed(2)}`).join("L");
    ntk.setAttribute("d", line(values.ntk));
    nngp.setAttribute("d", line(values.nngp));
    dots.replaceChildren();
    drawn.forEach((k, i) => make("circle", { class: "dot", cx: X(angles[i]), cy: Y(k), r: 3.5 }, dots));

    const norm = Math.sqrt(dot(values.ntk, values.ntk));
    const error = Math.sqrt(drawn.reduce((s, k, i) => s + (k - values.ntk[i]) ** 2, 0)) / norm;
    said.textContent = `This network's kernel is ${(100 * error).toFixed(0)} % away from the infinite-width NTK.`;
    const layers = depth === 1 ? "1 hidden layer" : `${depth} hidden layers`;
    title.textContent = `${activation}, ${layers}, width ${2 ** log2_width}. ${said.textContent}`;
    const { seed: _, ...check } = state;
    element.value = { check: { module: "infinite_width", state: check, curves: values }, drawn, error };
  }

  let width = element.clientWidth;
  new ResizeObserver(() => {
    if (element.clientWidth !== width) { width = element.clientWidth; draw(); }
  }).observe(element);
  draw();
}
