// Talks with the routes of the service: uploads with progress, jobs, keys and waiting when it is busy.

const SAVED_KEY = "deepscan-key";
const MOST_TRIES = 5;
const LONGEST_WAIT_S = 30;
const FIRST_POLL_MS = 400;
const LONGEST_POLL_MS = 5000;
/** A larger picture is judged as a job too: a proxy may cut a request that stays silent for long. */
const LARGE_BYTES = 8e6;

/** What the service refused, in its own words. */
export class Refusal extends Error {
  constructor(type, message, status, requestId = null) {
    super(message);
    Object.assign(this, { type, status, requestId });
  }
}

const stopped = () => new DOMException("Cancelled", "AbortError");

/**
 * Judge a file.
 * @param {File} file What to judge.
 * @param {{explain: boolean, signal: AbortSignal, onState: function(object)}} options `onState` hears of the
 *   phases "sending", "judging" and "waiting", with the share that is done or a note where there is one.
 * @returns {Promise<object>} The Verdict.
 */
export async function judge(file, options) {
  const lengthy = /^(video|audio)\//.test(file.type) || file.size > LARGE_BYTES;
  const job = lengthy && (await started(file, options));
  return job ? followed(job, options) : (await post("api/predict", file, options)).body;
}

/** Start a job; null where the service has no jobs. */
async function started(file, options) {
  try {
    return (await post("api/jobs", file, options)).body;
  } catch (error) {
    if (error.type === "HTTPException" && [404, 405].includes(error.status)) return null;
    throw error;
  }
}

/** The bundles that are loaded. */
export async function models() {
  return (await sent({ method: "GET", url: "api/models" })).body;
}

async function post(url, file, { explain, signal, onState }) {
  const form = new FormData();
  form.append("file", file, file.name);
  if (explain) form.append("explain", "true");
  const onProgress = (share) => onState(share < 1 ? { phase: "sending", share } : { phase: "judging" });
  return patient(() => sent({ method: "POST", url, form, signal, onProgress }), { signal, onState });
}

async function followed(job, options) {
  const { signal, onState } = options;
  let pause_ms = FIRST_POLL_MS;
  while (!["done", "failed"].includes(job.status)) {
    const share = job.total > 1 ? job.done / job.total : undefined;
    onState({
      phase: "judging",
      share,
      note: job.status === "queued" ? "The service has put it in its queue." : undefined,
    });
    await pause(pause_ms, signal);
    pause_ms = Math.min(LONGEST_POLL_MS, pause_ms * 1.5);
    const url = `api/jobs/${encodeURIComponent(job.id)}`;
    job = (await patient(() => sent({ method: "GET", url, signal }), options)).body;
  }
  if (job.status === "failed") {
    throw new Refusal(
      job.error?.type ?? "ServiceError",
      job.error?.message ?? "The job failed.",
      0,
      job.error?.request_id,
    );
  }
  return job.verdict;
}

/** Try again while the service is busy or wants a key, a bounded number of times. */
async function patient(attempt, { signal, onState }) {
  for (let tries = 1; ; tries++) {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof Refusal) || tries >= MOST_TRIES) throw error;
      if (error.status === 401) {
        if (!(await askedForKey(error.key, signal))) throw error;
      } else if ([429, 503].includes(error.status)) {
        await countdown(error, tries, { signal, onState });
      } else {
        throw error;
      }
    }
  }
}

async function countdown(error, tries, { signal, onState }) {
  const wait_s = Math.min(LONGEST_WAIT_S, error.retryAfter_s ?? 2 ** tries);
  const note = `The service is busy. Trying again in ${wait_s} s (attempt ${tries + 1} of ${MOST_TRIES}).`;
  onState({ phase: "waiting", note });
  await pause(wait_s * 1000, signal);
}

function pause(time_ms, signal) {
  return new Promise((go, refuse) => {
    if (signal?.aborted) return refuse(stopped());
    const stop = () => {
      clearTimeout(timer);
      refuse(stopped());
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      go();
    }, time_ms);
    signal?.addEventListener("abort", stop, { once: true });
  });
}

/** One request. `fetch` tells nothing of the progress of an upload, so this is the older way. */
function sent({ method, url, form, signal, onProgress }) {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(stopped());
    const request = new XMLHttpRequest();
    const stop = () => request.abort();
    signal?.addEventListener("abort", stop, { once: true });
    request.open(method, url);
    const key = sessionStorage.getItem(SAVED_KEY);
    if (key) request.setRequestHeader("X-API-Key", key);
    request.upload.onprogress = ({ loaded, total }) => onProgress?.(total ? loaded / total : 0);
    request.upload.onload = () => onProgress?.(1);
    request.onabort = () => reject(stopped());
    request.onerror = () => reject(new Refusal("Unreachable", form ? broken : unreachable, 0));
    request.onload = () => {
      const body = parsed(request.responseText);
      if (request.status < 400 && body !== null) resolve({ body });
      else reject(Object.assign(refusal(request, body), { key }));
    };
    request.onloadend = () => signal?.removeEventListener("abort", stop);
    request.send(form);
  });
}

const broken =
  "The connection broke before there was an answer. Is the service still running? It also hangs up on " +
  "files that are larger than it takes. Then try again.";
const unreachable =
  "The service cannot be reached. Is it still running, and is this machine connected? Then try again.";

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null; // a proxy in between may answer with a line of text
  }
}

function refusal(request, body) {
  const said = body?.error ?? {};
  const message = said.message ?? `The service answered with status ${request.status} and no explanation.`;
  const error = new Refusal(said.type ?? "HTTPException", message, request.status, said.request_id);
  const retryAfter_s = Number.parseInt(request.getResponseHeader("Retry-After") ?? "", 10);
  if (Number.isFinite(retryAfter_s)) error.retryAfter_s = Math.max(1, retryAfter_s);
  return error;
}

let asking = null;

/** Ask once for a key in place of the `refused` one, however many files wait; false when none was given. */
function askedForKey(refused, signal) {
  // Another file may have been given the key since this one was sent.
  if (!asking && sessionStorage.getItem(SAVED_KEY) !== refused) return true;
  asking ??= new Promise((resolve) => {
    const dialog = document.getElementById("ask-key");
    const field = document.getElementById("key");
    if (refused) {
      document.getElementById("ask-key-why").textContent =
        "The service did not accept the key that was given. Try another.";
    }
    field.value = "";
    dialog.querySelector("form").onsubmit = (event) => {
      event.preventDefault();
      sessionStorage.setItem(SAVED_KEY, field.value);
      dialog.close("given");
    };
    document.getElementById("no-key").onclick = () => dialog.close("none");
    dialog.onclose = () => resolve(dialog.returnValue === "given");
    dialog.returnValue = "none";
    dialog.showModal();
  }).finally(() => (asking = null));
  return asking.then((given) => {
    if (signal?.aborted) throw stopped();
    return given;
  });
}
