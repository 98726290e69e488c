// A text to take along: a secret that is shown once, or a file's lines.
import { html } from "../core/html.js";
import { t } from "../core/texts.js";
import { toast } from "../core/toasts.js";
import { Button } from "./controls.js";

export function Copied({ text }) {
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      toast("status", t.copy.done);
    } catch {
      toast("alert", t.copy.failed);
    }
  };
  return html`<div class="copied"><pre class="secret" tabindex="0"><code>${text}</code></pre>
    <${Button} onClick=${copy}>${t.copy.copy}<//></div>`;
}
