// One file in the list, from waiting to its verdict or to the reason why there is none.
import { el, say } from "./dom.js";
import { saveJson, saveReport } from "./report.js";
import { result } from "./result.js";
import { judge } from "./service.js";
import { gist, percent, size, LABELS } from "./words.js";

/** `state` is one of waiting, working, done, failed and cancelled; `onChange` hears of each change. */
export class Card {
  constructor(file, { explain, bundles, onChange, onRemove, onAgain }) {
    Object.assign(this, { file, explain, bundles, onChange, state: "waiting", verdict: null });
    this.badge = el("span", { class: "badge" });
    this.title = el("h3", { tabindex: -1 }, file.name || "pasted picture");
    this.actions = el("div", { class: "actions", "data-unprinted": true });
    this.body = el("div");
    this.again = () => onAgain(this);
    this.remove = () => onRemove(this);
    this.element = el(
      "li",
      { class: "card" },
      el("div", { class: "row" }, this.title, el("span", { class: "faint" }, size(file.size)), this.badge),
      this.actions,
      this.body,
    );
    this.wait();
  }

  /** Back to the queue. */
  wait() {
    this.#enter("waiting", "Waiting", [this.#button("Cancel", () => this.cancel())]);
    this.body.replaceChildren(el("p", { class: "faint" }, "Waits for the files before it."));
  }

  /** Judge the file; settles when that has ended in one way or another. */
  async work() {
    this.abort = new AbortController();
    this.#enter("working", "Working", [this.#button("Cancel", () => this.cancel())]);
    const show = this.#progress();
    try {
      const options = { explain: this.explain, signal: this.abort.signal, onState: show };
      this.#judged(await judge(this.file, options), await this.bundles());
    } catch (error) {
      this.#ended(error);
    }
  }

  cancel() {
    if (this.state === "working") this.abort.abort();
    else this.#stopped();
  }

  dispose() {
    this.abort?.abort();
    this.stage?.dispose();
    this.element.remove();
  }

  #progress() {
    const bar = el("progress", { max: 1, "aria-label": `Progress of ${this.file.name}` });
    const words = el("p", {}, "Starting …");
    this.body.replaceChildren(bar, words);
    return ({ phase, share, note }) => {
      if (share === undefined) bar.removeAttribute("value");
      else bar.value = share;
      words.textContent = note ?? phrase(phase, share);
      if (phase === "waiting") say(`${this.file.name}: ${note}`);
    };
  }

  #judged(verdict, known) {
    const { element, stage } = result(this.file, verdict, known);
    Object.assign(this, { verdict, stage });
    this.#enter(
      "done",
      LABELS[verdict.label].heading,
      [
        this.#button("Download report", () => saveReport(element, stage, verdict)),
        this.#button("Download JSON", () => saveJson(verdict)),
        this.#button("Remove", this.remove),
      ],
      verdict.label,
    );
    this.body.replaceChildren(element);
    say(`${this.file.name}: ${gist(verdict)}.`);
  }

  #ended(error) {
    if (error.name === "AbortError") return this.#stopped();
    // A verdict that this page cannot show is a defect, but one file must not stop the others.
    this.#enter(
      "failed",
      "Not judged",
      [this.#button("Try again", this.again), this.#button("Remove", this.remove)],
      "error",
    );
    this.body.replaceChildren(el("p", { class: "notice" }, error.message, trace(error)));
    say(`${this.file.name} could not be judged: ${error.message}`);
  }

  #stopped() {
    this.#enter("cancelled", "Cancelled", [
      this.#button("Try again", this.again),
      this.#button("Remove", this.remove),
    ]);
    this.body.replaceChildren();
  }

  #enter(state, words, actions, kind = "") {
    const held = this.element?.contains(document.activeElement) && document.activeElement !== this.title;
    this.state = state;
    this.badge.textContent = words;
    this.badge.className = `badge ${kind}`;
    this.actions.replaceChildren(...actions);
    // The button that had the focus is gone; without this the keyboard would start over at the top.
    if (held) this.title.focus();
    this.onChange();
  }

  #button(words, click) {
    return el(
      "button",
      { type: "button", class: "quiet", "aria-label": `${words}: ${this.file.name}`, on: { click } },
      words,
    );
  }
}

function phrase(phase, share) {
  if (phase === "sending") return `Sending the file: ${percent(share)}`;
  return share === undefined
    ? "The detectors look at it …"
    : `The detectors look at it: ${percent(share)} done`;
}

const trace = (error) => (error.requestId ? ` (request ${error.requestId})` : "");
