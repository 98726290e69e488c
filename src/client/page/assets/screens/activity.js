// What happened: the rates of the last minutes, completed downloads, and notifications.
import { allPages, useLoaded } from "../core/actions.js";
import { command } from "../core/api.js";
import { moment, size } from "../core/format.js";
import { html, useEffect, useMemo, useState } from "../core/html.js";
import { fill, Name, rich } from "../core/names.js";
import { link } from "../core/route.js";
import { change, useStore } from "../core/store.js";
import { t } from "../core/texts.js";
import { Button, Search, Status, Tabs } from "../parts/controls.js";
import { Heading } from "../parts/heading.js";
import { List } from "../parts/list.js";
import { open } from "../parts/player.js";
import { RateGraph } from "../parts/rate_graph.js";

const PARTS = { rates: Rates, completed: Completed, notifications: Notifications };

export function Activity({ route }) {
  const part = route[1] in PARTS ? route[1] : "rates";
  const Part = PARTS[part];
  const tabs = Object.keys(PARTS).map((name) => [name, t.activity[name],
    link("activity", ...(name === "rates" ? [] : [name]))]);
  return html`<${Heading} title=${t.activity.title} />
    <${Tabs} label=${t.activity.title} tabs=${tabs} current=${part} />
    <${Part} key=${part} />`;
}

function Rates() {
  return html`<section class="card"><h2>${t.activity.rates}</h2><${RateGraph} />
    <p class="hint">${t.activity.ratesHint}</p></section>`;
}

function Completed() {
  const endsChanged = useStore((state) => state.endsChanged);
  const [search, setSearch] = useState("");
  const { value, error, loading, reload } = useLoaded(async () => {
    const downloads = await allPages("show_downloads");
    return downloads.filter((download) => download.state === "complete").reverse();
  }, [endsChanged]);
  const shown = useMemo(() => {
    const words = search.trim().toLowerCase();
    return (value ?? []).filter((one) =>
      !words || `${one.file}\n${one.group}`.toLowerCase().includes(words));
  }, [value, search]);
  const columns = ["name", "size", "path", "actions"].map((key) =>
    ({ key, text: t.activity.columns[key] }));
  const row = (one) => ({
    key: `${one.group_id} ${one.info_hash}`,
    cells: {
      name: html`<div class="two-lines"><${Name} of=${one.file} cut />
        <span class="under"><${Name} of=${one.group} cut /></span></div>`,
      size: size(one.size),
      path: html`<${Name} of=${one.path} cut />`,
      actions: html`<${Button} icon="open" kind="ghost" label=${fill(t.player.open, one)}
        onClick=${() => open(one.group, one.file)} />`,
    },
  });
  return html`<${Status} loading=${loading} error=${error} onRetry=${reload}
      empty=${value?.length === 0 && t.activity.noneCompleted} />
    ${value?.length > 0 && html`<div class="toolbar"><${Search} label=${t.activity.search}
      value=${search} onInput=${setSearch} /></div>`}
    ${shown.length > 0 && html`<${List} label=${t.activity.completed} className="completed"
      columns=${columns} count=${shown.length} heights=${[60, 84]}
      row=${(at) => row(shown[at])} />`}`;
}

function Notifications() {
  const unread = useStore((state) => state.unread);
  const { value, error, loading, reload } = useLoaded(() =>
    command("notifications", { all: true }), []);
  useEffect(() => {
    if (unread === 0) return;
    change({ unread: 0 });
    reload();
  }, [unread]);
  const latest = useMemo(() => [...(value ?? [])].reverse(), [value]);
  return html`<${Status} loading=${loading} error=${error} onRetry=${reload}
      empty=${value?.length === 0 && t.activity.noNotifications} />
    <ul class="notifications" aria-label=${t.activity.notifications}>
      ${latest.map((one, at) => html`<li key=${latest.length - at}>
        <time datetime=${new Date(one.at_ms).toISOString()}>${moment(one.at_ms)}</time>
        <p>${!one.seen && html`<span class="tag">${t.activity.unseen}</span>`}${" "}
          ${rich(t.notifications[one.event] ?? t.notifications.other, one)}
          ${" "}${one.reason && html`<span class="quiet"><${Name} of=${one.reason} /></span>`}</p>
      </li>`)}
    </ul>`;
}
