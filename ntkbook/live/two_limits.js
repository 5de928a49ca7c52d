// Neurons of a two-layer network that learns four points, its readout divided by sqrt(n) or by n.
const X = [-1.2, -0.4, 0.4, 1.2], Y = [-1, 1, -0.5, -0.5], SHARPNESS = 10;
const MOMENTS = 200, LAST = 100, GROWTH = 5, STEP = 0.2, SHOWN = 16, LONGEST = 60;
const SCALINGS = ["1/√n, kernel limit", "1/n, mean field"];

export const timeOf = (moment) => (LAST * Math.expm1((GROWTH * moment) / MOMENTS)) / Math.expm1(GROWTH);

// A network is one array of a, w, b for each neuron; its function is the mean of sqrt(2) a phi(w x + b),
// with phi the softplus of SHARPNESS z, divided by SHARPNESS: a ReLU whose corner is rounded.
const tail = (z) => Math.exp(-SHARPNESS * Math.abs(z)); // by which phi and its slope differ from ReLU's
const phi = (z, e) => Math.max(0, z) + Math.log(1 + e) / SHARPNESS;

function output(net, x) {
  let sum = 0;
  for (let i = 0; i < net.length; i += 3) {
    const z = net[i + 1] * x + net[i + 2];
    sum += net[i] * phi(z, tail(z));
  }
  return (Math.SQRT2 * sum * 3) / net.length;
}

// scale is what multiplies that mean: 1, or sqrt(n) in the kernel limit
function velocity(net, scale) {
  const out = new Float64Array(net.length), zs = new Float64Array(net.length), es = new Float64Array(net.length);
  for (let m = 0; m < X.length; m++) {
    let sum = 0;
    for (let i = 0; i < net.length; i += 3) {
      const z = net[i + 1] * X[m] + net[i + 2], e = tail(z);
      es[i] = e;
      zs[i] = z;
      sum += net[i] * (zs[i + 1] = phi(z, e));
    }
    const f = (scale * Math.SQRT2 * sum * 3) / net.length, pull = (Math.SQRT2 / X.length / scale) * (Y[m] - f);
    for (let i = 0; i < net.length; i += 3) {
      const back = (pull * net[i] * (zs[i] > 0 ? 1 : es[i])) / (1 + es[i]);
      out[i] += pull * zs[i + 1];
      out[i + 1] += back * X[m];
      out[i + 2] += back;
    }
  }
  return out;
}

// Goes on with a list of networks, one for each position of the time slider, as far as asked.
export function advance({ rungeKutta }, states, scale, last) {
  for (let moment = states.length; moment <= last; moment++) {
    const elapsed = timeOf(moment) - timeOf(moment - 1), steps = Math.ceil(elapsed / STEP);
    let net = states.at(-1);
    for (let k = 0; k < steps; k++) net = rungeKutta((net) => velocity(net, scale), net, elapsed / steps);
    states.push(net);
  }
  return states;
}

const kink = (net, i) => Math.max(-1.6, Math.min(1.6, -net[3 * i + 2] / net[3 * i + 1]));
const bend = (net, i) => net[3 * i] * Math.abs(net[3 * i + 1]);
const short = (v) => (v === 0 ? "0" : v < 10 ? v.toPrecision(2) : v.toFixed(0));

export function render(element, start, kit) {
  const paths = new Map(), grid = kit.range(-1.6, 1.6, 65);
  const run = (n, scale, seed, moment) => {
    const name = `${n} ${scale} ${seed}`;
    if (!paths.has(name)) {
      if (paths.size > 5) paths.delete(paths.keys().next().value); // the oldest
      paths.set(name, [Float64Array.from({ length: 3 * n }, kit.normals(seed))]);
    }
    return advance(kit, paths.get(name), scale, moment);
  };
  const bends = [-30, -10, -3, -1, 0, 1, 3, 10, 30].map((v) => [Math.asinh(v), String(v).replace("-", "−")]);

  kit.live(element, "two_limits", start, {
    controls: [
      { name: "scaling", label: "readout divided by", options: SCALINGS },
      { name: "log2_width", min: 4, max: 9, words: (v) => `width n = ${2 ** v}` },
      { name: "moment", min: 0, max: MOMENTS, words: (v) => `time t = ${short(timeOf(v))}`, play: 1 },
      { button: "Draw other neurons", action: (state) => { state.seed += 1; } },
    ],
    panels: [330, 240],
    draw({ scaling, log2_width, moment, seed }, [above, below]) {
      const n = 2 ** log2_width, lazy = scaling === SCALINGS[0], scale = lazy ? Math.sqrt(n) : 1;
      const states = run(n, scale, seed, moment), first = states[0], net = states[moment];
      const all = Array.from({ length: n }, (_, i) => i);
      const f = grid.map((x) => scale * output(net, x));

      above.axes({
        x: [-1.6, 1.6], y: [-Math.asinh(LONGEST), Math.asinh(LONGEST)], yticks: bends,
        xlabel: "where the neuron bends f", ylabel: "a|w₁|: bends f down or up",
        legend: [["one dot", "a neuron"], ["faint", "its way so far"]],
      });
      for (const x of X) above.line("faint", [x, x], [-9, 9]);
      const along = [0, 0.25, 0.5, 0.75, 1].map((share) => states[Math.round(share * moment)]);
      // a neuron that is turned around passes through infinity, where there is no way to draw
      const ways = all.filter((i) => along.every((s) => s[3 * i + 1] * first[3 * i + 1] > 0)).map((i) =>
        "M" + along.map((s) => above.at(kink(s, i), Math.asinh(bend(s, i))).map((v) => v.toFixed(1)).join(" ")).join("L"));
      if (moment) kit.make("path", { class: "faint", d: ways.join("") }, above.inside);
      above.dots("one", all.map((i) => kink(net, i)), all.map((i) => Math.asinh(bend(net, i))), 2.5);

      below.axes({
        x: [-1.6, 1.6], y: [-2, 2], xlabel: "input x", ylabel: "f(x)", yticks: [[-2, "−2"], [-1, "−1"], 0, 1, 2],
        legend: [["one", "network"], ["two dot", "four points to learn"]],
      });
      below.line("one", grid, f);
      below.dots("two", X, Y, 5);

      const length = (v) => Math.sqrt(kit.dot(v, v));
      const moved = length(net.map((v, i) => v - first[i])) / length(first);
      const loss = X.reduce((sum, x, m) => sum + (scale * output(net, x) - Y[m]) ** 2, 0) / (2 * X.length);
      const next = lazy ? "A wider network would move less." : "A wider network would move as far.";
      return {
        curves: { f, bends: all.slice(0, SHOWN).map((i) => bend(net, i)), moved: [moved] },
        words: `Readout divided by ${scaling.split(",")[0].slice(2)}, n = ${n}, t = ${short(timeOf(moment))}: the weights have moved by ${short(100 * moved)} % of their length; the loss is ${loss.toPrecision(2)}.${moment ? ` ${next}` : ""}`,
      };
    },
  });
}
