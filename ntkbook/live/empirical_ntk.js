// Operations and memory of the empirical tangent kernel, by the formulas of `costs` in empirical_ntk.py.
const INPUTS = 784;
const WAYS = ["Jacobian", "columns", "layers", "by hand"];
const KINDS = ["two", "three", "one", "four"];
const LIMIT = 16e9; // bytes of a common accelerator

export function costs(p, d, n, depth, c) {
  const hidden = depth * n, upper = (depth - 1) * n * n + n * c, weights = n * d + upper;
  const forward = 2 * p * weights, backward = 2 * p * c * upper;
  const grams = 2 * p * p * (d + hidden) + 2 * p * p * c * c * hidden;
  const layers = [forward + backward + grams, (1 + c) * p * hidden + 2 * p * p * c * c];
  const table = [
    [2 * p * p * c * c * weights + forward + backward + 2 * p * c * weights,
      p * c * Math.max(n * d, depth > 1 ? n * n : 0, n * c)],
    [p * c * (2 * p * (2 * weights + upper) + 4 * weights + 2 * upper), weights + p * hidden],
    layers,
  ];
  if (depth === 1) table.push([2 * p * n * d + grams, layers[1]]);
  const held = weights + p * d + p * p * c * c;
  return { operations: table.map((t) => t[0]), bytes: table.map((t) => 4 * (t[1] + held)), kernel: 4 * p * p * c * c };
}

const short = (v) => Number(v.toPrecision(2)).toLocaleString("en", { maximumSignificantDigits: 2 });

function amount(v, unit) { // 1.2 GB, 350 M
  const step = Math.max(0, Math.min(8, Math.floor(Math.log10(v) / 3 + 1e-12)));
  return `${short(v / 1000 ** step)} ${["", "k", "M", "G", "T", "P", "E", "Z", "Y"][step]}${unit}`.trim();
}

function bars(panel, values, unit, title, ylabel) {
  const low = 10 ** (Math.floor(Math.log10(Math.min(...values))) - 1);
  const high = 10 ** (Math.ceil(Math.log10(Math.max(...values))) + 0.6);
  panel.axes({
    x: [0, 4], y: [low, high], ylog: true, title, xlabel: "way to compute the kernel", ylabel,
    xticks: WAYS.map((name, i) => [i + 0.5, name]),
  });
  values.forEach((v, i) => {
    panel.bar(KINDS[i], i + 0.2, i + 0.8, v);
    panel.say(i + 0.5, v * (high / low) ** 0.025, amount(v, unit), "middle");
  });
  if (values.length < 4) ["one hidden", "layer only"].forEach((text, i) =>
    panel.say(3.5, low * (high / low) ** (0.13 - 0.08 * i), text, "middle"));
  return [low, high];
}

export function render(element, start, kit) {
  kit.live(element, "empirical_ntk", start, {
    controls: [
      { name: "log2_points", min: 4, max: 16, words: (v) => `images P = ${(2 ** v).toLocaleString("en")}` },
      { name: "log2_width", min: 4, max: 13, words: (v) => `width n = ${2 ** v}` },
      { name: "depth", min: 1, max: 8, words: (v) => `hidden layers = ${v}` },
      { name: "log10_outputs", min: 0, max: 3, words: (v) => `outputs C = ${10 ** v}` },
    ],
    panels: [260, 260],
    draw({ log2_points, log2_width, depth, log10_outputs }, [above, below]) {
      const { operations, bytes, kernel } = costs(2 ** log2_points, INPUTS, 2 ** log2_width, depth, 10 ** log10_outputs);
      bars(above, operations, "", "floating-point operations", "operations");
      const [low, high] = bars(below, bytes, "B", "memory, float32", "bytes");
      if (LIMIT > low && LIMIT < high) {
        below.line("ink", [0, 4], [LIMIT, LIMIT]);
        below.say(4, LIMIT * (high / low) ** 0.02, "16 GB", "end");
      }
      const three = operations.slice(0, 3), best = three.indexOf(Math.min(...three));
      const against = (list, what) => list[0] >= list[2]
        ? `${short(list[0] / list[2])} times ${what[0]}` : `${short(list[2] / list[0])} times ${what[1]}`;
      const fits = bytes.slice(0, 3).map((b) => b <= LIMIT), count = fits.filter(Boolean).length;
      const names = ["the Jacobian", "columns", "layers"].filter((_, i) => fits[i]).join(" and ");
      const winner = best === 2 ? "" : ` The fewest operations: ${["the Jacobian", "columns"][best]}.`;
      const room = kernel > LIMIT ? `The kernel alone takes ${amount(kernel, "B")}: compute it in blocks of rows.`
        : count === 3 ? "All fit into 16 GB." : count === 0 ? "None fits into 16 GB." : `Into 16 GB fit: ${names}.`;
      return {
        curves: { operations, bytes },
        words: `Layer by layer takes ${against(operations, ["fewer operations"])} and ${against(bytes, ["less memory", "more memory"])} than the Jacobian.${winner} ${room}`,
      };
    },
  });
}
