// What analyzers measured: declarations, evidence by group, and why some could not measure.
import { chart } from "./curves.js";
import { el } from "./dom.js";
import { drawn, isMap } from "./maps.js";
import { list, part, table } from "./sections.js";
import * as words from "./words.js";

/** What signatures that hold declare; it stands above every score. Null where nothing is declared. */
export function declarations(verdict) {
  const told = verdict.evidence.filter((one) => one.declaration);
  if (!told.length) return null;
  return el(
    "section",
    { class: "declared" },
    el("h4", {}, "What the file declares, with a valid signature"),
    told.map((one) => el("p", {}, one.declaration)),
  );
}

/** Who could not measure; `silent` of a verdict. */
export const silent = (verdict) => verdict.evidence.filter((one) => one.reason);

/** What was measured, the weightiest finding first; null where nothing was. */
export function evidence(verdict, stage) {
  const measured = verdict.evidence.filter((one) => !one.reason);
  if (!measured.length) return null;
  const groups = Map.groupBy(words.ordered(measured), (one) => one.group);
  return part(
    "Evidence",
    el(
      "p",
      { class: "faint" },
      "Measurements that inform you. They have no vote in the probability. What matters most comes first.",
    ),
    [...groups].map(([name, found]) => group(name, found, stage)),
  );
}

function group(name, found, stage) {
  return el(
    "div",
    { class: "group" },
    el("h5", {}, words.GROUPS[name] ?? name),
    el(
      "ul",
      { class: "scores" },
      found.map((one) => exhibit(one, stage)),
    ),
  );
}

function exhibit(one, stage) {
  const facts = Object.entries(one.facts).map(([name, value]) => [name.replaceAll("_", " "), value]);
  return el(
    "li",
    { class: `exhibit ${one.finding}` },
    el("p", {}, el("strong", {}, one.analyzer), " ", finding(one)),
    el("p", {}, one.summary),
    facts.length > 0 && list(facts),
    one.pictures.map((picture) => plate(picture, stage)),
    one.curves.map(chart),
    table(`Measurements of ${one.analyzer}`, Object.entries(one.measurements)),
    el(
      "p",
      { class: "faint" },
      el("strong", {}, "What this cannot tell: "),
      `${one.limits} (Measured in ${one.elapsed_ms.toFixed(0)} ms.)`,
    ),
  );
}

function finding({ finding: name }) {
  const { title, meaning } = words.FINDINGS[name];
  return el("span", { class: "finding" }, el("strong", {}, title), `: ${meaning}`);
}

/** A picture with its caption; a map has a scale, and a button that lays it over the file. */
function plate(picture, stage) {
  const map = isMap(picture);
  return el(
    "figure",
    { class: "plate" },
    drawn(picture),
    map && scale(picture),
    el("figcaption", { class: "faint" }, `${picture.caption}${map ? " The brighter, the higher." : ""}`),
    map && picture.region && stage.facts.width_px && over(picture, stage),
  );
}

function scale({ low, high, unit }) {
  const [from, to] = [low, high].map((end) => el("span", {}, `${words.figure(end)} ${words.unit(unit)}`));
  return el("p", { class: "scale" }, from, el("span", { class: "ramp", "aria-hidden": "true" }), to);
}

function over(picture, stage) {
  const button = el(
    "button",
    {
      type: "button",
      class: "quiet",
      "aria-pressed": "false",
      "aria-label": `Show over the file: ${picture.caption}`,
      "data-unprinted": true,
      on: { click: () => stage.lay(stage.map === picture ? null : picture) },
    },
    "Show over the file",
  );
  stage.onMap((laid) => button.setAttribute("aria-pressed", String(laid === picture)));
  return button;
}
