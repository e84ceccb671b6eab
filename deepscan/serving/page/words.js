// What a verdict means, in words. Pure functions: numbers in, sentences out.

/** Name for each label of a verdict: for the heading, and within a sentence. */
export const LABELS = {
  fake: { heading: "Looks fake", short: "looks fake" },
  real: { heading: "Looks genuine", short: "looks genuine" },
  inconclusive: { heading: "Inconclusive", short: "inconclusive" },
};

/** Why a detector or analyzer could not judge, by the word in an abstention. */
export const REASONS = {
  "no-face": "No face was found",
  "no-hum": "No hum of the mains is heard",
  "no-map": "Its model has nothing that such a map could show",
  "no-picture": "There is no picture of the kind that it looks at",
  "no-sound": "There is no sound",
  "nothing-measured": "There is nothing that it measures",
  "not-installed": "What it needs is not installed",
  "out-of-domain": "The file is unlike those that it knows",
  "too-short": "The file is too short",
  unclear: "What it measures is lost in noise",
  failed: "It failed",
};

/** What each finding is called and means, the weightiest first. */
export const FINDINGS = {
  telling: { title: "Telling", meaning: "says by itself how the file was made" },
  unusual: { title: "Unusual", meaning: "few genuine files have this" },
  ordinary: { title: "Ordinary", meaning: "genuine files have this too" },
  none: { title: "Not measured", meaning: "it could not measure" },
};

/** Title of each group of evidence. */
export const GROUPS = {
  provenance: "Provenance",
  model: "Where the detectors looked",
  metadata: "Metadata",
  compression: "Compression",
  noise: "Noise",
  spectrum: "Spectrum",
  face: "Faces",
  voice: "Voice",
  sound: "Sound",
  sync: "Lips and voice",
};

/** How units at the end of names are written. */
export const UNITS = {
  ms: "ms",
  s: "s",
  px: "px",
  hz: "Hz",
  khz: "kHz",
  db: "dB",
  bytes: "bytes",
  percent: "%",
  semitones: "semitones",
  bits: "bits",
  frames: "frames",
  deg: "°",
  bpm: "beats/min",
};

/** Fewer validation files than this make an interval that deserves a warning. */
const FEW_FILES = 30;
const LARGE_DISAGREEMENT = 0.15;

/** What keeps a figure and its unit on one line. */
const GAP = "\u00a0";

/** "87 %"; never 0 or 100, for nothing here is certain. */
export function percent(share) {
  if (share > 0.99) return `over 99${GAP}%`;
  if (share < 0.01) return `under 1${GAP}%`;
  return `${Math.round(share * 100)}${GAP}%`;
}

/** "0:07.5", for people. */
export function clock(seconds) {
  const tenths = Math.round(seconds * 10);
  const rest = ((tenths % 600) / 10).toFixed(1).padStart(4, "0");
  return `${Math.floor(tenths / 600)}:${rest}`;
}

/** "1.2 MB" */
export function size(bytes) {
  if (bytes < 1e3) return `${bytes} bytes`;
  return bytes < 1e6 ? `${(bytes / 1e3).toFixed(0)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

/** Which of five steps from genuine (0) to fake (4) a probability belongs to. */
export function step(probability) {
  return Math.min(4, Math.max(0, Math.floor(probability * 5)));
}

/** How suspicious a part is, for those who do not see its colour. */
export function suspicion(probability) {
  return ["hardly suspicious", "little suspicious", "undecided", "suspicious", "very suspicious"][
    step(probability)
  ];
}

/** What the label means, one sentence or two. */
export function meaning(verdict) {
  if (verdict.label === "fake") {
    return (
      "The detectors find traces like those of the fakes that they learnt from. " +
      "This is a measurement, not a proof."
    );
  }
  if (verdict.label === "real") {
    return (
      "The detectors find no traces like those of the fakes that they learnt from. A fake made in a way " +
      "that they do not know may look like this too."
    );
  }
  if (verdict.probability === null) {
    const asked = verdict.abstentions.length > 0;
    return (
      (asked
        ? "None of the detectors could judge this file; why is told below. "
        : "No detector looks at such files. ") + "That says nothing about whether it is genuine."
    );
  }
  return (
    "The probability lies where the detectors would be wrong too often in either direction, so they do not " +
    "decide. A better copy of the file, the original if there is one, may tell more."
  );
}

/** What the probability is worth, from validation files that scored alike; a list of sentences. */
export function trust(verdict) {
  if (verdict.probability === null) return [];
  const { uncertainty, scores } = verdict;
  if (!uncertainty || !uncertainty.files) {
    return [
      "How many files that score like this one are fakes was not measured for this combination of detectors.",
    ];
  }
  return [share(uncertainty), ...doubts(uncertainty, scores)];
}

function share({ low, high, files }) {
  const [from, to] = [low, high].map((end) => Math.round(end * 100));
  const range = from === to ? `about ${to}${GAP}%` : `${from} to ${to}${GAP}%`;
  return (
    `Of files that scored like this one in validation, ${range} were fakes (95${GAP}% interval, ${files} ` +
    `${files === 1 ? "file" : "files"}).`
  );
}

function doubts({ files, disagreement }, scores) {
  const found = [];
  if (files < FEW_FILES) found.push("These are few files, so the figure is rough.");
  if (disagreement >= LARGE_DISAGREEMENT && scores.length > 1) {
    found.push("The detectors disagree with each other; look at what each of them says.");
  }
  return found;
}

/** One sentence for screen readers and lists. */
export function gist(verdict) {
  const words = LABELS[verdict.label].short;
  return verdict.probability === null
    ? words
    : `${words}, probability of a fake ${percent(verdict.probability)}`;
}

/** How well a detector tells fakes from genuine files of its test split; "" where that was not measured. */
export function tested(metrics) {
  const { counts, figures } = metrics?.test ?? {};
  const auc = figures?.auc;
  if (!auc || auc.value === null) return "";
  const range =
    auc.low === null ? "" : `, 95${GAP}% interval ${auc.low.toFixed(2)} to ${auc.high.toFixed(2)}`;
  const files = counts?.files ? `, ${counts.files} files` : "";
  const value = auc.value.toFixed(2);
  return `On its own test files its AUC was ${value} (0.5 is chance, 1 is best${range}${files}).`;
}

/** Why a detector did not judge. */
export function reason(abstention) {
  return REASONS[abstention.reason] ?? "It could not judge";
}

/** "hz" as it is written; what is not known stays as it is. */
export const unit = (name) => UNITS[name] ?? name.replaceAll("_", " ");

/** "pitch_median_hz" as name and unit, for tables. */
export function measure(name) {
  const words = name.split("_");
  // The spread of a figure has the unit of the figure.
  const tail = words.length > 1 && words.at(-1) === "spread" ? words.pop() : null;
  const known = words.length > 1 && UNITS[words.at(-1)] ? unit(words.pop()) : "";
  return { name: words.join(" ") + (tail ? `, ${tail}` : ""), unit: known };
}

/** Evidence as people should read it: what matters most first, then by group. */
export function ordered(evidence) {
  const [findings, groups] = [Object.keys(FINDINGS), Object.keys(GROUPS)];
  const rank = (group) => (groups.includes(group) ? groups.indexOf(group) : groups.length);
  return evidence.toSorted(
    (one, other) =>
      findings.indexOf(one.finding) - findings.indexOf(other.finding) || rank(one.group) - rank(other.group),
  );
}

/** A figure of three or four digits. */
export function figure(value) {
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value)) return String(value);
  return Math.abs(value) >= 1000 ? value.toFixed(0) : String(Number(value.toPrecision(3)));
}
