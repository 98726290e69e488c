// A section of the settings.
import { html } from "../core/html.js";
import { t } from "../core/texts.js";

export function Section({ name, children }) {
  const id = `settings-${name}`;
  return html`<section class="card" aria-labelledby=${id}><h2 id=${id}>${t.settings[name]}</h2>
    ${children}</section>`;
}
