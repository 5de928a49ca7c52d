// A chain of layers of width one: the first is a vector w in the plane, the others are numbers. As in balance.py.
const ANGLE = Math.PI / 3, TIMES = 200, LEFT = 1e-9, STEP = 0.06, MOST = 60000;

export function start(layers, sigma, uneven) {
  const size = (l) => sigma * 2 ** (uneven * (1 - (2 * l) / (layers - 1)));
  const rest = Array.from({ length: layers - 1 }, (_, l) => size(l + 1));
  return [size(0) * Math.cos(ANGLE), size(0) * Math.sin(ANGLE), ...rest];
}

const product = (u) => u.reduce((a, b) => a * b, 1);
const lossOf = ([a, b, ...u]) => { const p = product(u); return (1 - p * a) ** 2 + (p * b) ** 2; };

function slope([a, b, ...rest]) { // on a clock of the chain's own; time is the last entry
  const u = rest.slice(0, -1), above = product(u), x = 1 - above * a, y = -above * b;
  const size = Math.hypot(a, b), left = Math.hypot(x, y), shared = above * (a * x + b * y);
  let rate = (above * left) / size + above ** 2;
  for (const v of u) rate += (above * size * left) / v ** 2 + ((above * size) / v) ** 2;
  return [above * x, above * y, ...u.map((v) => shared / v), 1].map((v) => v / rate);
}

let last = { key: null }; // so that the slider of time does not integrate again

export function integrate(kit, y0) {
  const key = y0.join();
  if (last.key !== key) last = { key, ...solve(kit, y0) };
  return last;
}

function solve({ rungeKutta }, y0) {
  let z = [...y0, 0];
  const path = [z], first = lossOf(y0);
  let half = null;
  while (path.length < MOST) {
    const before = z, high = lossOf(before.slice(0, -1)) / first;
    z = rungeKutta(slope, z, STEP);
    path.push(z);
    const low = lossOf(z.slice(0, -1)) / first;
    if (half === null && low <= 0.5) half = before.at(-1) + ((z.at(-1) - before.at(-1)) * (high - 0.5)) / (high - low);
    if (low < LEFT) break;
  }
  return { path, half };
}

export function curves(kit, layers, sigma, uneven, moment) {
  const y0 = start(layers, sigma, uneven), { path, half } = integrate(kit, y0), first = lossOf(y0);
  const t = kit.range(0, 2 * half, TIMES + 1);
  let i = 0;
  const states = t.map((time) => {
    while (i < path.length - 2 && path[i + 1].at(-1) < time) i++;
    const [p, q] = [path[i], path[i + 1]], share = Math.min(1, (time - p.at(-1)) / (q.at(-1) - p.at(-1)));
    return p.slice(0, -1).map((v, k) => v + share * (q[k] - v));
  });
  const out = { loss: [], alignment: [], ratio: [], half: [half], bySize: Array.from({ length: layers }, () => []) };
  for (const [a, b, ...u] of states) {
    const size = Math.hypot(a, b), spike = size ** 2 * u.reduce((sum, v) => sum + v ** -2, 0);
    out.loss.push(lossOf([a, b, ...u]) / first);
    out.alignment.push((1 + spike * (a / size) ** 2) / Math.hypot(1, 1 + spike));
    out.ratio.push(Math.sqrt(1 + spike));
    [size, ...u].forEach((v, l) => out.bySize[l].push(v));
  }
  const level = (k) => {
    const [a, b] = states[k], size = Math.hypot(a, b), around = kit.range(0, 2 * Math.PI, 73);
    return [
      around.map((p) => ((a / size) * Math.cos(p)) / out.ratio[k] - (b / size) * Math.sin(p)),
      around.map((p) => ((b / size) * Math.cos(p)) / out.ratio[k] + (a / size) * Math.sin(p)),
    ];
  };
  return { ...out, sizes: out.bySize.flat(), begin: level(0), now: level(moment) };
}

const plain = (v) => String(Number(v.toPrecision(2)));

export function render(element, begin, kit) {
  const t = kit.range(0, 2, TIMES + 1);
  kit.live(element, "balance", begin, {
    controls: [
      { name: "layers", min: 2, max: 5, words: (v) => `weight layers L = ${v}` },
      { name: "log10_sigma", min: -3, max: 0, step: 0.25, words: (v) => `weight scale σ = ${plain(10 ** v)}` },
      { name: "uneven", min: 0, max: 1.5, step: 0.5, words: (v) => `first layer over last, at the start: ${4 ** v}` },
      { name: "moment", min: 0, max: TIMES, step: 2, play: 2, words: (v) => `time t = ${(v / 100).toFixed(2)} half-loss times` },
    ],
    panels: [260, 270, 330],
    draw({ layers, log10_sigma, uneven, moment }, [above, sizes, plane], width) {
      const sigma = 10 ** log10_sigma, c = curves(kit, layers, sigma, uneven, moment);
      const at = [moment / 100, moment / 100];
      above.axes({
        x: [0, 2], y: [0, 1.45], yticks: [0, 0.5, 1], xlabel: "time, in half-loss times", ylabel: "loss, alignment",
        legend: [["one", "loss, start = 1"], ["two", "alignment of the kernel"]],
      });
      above.line("faint", at, [0, 1.45]);
      above.line("one", t, c.loss);
      above.line("two", t, c.alignment);
      const low = Math.min(...c.sizes), bottom = 10 ** Math.floor(Math.log10(low) - 1e-9), top = Math.max(4, 1.3 * Math.max(...c.sizes));
      const kinds = ["one", "two", "three", "four", "ink"];
      sizes.axes({
        x: [0, 2], y: [bottom, top], ylog: true, xlabel: "time, in half-loss times", ylabel: "size of each layer",
        legend: c.bySize.map((_, l) => [kinds[l], `layer ${l + 1}`]), corner: "br",
      });
      sizes.line("faint", at, [bottom, top]);
      c.bySize.forEach((curve, l) => sizes.line(kinds[l], t, curve));
      const wide = (1.25 * (width - 76)) / 270; // equal units on both axes
      plane.axes({
        x: [-wide, wide], y: [-1.25, 1.25], xticks: [-1, 0, 1], yticks: [-1, 0, 1],
        xlabel: "input along the teacher", ylabel: "across it", legend: [["faint", "at the start"], ["three", "at time t"]],
      });
      plane.line("faint", ...c.begin, true);
      plane.line("three", ...c.now, true);
      const spread = c.bySize.map((curve) => curve[moment]), apart = Math.max(...spread) / Math.min(...spread);
      const words = `σ = ${plain(sigma)}, L = ${layers}, half-loss time ${Number(c.half[0].toPrecision(3))}. At this moment ${Math.round(100 * c.loss[moment])} % of the loss is left. `
        + `The largest layer is ${apart.toFixed(2)} times the smallest; the level set is ${c.ratio[moment].toFixed(2)} times as long as wide.`;
      const { loss, alignment, sizes: all, ratio, half, now } = c;
      return { curves: { loss, alignment, sizes: all, ratio, half, level_x: now[0], level_y: now[1] }, words };
    },
  });
}
