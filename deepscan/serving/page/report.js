// Downloads: the verdict as JSON, and what the page shows as one HTML file that needs nothing else.
import { el } from "./dom.js";

/** Save the Verdict as the service answered it. */
export function saveJson(verdict) {
  save(JSON.stringify(verdict, null, 2), "application/json", `${stem(verdict)}.json`);
}

/** Save what the page shows of a verdict. */
export async function saveReport(shown, stage, verdict) {
  const style = await (await fetch("static/style.css")).text();
  save(reportOf(shown, stage, verdict, style), "text/html", `${stem(verdict)}.html`);
}

const stem = (verdict) => `deepscan-${verdict.media.name.replace(/[^\w.-]+/g, "_")}`;

/** The report as HTML: a copy of the result whose pictures are inside and whose buttons are gone. */
export function reportOf(shown, stage, verdict, style) {
  const copy = shown.cloneNode(true);
  stilled(copy, shown, stage);
  for (const control of copy.querySelectorAll("[data-unprinted]")) control.remove();
  for (const button of copy.querySelectorAll("button")) button.replaceWith(plain(button));
  for (const details of copy.querySelectorAll("details")) details.open = true;
  const page = document.implementation.createHTMLDocument(`deepscan: ${verdict.media.name}`);
  page.documentElement.lang = "en";
  page.head.prepend(el("meta", { charset: "utf-8" }));
  page.body.append(
    el(
      "main",
      {},
      el("h1", {}, verdict.media.name),
      el(
        "p",
        { class: "faint" },
        `Report of deepscan, ${new Date().toISOString().slice(0, 16).replace("T", " ")} UTC. `,
        "It is a measurement, not a proof: weigh it together with where the file comes from.",
      ),
      copy,
    ),
  );
  // Put in as text: the content policy of this page would refuse the element even in a document that is
  // never shown.
  const html = page.documentElement.outerHTML.replace("</head>", () => `<style>${style}</style></head>`);
  return `<!doctype html>\n${html}`;
}

/** Put still pictures in the place of the file and of the canvases. */
function stilled(copy, shown, stage) {
  const picture = stage.snapshot();
  const medium = copy.querySelector(".frame > img, .frame > video, .frame > audio");
  if (picture) medium?.replaceWith(el("img", { src: picture, alt: `The file ${stage.facts.name}` }));
  else if (medium) medium.remove();
  const originals = shown.querySelectorAll("canvas");
  copy.querySelectorAll("canvas").forEach((canvas, number) => {
    canvas.replaceWith(still(originals[number]));
  });
}

/** A picture of what a canvas shows; a map keeps what is clear in it. */
function still(canvas) {
  const src = canvas.dataset.kept ? canvas.toDataURL() : canvas.toDataURL("image/jpeg", 0.8);
  const made = el("img", { src, alt: canvas.getAttribute("aria-label") ?? "", class: canvas.className });
  made.style.cssText = canvas.style.cssText;
  return made;
}

function plain(button) {
  const made = el("span", {
    class: button.className,
    role: "img",
    "aria-label": button.getAttribute("aria-label"),
  });
  made.style.cssText = button.style.cssText;
  made.append(...button.childNodes);
  return made;
}

function save(text, type, name) {
  const url = URL.createObjectURL(new Blob([text], { type: `${type};charset=utf-8` }));
  el("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
