// How much of a quota is used.
import { percentText } from "../core/format.js";
import { html } from "../core/html.js";
import { t } from "../core/texts.js";
import { Bar } from "./controls.js";

/** From this part on a quota is nearly used up. */
const NEARLY = 0.9;

export function Use({ label, used, quota, write }) {
  const part = quota ? Math.min(used / quota, 1) : 1;
  const text = t.use(write(used), write(quota), percentText(used, quota));
  return html`<div class="use"><p><span>${label}</span> <span class="quiet">${text}</span></p>
    <${Bar} part=${part} label=${label} text=${text} kind=${part >= NEARLY ? "failed" : ""} />
  </div>`;
}
