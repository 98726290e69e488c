// Samples of the tracker's status while the page is open.
//
// **Bound:** `MOST` samples. When they are full every second one goes, and the time between two
// doubles, so that they always reach back to the first.
const MOST = 720;
const KEPT = ["users", "groups", "files", "rows", "bytes", "sessions"];
const FIRST_INTERVAL = 4000;
let samples = [];
let interval = FIRST_INTERVAL;

/** Notes a status that came at a time. */
export function sample(status, at) {
  // The last sample is the newest status; those before it are an interval apart.
  if (samples.length > 1 && at - samples.at(-2).at < interval) samples.pop();
  samples.push({ at, ...Object.fromEntries(KEPT.map((key) => [key, status[key]])) });
  if (samples.length > MOST) {
    samples = samples.filter((_, index) => index % 2 === 0);
    interval *= 2;
  }
}

export const history = () => samples;

export function forgetSamples() {
  samples = [];
  interval = FIRST_INTERVAL;
}
