// A map of widths and output scales with a point to move, and the loss and the kernel at that point.
// Numbers come from leaving_tangent_space.py as logarithms, in thousandths of a decade.
const LEFT = 0.3; // change of the kernel at which the network has left its tangent space
const real = (v) => (Array.isArray(v) ? v.map(real) : 10 ** (v / 1000));
const short = (v) => (v >= 10 ? v.toFixed(0) : v >= 1 ? v.toFixed(1) : v >= 0.01 ? String(Number(v.toPrecision(1))) : v.toExponential(0).replace("-", "−"));
const said = (v) => (v >= 100 ? v.toFixed(0) : String(Number(v.toPrecision(2))));

export function render(element, { data, ...start }, kit) {
  const { widths, alphas, seeds, left } = data, t = real(data.t), star = real(data.star);
  const half = { n: Math.SQRT2, a: (alphas[1] / alphas[0]) ** 0.5 }; // of a cell, as a factor
  const change = data.kernel.map((row) => row.map((curve) => real(curve.at(-1))));

  function map(panel, state) {
    panel.axes({
      x: [widths[0] / half.n, widths.at(-1) * half.n], y: [alphas[0] / half.a, alphas.at(-1) * half.a],
      xlog: true, ylog: true, xticks: widths, yticks: [0.01, 0.1, 1, 10, 100],
      xlabel: "width n", ylabel: "output scale α", title: "|K − K₀| / |K₀| at the end of training",
    });
    const edge = (n, a) => {
      const [x0, y0] = panel.at(n / half.n, a * half.a), [x1, y1] = panel.at(n * half.n, a / half.a);
      return { x: x0, y: y0, width: x1 - x0, height: y1 - y0 };
    };
    const numbers = []; // drawn last, in front of the line
    widths.forEach((n, i) => alphas.forEach((a, j) => {
      const far = Math.min(1, Math.abs(Math.log10(change[i][j] / LEFT)) / 2.5);
      const fill = `fill: var(--${change[i][j] > LEFT ? "two" : "one"}); fill-opacity: ${(0.06 + 0.4 * far).toFixed(2)}`;
      kit.make("rect", { ...edge(n, a), style: `${fill}; stroke: none` }, panel.inside);
      const [x, y] = panel.at(n, a);
      numbers.push([x, y + 4, short(change[i][j])]);
    }));
    const ends = [widths[0] / half.n, widths.at(-1) * half.n];
    panel.line("ink", ends, ends.map((n) => star / Math.sqrt(n))).style.strokeOpacity = 0.5; // under the numbers
    for (const [x, y, text] of numbers) kit.make("text", { x, y, "text-anchor": "middle" }, panel.inside, text);
    kit.make("rect", { ...edge(widths[state.width], alphas[state.alpha]), class: "ink", style: "stroke-width: 3.5" }, panel.inside);
    if (panel.svg.style.cursor) return;
    panel.svg.style.cursor = "pointer"; // a click, or a drag, moves the sliders
    const sliders = element.querySelectorAll("input[type=range]");
    const nearest = (list, distance) => list.map(distance).reduce((best, d, i, all) => (d < all[best] ? i : best), 0);
    const move = (event) => {
      if (event.type === "pointermove" && !event.buttons) return;
      const box = panel.svg.getBoundingClientRect(), unit = panel.svg.viewBox.baseVal.width / box.width;
      const x = (event.clientX - box.left) * unit, y = (event.clientY - box.top) * unit;
      const found = [
        nearest(widths, (n) => Math.abs(panel.at(n, 1)[0] - x)),
        nearest(alphas, (a) => Math.abs(panel.at(widths[0], a)[1] - y)),
      ];
      found.forEach((value, i) => {
        if (Number(sliders[i].value) === value) return;
        sliders[i].value = value;
        sliders[i].dispatchEvent(new Event("input"));
      });
    };
    for (const type of ["pointerdown", "pointermove"]) panel.svg.addEventListener(type, move);
  }

  function curve(panel, kind, logs, sd, until, marks, axes) {
    panel.axes({ x: [t[0], t.at(-1)], xlog: true, ylog: true, xlabel: "time t", ...axes });
    const shown = t.map((v, i) => i).filter((i) => t[i] <= until);
    const around = (sign) => shown.map((i) => panel.at(t[i], real(logs[i] + sign * sd[i])));
    const d = "M" + [...around(1), ...around(-1).reverse()].map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L") + "Z";
    kit.make("path", { d, style: `fill: var(--${kind}); fill-opacity: 0.2; stroke: none` }, panel.inside);
    panel.line(kind, shown.map((i) => t[i]), shown.map((i) => real(logs[i])));
    for (const [mark, at] of marks) panel.line(mark, [at, at], axes.y);
  }

  kit.live(element, "leaving_tangent_space", start, {
    controls: [
      { name: "width", min: 0, max: widths.length - 1, words: (i) => `width n = ${widths[i]}` },
      { name: "alpha", min: 0, max: alphas.length - 1, words: (j) => `output scale α = ${said(alphas[j])}` },
    ],
    panels: [340, 230, 250],
    draw(state, [plane, above, below]) {
      const { width: i, alpha: j } = state, n = widths[i];
      const [t1, tHalf, tLazy, end] = [data.t_1[i][j], data.t_half[i][j], data.t_half[i][data.lazy], data.t_end[i][j]].map(real);
      const leaves = left[i][j] > seeds / 2;
      const marks = [["ink", tLazy], ...(leaves ? [["four", t1]] : [])];
      const legend = [["ink", "lazy time"], ...(leaves ? [["four", "t₁"]] : [])];
      map(plane, state);
      curve(above, "one", data.loss[i][j], data.loss_sd[i][j], end, marks,
        { y: [5e-4, 1.5], ylabel: "loss", yticks: [0.001, 0.01, 0.1, 1], legend: [["one", "loss"], ...legend] });
      curve(below, "two", data.kernel[i][j], data.kernel_sd[i][j], end, marks,
        { y: [1e-5, 4e3], ylabel: "change of the kernel", legend: [["two", "|K − K₀| / |K₀|"], ...legend], corner: "tl" });
      below.line("faint", [t[0], t.at(-1)], [LEFT, LEFT]);

      const where = `n = ${n}, α = ${said(alphas[j])}`, last = said(change[i][j]), halved = `the loss is halved at t = ${said(tHalf)}`;
      const words = !leaves ? `${where}: lazy. The kernel has changed by only ${last} when training ends; ${halved}.`
        : t1 < tLazy ? `${where}: feature training. The kernel has changed by 0.3 at t₁ = ${said(t1)}, before the lazy time, ${said(tLazy)}; ${halved}. At the end it has changed by ${last}.`
          : `${where}: in between. ${halved[0].toUpperCase()}${halved.slice(1)}, and only later, at t₁ = ${said(t1)}, has the kernel changed by 0.3; at the end by ${last}.`;
      return { curves: { loss: real(data.loss[i][j]), kernel: real(data.kernel[i][j]), times: [t1, tHalf, tLazy] }, words };
    },
  });
}
