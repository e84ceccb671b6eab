// A verdict as a part of the page: the answer, each detector, what could not be judged, evidence, the file.
import { el } from "./dom.js";
import { declarations, evidence, silent } from "./evidence.js";
import { list, part, table } from "./sections.js";
import { Stage } from "./stage.js";
import { timeline } from "./timeline.js";
import * as words from "./words.js";

/**
 * Show a verdict.
 * @param {File} file The file that was judged.
 * @param {object} verdict As the service answered it.
 * @param {object[]} known The bundles that the service told of; may be empty.
 * @returns {{element: HTMLElement, stage: Stage}}
 */
export function result(file, verdict, known) {
  const stage = new Stage(file, verdict);
  const element = el(
    "div",
    { class: "result" },
    declarations(verdict),
    el("div", { class: "pair" }, stage.element, answer(verdict)),
    timeline(file, verdict, stage),
    scores(verdict, known),
    abstentions(verdict),
    evidence(verdict, stage),
    facts(verdict),
  );
  return { element, stage };
}

function answer(verdict) {
  const known = verdict.probability !== null;
  const { notes = [] } = verdict.media;
  return el(
    "section",
    { class: `answer ${verdict.label}` },
    el("p", { class: "label" }, words.LABELS[verdict.label].heading),
    known &&
      el(
        "p",
        { class: "big" },
        el("strong", {}, words.percent(verdict.probability)),
        " probability of a fake",
      ),
    known && gauge(verdict.probability, verdict.uncertainty ?? null, "validation files that scored alike"),
    known && ends(verdict.uncertainty),
    words.trust(verdict).map((sentence) => el("p", {}, sentence)),
    el("p", {}, words.meaning(verdict)),
    notes.map((note) => el("p", { class: "notice" }, `About the file: ${note}`)),
  );
}

/** A bar from genuine to fake with a mark, and a band between `low` and `high`. */
function gauge(probability, band, meaning) {
  const place = (share) => `${100 * Math.min(1, Math.max(0, share))}%`;
  const told = band
    ? `; from ${Math.round(band.low * 100)} to ${Math.round(band.high * 100)} %: ${meaning}`
    : "";
  const strip =
    band &&
    el("span", { class: "strip", style: { left: place(band.low), width: place(band.high - band.low) } });
  return el(
    "div",
    {
      class: "gauge",
      role: "img",
      "aria-label": `Probability of a fake: ${words.percent(probability)}${told}`,
    },
    strip,
    el("span", { class: "mark", style: { left: place(probability) } }),
  );
}

function ends(uncertainty) {
  const frame = uncertainty ? el("span", {}, "framed: files that scored alike") : null;
  const [genuine, fake] = ["genuine", "fake"].map((end) => el("span", {}, end));
  return el("p", { class: "ends faint", "aria-hidden": "true" }, genuine, frame, fake);
}

function scores(verdict, known) {
  if (!verdict.scores.length) return null;
  return part(
    "What each detector says",
    el(
      "ul",
      { class: "scores" },
      verdict.scores.map((score) => scored(score, known)),
    ),
  );
}

function scored(score, known) {
  const { operating, metrics } = known.find((bundle) => bundle.id === score.bundle) ?? {};
  const band = operating && operating.high > operating.low ? operating : null;
  const measures = Object.entries(score.measures ?? {});
  return el(
    "li",
    {},
    named(score),
    gauge(score.probability, band, "here it does not decide"),
    el(
      "p",
      {},
      `${words.percent(score.probability)}: ${words.LABELS[score.label].short}. `,
      el(
        "span",
        { class: "faint" },
        `${decides(operating)} ${examined(score.parts)} ${words.tested(metrics)}`,
      ),
    ),
    table(`What ${score.detector} measured`, measures),
  );
}

function named({ detector, modality }) {
  return el("p", {}, el("strong", {}, detector), el("span", { class: "faint" }, ` looks at: ${modality}`));
}

function decides(operating) {
  if (!operating) return "";
  const [low, high] = [operating.low, operating.high];
  const never = (share) => share > 1;
  const fake = never(high)
    ? "It never calls a file fake"
    : `It calls a file fake from ${words.percent(high)}`;
  if (low <= 0) return `${fake} and never genuine.`;
  const between = low < high ? "; where it is framed it does not decide" : "";
  return `${fake}, genuine below ${words.percent(low)}${between}.`;
}

const examined = (parts) =>
  parts.length === 1 ? "It examined 1 part." : `It examined ${parts.length} parts.`;

function abstentions(verdict) {
  const votes = verdict.abstentions.map((one) => absent(named(one), one.reason, one.message));
  const measures = silent(verdict).map((one) => absent(measured(one), one.reason, one.summary));
  if (!votes.length && !measures.length) return null;
  return part("What could not be judged, and why", el("ul", { class: "scores" }, votes, measures));
}

function absent(who, reason, message) {
  const why = el("p", {}, `${words.reason({ reason })}. `, el("span", { class: "faint" }, message));
  return el("li", {}, who, why);
}

const measured = ({ analyzer }) =>
  el("p", {}, el("strong", {}, analyzer), el("span", { class: "faint" }, " a measure without a vote"));

function facts(verdict) {
  const { media } = verdict;
  const entries = [
    ["Name", media.name],
    ["Content", `${media.kind} (${media.container}), ${words.size(media.bytes)}`],
    ["Picture", media.width_px ? `${media.width_px} × ${media.height_px} px` : null],
    ["Length", media.duration_s ? `${words.clock(media.duration_s)} min` : null],
    ["Sound", media.duration_s ? (media.has_sound ? "yes" : "none") : null],
    ["SHA-256", media.sha256],
    ["Judged by", verdict.bundles.join(", ") || "no detector"],
    ["Time taken", `${(verdict.elapsed_ms / 1000).toFixed(2)} s`],
  ];
  return el("details", { class: "part" }, el("summary", {}, "About the file"), list(entries));
}
