// Numbers, sizes, rates and times as people read them. Units are decimal, as at the prompt.
import { t } from "./texts.js";

const UNITS = ["kB", "MB", "GB", "TB", "PB", "EB"];
const numbers = new Intl.NumberFormat(t.language);
const tenths = new Intl.NumberFormat(t.language, {
  minimumFractionDigits: 1, maximumFractionDigits: 1,
});
const dates = new Intl.DateTimeFormat(t.language, { dateStyle: "medium" });
const moments = new Intl.DateTimeFormat(t.language, { dateStyle: "medium", timeStyle: "short" });
const clock = new Intl.DateTimeFormat(t.language, { hour: "2-digit", minute: "2-digit" });

export const count = (number) => numbers.format(number);

export function size(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  let value = bytes / 1000;
  let unit = 0;
  while (value >= 999.95 && unit + 1 < UNITS.length) {
    value /= 1000;
    unit += 1;
  }
  return `${tenths.format(value)} ${UNITS[unit]}`;
}

export const rate = (bytes) => `${size(bytes)}/s`;

/** Percent, rounded down: 100 % is shown only for the whole. */
export function percent(part, whole) {
  if (!whole) return 0;
  return Math.floor(Math.min(part / whole, 1) * 1000) / 10;
}

export const percentText = (part, whole) => `${numbers.format(percent(part, whole))} %`;

export function duration(seconds) {
  if (seconds < 60) return t.time.seconds(Math.max(1, Math.round(seconds)));
  if (seconds < 3600) return t.time.minutes(Math.floor(seconds / 60), Math.round(seconds % 60));
  return t.time.hours(Math.floor(seconds / 3600), Math.floor((seconds % 3600) / 60));
}

const sameDay = (a, b) => a.toDateString() === b.toDateString();

/** A date, or the time if it is of today. */
export function when(ms, now = new Date()) {
  const at = new Date(ms);
  return sameDay(at, now) ? clock.format(at) : dates.format(at);
}

export const moment = (ms) => moments.format(new Date(ms));

const FACTORS = { "": 1, k: 1e3, m: 1e6, g: 1e9, ki: 1024, mi: 1024 ** 2, gi: 1024 ** 3 };

/** Reads a rate limit, as `500K` or `1.5 MB/s`. Returns `null` for none, `undefined` if invalid. */
export function readRate(text) {
  const words = text.trim().toLowerCase();
  if (words === "" || words === "off" || words === "0") return null;
  const found = /^(\d+(?:[.]\d+)?)\s*([kmg]?i?)b?(?:\/s)?$/.exec(words);
  const factor = found && FACTORS[found[2]];
  return factor ? Math.round(Number(found[1]) * factor) : undefined;
}

/** Writes a rate limit so that `readRate` reads it again. */
export function writeRate(bytes) {
  if (bytes === null || bytes === undefined) return "";
  for (const [letter, factor] of [["G", 1e9], ["M", 1e6], ["K", 1e3]]) {
    if (bytes >= factor && Number.isInteger((bytes / factor) * 10)) return bytes / factor + letter;
  }
  return String(bytes);
}
