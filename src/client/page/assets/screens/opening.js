// The frame of the screens outside of an account, and the screen before the first snapshot.
import { html, useEffect, useRef } from "../core/html.js";
import { useStore } from "../core/store.js";
import { t } from "../core/texts.js";
import { retryNow } from "../core/updates.js";
import { Button } from "../parts/controls.js";
import { Sign } from "../parts/icons.js";

export function Outside({ title, children }) {
  const heading = useRef(null);
  useEffect(() => heading.current.focus({ preventScroll: true }), [title]);
  return html`<main class="outside"><div class="panel">
    <p class="brand"><${Sign} /> ${t.product}</p>
    <h1 tabindex="-1" ref=${heading}>${title}</h1>
    ${children}
  </div></main>`;
}

export function Opening() {
  const connection = useStore((state) => state.connection);
  return html`<${Outside} title=${t.opening.title}>
    <p role="status">${connection === "lost" ? t.opening.waiting : t.loading}</p>
    <${Button} icon="reload" onClick=${retryNow}>${t.opening.retry}<//>
  <//>`;
}
