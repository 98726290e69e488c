// The state that all screens share: the last snapshot, and what events have changed since.
//
// Movement of downloads is shown a few times a second, everything else at once.
import { useEffect, useReducer } from "./html.js";

const MOVEMENT = 200;

export const state = {
  /** `connect`: no token. `opening`: no snapshot yet. `open`. */
  phase: "connect",
  connection: "lost",
  /** The last snapshot without its downloads, or `null`. */
  client: null,
  account: null,
  sessionEnded: null,
  /** Downloads by content id, in the order in which they were requested. */
  downloads: new Map(),
  /** Grows when something outside of the snapshot may have changed. */
  groupsChanged: 0,
  endsChanged: 0,
  trackers: null,
  trackersError: null,
  unread: 0,
  toasts: [],
  /** Files that this page sends to the client. */
  drops: [],
  /** The open dialog, or `null`. */
  dialog: null,
  /** The groups of the account, or `null` before they are known. */
  groups: null,
  groupsError: null,
  filesChanged: 0,
  /** How often the `files` or `members` of a group have changed, by that word and its id. */
  changes: new Map(),
};

const listeners = new Set();
let movement = 0;
let hasMoved = false;

function notify() {
  clearTimeout(movement);
  movement = 0;
  // Another map tells components that downloads have changed.
  if (hasMoved) state.downloads = new Map(state.downloads);
  hasMoved = false;
  for (const listener of [...listeners]) listener();
}

/** Changes the state and renders. */
export function change(patch) {
  Object.assign(state, patch);
  notify();
}

/** Renders soon, together with other movement. */
export function changeSoon(patch) {
  Object.assign(state, patch);
  movement ||= setTimeout(notify, MOVEMENT);
}

/** Notes that the files or the members of a group have changed. */
export function noteChange(what, group) {
  const key = `${what} ${group}`;
  state.changes.set(key, (state.changes.get(key) ?? 0) + 1);
  changeSoon({});
}

/** How often the files or the members of a group have changed since the page was opened. */
export const useChanges = (what, group) =>
  useStore((now) => now.changes.get(`${what} ${group}`) ?? 0);

/** Puts a download into the list, and renders soon. */
export function moveDownload(download) {
  state.downloads.set(download.info_hash, download);
  hasMoved = true;
  changeSoon({});
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
