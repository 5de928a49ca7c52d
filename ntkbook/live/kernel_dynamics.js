// The modes of a power-law spectrum under gradient descent and gradient flow, and their loss.
const MODES = 1000, LAST = 1e4, CAP = 1e6; // as in kernel_dynamics.py

const whole = (last, count) =>
  [...new Set(Array.from({ length: count }, (_, i) => Math.round(last ** (i / (count - 1)))))];
const SHOWN = whole(MODES, 40), STEPS = [0, ...whole(LAST, 61)];
const k = Array.from({ length: MODES }, (_, i) => i + 1);

// What is left of a mode's error after a number of steps, by law; "step" is in units of 1 / r_1, r_1 being the largest rate.
const laws = {
  descent: (rate, step, steps) => (1 - step * rate) ** steps,
  flow: (rate, step, steps) => Math.exp(-step * rate * steps),
};

export function spectrumAt({ spectrum, targets, step }) {
  const rates = k.map((i) => i ** -spectrum), raw = k.map((i) => i ** -targets);
  const total = raw.reduce((a, b) => a + b);
  const power = raw.map((p) => p / total);
  const left = (law, i, steps) => power[i] * Math.min(laws[law](rates[i], step, steps) ** 2, CAP);
  return { power, left, loss: (law, steps) => k.reduce((sum, _, i) => sum + left(law, i, steps), 0) };
}

export function render(element, start, kit) {
  kit.live(element, "kernel_dynamics", start, {
    controls: [
      { name: "time", min: 0, max: STEPS.length - 1, play: 0.25, words: (v) => `${STEPS[Math.floor(v)]} steps of descent` },
      { name: "step", min: 0.1, max: 2.4, step: 0.1, words: (v) => `step η r₁ = ${v.toFixed(1)}` },
      { name: "spectrum", min: 0.5, max: 3, step: 0.1, words: (v) => `rates rᵢ: i to the −ν, ν = ${v.toFixed(1)}` },
      { name: "targets", min: 1.2, max: 3, step: 0.1, words: (v) => `targets' power: i to the −ω, ω = ${v.toFixed(1)}` },
    ],
    panels: [300, 300],
    draw(state, [above, below]) {
      const { power, left, loss } = spectrumAt(state), now = STEPS[Math.floor(state.time)];
      const curves = {};
      for (const law of ["descent", "flow"]) {
        curves[law] = SHOWN.map((i) => left(law, i - 1, now));
        curves[`loss of ${law}`] = STEPS.map((j) => loss(law, j));
      }
      above.axes({
        x: [1, MODES], y: [1e-9, 10], xlog: true, ylog: true, yticks: [1e-8, 1e-6, 1e-4, 1e-2, 1],
        xlabel: "mode i", ylabel: "share of the first loss",
        legend: [["faint", "before training"], ["one dot", "left by descent"], ["two", "left by flow"]],
      });
      above.line("faint", SHOWN, SHOWN.map((i) => power[i - 1]));
      above.line("two", SHOWN, curves.flow);
      above.dots("one", SHOWN, curves.descent);
      const until = STEPS.indexOf(now) + 1; // no further: what comes next is for the reader to predict
      const after = (kind, law) => below.line(kind, STEPS.slice(1, until), curves[`loss of ${law}`].slice(1, until));
      below.axes({
        x: [1, LAST], y: [1e-4, 10], xlog: true, ylog: true, yticks: [1e-4, 1e-2, 1],
        xlabel: "steps", ylabel: "loss / first loss", corner: "bl",
        legend: [["one", "gradient descent"], ["two", "gradient flow"], ["ink dot", "now"]],
      });
      after("one", "descent");
      after("two", "flow");
      const remains = loss("descent", now);
      below.dots("ink", [Math.max(now, 1)], [remains], 5);

      const { step, spectrum, targets } = state;
      const slope = ((targets - 1) / spectrum).toFixed(2), beyond = Math.abs(1 - step);
      const learned = k.filter((_, i) => left("descent", i, now) < 0.01 * power[i]).length;
      const percent = remains > 10 ? "more than ten times the first loss" : `${(100 * remains).toPrecision(2)} % of the loss`;
      const law = beyond > 1 + 1e-9 ? `The step is beyond 2/r₁: mode 1 grows by ${beyond.toFixed(1)} with every step.`
        : beyond > 1 - 1e-9 ? "The step is 2/r₁: mode 1 only changes its sign."
          : now < 100 ? "" : `The exponents alone predict a loss that falls as the power −(ω − 1)/ν = −${slope} of time.`;
      return {
        curves,
        words: now === 0 ? "Before training: the line shows how much there is to learn in each mode. Press Play, or move the first slider."
          : `After ${now} steps ${learned} of ${MODES} modes are learned to within a tenth, and ${percent} is left. ${law}`,
      };
    },
  });
}
