// Runs commands for buttons and forms, and loads what a screen shows.
import { command } from "./api.js";
import { useCallback, useEffect, useRef, useState } from "./html.js";
import { toast, toastError } from "./toasts.js";

/** Carries out a command for a button; shows the error, and `done` with the words on success. */
export async function act(name, words, done) {
  try {
    const value = await command(name, words);
    if (done) toast("status", done, words);
    return { value };
  } catch (error) {
    toastError(error);
    return { error };
  }
}

/** Runs one action of a form at a time. The error is for the form itself. */
export function useAction() {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(null);
  const running = useRef(false);
  const run = useCallback(async (action) => {
    if (running.current) return false;
    running.current = true;
    setBusy(true);
    setError(null);
    try {
      await action();
      return true;
    } catch (failed) {
      if (failed.name !== "AbortError") setError(failed.message);
      return false;
    } finally {
      running.current = false;
      setBusy(false);
    }
  }, []);
  return { busy, error, run, setError };
}

/**
 * Loads a value when the component appears, when `inputs` change, every `every` milliseconds while
 * the page is visible, and on `reload`. The last value stays until the next has come.
 */
export function useLoaded(load, inputs, every = 0) {
  const [result, setResult] = useState({ value: undefined, error: null, loading: true });
  const latest = useRef(0);
  const loader = useRef(load);
  loader.current = load;
  const reload = useCallback(async () => {
    const turn = ++latest.current;
    try {
      const value = await loader.current();
      if (turn === latest.current) setResult({ value, error: null, loading: false });
    } catch (error) {
      if (turn !== latest.current) return;
      setResult((last) => ({ value: last.value, error: error.message, loading: false }));
    }
  }, []);
  useEffect(() => {
    reload();
    return () => (latest.current += 1);
  }, inputs);
  useEffect(() => {
    if (!every) return undefined;
    const timer = setInterval(() => document.hidden || reload(), every);
    return () => clearInterval(timer);
  }, [every]);
  return { ...result, reload };
}

/** Reads all pages of a listing of this device or this user. */
export async function allPages(name, words = {}) {
  const entries = [];
  let after = null;
  do {
    const page = await command(name, { ...words, after });
    entries.push(...page.entries);
    after = page.more ? page.next : null;
  } while (after !== null);
  return entries;
}
