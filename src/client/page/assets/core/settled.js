// A value that has not changed for a moment, as a text that was typed.
import { useEffect, useState } from "./html.js";

const PAUSE = 250;

export function useSettled(value) {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), PAUSE);
    return () => clearTimeout(timer);
  }, [value]);
  return settled;
}
