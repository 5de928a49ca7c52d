// What steps and kernels cost, for how many runs on how many devices. As in laptop_to_cluster.py.
const INPUTS = 64, RATE = 1e11, STARTING = 5e-5, DEVICE = 80e9;

const sizes = (kit) => kit.range(1, 6, 21).map((k) => 10 ** k);
const stepOperations = (n, p) => 4 * p * INPUTS * n + 6 * p * (n * n + n);
const kernelOperations = (n, p) => 2 * p * (INPUTS * n + 2 * n * n + 2 * n) + 2 * p * p * (INPUTS + 4 * n + 1);

export function costs({ log10_n, log10_P, log10_runs, log2_devices }, kit) {
  const n = 10 ** log10_n, p = 10 ** log10_P, turns = Math.ceil(10 ** log10_runs / 2 ** log2_devices);
  const seconds = (operations) => turns * (STARTING + operations / RATE);
  return {
    step: sizes(kit).map((q) => seconds(stepOperations(n, q))),
    kernel: sizes(kit).map((q) => seconds(kernelOperations(n, q))),
    bytes: sizes(kit).map((q) => 4 * q ** 2),
    here: [seconds(stepOperations(n, p)), seconds(kernelOperations(n, p)), 4 * p ** 2, 4 * (INPUTS * n + n ** 2 + n)],
  };
}

const spell = (value, units) => {
  const [size, name] = units.filter(([u]) => value >= u).pop() ?? units[0];
  return `${Number((value / size).toPrecision(2)).toLocaleString("en")} ${name}`;
};
const TIMES = [[1e-6, "µs"], [1e-3, "ms"], [1, "s"], [60, "min"], [3600, "h"], [86400, "days"], [3.15e7, "years"]];
const BYTES = [[1, "B"], [1e3, "kB"], [1e6, "MB"], [1e9, "GB"], [1e12, "TB"]];
const count = (k) => Number((10 ** k).toPrecision(2)).toLocaleString("en");

export function render(element, start, kit) {
  kit.live(element, "laptop_to_cluster", start, {
    controls: [
      { name: "log10_n", min: 1, max: 5, step: 0.5, words: (k) => `width n = ${count(k)}` },
      { name: "log10_P", min: 1, max: 6, step: 0.5, words: (k) => `points P = ${count(k)}` },
      { name: "log10_runs", min: 0, max: 4, words: (k) => `runs: ${count(k)}` },
      { name: "log2_devices", min: 0, max: 8, words: (k) => `devices: ${2 ** k}` },
    ],
    panels: [300, 260],
    draw(state, [time, memory]) {
      const curves = costs(state, kit), [step, kernel, bytes, weights] = curves.here;
      const at = 10 ** state.log10_P, q = sizes(kit), x = [10, 1e6];
      const xticks = [[10, "10"], [1e3, "1,000"], [1e5, "100,000"]];
      const axes = { x, xlog: true, ylog: true, xticks, xlabel: "points P" };
      time.axes({
        ...axes, y: [1e-5, 1e13], ylabel: "time of all runs", corner: "tl",
        yticks: [[1e-3, "1 ms"], [1, "1 s"], [3600, "1 h"], [8.64e4, "1 day"], [3.15e7, "1 year"]],
        legend: [["one", "a step of training"], ["two", "the kernel"]],
      });
      time.line("faint", [at, at], [1e-5, 1e9]);
      time.line("one", q, curves.step);
      time.line("two", q, curves.kernel);
      time.dots("one", [at], [step], 6);
      time.dots("two", [at], [kernel], 6);

      memory.axes({
        ...axes, y: [100, 1e19], ylabel: "memory of one", corner: "tl",
        yticks: [[1e3, "1 kB"], [1e6, "1 MB"], [1e9, "1 GB"], [1e12, "1 TB"]],
        legend: [["two", "the kernel"], ["three", "the weights"], ["faint", "80 GB, a large GPU"]],
      });
      memory.line("faint", x, [DEVICE, DEVICE]);
      memory.line("faint", [at, at], [100, 1e14]);
      memory.line("two", q, curves.bytes);
      memory.line("three", x, [weights, weights]);
      memory.dots("two", [at], [bytes], 6);

      const runs = 10 ** state.log10_runs, devices = 2 ** state.log2_devices;
      const who = runs > 1 ? `For ${count(state.log10_runs)} runs on ${devices} device${devices > 1 ? "s" : ""}: ` : "";
      const idle = devices > runs ? ` ${devices - runs} of the devices have nothing to do.` : "";
      const room = bytes > DEVICE ? "which no device holds" : "which one device holds";
      return {
        curves,
        words: `${who}a step takes ${spell(step, TIMES)}, the kernel ${spell(kernel, TIMES)}, as long as `
          + `${Number((kernel / step).toPrecision(2)).toLocaleString("en")} steps. The kernel fills ${spell(bytes, BYTES)}, ${room}.${idle}`,
      };
    },
  });
}
