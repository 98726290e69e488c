// Accounts and sessions.
import { useLoaded } from "../core/actions.js";
import { ask, LINES_MAX } from "../core/api.js";
import { count, moment, when } from "../core/format.js";
import { html, useMemo, useState } from "../core/html.js";
import { fill, Name } from "../core/names.js";
import { readQuotas } from "../core/quotas.js";
import { link } from "../core/route.js";
import { useSettled } from "../core/settled.js";
import { t } from "../core/texts.js";
import { Button, Filters, Search, Status, Tabs } from "../parts/controls.js";
import { Heading } from "../parts/heading.js";
import { List } from "../parts/list.js";
import { showUser, UserMarks } from "../parts/user.js";

const EVERY = 15000;
const FIRST = 500;
const HEIGHTS = [52, 72];
/** From this part on a quota is nearly used up. */
const NEARLY = 0.9;

export function Users({ route }) {
  const tab = route[1] === "sessions" ? "sessions" : "accounts";
  return html`<${Heading} title=${t.users.title} />
    <${Tabs} label=${t.users.parts} current=${tab} tabs=${[
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
const isNear = (used, quota) => quota !== undefined && used >= quota * NEARLY;
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
    ${shown.length > 0 && html`<${List} label=${t.users.accounts} className="people accounts"
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
    ${shown.length > 0 && html`<${List} label=${t.users.sessions} className="people visits"
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
