// Waits a moment for a value that changes often, as a text that is typed.
import { useEffect, useRef, useState } from "./html.js";

const PAUSE = 250;

export function useSettled(value) {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), PAUSE);
    return () => clearTimeout(timer);
  }, [value]);
  return settled;
}

/** Runs an action a moment after a value has changed, and once however often it does meanwhile. */
export function useSoonAfter(value, action) {
  const timer = useRef(0);
  const latest = useRef(action);
  latest.current = action;
  useEffect(() => {
    if (!value) return;
    timer.current ||= setTimeout(() => {
      timer.current = 0;
      latest.current();
    }, PAUSE);
  }, [value]);
  useEffect(() => () => clearTimeout(timer.current), []);
}
