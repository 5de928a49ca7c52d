// Two clocks of a typical two-layer network: its kernel turns, its loss falls. As in phase_one.py.
const WIDTH = 50, DIMS = [10, 20, 30, 50, 100, 200], T_MAX = 14, TIMES = 281, TURNED = 0.9, HALF = 1 - Math.SQRT1_2;

export function typical(t, sigma, s, dim) {
  const share = WIDTH / dim, q0 = (sigma ** 2 * (1 + share)) / 2;
  const root = Math.hypot(s, q0), high = s + root, low = -(q0 ** 2) / (s + root);
  const grown = (time) => {
    const odds = ((q0 - low) / (high - q0)) * Math.exp(2 * root * time);
    return (high * odds + low) / (1 + odds);
  };
  const when = (g) => Math.log((((g - low) / (high - g)) * (high - q0)) / (q0 - low)) / (2 * root);
  const transverse = (dim - 1) / dim, rest = (WIDTH * transverse * (dim + WIDTH)) / dim;
  const cosine = (beta) => beta / Math.sqrt(beta ** 2 + 2 * transverse * beta + rest);
  const firstLayer = (g) => (g + q0 ** 2 / g) / (2 * sigma ** 2) - (1 - share) / 2;

  const now = t.map(grown), q = now.map((g) => (g + q0 ** 2 / g) / 2);
  const gap = TURNED ** -2 - 1, beta = (transverse + Math.sqrt(transverse ** 2 + gap * rest)) / gap;
  const qTurned = sigma ** 2 * (beta + (1 - share) / 2);
  const turned = qTurned > q0 ? qTurned + Math.sqrt(qTurned ** 2 - q0 ** 2) : q0;
  return {
    loss: now.map((g) => (1 - (g - q0 ** 2 / g) / (2 * s)) ** 2),
    cosine: now.map((g) => cosine(firstLayer(g))),
    along: q.map((v) => 2 * v),
    across: q.map((v) => v + (sigma ** 2 * (1 - share)) / 2 + sigma ** 2 * share),
    times: [turned < high ? when(turned) : -1, when(HALF * s + Math.hypot(HALF * s, q0))],
    end: [cosine(firstLayer(high))],
  };
}

const plain = (sigma) => String(Number(sigma.toPrecision(2)));

export function render(element, start, kit) {
  const t = kit.range(0, T_MAX, TIMES);
  kit.live(element, "phase_one", start, {
    controls: [
      { name: "log10_sigma", min: -3, max: 0, step: 0.25, words: (v) => `weight scale σ = ${plain(10 ** v)}` },
      { name: "s", min: 0.5, max: 3, step: 0.25, words: (v) => `size of the teacher s = ${v}` },
      { name: "dim", min: 0, max: DIMS.length - 1, words: (i) => `inputs per hidden unit D/n = ${DIMS[i] / WIDTH}` },
    ],
    panels: [300, 250],
    draw({ log10_sigma, s, dim }, [clocks, kernel]) {
      const sigma = 10 ** log10_sigma, curves = typical(t, sigma, s, DIMS[dim]);
      const [turned, halved] = curves.times;
      clocks.axes({
        x: [0, T_MAX], y: [0, 1.3], yticks: [0, 0.5, 1], xlabel: "time t", ylabel: "loss, cosine",
        legend: [["one", "loss, start = 1"], ["two", "cosine"], ["faint", "turned; halved"]],
      });
      for (const time of [turned, halved]) if (time >= 0) clocks.line("faint", [time, time], [0, 1.3]);
      clocks.line("one", t, curves.loss);
      clocks.line("two", t, curves.cosine);
      const bottom = 10 ** Math.floor(Math.log10(Math.min(curves.along[0], curves.across[0])));
      kernel.axes({
        x: [0, T_MAX], y: [bottom, 20], ylog: true, xlabel: "time t", ylabel: "kernel",
        legend: [["three", "along the teacher"], ["four", "across it"]], corner: "br",
      });
      for (const time of [turned, halved]) if (time >= 0) kernel.line("faint", [time, time], [bottom, 20]);
      kernel.line("three", t, curves.along);
      kernel.line("four", t, curves.across);
      const half = `the loss is halved at t = ${halved.toFixed(2)}`, where = `σ = ${plain(sigma)}, s = ${s}`;
      const words = turned < 0
        ? `${where}: ${half}. The kernel never turns: the cosine ends at ${curves.end[0].toFixed(2)}.`
        : turned >= 0.9 * halved
          ? `${where}: the cosine is ${TURNED} only at t = ${turned.toFixed(2)}; ${half}. Nothing is silent.`
          : `${where}: the cosine is ${TURNED} at t = ${turned.toFixed(2)}; ${half}, ${(halved / turned).toFixed(1)} times as late.`;
      return { curves, words };
    },
  });
}
