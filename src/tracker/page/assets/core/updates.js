// The status of the tracker: asked for again and again, and kept while the page is open.
//
// **Bound:** `MOST` samples. When they are full every second one goes, and the time between two
// doubles, so that they always reach back to the first.
import { command } from "./api.js";
import { change, state } from "./store.js";

const EVERY = 5000;
const EVERY_HIDDEN = 30000;
let timer = 0;
/** Grows when an answer that is under way counts no more. */
let turn = 0;

async function read() {
  clearTimeout(timer);
  const mine = ++turn;
  try {
    const status = await command("status");
    if (mine !== turn) return;
    const statusAt = Date.now();
    sample(status, statusAt);
    change({ phase: "open", connection: "live", status, statusAt });
  } catch (error) {
    if (mine !== turn || error.status === 401) return;
    change({ connection: "lost" });
  }
  timer = setTimeout(read, document.hidden ? EVERY_HIDDEN : EVERY);
}

export const startUpdates = () => read();

export function stopUpdates() {
  clearTimeout(timer);
  turn += 1;
  forgetSamples();
}

export const retryNow = () => read();

document.addEventListener("visibilitychange", () => {
  if (!document.hidden && state.phase !== "connect") read();
});

const MOST = 720;
const KEPT = ["users", "groups", "files", "rows", "bytes", "sessions"];
const FIRST_INTERVAL = 4000;
let samples = [];
let interval = FIRST_INTERVAL;

/** Notes a status that came at a time. */
function sample(status, at) {
  // The last sample is the newest status; those before it are an interval apart.
  if (samples.length > 1 && at - samples.at(-2).at < interval) samples.pop();
  samples.push({ at, ...Object.fromEntries(KEPT.map((key) => [key, status[key]])) });
  if (samples.length > MOST) {
    samples = samples.filter((_, index) => index % 2 === 0);
    interval *= 2;
  }
}

export const history = () => samples;

function forgetSamples() {
  samples = [];
  interval = FIRST_INTERVAL;
}
