// A measured curve as a chart with two axes.
import { el, svg } from "./dom.js";
import { unit } from "./words.js";

const SIZE = { width: 560, height: 240 };
const EDGE = { left: 58, right: 12, top: 10, bottom: 44 };

/** The figure of a curve: its chart, its caption. */
export function chart(curve) {
  const values = curve.y.filter((value) => value !== null);
  const words = `${curve.caption}${curve.spans.length ? " What stands out is shaded." : ""}`;
  const caption = el("figcaption", { class: "faint" }, words);
  return el("figure", { class: "curve" }, values.length > 0 && drawn(curve, values), caption);
}

function drawn(curve, values) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const x = axis(curve.x[0], curve.x.at(-1), EDGE.left, SIZE.width - EDGE.right);
  const y = axis(low, high, SIZE.height - EDGE.bottom, EDGE.top);
  const told = `${curve.caption} From ${short(low)} to ${short(high)} ${unit(curve.unit)}.`;
  return svg(
    "svg",
    { viewBox: `0 0 ${SIZE.width} ${SIZE.height}`, class: "chart", role: "img", "aria-label": told },
    ...curve.spans.map((span) => shade(span, x)),
    ...x.ticks.flatMap((tick) => upright(tick, x)),
    ...y.ticks.flatMap((tick) => level(tick, y)),
    svg("path", { d: path(curve, x, y), class: "line" }),
    label(unit(curve.x_unit), (x.from + x.to) / 2, SIZE.height - 4),
    turned(unit(curve.unit), (y.from + y.to) / 2),
  );
}

/** Where values lie between two places, and three to six round ones of them. */
function axis(low, high, from, to) {
  const half = high > low ? 0 : Math.abs(low) / 2 || 0.5; // a range without extent is widened
  const [begin, end] = [low - half, high + half];
  const power = 10 ** Math.floor(Math.log10((end - begin) / 5));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => (end - begin) / each <= 5);
  const first = Math.ceil(begin / step - 1e-9);
  const count = Math.floor(end / step + 1e-9) - first + 1;
  const ticks = Array.from({ length: count }, (_, number) => (first + number) * step);
  const share = (value) => (Math.min(end, Math.max(begin, value)) - begin) / (end - begin);
  const place = (value) => from + share(value) * (to - from);
  return { from, to, ticks, place };
}

/** A line through all points; a gap where nothing was measured. */
function path({ x: xs, y: ys }, x, y) {
  let pen = "M";
  let line = "";
  ys.forEach((value, at) => {
    if (value !== null) line += `${pen}${x.place(xs[at]).toFixed(1)} ${y.place(value).toFixed(1)}`;
    pen = value === null ? "M" : "L";
  });
  return line;
}

function shade([begin, end], x) {
  const [left, right] = [x.place(begin), x.place(end)];
  const high = SIZE.height - EDGE.top - EDGE.bottom;
  return svg("rect", { x: left, y: EDGE.top, width: Math.max(1, right - left), height: high, class: "span" });
}

function upright(tick, x) {
  const [at, bottom] = [x.place(tick), SIZE.height - EDGE.bottom];
  return [svg("line", { x1: at, x2: at, y1: EDGE.top, y2: bottom }), label(short(tick), at, bottom + 17)];
}

function level(tick, y) {
  const at = y.place(tick);
  const text = svg("text", { x: EDGE.left - 7, y: at + 4, "text-anchor": "end" }, short(tick));
  return [svg("line", { x1: EDGE.left, x2: SIZE.width - EDGE.right, y1: at, y2: at }), text];
}

const label = (text, x, y) => svg("text", { x, y, "text-anchor": "middle" }, text);

const turned = (text, y) =>
  svg("text", { x: 12, y, "text-anchor": "middle", transform: `rotate(-90 12 ${y})` }, text);

const short = (value) => String(Number(value.toPrecision(4)));
