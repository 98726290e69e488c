// The one dialog that is open. `Shell` shows it.
import { change, state } from "./store.js";

let next = 1;

/** Opens a dialog in place of the one that is open. `render` gets a function that closes it. */
export function show(render) {
  const id = next++;
  const close = () => state.dialog?.id === id && change({ dialog: null });
  change({ dialog: { id, node: () => render(close) } });
}
