// The state of the trackers. No event tells of it.
import { command } from "./api.js";
import { change } from "./store.js";

export async function readTrackers() {
  try {
    change({ trackers: await command("trackers"), trackersError: null });
  } catch (error) {
    change({ trackersError: error.message });
  }
}
