// What several parts of a result are built of: titled sections and tables of measurements.
import { el } from "./dom.js";
import * as words from "./words.js";

/** A section with a title. */
export function part(title, ...children) {
  return el("section", { class: "part" }, el("h4", {}, title), ...children);
}

/** Measurements by name, folded until they are asked for; null where there are none. */
export function table(caption, entries) {
  if (!entries.length) return null;
  const rows = entries.map(([name, value]) => {
    const { name: plain, unit } = words.measure(name);
    return el("tr", {}, el("th", { scope: "row" }, plain), el("td", {}, `${words.figure(value)} ${unit}`));
  });
  return el(
    "details",
    {},
    el("summary", {}, `${caption} (${entries.length})`),
    el("table", {}, el("caption", { class: "unseen" }, caption), el("tbody", {}, rows)),
  );
}

/** Names and values side by side; what has no value is left out. */
export function list(entries) {
  const told = entries.filter(([, value]) => value);
  return el(
    "dl",
    {},
    told.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]),
  );
}
