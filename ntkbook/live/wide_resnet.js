// A kept run of a wide residual network, and regression with one of its kernels. As in wide_resnet.py.
const KERNELS = { initial: "by_initial", "half of the loss": "by_half", final: "by_final" };

function correlation(a, b) {
  const mean = (v) => v.reduce((s, x) => s + x, 0) / v.length, ma = mean(a), mb = mean(b);
  const product = (u, mu, v, mv) => u.reduce((s, x, i) => s + (x - mu) * (v[i] - mv), 0);
  return product(a, ma, b, mb) / Math.sqrt(product(a, ma, a, ma) * product(b, mb, b, mb));
}

export function render(element, start, kit) {
  const { kept } = start;
  kit.live(element, "wide_resnet", start, {
    controls: [
      { name: "run", label: "network", options: Object.keys(kept) },
      { name: "kernel", label: "kernel", options: Object.keys(KERNELS) },
    ],
    panels: [300, 330],
    draw({ run, kernel }, [clocks, dots]) {
      const { steps, loss, turned, centred, outputs, ...rest } = kept[run], predicted = rest[KERNELS[kernel]];
      const t = steps.map((s) => s / steps.at(-1)), half = loss.findIndex((v) => v <= 0.5), begun = loss.findIndex((v) => v <= 0.9);
      clocks.axes({
        x: [0, 1], y: [0, 1.5], xticks: [0, 0.25, 0.5, 0.75, 1], yticks: [0, 0.5, 1], xlabel: "time, end = 1", ylabel: "share, cosine",
        legend: [["one", "loss, start = 1"], ["two", "kernel with its end"], ["three", "alignment, centred"]],
      });
      clocks.line("faint", [t[half], t[half]], [0, 1.05]);
      clocks.line("one", t, loss);
      clocks.line("two", t, turned);
      clocks.line("three", t, centred);
      const reach = 1.1 * Math.max(...outputs.map(Math.abs), ...predicted.map(Math.abs)), r = correlation(outputs, predicted);
      const ticks = [-1, 0, 1].map((v) => v * Number((reach / 1.5).toPrecision(1)));
      dots.axes({ x: [-reach, reach], y: [-reach, reach], xticks: ticks, yticks: ticks, xlabel: "trained network, test points", ylabel: "kernel regression" });
      dots.line("faint", [-reach, reach], [-reach, reach]);
      dots.dots("two", outputs, predicted);
      return {
        curves: { loss, turned, centred, predicted, correlation: [r] },
        words: `With nine tenths of the loss left, the kernel's cosine with its end is ${turned[begun].toFixed(2)}; with half left, ${turned[half].toFixed(2)}. `
          + `Regression with the ${kernel === "half of the loss" ? "kernel at half of the loss" : `${kernel} kernel`} has correlation ${r.toFixed(3)} with the network.`,
      };
    },
  });
}
