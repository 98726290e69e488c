// How much may be kept.
import { useAction, useLoaded } from "../core/actions.js";
import { command } from "../core/api.js";
import { show } from "../core/dialogs.js";
import { count, size } from "../core/format.js";
import { html, useState } from "../core/html.js";
import { readNumber, readQuotas } from "../core/quotas.js";
import { useStore } from "../core/store.js";
import { t } from "../core/texts.js";
import { toast } from "../core/toasts.js";
import { Button, Field, FormError, Status } from "../parts/controls.js";
import { Dialog } from "../parts/dialog.js";
import { Section } from "../parts/section.js";

const write = (name, value) =>
  (name === "bytes" ? t.quotas.bytes(size(value), count(value)) : count(value));

export function Quotas() {
  const { value, error, loading, reload } = useLoaded(readQuotas, []);
  const change = (name) => show((close) => html`<${SetQuota} name=${name}
    value=${value[name]} changed=${reload} close=${close} />`);
  return html`<${Section} name="quotas">
    <${Status} loading=${loading} error=${error} onRetry=${reload} />
    ${value && html`<ul class="plain-list">${Object.keys(value).map((name) => html`
      <li key=${name}><div><p>${t.quotas.names[name] ?? name}${" "}
          <strong>${write(name, value[name])}</strong></p>
        <p class="quiet">${t.quotas.meanings[name]}</p></div>
      <${Button} kind="small" changes onClick=${() => change(name)}
        aria-label=${t.quotas.changeLabel(t.quotas.names[name] ?? name)}>
        ${t.quotas.change}<//></li>`)}</ul>`}
    <p class="hint">${t.quotas.hint}</p><//>`;
}

function SetQuota({ name, value, changed, close }) {
  const [text, setText] = useState(String(value));
  const used = useStore((state) => (["rows", "bytes"].includes(name) ? state.status[name] : null));
  const { busy, error, run, setError } = useAction();
  const label = t.quotas.names[name] ?? name;
  const number = readNumber(text);
  const isBelow = used !== null && number !== undefined && number < used;
  const set = (words, done) => run(async () => {
    await command("quota", { quota: name, ...words });
    toast("status", done, {});
    close();
    changed();
  });
  const submit = () => {
    if (number === undefined) return setError(t.quotas.invalid);
    return set({ value: number }, t.quotas.done(label, write(name, number)));
  };
  return html`<${Dialog} title=${label} onClose=${close} onSubmit=${submit} actions=${html`
    <${Button} onClick=${() => set({ value: "default" }, t.quotas.doneDefault(label))} changes
      disabled=${busy}>${t.quotas.default}<//>
    <${Button} onClick=${close}>${t.cancel}<//>
    <${Button} type="submit" kind="primary" changes busy=${busy} disabled=${busy}>
      ${t.quotas.set}<//>`}>
    <p>${t.quotas.meanings[name]}</p>
    <${Field} label=${t.quotas.value} hint=${t.quotas.valueHint} value=${text} inputmode="text"
      onInput=${(next) => { setText(next); setError(null); }} autocomplete="off" data-first />
    ${number !== undefined && html`<p class="hint">${t.quotas.means(write(name, number))}</p>`}
    ${isBelow && html`<p class="notice bad">${t.quotas.below(write(name, used))}</p>`}
    <ul class="consequences">${t.quotas.what.map((line) => html`<li>${line}</li>`)}</ul>
    <${FormError} error=${error} /><//>`;
}
