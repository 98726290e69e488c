// One account: what it keeps, and what the operator can do with it.
import { act, useLoaded } from "../core/actions.js";
import { ask } from "../core/api.js";
import { show } from "../core/dialogs.js";
import { count } from "../core/format.js";
import { html } from "../core/html.js";
import { fill, Name, rich } from "../core/names.js";
import { readQuotas } from "../core/quotas.js";
import { go } from "../core/route.js";
import { t } from "../core/texts.js";
import { Use } from "./bounds.js";
import { ConfirmTyped } from "./confirm.js";
import { Button, Status } from "./controls.js";
import { Copied } from "./copied.js";
import { Confirm, Dialog } from "./dialog.js";

/** What there is to say of an account in a word. */
export function UserMarks({ user }) {
  return html`${user.online && html`<span class="tag good">${t.users.marks.online}</span>`}
    ${user.disabled && html`<span class="tag bad">${t.users.marks.disabled}</span>`}
    ${user.must_change_password && html`<span class="tag">${t.users.marks.mustChange}</span>`}`;
}

/** Reads one account; `undefined` if there is none. */
async function readUser(name) {
  // A pattern without signs finds every name that contains it. This one finds names of one length.
  const { lines } = await ask("users", { pattern: `${name.slice(0, -1)}?` });
  return lines.find(({ user }) => user === name);
}

export function showUser(name, changed) {
  show((close) => html`<${UserDialog} name=${name} changed=${changed} close=${close} />`);
}

function UserDialog({ name, changed, close }) {
  const load = async () => {
    const [user, quotas] = await Promise.all([readUser(name), readQuotas()]);
    return { user, quotas };
  };
  const { value, error, loading, reload } = useLoaded(load, [name]);
  const user = value?.user;
  const words = { user: name };
  const seeAudit = () => {
    close();
    go("audit", name);
  };
  const toggle = async () => {
    if (!user.disabled) return confirmDisable(words, changed);
    await act("enable_user", words, t.users.enabled);
    changed();
    return reload();
  };
  return html`<${Dialog} title=${html`<${Name} of=${name} />`} onClose=${close}>
    <${Status} loading=${loading} error=${error} onRetry=${reload}
      empty=${value && !user && t.users.gone} />
    ${user && html`
      <p class="marks"><${UserMarks} user=${user} />
        ${!user.online && html`<span class="quiet">${t.users.offline}</span>`}</p>
      ${["groups", "memberships", "files"].map((one) => html`<${Use} key=${one}
        label=${t.quotas.names[one]} used=${user[one]} quota=${value.quotas[one]}
        write=${count} />`)}
      <div class="buttons">
        <${Button} changes onClick=${() => confirmReset(words, changed)}>${t.users.reset}<//>
        <${Button} changes onClick=${toggle}>
          ${user.disabled ? t.users.enable : t.users.disable}<//>
        <${Button} onClick=${seeAudit}>${t.users.audit}<//>
        <${Button} kind="danger-plain" changes onClick=${() => confirmDelete(user, changed)}>
          ${t.users.delete}<//></div>`}<//>`;
}

function confirmReset(words, changed) {
  const onDone = ({ password }) => {
    changed();
    show((close) => html`<${Dialog} title=${fill(t.users.resetDone, words)} onClose=${close}
      actions=${html`<${Button} kind="primary" onClick=${close}>${t.close}<//>`}>
      <p>${rich(t.users.resetOnce, words)}</p>
      <${Copied} text=${password} />
      <p class="hint">${rich(t.users.resetThen, words)}</p><//>`);
  };
  show((close) => html`<${Confirm} title=${fill(t.users.resetTitle, words)} words=${words}
    name="reset_password" verb=${t.users.reset} onDone=${onDone} onClose=${close}
    consequences=${t.users.resetWhat.map((line) => fill(line, words))} />`);
}

function confirmDisable(words, changed) {
  show((close) => html`<${Confirm} title=${fill(t.users.disableTitle, words)} words=${words}
    name="disable_user" verb=${t.users.disable} done=${t.users.disabled} onDone=${changed}
    consequences=${t.users.disableWhat.map((line) => fill(line, words))} onClose=${close} />`);
}

function confirmDelete(user, changed) {
  const words = { user: user.user };
  const consequences = [
    fill(t.users.deleteWhat, words),
    t.users.deleteKept(count(user.memberships), user.memberships, count(user.files), user.files),
    user.groups > 0 && t.users.deleteGroups(count(user.groups), user.groups),
    t.users.deleteFiles, t.cannotUndo,
  ].filter(Boolean);
  show((close) => html`<${ConfirmTyped} title=${fill(t.users.deleteTitle, words)} words=${words}
    typed=${user.user} name="delete_user" verb=${t.users.delete} done=${t.users.deleted}
    consequences=${consequences} onDone=${changed} onClose=${close} />`);
}
