// Shows the messages of `core/toasts.js`.
import { html } from "../core/html.js";
import { rich } from "../core/names.js";
import { useStore } from "../core/store.js";
import { t } from "../core/texts.js";
import { dismiss } from "../core/toasts.js";
import { Button } from "./controls.js";
import { Icon } from "./icons.js";

export function Toasts() {
  const toasts = useStore((state) => state.toasts);
  const list = (kind) => toasts.filter((one) => one.kind === kind).map((one) => html`
    <div key=${one.id} class=${`toast ${kind}`} role=${kind === "alert" ? "alert" : undefined}>
      <${Icon} name=${kind === "alert" ? "warning" : "info"} />
      <p>${rich(one.sentence, one.words)}</p>
      ${one.action && html`<a class="button plain" href=${one.action.href}
        onClick=${() => dismiss(one.id)}>${one.action.text}</a>`}
      <${Button} icon="close" kind="ghost" label=${t.dismiss} onClick=${() => dismiss(one.id)} />
    </div>`);
  return html`<section class="toasts" aria-label=${t.messages}>
    <div>${list("alert")}</div><div role="status">${list("status")}</div>
  </section>`;
}
