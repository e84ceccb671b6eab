// Elements without markup in strings: whatever a file or the service says stays text.

/** Make an element. `attributes` may hold `style` (an object), `on` (listeners) and any attribute. */
export function el(tag, attributes = {}, ...children) {
  const { style = {}, on = {}, ...rest } = attributes;
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(rest)) {
    if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  // One property at a time: the content policy forbids style attributes, not this.
  for (const [name, value] of Object.entries(style)) made.style.setProperty(name, value);
  for (const [event, listener] of Object.entries(on)) made.addEventListener(event, listener);
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

/** Make an SVG element with attributes. */
export function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

const said = () => document.getElementById("said");
let pending = [];

/** Let screen readers hear a sentence; several of one moment are read one after the other. */
export function say(sentence) {
  pending.push(sentence);
  if (pending.length > 1) return;
  setTimeout(() => {
    said().textContent = pending.join(" ");
    pending = [];
  }, 150);
}
