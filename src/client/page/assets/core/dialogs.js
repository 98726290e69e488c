// The one dialog that is open. `Shell` shows it.
import { change, state } from "./store.js";

let next = 1;

/** Opens a dialog in place of the one that is open. `render` gets a function that closes it. */
export function show(render) {
  const id = next++;
  // One dialog after another gives the focus back to where the first was opened.
  const opener = state.dialog?.opener ?? placeOf(document.activeElement);
  const close = () => state.dialog?.id === id && change({ dialog: null });
  change({ dialog: { id, opener, node: () => render(close) } });
}

/** An element, and where to find the one that has taken its place in a list. */
function placeOf(element) {
  return { element, row: element.closest("[data-index]")?.dataset.index, kind: element.className };
}

/**
 * Focuses what a dialog was opened by, also if its row has been drawn anew. While a list is loaded
 * anew its rows are not there: it is looked for again, unless the focus has gone elsewhere.
 */
export function focusOpener(place, frames = 30) {
  const { element, row, kind } = place;
  if (element.isConnected) return element.focus({ preventScroll: true });
  const anew = document.querySelectorAll(`[data-index="${row}"] button`);
  const button = [...anew].find((button) => button.className === kind);
  if (button) return button.focus({ preventScroll: true });
  if (frames > 0 && document.activeElement === document.body) {
    requestAnimationFrame(() => focusOpener(place, frames - 1));
  }
}
