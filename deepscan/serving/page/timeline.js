// What the detectors say over time: bars, the most suspicious moments as pictures, and the sound.
import { el, svg } from "./dom.js";
import { highlights, middle, moments } from "./regions.js";
import { clock, percent, step, suspicion } from "./words.js";

const THUMBNAIL_PX = { width: 240, height: 180 };
/** How much more than the face a thumbnail shows. */
const SURROUNDINGS = 1.9;
const SEEK_PATIENCE_MS = 10_000;
const WAVE_COLUMNS = 600;
/** Decoded sound takes ten times the room of a compressed file and more. */
const MOST_SOUND_BYTES = 64e6;

/** The timeline of a verdict, or null when nothing in it has a time. */
export function timeline(file, verdict, stage) {
  const duration_s = verdict.media.duration_s;
  const rows = verdict.scores
    .map((score) => ({ score, found: moments(score) }))
    .filter(({ found }) => found.length);
  if (!duration_s || !rows.length) return null;
  const readout = el(
    "p",
    { class: "readout faint" },
    "Choose a bar to go to that moment. Arrow keys move between bars.",
  );
  const heads = [];
  const bands = rows.map(({ score, found }) => band({ score, found, duration_s, stage, readout, heads }));
  const wave = el("div", { class: "wave", hidden: true });
  const move = (time_s) =>
    heads.forEach((head) => head.style.setProperty("left", `${(100 * time_s) / duration_s}%`));
  stage.onTime(move);
  move(stage.time_s);
  if (verdict.media.has_sound) drawWave(file, wave, heads, duration_s).then(() => move(stage.time_s));
  return el(
    "section",
    { class: "timeline" },
    el("h4", {}, "Over time"),
    el(
      "p",
      { class: "faint" },
      "The higher a bar, the more probable a fake in that moment; the line is at 50 %.",
    ),
    bands,
    wave,
    axis(duration_s),
    readout,
    gallery(verdict, stage),
  );
}

function band({ score, found, duration_s, stage, readout, heads }) {
  const head = el("div", { class: "playhead", "aria-hidden": "true" });
  heads.push(head);
  const tell = (moment) => (readout.textContent = told(moment));
  const bars = found.map((moment, number) => bar({ moment, duration_s, tell, stage, first: number === 0 }));
  const track = el(
    "div",
    { class: "track", role: "toolbar", "aria-label": `${score.detector} over time` },
    bars,
    head,
  );
  track.addEventListener("keydown", (event) => rove(event, bars));
  track.addEventListener("click", (event) => {
    if (event.target !== track) return;
    const { left, width } = track.getBoundingClientRect();
    stage.seek((duration_s * (event.clientX - left)) / width);
  });
  return el("div", { class: "band-row" }, el("p", { class: "faint" }, score.detector), track);
}

function bar({ moment, duration_s, tell, stage, first }) {
  const share = (time_s) => Math.min(100, Math.max(0, (100 * time_s) / duration_s));
  const left = share(moment.start_s);
  const style = {
    left: `${left}%`,
    width: `max(3px, ${share(moment.end_s) - left}%)`,
    height: `${Math.max(6, moment.probability * 100)}%`,
  };
  const on = {
    click: () => {
      tell(moment);
      stage.seek(middle(moment));
    },
    focus: () => tell(moment),
    pointerenter: () => tell(moment),
  };
  const attributes = {
    type: "button",
    class: `bar heat-${step(moment.probability)}`,
    tabindex: first ? 0 : -1,
    style,
    on,
  };
  return el("button", { ...attributes, "aria-label": told(moment) });
}

function told({ start_s, end_s, detector, probability, faces }) {
  const several = faces > 1 ? `, the most suspicious of ${faces} faces` : "";
  const when = end_s > start_s ? `${clock(start_s)} to ${clock(end_s)}` : `At ${clock(start_s)}`;
  return `${when}, ${detector}: ${percent(probability)}, ${suspicion(probability)}${several}`;
}

const STEPS = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };

/** One stop for the Tab key in a whole band; arrows go from bar to bar. */
function rove(event, bars) {
  if (!(event.key in STEPS)) return;
  event.preventDefault();
  const now = bars.indexOf(document.activeElement);
  const next = bars[Math.min(bars.length - 1, Math.max(0, now + STEPS[event.key]))];
  bars[now].tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
}

function axis(duration_s) {
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((share) => el("span", {}, clock(share * duration_s)));
  return el("div", { class: "axis faint", "aria-hidden": "true" }, ticks);
}

function gallery(verdict, stage) {
  const chosen = highlights(verdict.scores, verdict.media.duration_s);
  const pictured = stage.player?.tagName === "VIDEO";
  const figures = chosen.map((moment) => card(moment, stage, pictured));
  if (pictured) paint(stage, figures);
  const title = chosen.some((moment) => moment.probability >= 0.5)
    ? "Most suspicious moments"
    : "The nearest to suspicious; no moment reaches 50 %";
  return [
    el("h4", {}, title),
    el(
      "ul",
      { class: "moments" },
      figures.map(({ item }) => item),
    ),
  ];
}

function card(moment, stage, pictured) {
  const canvas = pictured ? el("canvas", { ...THUMBNAIL_PX, "aria-hidden": "true" }) : null;
  const words = el(
    "span",
    {},
    el("strong", {}, clock(moment.start_s)),
    el("span", { class: `dot heat-${step(moment.probability)}`, "aria-hidden": "true" }),
    percent(moment.probability),
  );
  const label = `Go to ${told(moment).replace(/^At /, "")}`;
  const button = el(
    "button",
    { type: "button", class: "moment", "aria-label": label, on: { click: () => stage.seek(middle(moment)) } },
    canvas,
    words,
  );
  return { moment, canvas, item: el("li", {}, button) };
}

/** Cut the pictures one by one from a second, hidden player, so that the visible one stays where it is. */
async function paint(stage, figures) {
  const hidden = el("video", { preload: "auto", playsinline: true });
  hidden.muted = true;
  hidden.src = stage.url;
  if (!(await happened(hidden, "loadeddata")) || !hidden.videoWidth) return;
  for (const { moment, canvas } of figures) {
    hidden.currentTime = Math.min(middle(moment), hidden.duration - 0.05);
    if (await happened(hidden, "seeked")) cut(hidden, canvas, moment);
  }
  hidden.removeAttribute("src");
  hidden.load();
}

function cut(player, canvas, { box, probability }) {
  const [x, y, width, height] = view(player, box);
  const pen = canvas.getContext("2d");
  pen.drawImage(player, x, y, width, height, 0, 0, canvas.width, canvas.height);
  canvas.dataset.painted = "yes";
  if (!box) return;
  const scale = canvas.width / width;
  const [left, top, right, bottom] = box.map(
    (share, side) => share * (side % 2 ? player.videoHeight : player.videoWidth),
  );
  pen.lineWidth = 3;
  pen.strokeStyle = getComputedStyle(canvas).getPropertyValue(`--heat-${step(probability)}`);
  pen.strokeRect((left - x) * scale, (top - y) * scale, (right - left) * scale, (bottom - top) * scale);
}

/** What a thumbnail shows of a frame, in px: the face and what is around it, or the middle of the frame. */
function view({ videoWidth, videoHeight }, box) {
  const shape = THUMBNAIL_PX.width / THUMBNAIL_PX.height;
  const [left, top, right, bottom] = box ?? [0, 0, 1, 1];
  const wanted = SURROUNDINGS * Math.max((right - left) * videoWidth, (bottom - top) * videoHeight * shape);
  const width = Math.min(wanted, videoWidth, videoHeight * shape);
  const height = width / shape;
  const inside = (middle, length, room) => Math.min(Math.max(0, middle - length / 2), room - length);
  const x = inside(((left + right) / 2) * videoWidth, width, videoWidth);
  return [x, inside(((top + bottom) / 2) * videoHeight, height, videoHeight), width, height];
}

/** Whether an event comes before patience ends; a broken file may never send it. */
function happened(player, name) {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve(false), SEEK_PATIENCE_MS);
    const settle = (came) => () => {
      clearTimeout(timer);
      resolve(came);
    };
    player.addEventListener(name, settle(true), { once: true });
    player.addEventListener("error", settle(false), { once: true });
  });
}

async function drawWave(file, place, heads, duration_s) {
  if (file.size > MOST_SOUND_BYTES) return;
  const peaks = await loudness(file, duration_s);
  if (!peaks) return;
  const top = Math.max(...peaks, 1e-6);
  const path = peaks.map((peak, x) => `M${x} ${50 - (48 * peak) / top}V${50 + (48 * peak) / top}`).join("");
  const head = el("div", { class: "playhead", "aria-hidden": "true" });
  heads.push(head);
  const view = {
    viewBox: `0 0 ${WAVE_COLUMNS} 100`,
    preserveAspectRatio: "none",
    role: "img",
    "aria-label": "Loudness of the sound over time",
  };
  place.append(
    el("p", { class: "faint" }, "Sound"),
    el("div", { class: "track low" }, svg("svg", view, svg("path", { d: path })), head),
  );
  place.hidden = false;
}

async function loudness(file, duration_s) {
  const context = new OfflineAudioContext(1, 1, 16000);
  let sound;
  try {
    sound = await context.decodeAudioData(await file.arrayBuffer());
  } catch {
    return null; // a codec that the browser lacks: the bars are there all the same
  }
  const samples = sound.getChannelData(0);
  const peaks = new Array(WAVE_COLUMNS).fill(0);
  const width = (duration_s * sound.sampleRate) / WAVE_COLUMNS;
  for (let at = 0; at < samples.length; at++) {
    const column = Math.floor(at / width);
    if (column < WAVE_COLUMNS) peaks[column] = Math.max(peaks[column], Math.abs(samples[at]));
  }
  return peaks;
}
