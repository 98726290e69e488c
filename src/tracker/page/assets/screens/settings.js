// Quotas, who may make accounts, backup and tokens.
import { useAction, useLoaded } from "../core/actions.js";
import { command } from "../core/api.js";
import { show } from "../core/dialogs.js";
import { count, size } from "../core/format.js";
import { html, useState } from "../core/html.js";
import { rich } from "../core/names.js";
import { useStore } from "../core/store.js";
import { t } from "../core/texts.js";
import { toast } from "../core/toasts.js";
import { Button, Field, FormError, Status } from "../parts/controls.js";
import { Confirm, Dialog } from "../parts/dialog.js";
import { Heading } from "../parts/heading.js";
import { readNumber, readQuotas } from "../parts/quotas.js";
import { Section } from "../parts/section.js";
import { Tokens } from "./tokens.js";

const ACCOUNTS = ["open", "invite", "closed"];

export function Settings({ leave }) {
  return html`<${Heading} title=${t.settings.title} />
    <div class="cards"><${Quotas} /><${Accounts} /><${Backup} /><${Tokens} />
      <${Access} leave=${leave} /></div>`;
}

function Accounts() {
  const { value, error, loading, reload } = useLoaded(() => command("accounts"), []);
  const choose = (accounts) => show((close) => html`<${Confirm} words=${{ accounts }}
    title=${t.accounts.title(t.accounts.names[accounts])} name="accounts" verb=${t.accounts.set}
    consequences=${[t.accounts.meanings[accounts], t.accounts.everywhere]}
    done=${t.accounts.done[accounts]} onDone=${reload} onClose=${close} />`);
  return html`<${Section} name="accounts">
    <${Status} loading=${loading} error=${error} onRetry=${reload} />
    ${value && html`<ul class="plain-list">${ACCOUNTS.map((one) => html`<li key=${one}>
      <div><p><strong>${t.accounts.names[one]}</strong> ${value.accounts === one
          && html`<span class="tag owner">${t.accounts.now}</span>`}</p>
        <p class="quiet">${t.accounts.meanings[one]}</p></div>
      ${value.accounts !== one && html`<${Button} kind="small" changes
        onClick=${() => choose(one)} aria-label=${t.accounts.setLabel(t.accounts.names[one])}>
        ${t.accounts.set}<//>`}</li>`)}</ul>`}<//>`;
}

function Backup() {
  const [file, setFile] = useState("");
  const [made, setMade] = useState(null);
  const { busy, error, run } = useAction();
  const submit = (event) => {
    event.preventDefault();
    setMade(null);
    run(async () => setMade(await command("backup", { file: file.trim() })));
  };
  return html`<${Section} name="backup"><p>${t.backup.why}</p>
    <form onSubmit=${submit}>
      <${Field} label=${t.backup.file} hint=${t.backup.hint} value=${file} onInput=${setFile}
        autocomplete="off" dir="ltr" />
      <${FormError} error=${error} />
      <div class="buttons"><${Button} type="submit" changes busy=${busy}
        disabled=${busy || !file.trim()}>${busy ? t.backup.busy : t.backup.make}<//></div>
    </form>
    <div role="status" class="connection">${made && html`<p class="notice">
      <span>${rich(t.backup.done, { file: made.file })}</span></p>`}</div>
    <p class="hint">${t.backup.restore}</p><//>`;
}

function Access({ leave }) {
  return html`<${Section} name="access"><p>${t.access.hint}</p>
    <${Button} onClick=${leave}>${t.access.leave}<//><//>`;
}

const write = (name, value) =>
  (name === "bytes" ? t.quotas.bytes(size(value), count(value)) : count(value));

function Quotas() {
  const { value, error, loading, reload } = useLoaded(readQuotas, []);
  const change = (name) => show((close) => html`<${SetQuota} name=${name}
    value=${value[name]} changed=${reload} close=${close} />`);
  return html`<${Section} name="quotas">
    <${Status} loading=${loading} error=${error} onRetry=${reload} />
    ${value && html`<ul class="plain-list">${Object.keys(value).map((name) => html`
      <li key=${name}><div><p>${t.quotas.names[name] ?? name}${" "}
          <strong>${write(name, value[name])}</strong></p>
        ${t.quotas.meanings[name] && html`<p class="quiet">${t.quotas.meanings[name]}</p>`}</div>
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
    ${t.quotas.meanings[name] && html`<p>${t.quotas.meanings[name]}</p>`}
    <${Field} label=${t.quotas.value} hint=${t.quotas.valueHint} value=${text}
      onInput=${(next) => { setText(next); setError(null); }} autocomplete="off" data-first />
    ${number !== undefined && html`<p class="hint">${t.quotas.means(write(name, number))}</p>`}
    ${isBelow && html`<p class="notice bad">${t.quotas.below(write(name, used))}</p>`}
    <ul class="consequences">${t.quotas.what.map((line) => html`<li>${line}</li>`)}</ul>
    <${FormError} error=${error} /><//>`;
}
