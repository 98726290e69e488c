// The state that all screens share.
import { useEffect, useReducer } from "./html.js";

export const state = {
  /** `connect`: no token. `opening`: no status yet. `open`. */
  phase: "connect",
  /** `live`, or `lost` while the tracker does not answer. */
  connection: "lost",
  linkError: null,
  /** The last status of the tracker, or `null`, and when it came. */
  status: null,
  statusAt: 0,
  /** Grows when it is learnt that the token may not manage. */
  rightsChanged: 0,
  toasts: [],
  /** The open dialog, or `null`. */
  dialog: null,
};

const listeners = new Set();

/** Changes the state and renders. */
export function change(patch) {
  Object.assign(state, patch);
  for (const listener of [...listeners]) listener();
}

/** Renders the component again when the selected value has changed. */
export function useStore(select) {
  const [, render] = useReducer((n) => n + 1, 0);
  const value = select(state);
  useEffect(() => {
    let last = value;
    const listener = () => {
      const next = select(state);
      if (!Object.is(next, last)) {
        last = next;
        render();
      }
    };
    listeners.add(listener);
    listener();
    return () => listeners.delete(listener);
  }, []);
  return value;
}
