// A deep linear network whose layers learn at different rates, and its two kernels. As in layer_rates.py.
const DIM = 30, BEFORE = 160, AFTER = 60, LAST = 9;

const product = (list) => list.reduce((a, b) => a * b, 1);
const sum = (list) => list.reduce((a, b) => a + b, 0);

export function path(rates, sigma, s, kit) {
  const L = rates.length, c0 = sigma ** L, half = s - (s - c0) * Math.SQRT1_2;
  const logit = (c) => Math.log(c / (s - c));
  const squares = (p) => rates.map((rate) => sigma ** 2 + rate * p); // squared sizes of the layers
  const slope = ([p]) => { // of p and of t, for each unit of the logit of the function's size
    const u = squares(p), c = Math.sqrt(product(u)), S = sum(rates.map((rate, l) => rate / u[l]));
    return [(2 * (1 - c / s)) / S, 1 / (s * c * S)];
  };
  const logits = [logit(c0)], states = [[0, 0]];
  for (const [end, steps] of [[logit(half), BEFORE], [LAST, AFTER]]) {
    const h = (end - logits.at(-1)) / steps;
    for (let i = 0; i < steps; i++) {
      states.push(kit.rungeKutta(slope, states.at(-1), h));
      logits.push(logits.at(-1) + h);
    }
  }
  const spike = (by) => states.map(([p]) => {
    const u = squares(p), along = sum(by.map((w, l) => w / u[l]));
    return along / (by[0] / u[0] + (by[1] * sigma ** 2) / (u[0] * u[1])) - 1;
  });
  return {
    t: states.map(([, t]) => t),
    loss: logits.map((v) => (1 + Math.exp(v)) ** -2 / (1 - c0 / s) ** 2),
    cosine: states.map(([p]) => { const u = squares(p)[0]; return u / Math.sqrt(u ** 2 + (DIM - 1) * sigma ** 4); }),
    plain: spike(rates.map(() => 1)),
    driving: spike(rates),
    half: [states[BEFORE][1]],
  };
}

const plain = (v, digits = 2) => String(Number(v.toPrecision(digits)));

export function render(element, start, kit) {
  const turn = kit.range(0, 2 * Math.PI, 121);
  kit.live(element, "layer_rates", start, {
    controls: [
      { name: "log10_first", min: -4, max: 4, step: 0.5, words: (v) => `rate of the first layer = ${plain(10 ** v)}` },
      { name: "log10_last", min: -4, max: 4, step: 0.5, words: (v) => `rate of the last layer = ${plain(10 ** v)}` },
      { name: "layers", min: 2, max: 4, words: (v) => `weight layers L = ${v}` },
      { name: "log10_sigma", min: -3, max: -0.5, step: 0.25, words: (v) => `weight scale σ = ${plain(10 ** v)}` },
      { name: "s", min: 0.5, max: 3, step: 0.25, words: (v) => `size of the teacher s = ${v}` },
      { name: "moment", min: 0, max: 1.6, step: 0.02, words: (v) => `time = ${v.toFixed(2)} of the half-loss time`, play: 0.005 },
    ],
    panels: [240, 250, 240],
    draw({ log10_first, log10_last, layers, log10_sigma, s, moment }, [clocks, sets, spikes], width) {
      const exponents = Array(layers).fill(0), sigma = 10 ** log10_sigma;
      exponents[0] = log10_first;
      exponents[layers - 1] = log10_last;
      const mean = sum(exponents) / layers, rates = exponents.map((e) => 10 ** (e - mean));
      const curves = path(rates, sigma, s, kit), [half] = curves.half;
      const time = moment * half, end = 1.6 * half;
      const now = ["loss", "plain", "driving"].map((name) => kit.interpolate(time, curves.t, curves[name]));
      const t = [...curves.t, Math.max(end, curves.t.at(-1))], drawn = (name) => [...curves[name], curves[name].at(-1)];

      clocks.axes({
        x: [0, end], y: [0, 1.6], yticks: [0, 0.5, 1], xlabel: "time, rates of geometric mean 1", ylabel: "loss, cosine",
        legend: [["one", "loss, start = 1"], ["two", "first layer, cosine"]],
      });
      clocks.line("faint", [time, time], [0, 1.05]);
      clocks.line("one", t, drawn("loss"));
      clocks.line("two", t, drawn("cosine"));

      const wide = (1.15 * (width - 76)) / 190; // one unit is as long across as up
      sets.axes({
        x: [-wide, wide], y: [-1.15, 1.15], xticks: [-1, 0, 1], yticks: [-1, 0, 1],
        xlabel: "input across the teacher", ylabel: "along it",
        legend: [["three", "plain"], ["ink", "driving"]],
      });
      const flat = (kind, spike) => sets.line(kind, turn.map(Math.cos), turn.map((a) => Math.sin(a) / Math.sqrt(1 + spike)), true);
      flat("ink", now[2]);
      flat("three", now[1]);

      const final = rates[0] * sum(rates.slice(1).map((rate) => 1 / rate));
      const top = 10 ** Math.ceil(Math.log10(1.5 * Math.max(1 + final, layers, 1 + curves.plain.at(-1))));
      spikes.axes({
        x: [0, end], y: [0.8, top * 10], ylog: true, xlabel: "time, rates of geometric mean 1", ylabel: "along / across",
        legend: [["three", "plain kernel"], ["ink", "driving kernel"], ["faint", "small start: L"]], corner: "tl",
      });
      spikes.line("faint", [0, end], [layers, layers]);
      spikes.line("faint", [time, time], [0.8, top * 10]);
      spikes.line("ink", t, drawn("driving").map((v) => 1 + v));
      spikes.line("three", t, drawn("plain").map((v) => 1 + v));

      const ends = `At the end the plain kernel is ${plain(1 + curves.plain.at(-1), 3)} times as steep along the teacher as across it, the driving kernel ${plain(1 + curves.driving.at(-1), 3)} times`;
      const lazy = curves.driving.at(-1) < 0.9 * (layers - 1) ? `, less than L = ${layers}: a layer has stayed where it started, or the start was large.` : ".";
      const words = `The loss is halved at t = ${half.toPrecision(3)}; at the moment shown ${(100 * now[0]).toFixed(0)} % of it is left. ${ends}${lazy}`;
      return { curves: { ...curves, now }, words };
    },
  });
}
