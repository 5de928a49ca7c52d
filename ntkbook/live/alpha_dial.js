// Change of the kernel against n^a alpha, one curve a width, and how far the curves lie apart:
// drawn only where the reader has been, for the text asks for a guess.
const SPLIT = 3.2, SHARED = 1 / 3, WIDTHS = { "256 and wider": 256, "64 and wider": 64, "all": 0 };
const KINDS = ["one", "two", "three", "four", "ink", "faint", "faint two", "faint four"]; // the widest first
const GRID = 50;

// measures.collapse_spread, given logarithms: standard deviation across curves, root mean square over the shared range.
export function spread({ interpolate, range }, x, curves, shifts) {
  const start = x[0] + Math.max(...shifts), end = x.at(-1) + Math.min(...shifts);
  const variances = range(start, end, GRID).map((at) => {
    const values = curves.map((y, i) => interpolate(at - shifts[i], x, y));
    const mean = values.reduce((s, v) => s + v) / values.length;
    return values.reduce((s, v) => s + (v - mean) ** 2, 0) / values.length;
  });
  return Math.sqrt(variances.reduce((s, v) => s + v) / GRID);
}

export function render(element, start, kit) {
  const exponents = kit.range(0, 1.2, 61);
  const tried = {}; // for each choice of widths, the first and last exponent that the slider has passed

  function spreads(n, alpha, change, part) { // for all exponents that leave enough in common
    const x = alpha.filter(part).map(Math.log);
    const curves = change.map((row) => row.filter((_, i) => part(alpha[i])).map(Math.log));
    const lost = Math.log(n.at(-1) / n[0]) / (x.at(-1) - x[0]);
    return exponents.filter((a) => 1 - a * lost >= SHARED)
      .map((a) => spread(kit, x, curves, n.map((m) => a * Math.log(m))));
  }

  kit.live(element, "alpha_dial", start, {
    controls: [
      { name: "exponent", min: 0, max: 1.2, step: 0.02, words: (a) => `exponent a = ${a.toFixed(2)}` },
      { name: "widths", options: Object.keys(WIDTHS) },
    ],
    panels: [360, 250],
    draw({ exponent, widths, n: all, alpha, change }, [top, bottom], width) {
      const chosen = all.map((_, i) => i).filter((i) => all[i] >= WIDTHS[widths]).reverse();
      const rows = [...chosen].reverse(), n = rows.map((i) => all[i]);
      const factor = (i) => all[i] ** exponent;
      const factors = chosen.map(factor), kind = Object.fromEntries(chosen.map((i, k) => [i, KINDS[k]]));
      top.axes({
        x: [alpha[0] * Math.min(...factors), alpha.at(-1) * Math.max(...factors)], y: [5e-5, 3e3], xlog: true, ylog: true,
        xlabel: exponent ? `n^${exponent.toFixed(2)} × α` : "α", ylabel: "|K − K₀| / |K₀|",
        legend: [...chosen.map((i) => [kind[i], `n = ${all[i]}`]), ["ink dot", "α = 3.2"]],
      });
      for (const i of chosen) {
        top.line(kind[i], alpha.map((a) => a * factor(i)), change[i]);
        const split = alpha.findIndex((a) => a > SPLIT / 1.02);
        top.dots("ink", [alpha[split] * factor(i)], [change[i][split]], 4.5);
      }

      const kept = rows.map((i) => change[i]);
      const below = spreads(n, alpha, kept, (a) => a < SPLIT), above = spreads(n, alpha, kept, (a) => a > SPLIT / 1.02);
      const best = [below, above].map((s) => s.indexOf(Math.min(...s)));
      const here = Math.round(exponent / 0.02);
      const [low, high] = tried[widths] ?? [here, here];
      const [from, to] = tried[widths] = [Math.min(low, here), Math.max(high, here)];
      bottom.axes({
        x: [0, 1.2], y: [0, 1.2], xlabel: "exponent a", ylabel: "spread (sd of ln)",
        xticks: [0, 0.25, 0.5, 0.75, 1], yticks: [0, 0.5, 1],
        legend: [["one", "α up to 3.2"], ["two", "α from 3.2 on"]],
      });
      for (const [kind, s] of [["one", below], ["two", above]])
        if (Math.min(to, s.length - 1) > from) bottom.line(kind, exponents.slice(from, Math.min(to + 1, s.length)), s.slice(from, to + 1));
      bottom.dots("ink", [exponents[here], exponents[here]], [below[here] ?? NaN, above[here] ?? NaN], 4.5);

      const least = (s, i) => i + 1 < exponents.length && i + 1 === s.length
        ? ` (falling up to a = ${exponents[i].toFixed(2)}, where the curves part company)`
        : ` (least at a = ${exponents[i].toFixed(2)}, ${s[i].toFixed(2)})`;
      const say = (s, i) => here < s.length
        ? `it is ${s[here].toFixed(2)}${from < i && i < to ? least(s, i) : ""}` : "the curves have too little in common";
      return {
        curves: { below, above, "below best": [exponents[best[0]]], "above best": [exponents[best[1]]] },
        words: `Spread of the curves at a = ${exponent.toFixed(2)}: up to α = 3.2 ${say(below, best[0])}; from there on ${say(above, best[1])}.`,
      };
    },
  });
}
