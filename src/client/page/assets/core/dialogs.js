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

/** Focuses what a dialog was opened by, also if its row has been drawn anew. */
export function focusOpener({ element, row, kind }) {
  if (element.isConnected) return element.focus({ preventScroll: true });
  const anew = document.querySelectorAll(`[data-index="${row}"] button`);
  [...anew].find((button) => button.className === kind)?.focus({ preventScroll: true });
}
