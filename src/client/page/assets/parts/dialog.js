// Modal dialogs. The browser keeps the focus inside and gives it back.
import { command } from "../core/api.js";
import { useAction } from "../core/actions.js";
import { focusOpener } from "../core/dialogs.js";
import { html, useEffect, useId, useRef, useState } from "../core/html.js";
import { state } from "../core/store.js";
import { t } from "../core/texts.js";
import { toast } from "../core/toasts.js";
import { Button, Check, FormError } from "./controls.js";

/** Shows a dialog until `onClose` takes it away. `onSubmit` makes it a form. */
export function Dialog({ title, onClose, onSubmit, actions, wide = false, children }) {
  const dialog = useRef(null);
  const id = useId();
  useEffect(() => {
    const element = dialog.current;
    const opener = state.dialog?.opener;
    element.showModal();
    element.querySelector("[data-first]")?.focus();
    return () => {
      element.close();
      if (opener) focusOpener(opener);
    };
  }, []);
  const submit = (event) => {
    event.preventDefault();
    onSubmit?.();
  };
  return html`<dialog ref=${dialog} class=${wide ? "wide" : ""} aria-labelledby=${id}
    onCancel=${(event) => { event.preventDefault(); onClose(); }}>
    <form onSubmit=${submit} novalidate>
      <header><h2 id=${id} tabindex="-1" data-first=${!onSubmit || undefined}>${title}</h2>
        <${Button} icon="close" kind="ghost" label=${t.close} onClick=${onClose} /></header>
      <div class="dialog-body">${children}</div>
      ${actions && html`<footer>${actions}</footer>`}
    </form></dialog>`;
}

/** Asks before something that cannot be undone. `consequences` names what will happen. */
export function Confirm({ title, consequences, verb, agree, name, words, done, onDone, onClose }) {
  const { busy, error, run } = useAction();
  const [agreed, setAgreed] = useState(!agree);
  const submit = () => run(async () => {
    const value = await command(name, words);
    if (done) toast("status", done, words);
    onClose();
    onDone?.(value);
  });
  return html`<${Dialog} title=${title} onClose=${onClose} onSubmit=${submit} actions=${html`
    <${Button} onClick=${onClose} data-first>${t.cancel}<//>
    <${Button} type="submit" kind="danger" changes busy=${busy} disabled=${busy || !agreed}>
      ${verb}<//>`}>
    <ul class="consequences">${consequences.map((line) => html`<li>${line}</li>`)}</ul>
    ${agree && html`<${Check} label=${agree} checked=${agreed} onChange=${setAgreed} />`}
    <${FormError} error=${error} />
  <//>`;
}
