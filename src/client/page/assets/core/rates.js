// The rates of the last minutes, from the events of downloads and the bytes that shares have sent.
//
// **Bound:** `LENGTH` samples of one second each.
import { command } from "./api.js";
import { state } from "./store.js";

export const LENGTH = 600;
const STALE = 3000;
/** How often the shares are asked, and how many of them. */
const EVERY = 5000;
const SHARES = 200;
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

/** The upload rate, or `null` if it is not known. */
export const uploadRate = () =>
  (upload && Date.now() - upload.at < 3 * EVERY ? upload.rate : null);

/** Samples, the oldest first: `{ at, download, upload }`. */
export const history = () => samples;

/** Asks how much the shares have sent. With more shares than `SHARES` the rate is not known. */
async function readUploads() {
  const page = await command("show_uploads", { limit: SHARES });
  const at = Date.now();
  const sent = new Map(page.entries.map((one) =>
    [`${one.group_id} ${one.info_hash}`, one.bytes_sent]));
  let grown = 0;
  for (const [key, bytes] of sent) grown += Math.max(0, bytes - (upload?.sent.get(key) ?? bytes));
  const seconds = upload ? (at - upload.at) / 1000 : 0;
  const rate = page.more || !seconds ? null : Math.round(grown / seconds);
  upload = { at, sent, rate };
}

let asked = 0;

setInterval(() => {
  if (!state.account || state.account.must_change_password) return;
  if (Date.now() - asked >= EVERY && !document.hidden && state.connection === "live") {
    asked = Date.now();
    readUploads().catch(() => {});
  }
  samples.push({ at: Date.now(), download: downloadRate(), upload: uploadRate() ?? 0 });
  if (samples.length > LENGTH) samples.shift();
}, 1000);
