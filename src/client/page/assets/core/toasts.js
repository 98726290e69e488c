// Short messages at the edge of the page. Errors are alerts and stay longer.
import { change, state } from "./store.js";

const SHOWN = { status: 7000, alert: 20000 };
const MOST = 5;
let next = 1;

/** Shows a sentence; its places `{word}` are filled from `words` as names. */
export function toast(kind, sentence, words = {}, action = null) {
  const id = next++;
  const same = (other) => other.sentence === sentence && other.key === key;
  const key = JSON.stringify(words);
  const others = state.toasts.filter((other) => !same(other)).slice(1 - MOST);
  change({ toasts: [...others, { id, kind, sentence, words, key, action }] });
  setTimeout(() => dismiss(id), SHOWN[kind]);
}

export function dismiss(id) {
  if (state.toasts.some((one) => one.id === id)) {
    change({ toasts: state.toasts.filter((one) => one.id !== id) });
  }
}

/** Shows an error of the API. */
export function toastError(error) {
  if (error.name === "AbortError" || error.status === 401) return;
  toast("alert", "{error}", { error: error.message });
}
