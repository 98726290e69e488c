// The rates of the last minutes, as the client tells them: in the snapshot, and when they change.
//
// **Bound:** `LENGTH` samples of one second each.
import { state } from "./store.js";

export const LENGTH = 600;
const samples = [];
const NOTHING = { received_per_second: 0, sent_per_second: 0, bytes_received: 0, bytes_sent: 0 };
let current = NOTHING;

/** Notes what the client moves. */
export function noteTraffic(traffic) {
  current = traffic ?? NOTHING;
}

/** What the client moves now; nothing while it does not answer. */
export const traffic = () => (state.connection === "live" ? current
  : { ...current, received_per_second: 0, sent_per_second: 0 });

/** Samples, the oldest first: `{ at, download, upload }`. */
export const history = () => samples;

setInterval(() => {
  if (!state.account) return;
  const { received_per_second: download, sent_per_second: upload } = traffic();
  samples.push({ at: Date.now(), download, upload });
  if (samples.length > LENGTH) samples.shift();
}, 1000);
