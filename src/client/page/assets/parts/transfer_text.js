// Sentences about one download.
import { count, duration } from "../core/format.js";
import { t } from "../core/texts.js";

/** One line about the state, with the reason if there is one. */
export function stateText(download) {
  const { state, reason, place } = download;
  if (reason && state !== "complete") return `${t.transfers.states[state]}: ${reason}`;
  if (state === "queued" && place) return t.transfers.place(place);
  return t.transfers.states[state];
}

/** The peers, as `text` tells their number, and how those came about that are not direct. */
export function peersText({ peers, ...counts }, text = t.transfers.peers(count(peers), peers)) {
  const ways = Object.entries(t.transfers.ways).filter(([way]) => counts[way] > 0);
  return [text, ...ways.map(([way, word]) =>
    (counts[way] === peers ? word : t.transfers.some(count(counts[way]), word)))].join(", ");
}

export const left = (download) =>
  (download.seconds_left === null ? t.transfers.leftUnknown : duration(download.seconds_left));
