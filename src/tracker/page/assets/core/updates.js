// Asks the tracker for its status again and again.
import { command } from "./api.js";
import { forgetSamples, sample } from "./growth.js";
import { change, state } from "./store.js";

const EVERY = 5000;
const EVERY_HIDDEN = 30000;
let timer = 0;
/** Grows when an answer that is under way counts no more. */
let turn = 0;

async function read() {
  clearTimeout(timer);
  const mine = ++turn;
  try {
    const status = await command("status");
    if (mine !== turn) return;
    const statusAt = Date.now();
    sample(status, statusAt);
    change({ phase: "open", connection: "live", status, statusAt });
  } catch (error) {
    if (mine !== turn || error.status === 401) return;
    change({ connection: "lost" });
  }
  timer = setTimeout(read, document.hidden ? EVERY_HIDDEN : EVERY);
}

export const startUpdates = () => read();

export function stopUpdates() {
  clearTimeout(timer);
  turn += 1;
  forgetSamples();
}

export const retryNow = () => read();

document.addEventListener("visibilitychange", () => {
  if (!document.hidden && state.phase !== "connect") read();
});
