// Pictures that evidence shows, drawn on canvases: the content policy allows no pictures from texts.
import { el } from "./dom.js";

/** From dark and cold to bright and hot: it also rises where colours are not told apart. */
const RAMP = [
  [26, 13, 89],
  [115, 15, 110],
  [214, 56, 77],
  [250, 158, 26],
  [255, 255, 140],
];
/** What is highest in a map still lets the picture behind it through. */
const MOST_OPAQUE = 230;

/** Whether a picture is a map of values. */
export const isMap = (picture) => typeof picture.low === "number";

/** A canvas with a picture; `coloured` makes a map one to lie over a picture, where what is low is clear. */
export function drawn(picture, coloured = false) {
  const canvas = el("canvas", { "data-kept": "png", role: "img", "aria-label": picture.caption });
  paint(canvas, picture, coloured);
  return canvas;
}

async function paint(canvas, picture, coloured) {
  const bytes = Uint8Array.from(atob(picture.png), (letter) => letter.charCodeAt(0));
  const bitmap = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
  Object.assign(canvas, { width: bitmap.width, height: bitmap.height });
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.drawImage(bitmap, 0, 0);
  if (coloured) pen.putImageData(heat(pen.getImageData(0, 0, bitmap.width, bitmap.height)), 0, 0);
  canvas.dataset.painted = "yes";
}

/** Colours for grey values, in place. */
function heat(pixels) {
  const { data } = pixels;
  for (let at = 0; at < data.length; at += 4) {
    const share = data[at] / 255;
    const place = Math.min(RAMP.length - 2, Math.floor(share * (RAMP.length - 1)));
    const rest = share * (RAMP.length - 1) - place;
    RAMP[place].forEach((low, band) => (data[at + band] = low + rest * (RAMP[place + 1][band] - low)));
    data[at + 3] = share * MOST_OPAQUE;
  }
  return pixels;
}
