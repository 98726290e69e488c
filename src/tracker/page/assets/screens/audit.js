// What was changed, by whom, when and from where.
import { useLoaded } from "../core/actions.js";
import { ask, LINES_MAX } from "../core/api.js";
import { show } from "../core/dialogs.js";
import { count, moment } from "../core/format.js";
import { html, useMemo, useState } from "../core/html.js";
import { Name, rich } from "../core/names.js";
import { useSettled } from "../core/settled.js";
import { t } from "../core/texts.js";
import { Button, Choice, Field, Search, Status } from "../parts/controls.js";
import { Dialog } from "../parts/dialog.js";
import { Facts } from "../parts/facts.js";
import { Heading } from "../parts/heading.js";
import { List } from "../parts/list.js";

const FIRST = 200;
const HEIGHTS = [44, 72];
const PERIODS = ["1h", "24h", "7d", "30d", "90d", "dates"];

/** Writes what a date field holds, which is local time, as the tracker reads it. */
const toUtc = (text) => (text ? `${new Date(text).toISOString().slice(0, 19)}Z` : undefined);

export function Audit({ route }) {
  const [user, setUser] = useState(route[1] ?? "");
  const [period, setPeriod] = useState(route[1] ? "90d" : "24h");
  const [dates, setDates] = useState({ since: "", until: "" });
  const [limit, setLimit] = useState(FIRST);
  const [text, setText] = useState("");
  const words = useSettled(JSON.stringify({
    user: user.trim(), limit,
    since: period === "dates" ? toUtc(dates.since) ?? "90d" : period,
    until: period === "dates" ? toUtc(dates.until) : undefined,
  }));
  const { value, error, loading, reload } = useLoaded(() =>
    ask("audit", JSON.parse(words)), [words]);
  // The latest comes first here.
  const entries = useMemo(() => (value?.lines ?? []).toReversed(), [value]);
  const wanted = text.trim().toLowerCase();
  const shown = entries.filter((entry) => searched(entry).includes(wanted));
  const isFull = entries.length >= JSON.parse(words).limit;
  const columns = ["date", "actor", "name", "from"]
    .map((key) => ({ key, text: t.audit.columns[key] }));
  const date = (key) => html`<${Field} label=${t.audit[key]} type="datetime-local"
    value=${dates[key]} onInput=${(next) => setDates({ ...dates, [key]: next })} />`;
  return html`<${Heading} title=${t.audit.title}>
      <${Button} icon="reload" onClick=${reload}>${t.audit.reload}<//><//>
    <p class="quiet">${t.audit.hint}</p>
    <div class="audit-filters">
      <${Field} label=${t.audit.user} hint=${t.audit.userHint} value=${user} onInput=${setUser}
        maxlength="80" autocomplete="off" />
      <${Choice} label=${t.audit.period} value=${period} onChange=${setPeriod}
        options=${PERIODS.map((key) => [key, t.audit.periods[key]])} />
      ${period === "dates" && html`${date("since")}${date("until")}`}
    </div>
    <div class="toolbar"><${Search} label=${t.audit.search} value=${text} onInput=${setText} />
      ${value && html`<p class="count"><span role="status">
        ${t.audit.count(count(shown.length), shown.length, isFull)}</span>${" "}
        ${isFull && limit < LINES_MAX && html`<${Button} kind="link"
          onClick=${() => setLimit(Math.min(limit * 4, LINES_MAX))}>${t.audit.earlier}<//>`}
      </p>`}</div>
    <${Status} loading=${loading} error=${error} onRetry=${reload}
      empty=${value && shown.length === 0 && t.audit.none} />
    ${shown.length > 0 && html`<${List} label=${t.audit.title} className="changes"
      columns=${columns} count=${shown.length} heights=${HEIGHTS}
      row=${(at) => shown[at] && entryRow(shown[at])} />`}`;
}

const KINDS = ["group", "user", "file", "name"];
/** What an entry may tell besides. */
const FACTS = [...KINDS, "invitation", "invited_by", "what"];
const valueOf = (entry, kind) => entry[kind] ?? entry[`${kind}_id`] ?? "";
const who = (entry) => (entry.by_operator ? t.audit.operator : entry.actor ?? entry.actor_id);

const searched = (entry) => [entry.command, who(entry), entry.address, entry.device,
  ...FACTS.flatMap((kind) => [entry[kind], entry[`${kind}_id`]])].join("\n").toLowerCase();

/** What was done, in a sentence. A command of a later version is shown as it is. */
function What({ entry }) {
  const sentence = t.audit.commands[entry.command];
  const words = Object.fromEntries(KINDS.map((kind) => [kind, valueOf(entry, kind)]));
  // What the operator deleted has no entry any more: the change notes its name.
  for (const kind of ["group", "user", "file"]) {
    if (!entry[kind] && entry.name && entry.command.endsWith(`_${kind}`)) words[kind] = entry.name;
  }
  if (sentence) return rich(sentence, words);
  const others = KINDS.map((kind) => words[kind]).filter(Boolean);
  return html`<code>${entry.command}</code>
    ${others.map((word) => html` <${Name} of=${word} />`)}`;
}

function entryRow(entry) {
  const open = () => show((close) => html`<${Entry} entry=${entry} close=${close} />`);
  return {
    key: entry.request,
    cells: {
      date: html`<time datetime=${entry.time}>${moment(entry.time_ms)}</time>`,
      actor: entry.by_operator ? html`<span class="tag owner">${who(entry)}</span>`
        : html`<${Name} of=${who(entry)} cut />`,
      name: html`<button type="button" class="row-link what" onClick=${open}>
        <${What} entry=${entry} /></button>`,
      from: entry.address ? html`<${Name} of=${entry.address} cut />` : null,
    },
  };
}

function Entry({ entry, close }) {
  const idOf = (kind) => entry[`${kind}_id`] && html` <code>${entry[`${kind}_id`]}</code>`;
  const about = FACTS.filter((kind) => valueOf(entry, kind) !== "").map((kind) => [
    t.audit.kinds[kind], html`${entry[kind] && html`<${Name} of=${entry[kind]} />`}${idOf(kind)}`,
  ]);
  const facts = [
    [t.audit.columns.date, html`${moment(entry.time_ms)} <span class="quiet">${entry.time}</span>`],
    [t.audit.columns.actor, html`${entry.by_operator ? t.audit.operator
      : html`${entry.actor && html`<${Name} of=${entry.actor} />`}${idOf("actor")}`}`],
    ...about,
    ...entry.address ? [[t.audit.columns.from, html`<${Name} of=${entry.address} />`],
      [t.audit.device, html`<code>${entry.device}</code>`]] : [],
    [t.audit.command, html`<code>${entry.command}</code>`],
    [t.audit.request, html`<code>${entry.request}</code>`],
  ];
  return html`<${Dialog} title=${html`<${What} entry=${entry} />`} onClose=${close}>
    <${Facts} facts=${facts} /><//>`;
}
