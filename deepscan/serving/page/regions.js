// Parts of a verdict as what is drawn: regions of the picture and moments in time. Pure functions.

const SAME_PLACE = 0.5;
const WHOLE = [0, 0, 1, 1];

/** All parts of all detectors, each with the detector's name. */
export function parts(verdict) {
  return verdict.scores.flatMap((score) =>
    score.parts.map((part) => ({ ...part, detector: score.detector })),
  );
}

/** Whether a part has a place in time. */
export const timed = (part) => part.region.start_s !== null && part.region.start_s !== undefined;

/** The middle of a moment: a player that is sent to its begin may stop a frame before it. */
export const middle = ({ start_s, end_s }) => (start_s + (end_s ?? start_s)) / 2;

/** Whether a region lasts at a time. */
export const covers = ({ start_s, end_s }, time_s) => start_s <= time_s && time_s <= (end_s ?? start_s);

/**
 * Where the detectors looked at one time, most suspicious first; what several saw in one place is one region.
 * @returns {{name: string, box: number[], probability: number, seen: object[]}[]}
 */
export function regions(all, time_s) {
  const still = all.filter((part) => !timed(part));
  const now = all.filter((part) => timed(part) && part.region.box && covers(part.region, time_s));
  const found = [];
  for (const part of [...still, ...now].sort((a, b) => b.probability - a.probability)) {
    const box = part.region.box ?? WHOLE;
    const place = found.find((region) => overlap(region.box, box) >= SAME_PLACE);
    if (place) place.seen.push(part);
    else found.push({ box, probability: part.probability, seen: [part] });
  }
  return found.map((region, number) => ({ ...region, name: String.fromCharCode(65 + (number % 26)) }));
}

/** Intersection over union of two boxes. */
export function overlap(a, b) {
  const width = Math.min(a[2], b[2]) - Math.max(a[0], b[0]);
  const height = Math.min(a[3], b[3]) - Math.max(a[1], b[1]);
  if (width <= 0 || height <= 0) return 0;
  const area = (box) => (box[2] - box[0]) * (box[3] - box[1]);
  return (width * height) / (area(a) + area(b) - width * height);
}

/** What one detector says over time, in order; faces of one moment are one entry with the most suspicious. */
export function moments(score) {
  const found = new Map();
  for (const part of score.parts.filter(timed)) {
    const { start_s, end_s, box } = part.region;
    const key = `${start_s.toFixed(3)} ${(end_s ?? start_s).toFixed(3)}`;
    const known = found.get(key);
    if (known && known.probability >= part.probability) known.faces += 1;
    else {
      const faces = (known?.faces ?? 0) + 1;
      found.set(key, {
        start_s,
        end_s: end_s ?? start_s,
        box,
        probability: part.probability,
        faces,
        detector: score.detector,
      });
    }
  }
  return [...found.values()].sort((a, b) => a.start_s - b.start_s);
}

/**
 * The most suspicious moments of all detectors, in order of time and some way apart from each other: those
 * that are at least as probably fake as not, or else the three that come nearest to that.
 */
export function highlights(scores, duration_s) {
  const sorted = scores.flatMap(moments).sort((a, b) => b.probability - a.probability);
  const suspicious = sorted.filter((moment) => moment.probability >= 0.5);
  const all = suspicious.length ? suspicious : sorted;
  const most = suspicious.length ? 6 : 3;
  const apart_s = duration_s / (most * 2.5);
  const chosen = [];
  for (const moment of all) {
    if (
      chosen.length < most &&
      chosen.every((other) => Math.abs(other.start_s - moment.start_s) >= apart_s)
    ) {
      chosen.push(moment);
    }
  }
  return chosen.sort((a, b) => a.start_s - b.start_s);
}
