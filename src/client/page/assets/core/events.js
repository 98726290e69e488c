// The stream of events. `EventSource` cannot send the token, so the page reads the stream itself.
//
// The stream is opened again after every failure. Its first event is a snapshot, so that nothing is
// missed. A page that stays hidden closes its stream: a browser has six connections for a host.
import { hasToken, lines, request } from "./api.js";

const SHORTEST_WAIT = 250;
const LONGEST_WAIT = 8000;
/** The client sends a comment every 15 seconds. */
const SILENCE = 45000;
const HIDDEN = 300000;

/** Reads events until the session ends. `onState` gets `live` or `lost`. */
export function listen(onUpdate, onState) {
  let wait = SHORTEST_WAIT;
  let opened = null;
  let timer = 0;
  let hiddenTimer = 0;
  let isStopped = false;

  async function open() {
    clearTimeout(timer);
    if (isStopped || opened || !hasToken()) return;
    const abort = (opened = new AbortController());
    let silence = 0;
    const heard = () => {
      clearTimeout(silence);
      silence = setTimeout(() => abort.abort(), SILENCE);
    };
    try {
      heard();
      const response = await request("events", {
        accept: "text/event-stream", signal: abort.signal,
      });
      for await (const line of lines(response.body)) {
        heard();
        if (!line.startsWith("data:")) continue;
        wait = SHORTEST_WAIT;
        onState("live");
        onUpdate(JSON.parse(line.slice(5)));
      }
    } catch {
      // The reason is shown by the next attempt, or by a command.
    }
    clearTimeout(silence);
    abort.abort();
    opened = null;
    if (isStopped || (document.hidden && hiddenTimer === 0)) return;
    onState("lost");
    timer = setTimeout(open, wait * (0.75 + Math.random() / 2));
    wait = Math.min(wait * 2, LONGEST_WAIT);
  }

  function now() {
    wait = SHORTEST_WAIT;
    open();
  }

  function onVisibility() {
    clearTimeout(hiddenTimer);
    hiddenTimer = 0;
    if (document.hidden) {
      hiddenTimer = setTimeout(() => {
        hiddenTimer = 0;
        clearTimeout(timer);
        opened?.abort();
      }, HIDDEN);
    } else {
      now();
    }
  }

  document.addEventListener("visibilitychange", onVisibility);
  addEventListener("online", now);
  onVisibility();
  return {
    retry: now,
    stop() {
      isStopped = true;
      clearTimeout(timer);
      clearTimeout(hiddenTimer);
      opened?.abort();
      document.removeEventListener("visibilitychange", onVisibility);
      removeEventListener("online", now);
    },
  };
}
