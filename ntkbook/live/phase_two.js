// The kernel's level sets, the function that is learned, and the loss; exact for one data point. As in phase_two.py.
const SIGMAS = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1], TURN = (35 * Math.PI) / 180, T_MAX = 12, TIMES = 241;

// Scalar products of a, W beta and W across beta at each time.
export function overlaps(times, sigma, s, gram) {
  const [[aa, ab, ac], [, bb, bc], [, , cc]] = gram.map((row) => row.map((v) => v * sigma ** 2));
  const q = (aa + bb) / 2, p = (q + ab) * (q - ab), root = Math.hypot(s, Math.sqrt(p));
  const high = s + root, low = -p / high;
  return times.map((t) => {
    const left = ((high - q - ab) / (q + ab - low)) * Math.exp(-2 * root * t);
    const grown = Math.sqrt((high + low * left) / (1 + left) / (q + ab));
    const c = (grown + 1 / grown) / 2, d = (grown - 1 / grown) / 2;
    return {
      a: c * c * aa + 2 * c * d * ab + d * d * bb, along: d * d * aa + 2 * c * d * ab + c * c * bb, across: cc,
      r: (c * c + d * d) * ab + c * d * (aa + bb), out: c * ac + d * bc, mixed: d * ac + c * bc,
    };
  });
}

export function scene(t, sigma, s, gram, range) {
  const path = overlaps([...range(0, T_MAX, TIMES), t, 1e3], sigma, s, gram);
  const size = ({ a, along, across, mixed }) => Math.hypot(a + along, mixed, mixed, a + across);
  const left = ({ r }) => (1 - r / s) ** 2, turn = (x, y) => [x * Math.cos(TURN) - y * Math.sin(TURN), x * Math.sin(TURN) + y * Math.cos(TURN)];
  const now = path.at(-2), shown = path.slice(0, -2);
  const m = [now.a + now.along, now.mixed, now.a + now.across], half = Math.hypot((m[0] - m[2]) / 2, m[1]), mean = (m[0] + m[2]) / 2;
  const tilt = Math.atan2(2 * m[1], m[0] - m[2]) / 2, long = Math.sqrt((mean + half) / m[0]), short = Math.sqrt((mean - half) / m[0]);
  const curves = {
    loss: shown.map((v) => left(v) / left(path[0])),
    cosine: shown.map(({ along, mixed, across }) => along / Math.hypot(along, mixed, mixed, across)),
    size: shown.map((v) => size(v) / size(path.at(-1))),
    dot: turn(now.r / s, now.out / s), touch: turn(1, m[1] / m[0]),
    ratio: [long / short], tilt: [(Math.abs(tilt) * 180) / Math.PI],
  };
  const ellipse = (norm) => range(0, 2 * Math.PI, 121).map((phi) => { // norm 1 touches the line
    const [x, y] = [norm * long * Math.cos(phi), norm * short * Math.sin(phi)];
    return turn(x * Math.cos(tilt) - y * Math.sin(tilt), x * Math.sin(tilt) + y * Math.cos(tilt));
  });
  return { curves, ellipse, axis: [-1.1, 1.1].map((side) => turn(side * long * Math.cos(tilt), side * long * Math.sin(tilt))) };
}

const xs = (points) => points.map((p) => p[0]), ys = (points) => points.map((p) => p[1]);
const share = (v) => (v > 0.995 && v < 1 ? "more than 99 %" : v < 0.001 ? "less than 0.1 %" : `${Number((100 * v).toPrecision(2))} %`);

export function render(element, start, kit) {
  const grid = kit.range(0, T_MAX, TIMES);
  kit.live(element, "phase_two", start, {
    controls: [
      { name: "t", min: 0, max: T_MAX, step: 0.05, play: 0.05, words: (v) => `time t = ${v.toFixed(2)}` },
      { name: "sigma", min: 0, max: SIGMAS.length - 1, words: (i) => `weight scale σ = ${SIGMAS[i]}` },
      { name: "s", min: 0.5, max: 2, step: 0.25, words: (v) => `size of the teacher s = ${v}` },
    ],
    panels: [460, 250],
    draw({ t, sigma, s, gram }, [plane, clocks], width) {
      const { curves, ellipse, axis } = scene(t, SIGMAS[sigma], s, gram, kit.range);
      const [low, high] = [-2.1, 1.4], wide = (((high - low) / 2) * (width - 76)) / (460 - 60); // one unit is as long in both directions
      plane.axes({
        x: [-wide, wide], y: [low, high], yticks: [-1, 0, 1], xlabel: "first weight of the function / s", ylabel: "second weight / s",
        legend: [["three", "level sets of the kernel's norm"], ["faint", "their long axis"], ["ink", "functions that fit the data"], ["one dot", "the network"], ["two dot", "regression with this kernel"]], corner: "bl",
      });
      const fits = [[1, -9], [1, 9]].map(([x, y]) => [x * Math.cos(TURN) - y * Math.sin(TURN), x * Math.sin(TURN) + y * Math.cos(TURN)]);
      plane.line("ink", xs(fits), ys(fits));
      plane.line("faint", xs(axis), ys(axis));
      for (const norm of [1 / 3, 2 / 3, 1]) plane.line("three", xs(ellipse(norm)), ys(ellipse(norm)), true);
      plane.dots("two", [curves.touch[0]], [curves.touch[1]], 7);
      plane.dots("one", [curves.dot[0]], [curves.dot[1]], 5);
      clocks.axes({
        x: [0, T_MAX], y: [0, 1.8], yticks: [0, 0.5, 1], xlabel: "time t", ylabel: "share",
        legend: [["one", "loss, start = 1"], ["two", "cosine of WᵀW"], ["four", "size of the kernel, end = 1"]],
      });
      const many = grid.filter((v) => v <= t + 1e-9).length, past = grid.slice(0, many);
      for (const [kind, name] of [["one", "loss"], ["two", "cosine"], ["four", "size"]]) {
        clocks.line(kind, past, curves[name].slice(0, many));
        clocks.dots(kind, [t], [curves[name][many - 1]], 4);
      }
      const loss = curves.loss[many - 1];
      const words = `t = ${t.toFixed(2)}: ${share(loss)} of the loss is left; the kernel has ${share(curves.size[many - 1])} of its final size. `
        + `Its long axis is ${curves.ratio[0].toFixed(3)} times the short one and points ${curves.tilt[0].toFixed(0)}° away from the teacher.`;
      return { curves, words };
    },
  });
}
