// Parts of dialogs: a confirmation for which a name is typed, and a text to take along.
import { useAction } from "../core/actions.js";
import { command } from "../core/api.js";
import { html, useState } from "../core/html.js";
import { fill } from "../core/names.js";
import { t } from "../core/texts.js";
import { toast } from "../core/toasts.js";
import { Button, Field, FormError } from "./controls.js";
import { Dialog } from "./dialog.js";

/** `typed` is what must be typed. `consequences` names what will happen. */
export function ConfirmTyped({
  title, consequences, typed, verb, name, words, done, onDone, onClose,
}) {
  const [text, setText] = useState("");
  const { busy, error, run } = useAction();
  const submit = () => text === typed && run(async () => {
    await command(name, words);
    toast("status", done, words);
    onClose();
    onDone?.();
  });
  return html`<${Dialog} title=${title} onClose=${onClose} onSubmit=${submit} actions=${html`
    <${Button} onClick=${onClose}>${t.cancel}<//>
    <${Button} type="submit" kind="danger" changes busy=${busy}
      disabled=${busy || text !== typed}>${verb}<//>`}>
    <ul class="consequences">${consequences.map((line) => html`<li>${line}</li>`)}</ul>
    <${Field} label=${fill(t.confirm.type, { name: typed })} value=${text} onInput=${setText}
      autocomplete="off" maxlength="1024" data-first />
    <${FormError} error=${error} />
  <//>`;
}

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
