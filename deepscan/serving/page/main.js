// Takes files, judges two at a time and keeps the list.
import { Card } from "./card.js";
import { models } from "./service.js";
import { LABELS } from "./words.js";

const AT_ONCE = 2;

const part = (id) => document.getElementById(id);
const cards = [];
let known = [];

/** The bundles that are loaded; asked for again while the service could not tell. */
async function bundles() {
  if (!known.length) known = await loaded();
  return known;
}

async function loaded() {
  const place = part("service");
  try {
    const told = await models();
    const names = told.map((bundle) => `${bundle.name} (${bundle.modality})`);
    place.textContent = names.length ? `Detectors: ${names.join(", ")}` : "No detector is loaded.";
    return told;
  } catch (error) {
    place.textContent =
      error.status === 401 ? "This service asks for a key when a file is sent." : error.message;
    return [];
  }
}

function add(files) {
  if (!files.length) return;
  const explain = part("explain").checked;
  const shared = { explain, bundles, onChange: changed, onRemove: remove, onAgain: again };
  for (const file of files) {
    const card = new Card(file, shared);
    cards.push(card);
    part("cards").append(card.element);
  }
  changed();
  next();
}

function next() {
  const working = cards.filter((card) => card.state === "working").length;
  for (const card of cards.filter((one) => one.state === "waiting").slice(0, AT_ONCE - working)) {
    card.work().then(next);
  }
}

function again(card) {
  card.wait();
  next();
}

function remove(card) {
  const place = cards.indexOf(card);
  cards.splice(place, 1);
  card.dispose();
  changed();
  (cards[Math.min(place, cards.length - 1)]?.title ?? part("chosen")).focus();
}

function changed() {
  const count = (state) => cards.filter((card) => card.state === state).length;
  part("files").hidden = cards.length === 0;
  const open = count("waiting") + count("working");
  const ended = `${cards.length - open} of ${cards.length} finished`;
  const said = (label) =>
    cards.filter((card) => card.state === "done" && card.verdict.label === label).length;
  const counts = [
    ...Object.entries(LABELS).map(([label, { short }]) => [said(label), short]),
    [count("failed"), "not judged"],
  ];
  const told = counts.filter(([files]) => files).map(([files, words]) => `${files} ${words}`);
  part("tally").textContent = [ended, ...told].join(", ");
  document.title = open ? `${ended} · deepscan` : "deepscan";
}

part("chosen").addEventListener("change", (event) => {
  add([...event.target.files]);
  event.target.value = ""; // the same file may be chosen again
});

part("clear").addEventListener("click", () => {
  for (const card of cards.splice(0)) card.dispose();
  changed();
  part("chosen").focus();
});

for (const name of ["dragenter", "dragover"]) {
  document.addEventListener(name, (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    part("drop").classList.add("over");
  });
}

document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) part("drop").classList.remove("over");
});

document.addEventListener("drop", (event) => {
  if (!event.dataTransfer?.files.length) return;
  event.preventDefault();
  part("drop").classList.remove("over");
  add([...event.dataTransfer.files]);
});

document.addEventListener("paste", (event) => {
  if (event.clipboardData?.files.length) add([...event.clipboardData.files]);
});

bundles();
