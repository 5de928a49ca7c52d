// Two training examples: their predictions in the plane, by gradient flow and by gradient descent.
const T_MAX = 20, TIMES = 201; // as in function_space.py; the target is (1, 0), the start (0, 0)

// The share of the residual that is left, along (1, 1) and along (1, -1): both start from 1/2.
const shares = (c) => [1 + c, 1 - c].map((value) => value / (1 + Math.abs(c)));
const predictions = (left) => ({
  f1: left.map(([p, m]) => 1 - (p + m) / 2),
  f2: left.map(([p, m]) => (m - p) / 2),
  loss: left.map(([p, m]) => (p * p + m * m) / 8),
});

export function paths(overlap, step) {
  const rates = shares(overlap);
  const t = Array.from({ length: TIMES }, (_, i) => (T_MAX * i) / (TIMES - 1));
  const k = Array.from({ length: Math.floor(T_MAX / step + 1e-9) + 1 }, (_, i) => i);
  return {
    t, steps: k.map((i) => i * step),
    flow: predictions(t.map((time) => rates.map((rate) => Math.exp(-rate * time)))),
    descent: predictions(k.map((i) => rates.map((rate) => (1 - step * rate) ** i))),
  };
}

function tale(overlap, step, { flow, descent, steps }) {
  const furthest = flow.f2.reduce((a, b) => (Math.abs(b) > Math.abs(a) ? b : a), 0);
  const pulled = overlap === 0
    ? "Overlap 0: the second prediction, right at the start, stays where it is, and the path is straight."
    : `Overlap ${overlap}: the second prediction, right at the start, is ${overlap > 0 ? "pulled up" : "pushed down"} to ${furthest.toFixed(2)} before it returns.`;
  if (step > 2) return `${pulled} With steps above 2 descent does not arrive: it leaves along the fast line.`;
  if (step === 2) return `${pulled} With steps of 2 descent jumps to and fro along the fast line for ever.`;
  const there = predictions(steps.map((time) => shares(overlap).map((rate) => Math.exp(-rate * time))));
  const gap = Math.max(...steps.map((_, i) => Math.hypot(there.f1[i] - descent.f1[i], there.f2[i] - descent.f2[i])));
  return `${pulled} Descent ${step > 1 ? "jumps across the target and back, " : "is "}up to ${gap.toFixed(2)} away from the flow${step > 1 ? ", and still arrives." : "."}`;
}

export function render(element, start, kit) {
  kit.live(element, "function_space", start, {
    controls: [
      { name: "overlap", min: -0.9, max: 0.9, step: 0.1, words: (v) => `overlap of the two gradients = ${v}` },
      { name: "step", min: 0.1, max: 2.5, step: 0.1, words: (v) => `step, in units of P/λmax = ${v}` },
    ],
    panels: [390, 230],
    draw({ overlap, step }, [plane, losses], width) {
      const drawn = paths(overlap, step), { t, steps, flow, descent } = drawn;
      const shape = (width - 76) / (390 - 76), half = Math.max(0.8, 0.75 * shape); // one scale on both axes
      const x = [0.42 - half, 0.42 + half], y = [-half / shape, half / shape];
      plane.axes({
        x, y, xticks: [0, 0.5, 1], yticks: [-0.5, 0, 0.5], xlabel: "prediction f(x₁)", ylabel: "prediction f(x₂)",
        title: "solid: flow; dashed: descent; -·-: eigenvectors",
      });
      for (const radius of [0.25, 0.5, 0.75, 1]) { // the arc that is inside the axes
        const first = Math.acos(Math.min(1, (x[1] - 1) / radius));
        const turn = kit.range(first, 2 * Math.PI - first, 73);
        plane.line("faint", turn.map((a) => 1 + radius * Math.cos(a)), turn.map((a) => radius * Math.sin(a)));
      }
      if (overlap !== 0) {
        const sign = Math.sign(overlap);
        for (const [direction, name] of [[sign, "fast"], [-sign, "slow"]]) {
          const end = Math.min(0.7, x[1] - 1);
          plane.line("three", [0.3, 1 + end], [-0.7 * direction, end * direction]);
          plane.say(0.4, -0.66 * direction + (direction > 0 ? -0.06 : 0.06), name);
        }
      }
      plane.line("one", flow.f1, flow.f2);
      plane.line("two", descent.f1, descent.f2);
      plane.dots("two", descent.f1, descent.f2);
      plane.dots("ink", [0, 1], [0, 0], 5);
      plane.say(0, -0.12, "start", "middle");
      plane.say(1.05, -0.12, "y");

      losses.axes({
        x: [0, T_MAX], y: [1e-6, 10], ylog: true, xlabel: "time, in units of P/λmax", ylabel: "loss",
        legend: [["one", "flow"], ["two dot", "descent"]], corner: "bl",
      });
      const floor = (values) => values.map((v) => Math.max(v, 1e-9));
      losses.line("one", t, floor(flow.loss));
      losses.dots("two", steps, floor(descent.loss));
      return {
        curves: {
          flow_1: flow.f1, flow_2: flow.f2, flow_loss: flow.loss,
          descent_1: descent.f1, descent_2: descent.f2, descent_loss: descent.loss,
        },
        words: tale(overlap, step, drawn),
      };
    },
  });
}
