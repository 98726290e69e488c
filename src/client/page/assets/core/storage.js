// What the page keeps in the browser. Where storage is blocked, it lasts as long as the page.
const PREFIX = "posse.";
const memory = new Map();

export function keep(key, value) {
  memory.set(key, value);
  try {
    if (value === null) localStorage.removeItem(PREFIX + key);
    else localStorage.setItem(PREFIX + key, value);
  } catch {
    // The value stays in memory.
  }
}

export function kept(key) {
  if (memory.has(key)) return memory.get(key);
  try {
    return localStorage.getItem(PREFIX + key);
  } catch {
    return null;
  }
}
