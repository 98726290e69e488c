// Quotas: how they are read and written, and how much of one is used.
import { ask } from "../core/api.js";
import { percentText } from "../core/format.js";
import { html } from "../core/html.js";
import { t } from "../core/texts.js";
import { Bar } from "./controls.js";

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

/** From this part on a quota is nearly used up. */
const NEARLY = 0.9;

export const isNear = (used, quota) => quota !== undefined && used >= quota * NEARLY;

export function Use({ label, used, quota, write }) {
  const part = quota ? Math.min(used / quota, 1) : 1;
  const text = t.use(write(used), write(quota), percentText(used, quota));
  return html`<div class="use"><p><span>${label}</span> <span class="quiet">${text}</span></p>
    <${Bar} part=${part} label=${label} text=${text} kind=${isNear(used, quota) ? "failed" : ""} />
  </div>`;
}
