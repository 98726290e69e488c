// Accounts and sessions, and what the operator can do with an account.
import { act, useLoaded } from "../core/actions.js";
import { ask, LINES_MAX } from "../core/api.js";
import { show } from "../core/dialogs.js";
import { count, moment, when } from "../core/format.js";
import { html, useMemo, useState } from "../core/html.js";
import { fill, Name, rich } from "../core/names.js";
import { go, link } from "../core/route.js";
import { useSettled } from "../core/settled.js";
import { t } from "../core/texts.js";
import { ConfirmTyped, Copied } from "../parts/confirm.js";
import { Button, Filters, Search, Status, Tabs } from "../parts/controls.js";
import { Confirm, Dialog } from "../parts/dialog.js";
import { Heading } from "../parts/heading.js";
import { List } from "../parts/list.js";
import { isNear, readQuotas, Use } from "../parts/quotas.js";

const EVERY = 15000;
const FIRST = 500;
const HEIGHTS = [52, 72];

export function Users({ route }) {
  const tab = route[1] === "sessions" ? "sessions" : "accounts";
  return html`<${Heading} title=${t.users.title} />
    <${Tabs} label=${t.parts} current=${tab} tabs=${[
      ["accounts", t.users.accounts, link("users")],
      ["sessions", t.users.sessions, link("users", "sessions")],
    ]} />
    ${tab === "sessions" ? html`<${Sessions} />` : html`<${Accounts} />`}`;
}

const FILTERS = {
  all: () => true,
  online: (user) => user.online,
  disabled: (user) => user.disabled,
  full: (user, quotas) => isNearlyFull(user, quotas),
};
const BOUNDED = ["groups", "memberships", "files"];
const isNearlyFull = (user, quotas) =>
  BOUNDED.some((name) => isNear(user[name], quotas?.[name]));

/** Says how many there are, or that only the first ones are here. */
function Count({ shown, answer, texts, onMore }) {
  const { lines, more } = answer;
  const text = shown === lines.length && !more ? texts.count(count(shown), shown)
    : t.users.countOf(count(shown), count(lines.length), more);
  return html`<p class="count"><span role="status">${text}</span>
    ${more && onMore && html` <${Button} kind="link" onClick=${onMore}>${t.users.more}<//>`}</p>`;
}

function Accounts() {
  const [text, setText] = useState("");
  const [filter, setFilter] = useState("all");
  const [limit, setLimit] = useState(FIRST);
  const pattern = useSettled(text.trim());
  const load = async () => {
    const [answer, quotas] = await Promise.all([ask("users", { pattern }, limit), readQuotas()]);
    return { answer, quotas };
  };
  const { value, error, loading, reload } = useLoaded(load, [pattern, limit], EVERY);
  const shown = useMemo(() => (value
    ? value.answer.lines.filter((user) => FILTERS[filter](user, value.quotas)) : []),
  [value, filter]);
  const columns = ["name", ...BOUNDED, "actions"]
    .map((key) => ({ key, text: t.users.columns[key] }));
  const row = (at) => shown[at] && userRow(shown[at], value.quotas, reload);
  return html`<div class="toolbar">
      <${Search} label=${t.users.search} value=${text} onInput=${setText} />
      <${Filters} label=${t.users.filter} value=${filter} onChange=${setFilter}
        options=${Object.keys(FILTERS).map((key) => [key, t.users.filters[key]])} /></div>
    ${value && html`<${Count} shown=${shown.length} answer=${value.answer} texts=${t.users}
      onMore=${limit < LINES_MAX && (() => setLimit(Math.min(limit * 4, LINES_MAX)))} />`}
    <${Status} loading=${loading} error=${error} onRetry=${reload}
      empty=${value && shown.length === 0 && t.users.none} />
    ${shown.length > 0 && html`<${List} label=${t.users.accounts} className="accounts"
      columns=${columns} count=${shown.length} heights=${HEIGHTS} row=${row} />`}`;
}

function userRow(user, quotas, reload) {
  const number = (name) => html`<span class=${isNear(user[name], quotas[name]) ? "near" : ""}>
    <span class="phone-only">${t.users.short[name]} </span>${count(user[name])}</span>`;
  const open = () => showUser(user.user, reload);
  return {
    key: user.user,
    cells: {
      name: html`<button type="button" class="row-link" onClick=${open}>
        <${Name} of=${user.user} cut /></button><${UserMarks} user=${user} />`,
      ...Object.fromEntries(BOUNDED.map((name) => [name, number(name)])),
      actions: html`<${Button} kind="small" onClick=${open}
        aria-label=${fill(t.users.manageLabel, { user: user.user })}>${t.users.manage}<//>`,
    },
  };
}

function Sessions() {
  const [text, setText] = useState("");
  const { value, error, loading, reload } = useLoaded(() => ask("sessions"), [], EVERY);
  const wanted = text.trim().toLowerCase();
  const shown = (value?.lines ?? []).filter(({ user, address, device }) =>
    [user, address, device].some((word) => word.toLowerCase().includes(wanted)));
  const columns = ["name", "address", "device", "since", "actions"]
    .map((key) => ({ key, text: t.sessions.columns[key] }));
  const row = (at) => shown[at] && sessionRow(shown[at], reload);
  return html`<p class="quiet">${t.sessions.hint}</p>
    <div class="toolbar">
      <${Search} label=${t.sessions.search} value=${text} onInput=${setText} />
      ${value && html`<${Count} shown=${shown.length} answer=${value} texts=${t.sessions} />`}</div>
    <${Status} loading=${loading} error=${error} onRetry=${reload}
      empty=${value && shown.length === 0 && t.sessions.none} />
    ${shown.length > 0 && html`<${List} label=${t.users.sessions} className="visits"
      columns=${columns} count=${shown.length} heights=${HEIGHTS} row=${row} />`}`;
}

function sessionRow({ user, address, device, since_ms: since }, reload) {
  return {
    key: `${user} ${device} ${address}`,
    cells: {
      name: html`<${Name} of=${user} cut />`,
      address: html`<${Name} of=${address} cut />`,
      device: html`<code title=${device}>${device.slice(0, 16)}</code>`,
      since: html`<span class="phone-only">${t.sessions.since} </span>
        <time datetime=${new Date(since).toISOString()} title=${moment(since)}>
          ${when(since)}</time>`,
      actions: html`<${Button} kind="small" onClick=${() => showUser(user, reload)}
        aria-label=${fill(t.users.manageLabel, { user })}>${t.users.manage}<//>`,
    },
  };
}

/** What there is to say of an account in a word. */
function UserMarks({ user }) {
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

function showUser(name, changed) {
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
