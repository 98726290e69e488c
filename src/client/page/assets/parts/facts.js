// Facts about one thing: a list of terms and values.
import { html } from "../core/html.js";

export function Facts({ facts }) {
  return html`<dl class="facts">${facts.map(([term, value]) => html`<div key=${term}>
    <dt>${term}</dt><dd>${value}</dd></div>`)}</dl>`;
}
