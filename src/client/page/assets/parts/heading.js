// The heading of a screen, with its actions.
import { html } from "../core/html.js";

export function Heading({ title, children }) {
  return html`<div class="heading"><h1 tabindex="-1">${title}</h1>
    <div class="heading-actions">${children}</div></div>`;
}
