// The quotas of the network.
import { ask } from "./api.js";

/** Returns the value of each quota by its name. */
export async function readQuotas() {
  const { lines } = await ask("quota");
  return Object.fromEntries(lines.map(({ quota, value }) => [quota, value]));
}

const FACTORS = {
  "": 1, k: 1e3, m: 1e6, g: 1e9, t: 1e12, ki: 2 ** 10, mi: 2 ** 20, gi: 2 ** 30, ti: 2 ** 40,
};

/** Reads a number from 0, as `20000`, `20k` or `16Gi`. Returns `undefined` if it is none. */
export function readNumber(text) {
  const found = /^(\d+(?:[.]\d+)?)\s*([kmgt]?i?)b?$/.exec(text.trim().toLowerCase());
  const number = found && Math.round(Number(found[1]) * (FACTORS[found[2]] ?? NaN));
  return Number.isSafeInteger(number) ? number : undefined;
}
