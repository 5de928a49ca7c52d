// Learning curves on a second task: a kernel with a spike along the first task, and an isotropic one. As in transfer.py.
const DIM = 60, SPIKES = [0, 0.5, 1, 2, 3, 5, 10, 20, 50, 100], POINTS = 100;

export function errorAt(P, spike, overlap, ridge) {
  let kappa = ridge + DIM + spike, error;
  for (let i = 0; i < 61; i++) { // Newton from above; the last pass leaves kappa where it is
    const along = (1 + spike) * P + kappa, across = P + kappa;
    const share = (1 + spike) / along + (DIM - 1) / across;
    const rest = ridge + kappa ** 2 * ((1 + spike) / along ** 2 + (DIM - 1) / across ** 2);
    error = (kappa ** 3 / rest) * (overlap ** 2 / along ** 2 + (1 - overlap ** 2) / across ** 2);
    kappa *= rest / (Math.max(kappa - ridge - kappa * share, 0) + rest);
  }
  return error;
}

const plain = (v) => String(Number(v.toPrecision(1 + (v > 1)))), digits = (v) => (v < 0.01 ? v.toExponential(1) : v.toFixed(3));

export function render(element, start, kit) {
  const P = Array.from({ length: POINTS + 1 }, (_, i) => i);
  kit.live(element, "transfer", start, {
    controls: [
      { name: "spike", min: 0, max: SPIKES.length - 1, words: (i) => `spike of the kernel A = ${SPIKES[i]}` },
      { name: "overlap", min: 0, max: 1, step: 0.05, words: (v) => `overlap of the tasks α = ${v.toFixed(2)}` },
      { name: "log10_ridge", min: -4, max: 2, step: 0.5, words: (v) => `ridge λ = ${plain(10 ** v)}` },
      { name: "points", min: 1, max: POINTS, words: (v) => `examples P = ${v}` },
    ],
    draw({ spike, overlap, log10_ridge, points }, [panel]) {
      const ridge = 10 ** log10_ridge, A = SPIKES[spike];
      const turned = P.map((p) => errorAt(p, A, overlap, ridge)), isotropic = P.map((p) => errorAt(p, 0, overlap, ridge));
      const chosen = [turned[points], isotropic[points]], [now, then] = chosen;
      panel.axes({
        x: [0, POINTS], y: [0, Math.max(1.2, 1.05 * Math.max(...turned))], xlabel: "examples P of the second task",
        ylabel: "test error", legend: [["one", `turned, A = ${A}`], ["two", "isotropic, A = 0"]],
      });
      panel.line("faint", [points, points], [0, 1.1]);
      panel.line("one", P, turned);
      panel.line("two", P, isotropic);
      panel.dots("one", [points], [now], 4.5);
      panel.dots("two", [points], [then], 4.5);
      const share = Math.abs(1 - now / then), percent = `${(100 * share).toPrecision(2)} %`;
      const verdict = A === 0 ? "With A = 0 the two are one kernel."
        : share < 0.001 ? "Transfer makes no difference."
          : now < then ? `Transfer helps: the error is ${percent} lower.` : `Transfer harms: the error is ${percent} higher.`;
      return {
        curves: { turned, isotropic, chosen },
        words: `A = ${A}, α = ${overlap.toFixed(2)}, λ = ${plain(ridge)}: from ${points} examples the turned kernel leaves ${digits(now)} of the error, the isotropic one ${digits(then)}. ${verdict}`,
      };
    },
  });
}
