// What the live figures share: controls, panels with axes, and the words that go with them.
const SVG = ["svg", "path", "circle", "rect", "text", "g", "title", "clipPath"];

export function make(tag, attributes, parent, text) {
  const e = SVG.includes(tag) ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
  if (text !== undefined) e.textContent = text;
  parent.append(e);
  return e;
}

// A figure with controls over one or more panels, and an output line that says what is to be seen.
//   controls: { name, min, max, step, words(v), play } a slider, with a play button if `play` is the
//             step for each sixtieth of a second; { name, label, options } a choice; { button, action(state) }
//   panels:   how many, or a list of their heights
//   draw(state, panels, width) draws, and returns { curves, words }: the numbers that the tests compare with
//             Python for this state, and the sentence for the output line. Only what `start` names is compared.
export function live(element, module, start, { controls, panels = 1, draw }) {
  const state = { ...start };
  const box = make("div", { class: "controls" }, element);
  box.addEventListener("keydown", (event) => { // else JupyterLab takes arrows and letters for shortcuts
    if (!(event.ctrlKey || event.metaKey || event.altKey)) event.stopPropagation();
  });
  const show = [];
  for (const control of controls) show.push(add(control));
  const heights = typeof panels === "number" ? Array(panels).fill(330) : panels;
  const drawn = heights.map((height) => panel(element, height));
  const said = make("output", {}, element);

  function add({ name, min, max, step = 1, words = (v) => `${name} = ${v}`, play, label, options, button, action }) {
    if (button) {
      make("button", { type: "button" }, box, button).addEventListener("click", () => { action(state); redraw(); });
      return () => {};
    }
    if (options) {
      const choice = make("select", {}, make("label", {}, box, label ?? name));
      for (const option of options) make("option", { value: option }, choice, option);
      choice.addEventListener("change", () => { state[name] = choice.value; redraw(); });
      return () => { choice.value = state[name]; };
    }
    const holder = make("label", {}, box), text = make("span", {}, holder);
    const input = make("input", { type: "range", min, max, step }, holder);
    input.addEventListener("input", () => { state[name] = Number(input.value); redraw(); });
    if (play) player(name, min, max, play);
    return () => {
      input.value = state[name];
      text.textContent = words(state[name]);
      input.setAttribute("aria-valuetext", words(state[name]));
    };
  }

  function player(name, min, max, step) { // nothing moves unless asked to
    const button = make("button", { type: "button" }, box, "Play");
    let running = null;
    const stop = () => { clearInterval(running); running = null; button.textContent = "Play"; };
    button.addEventListener("click", () => {
      if (running) return stop();
      if (state[name] >= max) state[name] = min;
      button.textContent = "Pause";
      running = setInterval(() => {
        state[name] = Math.min(max, Number((state[name] + step).toPrecision(12)));
        redraw();
        if (state[name] >= max || !element.isConnected) stop();
      }, 1000 / 60);
    });
  }

  function redraw() {
    show.forEach((update) => update());
    const width = Math.max(320, Math.min(640, element.clientWidth)); // text keeps its size on a phone
    drawn.forEach((p) => p.clear(width));
    const { curves, words } = draw(state, drawn, width);
    said.textContent = words;
    drawn.forEach((p) => p.describe(words));
    const compared = Object.fromEntries(Object.keys(start).map((key) => [key, state[key]]));
    element.value = { check: { module, state: compared, curves } };
  }

  let width = element.clientWidth;
  new ResizeObserver(() => {
    if (element.clientWidth !== width) { width = element.clientWidth; redraw(); }
  }).observe(element);
  redraw();
}

let clips = 0;

// A set of axes. Coordinates are the data's; kinds of line and dot are classes: one, two, three, four, faint, ink.
//   axes({ x: [min, max], y: [min, max], xlabel, ylabel, xlog, ylog, xticks, yticks, title, legend: [[kind, words], ...], corner })
//         ticks are numbers or [number, words]; kinds of the legend end in " dot" for dots; corner: "tr", "tl", "br", "bl"
export function panel(parent, height) {
  const svg = make("svg", { role: "img" }, parent), name = `live-clip-${Date.now().toString(36)}-${clips++}`;
  const LEFT = 60, RIGHT = 16, BOTTOM = 46;
  let W = 640, TOP = 14, X, Y, inside, words;

  const scale = ([min, max], log, from, to) => {
    const f = log ? Math.log10 : (v) => v, low = f(min), high = f(max);
    return (v) => from + ((to - from) * (f(v) - low)) / (high - low);
  };

  function axes({ x, y, xlabel, ylabel, xlog, ylog, xticks, yticks, title, legend = [], corner = "tr" }) {
    TOP = title ? 30 : 14;
    X = scale(x, xlog, LEFT, W - RIGHT);
    Y = scale(y, ylog, height - BOTTOM, TOP);
    make("path", { class: "axis", d: `M${LEFT} ${TOP}V${height - BOTTOM}H${W - RIGHT}` }, svg);
    if (title) make("text", { x: (W + LEFT - RIGHT) / 2, y: 18, "text-anchor": "middle" }, svg, title);
    for (const [v, text] of pairs(xticks ?? ticks(x, xlog)))
      make("text", { x: X(v), y: height - BOTTOM + 18, "text-anchor": "middle" }, svg, text);
    for (const [v, text] of pairs(yticks ?? ticks(y, ylog)))
      make("text", { x: LEFT - 8, y: Y(v) + 4, "text-anchor": "end" }, svg, text);
    if (!ylog && y[0] < 0 && y[1] > 0) make("path", { class: "axis", d: `M${LEFT} ${Y(0)}H${W - RIGHT}` }, svg);
    make("text", { x: (W + LEFT - RIGHT) / 2, y: height - 6, "text-anchor": "middle" }, svg, xlabel);
    const middle = (TOP + height - BOTTOM) / 2;
    make("text", { x: 14, y: middle, "text-anchor": "middle", transform: `rotate(-90 14 ${middle})` }, svg, ylabel);
    const clip = make("clipPath", { id: name }, svg);
    make("rect", { x: LEFT - 5, y: TOP - 5, width: W - LEFT - RIGHT + 10, height: height - BOTTOM - TOP + 10 }, clip);
    inside = make("g", { "clip-path": `url(#${name})` }, svg);
    const longest = Math.max(0, ...legend.map(([, text]) => text.length)) * 7 + 44;
    legend.forEach(([kind, text], i) => {
      const left = corner[1] === "l" ? LEFT + 14 : W - RIGHT - longest;
      const top = corner[0] === "t" ? TOP + 10 + 20 * i : height - BOTTOM - 14 - 20 * (legend.length - 1 - i);
      if (kind.endsWith("dot")) make("circle", { class: kind, cx: left + 16, cy: top, r: 3.5 }, svg);
      else make("path", { class: kind, d: `M${left} ${top}h32` }, svg);
      make("text", { x: left + 40, y: top + 4 }, svg, text);
    });
  }

  return {
    svg, axes,
    clear(width) {
      W = width;
      svg.replaceChildren();
      svg.setAttribute("viewBox", `0 0 ${W} ${height}`);
      words = make("title", {}, svg);
    },
    describe(text) { words.textContent = text; },
    at: (x, y) => [X(x), Y(y)], // in units of the drawing, for what no method here draws
    get inside() { return inside; },
    line(kind, xs, ys, closed = false) {
      const points = xs.map((x, i) => [X(x), Y(ys[i])]).filter((p) => p.every(Number.isFinite));
      const d = "M" + points.map(([a, b]) => `${a.toFixed(2)} ${b.toFixed(2)}`).join("L") + (closed ? "Z" : "");
      return points.length ? make("path", { class: kind, d }, inside) : null;
    },
    dots(kind, xs, ys, r = 3.5) {
      xs.forEach((x, i) => {
        const [cx, cy] = [X(x), Y(ys[i])];
        if (Number.isFinite(cx) && Number.isFinite(cy)) make("circle", { class: `${kind} dot`, cx, cy, r }, inside);
      });
    },
    bar(kind, x0, x1, y) {
      const top = Math.min(Y(y), height - BOTTOM);
      make("rect", { class: `${kind} bar`, x: X(x0), y: top, width: X(x1) - X(x0), height: height - BOTTOM - top }, inside);
    },
    say(x, y, text, anchor = "start") { make("text", { x: X(x), y: Y(y), "text-anchor": anchor }, inside, text); },
  };
}

const pairs = (list) => list.map((t) => (Array.isArray(t) ? t : [t, Math.abs(t) >= 1e4 || (t && Math.abs(t) < 1e-2) ? power(t) : String(t)]));

function power(v) { // 1e-3 as 10 with a raised -3
  const e = Math.floor(Math.log10(Math.abs(v)) + 1e-9), m = v / 10 ** e;
  const raised = [...String(e)].map((c) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[c] ?? "⁻").join("");
  return `${Math.abs(m - 1) < 1e-9 ? "" : `${Number(m.toPrecision(3))}·`}10${raised}`;
}

export function ticks([min, max], log = false) {
  if (log) {
    const low = Math.ceil(Math.log10(min) - 1e-9), high = Math.floor(Math.log10(max) + 1e-9);
    const every = Math.max(1, Math.ceil((high - low) / 6));
    return Array.from({ length: Math.max(0, Math.floor((high - low) / every) + 1) }, (_, i) => Number(`1e${low + i * every}`));
  }
  const raw = (max - min) / 5, unit = 10 ** Math.floor(Math.log10(raw));
  const step = unit * [1, 2, 2.5, 5, 10].find((m) => m * unit >= raw * 0.999);
  const first = Math.ceil(min / step - 1e-9), last = Math.floor(max / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

export function normals(seed) { // standard Gaussians: mulberry32 and Box-Muller
  let state = seed >>> 0, spare = null;
  const uniform = () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  return () => {
    if (spare !== null) { const z = spare; spare = null; return z; }
    const r = Math.sqrt(-2 * Math.log(1 - uniform())), a = 2 * Math.PI * uniform();
    spare = r * Math.sin(a);
    return r * Math.cos(a);
  };
}

export const dot = (a, b) => { let s = 0; for (let i = 0; i < a.length; i++) s += a[i] * b[i]; return s; };

export const range = (min, max, count) => Array.from({ length: count }, (_, i) => min + ((max - min) * i) / (count - 1));

export function interpolate(x, xs, ys) { // numpy.interp
  let low = 0, high = xs.length - 1;
  if (x <= xs[0]) return ys[0];
  if (x >= xs[high]) return ys[high];
  while (high - low > 1) { const i = (low + high) >> 1; if (xs[i] <= x) low = i; else high = i; }
  return ys[low] + ((ys[high] - ys[low]) * (x - xs[low])) / (xs[high] - xs[low]);
}

// One step of the classical Runge-Kutta method for y' = slope(y), y an array of numbers.
export function rungeKutta(slope, y, h) {
  const plus = (k, c) => y.map((v, i) => v + c * h * k[i]);
  const k1 = slope(y), k2 = slope(plus(k1, 0.5)), k3 = slope(plus(k2, 0.5)), k4 = slope(plus(k3, 1));
  return y.map((v, i) => v + (h / 6) * (k1[i] + 2 * k2[i] + 2 * k3[i] + k4[i]));
}
