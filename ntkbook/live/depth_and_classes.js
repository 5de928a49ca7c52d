// Two classes that a ReLU network learns on two clocks, and its kernel. As in depth_and_classes.py.
const POINTS = 401, LAST = 5, STEPS = 600;

// Logits of c in equal steps up to LAST and beyond, and the times at which a class is there.
function clock(c0, L, kit) {
  const low = Math.log(c0 / (1 - c0)), logits = kit.range(low, 10, STEPS + 1), h = (10 - low) / STEPS;
  const slope = ([v]) => [1, 2 / (L * (1 / (1 + Math.exp(-v))) ** (1 - 2 / L))]; // of the logit and of t
  const states = [[low, 0]];
  for (let i = 0; i < STEPS; i++) states.push(kit.rungeKutta(slope, states.at(-1), h));
  return { logits, times: states.map(([, t]) => t) };
}

export function clocks({ layers: L, log10_sigma, uneven }, kit) {
  const sigma = 10 ** log10_sigma, both = [1, 1 - uneven].map((v) => clock((sigma * v) ** L, L, kit));
  const reach = (logit) => both.map((k) => kit.interpolate(logit, k.logits, k.times));
  const at = (t) => both.map((k) => 1 / (1 + Math.exp(-kit.interpolate(t, k.times, k.logits))));
  const size = (c) => c.map((v) => v ** (2 - 2 / L));
  const cosine = (c) => { const [g, h] = size(c); return (g + h) / Math.sqrt(2 * (g * g + h * h)); };
  const c0 = 1 - Math.sqrt(0.5), half = reach(Math.log(c0 / (1 - c0)));
  const t = kit.range(0, Math.max(...reach(LAST)), POINTS), c = t.map(at);
  return {
    t,
    loss: c.map(([a, b]) => ((1 - a) ** 2 + (1 - b) ** 2) / 2),
    class1: c.map((v) => v[0]),
    class2: c.map((v) => v[1]),
    cosine: c.map(cosine),
    size: c.map((v) => { const [g, h] = size(v); return Math.sqrt((g * g + h * h) / 2); }),
    half,
    first: [cosine(at(Math.min(...half)))],
  };
}

const short = (v) => String(Number(v.toPrecision(2)));

export function render(element, start, kit) {
  kit.live(element, "depth_and_classes", start, {
    controls: [
      { name: "layers", min: 2, max: 6, words: (v) => `weight layers L = ${v}` },
      { name: "log10_sigma", min: -3, max: -0.5, step: 0.25, words: (v) => `weight scale σ = ${short(10 ** v)}` },
      { name: "uneven", min: 0, max: 0.2, step: 0.02, words: (v) => `second class starts smaller by ${Math.round(100 * v)} %` },
    ],
    panels: [250, 250],
    draw(state, [learned, kernel]) {
      const curves = clocks(state, kit), { t, half, first } = curves, x = [0, t.at(-1)];
      const marks = (panel) => half.forEach((h) => panel.line("faint", [h, h], [0, 1.05]));
      learned.axes({
        x, y: [0, 1.45], yticks: [0, 0.5, 1], xlabel: "time", ylabel: "share",
        legend: [["ink", "loss, start = 1"], ["one", "learned of class 1"], ["two", "learned of class 2"]], corner: "tl",
      });
      marks(learned);
      learned.line("ink", t, curves.loss);
      learned.line("one", t, curves.class1);
      learned.line("two", t, curves.class2);
      kernel.axes({
        x, y: [0, 1.45], yticks: [0, 0.5, 1], xlabel: "time", ylabel: "kernel",
        legend: [["three", "cosine with its end"], ["four", "size, end = 1"]], corner: "tl",
      });
      marks(kernel);
      kernel.line("four", t, curves.size);
      kernel.line("three", t, curves.cosine);
      const begin = Math.min(...half), late = (100 * (Math.max(...half) - begin)) / begin;
      const verdict = first[0] > 0.95 ? "The kernel is in place before a class is learned." : "The kernel turns when the second class is learned: not silent.";
      const words = `Half of the loss of a class is gone at t = ${half.map((h) => h.toPrecision(3)).join(" and ")}, the second ${late.toFixed(1)} % later. At the first of these times the cosine of the kernel with its end is ${first[0].toFixed(3)}. ${verdict}`;
      return { curves, words };
    },
  });
}
