// The rates of the last minutes, from the events of downloads and the bytes that shares have sent.
//
// **Bound:** `LENGTH` samples of one second each.
import { command } from "./api.js";
import { state } from "./store.js";

export const LENGTH = 600;
const STALE = 3000;
const samples = [];
let heard = 0;
let current = 0;
let upload = null;

/** Notes the total rate after an event of a download. */
export function sample(downloads) {
  let sum = 0;
  for (const download of downloads.values()) {
    if (download.state === "running") sum += download.bytes_per_second;
  }
  current = sum;
  heard = Date.now();
}

/** The download rate now. A rate that was not told again for 3 seconds is over. */
export function downloadRate() {
  return Date.now() - heard < STALE ? current : 0;
}

export const uploadRate = () => (upload && Date.now() - upload.at < 10000 ? upload.rate : 0);

/** Samples, the oldest first: `{ at, download, upload }`. */
export const history = () => samples;

/** Asks how much the shares have sent. Returns them. */
export async function readUploads(words = {}, signal) {
  const page = await command("show_uploads", words, { signal });
  if (!words.after) {
    const sent = page.entries.reduce((sum, entry) => sum + entry.bytes_sent, 0);
    const at = Date.now();
    const seconds = upload ? (at - upload.at) / 1000 : 0;
    const grown = upload ? sent - upload.sent : 0;
    if (!upload || seconds >= 0.5) {
      upload = { at, sent, rate: seconds && grown > 0 ? Math.round(grown / seconds) : 0 };
    }
  }
  return page;
}

setInterval(() => {
  if (!state.account) return;
  samples.push({ at: Date.now(), download: downloadRate(), upload: uploadRate() });
  if (samples.length > LENGTH) samples.shift();
}, 1000);
