// Test error of single networks and of committees against the scale of the output, from the kept grid.
const percent = (v) => v.toFixed(1);

// Which regime has the smaller error, and by how many standard errors over the initial weights.
export function verdict(gap, sd) {
  const size = Math.abs(gap) / Math.max(sd, 1e-9);
  if (size < 2) return `no winner: the difference, ${percent(Math.abs(gap))} points, is ${size.toFixed(1)} standard errors`;
  return `${gap < 0 ? "lazy" : "feature"} training wins by ${percent(Math.abs(gap))} points, ${size > 10 ? "over 10" : size.toFixed(1)} standard errors`;
}

export function render(element, start, kit) {
  const { grid } = start, [feature, lazy] = grid.ends;
  kit.live(element, "which_regime", start, {
    controls: [
      { name: "log2_width", min: 4, max: 11, words: (v) => `width n = ${2 ** v}` },
      { name: "log2_size", min: 0, max: 3, words: (v) => `networks averaged = ${2 ** v}` },
      { name: "axis", label: "against", options: ["alpha", "sqrt(n) alpha"] },
    ],
    draw({ log2_width, log2_size, axis }, [panel]) {
      const scaled = axis !== "alpha", size = 2 ** log2_size, own = log2_width - 4;
      const xs = (w) => grid.alphas.map((a) => (scaled ? Math.sqrt(2 ** (w + 4)) * a : a));
      const curve = (w, k) => grid.error[w].map((row) => row[k]);
      panel.axes({
        x: scaled ? [0.03, 6000] : [0.008, 125], xlog: true, y: [2, 8.5], yticks: [2, 3, 4, 5, 6, 7, 8],
        xlabel: scaled ? "√n α (small: feature training, large: lazy)" : "α (small: feature training, large: lazy)",
        ylabel: "test error, %",
        legend: [["two", "single networks"], ...(size > 1 ? [["one", `committees of ${size}`]] : []),
          ["faint", `${size > 1 ? "committees" : "the same"}, other widths`]],
        corner: "tl",
      });
      grid.error.forEach((_, w) => { if (w !== own) panel.line("faint", xs(w), curve(w, log2_size)); });
      const x = xs(own), single = curve(own, 0), committee = curve(own, log2_size);
      for (const [kind, ys, k] of [["two", single, 0], ["one", committee, log2_size]].slice(0, size)) {
        x.forEach((v, i) => {
          const sd = grid.sd[own][i][k];
          panel.line(kind, [v, v], [ys[i] - sd, ys[i] + sd]);
        });
        panel.line(kind, x, ys);
        panel.dots(kind, x, ys);
      }
      const gap = [grid.gap[own][0], grid.gap[own][log2_size]], sds = [grid.gap_sd[own][0], grid.gap_sd[own][log2_size]];
      const alone = `single networks ${percent(single[lazy])} % lazy (α = 10), ${percent(single[feature])} % feature (α = 0.01): ${verdict(gap[0], sds[0])}`;
      const together = `. Committees of ${size}: ${percent(committee[lazy])} % and ${percent(committee[feature])} %: ${verdict(gap[1], sds[1])}`;
      return {
        curves: { x, single, committee, gap },
        words: `Digits, width ${2 ** log2_width}, ${alone}${size > 1 ? together : ""}.`,
      };
    },
  });
}
