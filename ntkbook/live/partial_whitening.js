// Regression with the final kernel between white and raw data, from the table that is kept.
const plain = (v) => String(Number(v.toPrecision(2)));

export function verdict(curve, initial, sigma) { // what happens to the error between sigma = 0.1 and the smallest
  if (sigma === 0) return "The start is large: neither kernel is the network's.";
  const ratio = curve.at(-1) / curve[2];
  const tendency = ratio < 0.5 ? "falls with σ: the alignment becomes silent" : ratio > 1.05 ? "rises as σ falls: no smaller start cures it" : "comes to rest: a smaller start does not help";
  return `From σ = 0.1 down, this error ${tendency}.`;
}

export function render(element, start, kit) {
  const { data } = start;
  kit.live(element, "partial_whitening", start, {
    controls: [
      { name: "g", min: 0, max: 4, words: (i) => `data: g = ${data.g[i]}${i === 0 ? ", white" : i === 4 ? ", raw" : ""}` },
      { name: "h", min: 0, max: 3, words: (i) => `teacher: h = ${data.h[i]}${i === 0 ? ", labels at random" : i === 3 ? ", along the first axes" : ""}` },
      { name: "sigma", min: 0, max: 5, words: (i) => `weight scale σ = ${data.sigma[i]}` },
    ],
    panels: [300, 320],
    draw({ g, h, sigma }, [curves, tasks]) {
      const final = data.final[h][g], initial = data.initial[h][g], sd = data.sd[h][g];
      curves.axes({
        x: [0.0025, 1.2], xlog: true, xticks: [[0.003, "0.003"], [0.01, "0.01"], [0.03, "0.03"], [0.1, "0.1"], [0.3, "0.3"], [1, "1"]],
        y: [0, 0.85], yticks: [0, 0.2, 0.4, 0.6], xlabel: "weight scale σ", ylabel: "error of the kernel",
        legend: [["one", "final kernel"], ["two", "initial kernel"], ["faint", "final kernel, white data"]], corner: "tl",
      });
      curves.line("faint", data.sigma, data.final[h][0]);
      curves.line("two", data.sigma, initial);
      data.sigma.forEach((s, i) => curves.line("one", [s, s], [final[i] - sd[i], final[i] + sd[i]]));
      curves.line("one", data.sigma, final);
      curves.dots("one", [data.sigma[sigma]], [final[sigma]], 6);
      const left = data.left.flat(), errors = data.final.flatMap((row) => row.map((cell) => cell[sigma]));
      tasks.axes({
        x: [-0.02, 0.78], xticks: [0, 0.2, 0.4, 0.6], y: [0, 0.55], yticks: [0, 0.2, 0.4],
        xlabel: "share of the loss that the first pulls leave, 1 − χ²", ylabel: "error, final kernel",
        legend: [["two dot", "the twenty tasks"], ["one dot", "the chosen one"], ["faint", "fit at σ = 0.01"]], corner: "tl",
      });
      const xs = kit.range(0, 0.78, 60), [factor, exponent] = data.fit;
      tasks.line("faint", xs, xs.map((x) => factor * x ** exponent));
      tasks.dots("two", left, errors, 4);
      tasks.dots("one", [data.left[h][g]], [final[sigma]], 6);
      const words = `σ = ${data.sigma[sigma]}: error ${plain(final[sigma])} with the final kernel, ${plain(initial[sigma])} with the initial one; the first pulls leave ${plain(100 * data.left[h][g])} % of the loss. ${verdict(final, initial, sigma)}`;
      return { curves: { final, initial, left, errors }, words };
    },
  });
}
