// Quotas, who may make accounts, backup, tokens, and this page.
import { act, useAction, useLoaded } from "../core/actions.js";
import { command } from "../core/api.js";
import { show } from "../core/dialogs.js";
import { html, useReducer, useState } from "../core/html.js";
import { rich } from "../core/names.js";
import { t } from "../core/texts.js";
import { Button, Choice, Field, FormError, Status } from "../parts/controls.js";
import { Dialog } from "../parts/dialog.js";
import { Heading } from "../parts/heading.js";
import { Section } from "../parts/section.js";
import { setTheme, theme } from "../parts/theme.js";
import { Quotas } from "./quotas.js";
import { Tokens } from "./tokens.js";

const ACCOUNTS = ["open", "invite", "closed"];

export function Settings({ leave }) {
  return html`<${Heading} title=${t.settings.title} />
    <div class="cards"><${Quotas} /><${Accounts} /><${Backup} /><${Tokens} /><${Appearance} />
      <${Access} leave=${leave} /></div>`;
}

function Accounts() {
  const { value, error, loading, reload } = useLoaded(() => command("accounts"), []);
  const choose = (accounts) => show((close) => html`<${SetAccounts} accounts=${accounts}
    changed=${reload} close=${close} />`);
  return html`<${Section} name="accounts">
    <${Status} loading=${loading} error=${error} onRetry=${reload} />
    ${value && html`<ul class="plain-list">${ACCOUNTS.map((one) => html`<li key=${one}>
      <div><p><strong>${t.accounts.names[one]}</strong> ${value.accounts === one
          && html`<span class="tag owner">${t.accounts.now}</span>`}</p>
        <p class="quiet">${t.accounts.meanings[one]}</p></div>
      ${value.accounts !== one && html`<${Button} kind="small" changes
        onClick=${() => choose(one)} aria-label=${t.accounts.setLabel(t.accounts.names[one])}>
        ${t.accounts.set}<//>`}</li>`)}</ul>`}
    <p class="hint">${t.accounts.hint}</p><//>`;
}

function SetAccounts({ accounts, changed, close }) {
  const { busy, error, run } = useAction();
  const submit = () => run(async () => {
    const failed = (await act("accounts", { accounts }, t.accounts.done[accounts])).error;
    if (failed) throw failed;
    close();
    changed();
  });
  return html`<${Dialog} title=${t.accounts.title(t.accounts.names[accounts])} onClose=${close}
    onSubmit=${submit} actions=${html`<${Button} onClick=${close} data-first>${t.cancel}<//>
      <${Button} type="submit" kind="primary" changes busy=${busy} disabled=${busy}>
        ${t.accounts.set}<//>`}>
    <ul class="consequences"><li>${t.accounts.meanings[accounts]}</li>
      <li>${t.accounts.everywhere}</li></ul>
    <${FormError} error=${error} /><//>`;
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

function Appearance() {
  const [, render] = useReducer((n) => n + 1, 0);
  const onChange = (name) => {
    setTheme(name);
    render();
  };
  return html`<${Section} name="appearance"><${Choice} label=${t.theme.label} value=${theme()}
    onChange=${onChange} options=${Object.entries(t.theme.names)} /><//>`;
}

function Access({ leave }) {
  return html`<${Section} name="access"><p>${t.access.hint}</p>
    <${Button} onClick=${leave}>${t.access.leave}<//><//>`;
}
