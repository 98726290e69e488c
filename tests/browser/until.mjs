// Waits for conditions.
const INTERVAL = 50;

/** Waits until `condition` returns something, and returns that. */
export async function until(what, condition, seconds = 60) {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > end) throw new Error(`waited ${seconds} s for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, INTERVAL));
  }
}
