// Shows the file from the reader's own machine, and over it where the detectors looked.
import { el } from "./dom.js";
import { drawn } from "./maps.js";
import { covers, middle, parts, regions, timed } from "./regions.js";
import { clock, percent, step, suspicion } from "./words.js";

const UNSHOWN = "This browser cannot show files of this format. The verdict does not depend on that.";

const MAP_OPACITY = 70;

/**
 * The file and its overlay. `time_s` is the moment that is shown, `map` the map that lies over it or null;
 * `onTime` and `onMap` hear whenever they change.
 */
export class Stage {
  constructor(file, verdict) {
    this.url = URL.createObjectURL(file);
    this.facts = verdict.media;
    this.parts = parts(verdict);
    this.listeners = [];
    this.mapListeners = [];
    this.map = null;
    const worst = this.parts.filter(timed).sort((a, b) => b.probability - a.probability)[0];
    this.time_s = worst ? middle(worst.region) : 0;
    this.medium = this.#medium(file);
    this.layer = el("div", { class: "layer", "aria-hidden": "true" });
    this.list = el("ul", { class: "regions" });
    this.when = el("p", { class: "faint when" });
    this.notice = el("p", { class: "notice", hidden: true }, UNSHOWN);
    this.element = this.#element(file);
    this.#draw();
  }

  /** Go to a moment. */
  seek(time_s) {
    this.time_s = time_s;
    if (this.player && this.player.readyState > 0) this.player.currentTime = time_s;
    this.#moved();
  }

  onTime(listener) {
    this.listeners.push(listener);
  }

  onMap(listener) {
    this.mapListeners.push(listener);
  }

  /** Lay a map over the file, where and when it belongs; null takes it away. */
  lay(picture) {
    this.map = picture;
    this.laid?.remove();
    this.laid = picture && this.#laid(picture);
    this.fader.hidden = !picture;
    if (picture) {
      this.frame.append(this.laid);
      if (timed(picture)) this.seek(middle(picture.region));
      this.element.scrollIntoView({ block: "nearest" });
    }
    for (const listener of this.mapListeners) listener(picture);
  }

  /** Free what the browser holds of the file. */
  dispose() {
    this.player?.pause();
    URL.revokeObjectURL(this.url);
  }

  /** The picture that is shown now, no larger than needed, as a data URL; null when there is none. */
  snapshot(most_px = 1000) {
    const width = this.medium.naturalWidth || this.medium.videoWidth;
    const height = this.medium.naturalHeight || this.medium.videoHeight;
    if (!width || !height) return null;
    const scale = Math.min(1, most_px / Math.max(width, height));
    const canvas = el("canvas", { width: Math.round(width * scale), height: Math.round(height * scale) });
    canvas.getContext("2d").drawImage(this.medium, 0, 0, canvas.width, canvas.height);
    return canvas.toDataURL("image/jpeg", 0.85);
  }

  #medium(file) {
    const { name, width_px, duration_s } = this.facts;
    const on = { error: () => this.#unshown() };
    if (!duration_s || file.type.startsWith("image/"))
      return el("img", { alt: `The file ${name}`, src: this.url, on });
    const player = el(width_px ? "video" : "audio", {
      controls: true,
      preload: "auto",
      playsinline: true,
      on,
    });
    player.setAttribute("aria-label", `The file ${name}`);
    player.src = this.url;
    player.addEventListener("loadedmetadata", () => this.#loaded(player));
    player.addEventListener("timeupdate", () => this.#played());
    player.addEventListener("seeking", () => this.#played());
    this.player = player;
    return player;
  }

  #loaded(player) {
    // A file that holds pictures in a codec that the browser lacks plays as sound without a picture.
    if (this.facts.width_px && player.videoWidth === 0) this.#unshown();
    else player.currentTime = this.time_s;
  }

  #played() {
    this.time_s = this.player.currentTime;
    this.#moved();
  }

  #moved() {
    this.#draw();
    for (const listener of this.listeners) listener(this.time_s);
  }

  #unshown() {
    const { width_px, height_px } = this.facts;
    this.notice.hidden = false;
    if (!width_px) return;
    const blank = el("div", { class: "blank", style: { "aspect-ratio": `${width_px} / ${height_px}` } });
    this.medium.replaceWith(blank);
    this.player = undefined;
    this.medium = blank;
  }

  #element() {
    const seen = this.facts.width_px;
    this.frame = el("div", { class: seen ? "frame" : "frame sound" }, this.medium, seen && this.layer);
    this.fader = this.#fader();
    return el("figure", { class: "stage" }, this.frame, this.fader, seen && this.#caption(), this.notice);
  }

  #laid(picture) {
    const made = drawn(picture, true);
    made.classList.add("map");
    for (const [name, value] of Object.entries(placed(picture.region.box ?? [0, 0, 1, 1])))
      made.style.setProperty(name, value);
    made.style.setProperty("opacity", this.opacity.value / 100);
    return made;
  }

  #fader() {
    const input = () => this.laid?.style.setProperty("opacity", this.opacity.value / 100);
    this.opacity = el("input", { type: "range", min: 0, max: 100, value: MAP_OPACITY, on: { input } });
    const hide = el(
      "button",
      { type: "button", class: "quiet", on: { click: () => this.lay(null) } },
      "Take the map away",
    );
    const label = el("label", {}, "Opacity of the map ", this.opacity);
    return el("div", { class: "row fader", hidden: true, "data-unprinted": true }, label, hide);
  }

  #caption() {
    if (!this.parts.some((part) => part.region.box)) return null;
    const hide = el("input", {
      type: "checkbox",
      checked: true,
      on: {
        change: () => (this.layer.hidden = !hide.checked),
      },
    });
    return el(
      "figcaption",
      {},
      el("label", { class: "choice", "data-unprinted": true }, hide, " Show where the detectors looked"),
      this.when,
      this.list,
      legend(),
    );
  }

  #draw() {
    if (!this.facts.width_px) return;
    if (this.laid) this.laid.hidden = timed(this.map) && !covers(this.map.region, this.time_s);
    const found = regions(this.parts, this.time_s).filter((region) =>
      region.seen.some((part) => part.region.box),
    );
    const key = JSON.stringify(found);
    const nothing = found.length ? ":" : " no detector looked at a place in the picture.";
    if (this.parts.some(timed)) this.when.textContent = `At ${clock(this.time_s)}${nothing}`;
    if (key === this.drawn) return;
    this.drawn = key;
    this.layer.replaceChildren(...found.map(spot));
    this.list.replaceChildren(...found.map(line));
  }
}

function spot({ name, box, probability }) {
  const style = placed(box);
  const below = box[1] < 0.12;
  return el(
    "div",
    { class: `spot heat-${step(probability)}${below ? " below" : ""}`, style },
    el("span", {}, `${name} ${percent(probability)}`),
  );
}

/** Where a box of the picture lies, as a style. */
function placed(box) {
  const [left, top, right, bottom] = box.map((share) => Math.min(1, Math.max(0, share)) * 100);
  return { left: `${left}%`, top: `${top}%`, width: `${right - left}%`, height: `${bottom - top}%` };
}

function line({ name, probability, seen }) {
  const said = seen.map((part) => `${part.detector} ${percent(part.probability)}`).join(", ");
  return el(
    "li",
    {},
    el("span", { class: `dot heat-${step(probability)}`, "aria-hidden": "true" }),
    el("strong", {}, `${name}: ${suspicion(probability)}`),
    ` (${said})`,
  );
}

function legend() {
  const steps = [0, 1, 2, 3, 4].map((number) =>
    el(
      "li",
      {},
      el("span", { class: `dot heat-${number}`, "aria-hidden": "true" }),
      `${number * 20}–${number * 20 + 20} %`,
    ),
  );
  return el("ul", { class: "legend", "aria-label": "Colours by probability of a fake" }, steps);
}
