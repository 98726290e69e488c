// Sentences about one download.
import { duration } from "../core/format.js";
import { t } from "../core/texts.js";

/** One line about the state, with the reason if there is one. */
export function stateText(download) {
  const { state, reason, place } = download;
  if (reason && state !== "complete") return `${t.transfers.states[state]}: ${reason}`;
  if (state === "queued" && place) return t.transfers.place(place);
  return t.transfers.states[state];
}

export const left = (download) =>
  (download.seconds_left === null ? t.transfers.leftUnknown : duration(download.seconds_left));
