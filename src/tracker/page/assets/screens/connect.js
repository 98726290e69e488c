// The screen without a token: how to get a link, and a field for it.
import { useAction } from "../core/actions.js";
import { html, useState } from "../core/html.js";
import { rich } from "../core/names.js";
import { useStore } from "../core/store.js";
import { t } from "../core/texts.js";
import { Button, Field, FormError } from "../parts/controls.js";
import { Outside } from "./opening.js";

/** Reads the code out of a link, or takes the text as the code. */
const codeOf = (text) => {
  const words = text.trim();
  const found = /#code=([^\s&]+)/.exec(words);
  return found ? decodeURIComponent(found[1]) : words;
};

export function Connect({ enter }) {
  const linkError = useStore((state) => state.linkError);
  const [text, setText] = useState("");
  const { busy, error, run } = useAction();
  const submit = (event) => {
    event.preventDefault();
    if (codeOf(text)) run(() => enter(codeOf(text)));
  };
  return html`<${Outside} title=${t.connect.title}>
    <p>${t.connect.why}</p>
    <ol class="steps">
      <li>${rich(t.connect.type, { command: html`<code>page</code>` })}
        <pre><code>tracker admin page</code></pre></li>
      <li>${t.connect.open}</li>
    </ol>
    <form onSubmit=${submit}>
      <${Field} label=${t.connect.field} value=${text} onInput=${setText} autocomplete="off" />
      <${FormError} error=${error ?? linkError} />
      <${Button} type="submit" kind="primary" busy=${busy} disabled=${busy || !text.trim()}>
        ${t.connect.submit}<//>
    </form>
  <//>`;
}
