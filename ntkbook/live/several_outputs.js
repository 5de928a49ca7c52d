// Three modes of a deep linear network, and the tangent kernel that they make. As in several_outputs.py.
const DIM = 30, POINTS = 401, LAST = 5, STEPS = 400;

// Logits of c/s in equal steps up to LAST and beyond, and the times at which a mode is there.
function clock(c0, s, L, kit) {
  const low = Math.log(c0 / (s - c0)), logits = kit.range(low, 14, STEPS + 1), h = (14 - low) / STEPS;
  const slope = ([v]) => [1, 1 / (L * s * (s / (1 + Math.exp(-v))) ** (1 - 2 / L))]; // of the logit and of t
  const states = [[low, 0]];
  for (let i = 0; i < STEPS; i++) states.push(kit.rungeKutta(slope, states.at(-1), h));
  return { logits, times: states.map(([, t]) => t) };
}

function pairs(c, L) {
  const u = c.map((v) => v ** (2 / L)), b = [...u, ...Array(DIM - u.length).fill(0)];
  return u.map((ua) => b.map((ub) => { let k = 0; for (let l = 1; l <= L; l++) k += ua ** (L - l) * ub ** (l - 1); return k; }));
}

const trace = (k) => k[0].map((_, b) => k.reduce((sum, row) => sum + row[b], 0));

export function modes({ s1, second, third, log10_sigma, layers: L, uneven }, kit) {
  const s = [s1, s1 * second, s1 * second * third], sigma = 10 ** log10_sigma;
  const c0 = s.map((_, a) => (sigma * (1 - a * uneven)) ** L), clocks = s.map((v, a) => clock(c0[a], v, L, kit));
  const at = (t) => s.map((v, a) => v / (1 + Math.exp(-kit.interpolate(t, clocks[a].times, clocks[a].logits))));
  const reach = (a, logit) => kit.interpolate(logit, clocks[a].logits, clocks[a].times);
  const t = kit.range(0, Math.max(...s.map((_, a) => reach(a, LAST))), POINTS), c = t.map(at);
  const last = pairs(s, L), half = s.map((_, a) => reach(a, 0));
  const cosine = (a, b) => kit.dot(a, b) / Math.sqrt(kit.dot(a, a) * kit.dot(b, b));
  const full = (now) => cosine(pairs(now, L).flat(), last.flat());
  const total = kit.dot(s, s);
  return {
    t,
    loss: c.map((now) => now.reduce((sum, v, a) => sum + (s[a] - v) ** 2, 0) / total),
    ...Object.fromEntries(s.map((v, a) => [`mode${a + 1}`, c.map((now) => now[a] / v)])),
    full: c.map(full),
    trace: c.map((now) => cosine(trace(pairs(now, L)), trace(last))),
    half,
    first: [full(at(Math.min(...half)))],
  };
}

const short = (v) => String(Number(v.toPrecision(2)));

export function render(element, start, kit) {
  kit.live(element, "several_outputs", start, {
    controls: [
      { name: "s1", min: 1, max: 4, step: 0.25, words: (v) => `first singular value s₁ = ${v}` },
      { name: "second", min: 0.4, max: 1, step: 0.05, words: (v) => `s₂ / s₁ = ${v}` },
      { name: "third", min: 0.4, max: 1, step: 0.05, words: (v) => `s₃ / s₂ = ${v}` },
      { name: "log10_sigma", min: -3, max: -0.75, step: 0.25, words: (v) => `weight scale σ = ${short(10 ** v)}` },
      { name: "layers", min: 2, max: 4, words: (v) => `weight layers L = ${v}` },
      { name: "uneven", min: 0, max: 0.3, step: 0.05, words: (v) => `uneven start ${v}` },
    ],
    panels: [200, 220, 240],
    draw(state, [loss, learned, kernel]) {
      const curves = modes(state, kit), { t, half, first } = curves, x = [0, t.at(-1)];
      const begin = Math.min(...half), marks = (panel) => half.forEach((h) => panel.line("faint", [h, h], [0, 1.05]));
      loss.axes({ x, y: [0, 1.1], yticks: [0, 0.5, 1], xlabel: "time", ylabel: "loss, start = 1" });
      marks(loss);
      loss.line("one", t, curves.loss);
      learned.axes({
        x, y: [0, 1.1], yticks: [0, 0.5, 1], xlabel: "time", ylabel: "learned share",
        legend: [["one", "mode 1"], ["two", "mode 2"], ["three", "mode 3"]], corner: "br",
      });
      marks(learned);
      ["one", "two", "three"].forEach((kind, a) => learned.line(kind, t, curves[`mode${a + 1}`]));
      kernel.axes({
        x, y: [0.4, 1.03], yticks: [0.4, 0.6, 0.8, 1], xlabel: "time", ylabel: "cosine with the end",
        legend: [["ink", "full kernel"], ["four", "trace kernel"]], corner: "br",
      });
      half.forEach((h) => kernel.line("faint", [h, h], [0.4, 1.03]));
      kernel.line("four", t, curves.trace);
      kernel.line("ink", t, curves.full);
      const apart = (Math.max(...half) - begin) / begin;
      const verdict = first[0] > 0.95 ? "The kernel is in place before anything is learned." : "The kernel turns as the modes are learned: not silent.";
      const words = `Modes are half learned at t = ${half.map((h) => h.toPrecision(3)).join(", ")}. At the first of these times the cosine of the full kernel with its end is ${first[0].toFixed(3)}; the last comes ${(100 * apart).toFixed(0)} % later. ${verdict}`;
      return { curves, words };
    },
  });
}
