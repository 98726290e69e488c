// Files that this page is sending.
import { percentText, size } from "../core/format.js";
import { isUnsent, removeDrop } from "../core/drops.js";
import { html } from "../core/html.js";
import { fill, Name } from "../core/names.js";
import { useStore } from "../core/store.js";
import { t } from "../core/texts.js";
import { Bar, Button } from "./controls.js";

const SHOWN = 8;

export function Drops({ group }) {
  const all = useStore((state) => state.drops);
  const drops = group === undefined ? all : all.filter((one) => one.group === group);
  if (drops.length === 0) return null;
  return html`<section class="card drops" aria-label=${t.drops.sending}>
    <h2>${t.drops.sending}</h2>
    <ul>${drops.slice(0, SHOWN).map((one) => html`<li key=${one.id}>
      <div class="drop-name"><${Name} of=${one.name} cut />
        <span class="quiet">${facts(one)}</span></div>
      ${isUnsent(one) && html`<${Bar} part=${one.size ? one.sent / one.size : 0}
        label=${fill(t.drops.progress, { file: one.name })} />`}
      ${one.error && html`<p class="error">${one.error}</p>`}
      <${Button} icon="close" kind="ghost" onClick=${() => removeDrop(one.id)}
        label=${fill(one.error ? t.drops.forget : t.drops.stop, { file: one.name })} />
    </li>`)}</ul>
    ${drops.length > SHOWN && html`<p class="quiet">${t.drops.others(drops.length - SHOWN)}</p>`}
  </section>`;
}

function facts(one) {
  if (one.state === "sending") {
    return t.drops.sent(percentText(one.sent, one.size), size(one.size));
  }
  return t.drops.states[one.state];
}
