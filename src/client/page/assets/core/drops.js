// Files that this page sends to the client, one after another, each of which is then shared.
import { ApiError, drop } from "./api.js";
import { change, changeSoon, state } from "./store.js";
import { t } from "./texts.js";
import { toast } from "./toasts.js";

let next = 1;
let isSending = false;

/** Whether a file has not been sent yet. */
export const isUnsent = (one) => one.state === "waiting" || one.state === "sending";

function update(id, patch, soon = false) {
  const drops = state.drops.map((one) => (one.id === id ? { ...one, ...patch } : one));
  (soon ? changeSoon : change)({ drops });
}

export function addDrops(files, group, directory) {
  const added = files.map((file) => ({
    id: next++, file, name: file.name, size: file.size, group, directory, sent: 0,
    state: "waiting", error: null, abort: new AbortController(),
  }));
  change({ drops: [...state.drops, ...added] });
  sendNext();
}

export function removeDrop(id) {
  state.drops.find((one) => one.id === id)?.abort.abort();
  change({ drops: state.drops.filter((one) => one.id !== id) });
}

async function sendNext() {
  const one = state.drops.find((other) => other.state === "waiting");
  if (isSending || !one) return;
  isSending = true;
  update(one.id, { state: "sending" });
  const onProgress = (sent) => {
    const isSent = sent >= one.size;
    update(one.id, { sent, state: isSent ? "sharing" : "sending" }, !isSent);
  };
  try {
    await drop(one.file, one.group, one.directory, onProgress, one.abort.signal);
    change({
      drops: state.drops.filter((other) => other.id !== one.id),
      filesChanged: state.filesChanged + 1,
    });
    toast("status", t.drops.done, { file: one.name, group: one.group });
  } catch (error) {
    if (error instanceof ApiError) update(one.id, { state: "failed", error: error.message });
  }
  isSending = false;
  sendNext();
}

addEventListener("beforeunload", (event) => {
  if (state.drops.some(isUnsent)) event.preventDefault();
});
