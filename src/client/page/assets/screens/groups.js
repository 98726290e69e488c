// The groups of the account, all groups of the network, and the search for files.
import { act, useAction } from "../core/actions.js";
import { command } from "../core/api.js";
import { show } from "../core/dialogs.js";
import { count } from "../core/format.js";
import { readGroups } from "../core/groups.js";
import { html, useCallback, useEffect, useState } from "../core/html.js";
import { fill, Name } from "../core/names.js";
import { Pages } from "../core/pages.js";
import { go, link } from "../core/route.js";
import { useStore } from "../core/store.js";
import { t } from "../core/texts.js";
import { useSettled } from "../core/settled.js";
import { Button, Field, FormError, Search, Status, Tabs } from "../parts/controls.js";
import { Dialog } from "../parts/dialog.js";
import { FileList } from "../parts/files.js";
import { Heading } from "../parts/heading.js";
import { List, usePages } from "../parts/list.js";
import { joinByInvitation } from "./invitations.js";

const COLUMNS = ["name", "part", "members", "owner", "actions"];
const columns = COLUMNS.map((key) => ({ key, text: t.groups.columns[key] }));
const HEIGHTS = [52, 72];

export function Groups({ route }) {
  const part = ["all", "find"].includes(route[1]) ? route[1] : "mine";
  const tabs = [["mine", t.groups.mine, link("groups")],
    ["all", t.groups.all, link("groups", "all")], ["find", t.groups.find, link("groups", "find")]];
  return html`<${Heading} title=${t.groups.title}>
      <${Button} changes onClick=${joinByInvitation}>${t.invitations.have}<//>
      <${Button} icon="plus" kind="primary" changes onClick=${createGroup}>${t.groups.create}<//>
    <//>
    <${Tabs} label=${t.groups.title} tabs=${tabs} current=${part} />
    ${part === "mine" ? html`<${Mine} />` : part === "all" ? html`<${All} />` : html`<${Find} />`}`;
}

function Mine() {
  const groups = useStore((state) => state.groups);
  const error = useStore((state) => state.groupsError);
  useEffect(() => {
    readGroups();
  }, []);
  if (!groups?.length) {
    return html`<${Status} loading=${!groups} error=${error} onRetry=${readGroups}
      empty=${t.groups.none}><a class="button plain" href=${link("groups", "all")}>
        ${t.groups.browse}</a><//>`;
  }
  return html`<${Status} error=${error} onRetry=${readGroups} />
    <${List} label=${t.groups.mine} className="groups" columns=${columns} count=${groups.length}
      heights=${HEIGHTS} row=${(at) => row(groups[at], readGroups)} />`;
}

function All() {
  const [search, setSearch] = useState("");
  const pattern = useSettled(search.trim()) || null;
  const changed = useStore((state) => state.groupsChanged);
  const pages = usePages((render) => new Pages((after, limit, signal) =>
    command("list_groups", { pattern, after, limit }, { signal }), render), [pattern]);
  const need = useCallback((first, last) => pages.need(first, last), [pages]);
  useEffect(() => {
    if (changed) pages.refresh();
  }, [changed]);
  return html`<div class="toolbar"><${Search} label=${t.groups.search} value=${search}
      onInput=${setSearch} />
      <p class="count" role="status">
        ${t.groups.count(count(pages.count), pages.count, pages.isWhole)}</p></div>
    <${Status} loading=${pages.isLoading && pages.count === 0} error=${pages.error}
      onRetry=${() => pages.refresh()}
      empty=${pages.isWhole && pages.count === 0 && t.groups.noneLike} />
    ${pages.count > 0 && html`<${List} label=${t.groups.all} className="groups" columns=${columns}
      count=${pages.count + (pages.isWhole ? 0 : 100)} total=${pages.isWhole ? pages.count : -1}
      heights=${HEIGHTS} onRange=${need}
      row=${(at) => pages.row(at) && row(pages.row(at), () => pages.refresh())} />`}`;
}

function row(group, changed) {
  const isMine = group.part === "owner" || group.part === "member";
  const join = async () => {
    await act("join_group", { group: group.group }, t.groups.asked);
    changed();
  };
  return {
    key: group.group_id,
    cells: {
      name: isMine ? html`<a class="row-link" href=${link("group", group.group_id)}>
        <${Name} of=${group.group} cut /></a>` : html`<${Name} of=${group.group} cut />`,
      part: html`<span class=${`tag ${group.part}`}>${t.groups.parts[group.part]}</span>
        ${group.requests ? html` <a class="badge" href=${link("group", group.group_id, "requests")}>
          ${t.groups.requests(group.requests)}</a>` : null}`,
      members: t.groups.members(count(group.members), group.members),
      owner: html`<span class="phone-only">${t.groups.ownedBy} </span>
        <${Name} of=${group.owner} cut />`,
      actions: group.part === "stranger" ? html`<${Button} kind="small" changes onClick=${join}
          aria-label=${fill(t.groups.joinLabel, { group: group.group })}>${t.groups.join}<//>`
        : isMine && html`<a class="button plain small" href=${link("group", group.group_id)}
          aria-label=${fill(t.groups.openLabel, { group: group.group })}>${t.groups.open}</a>`,
    },
  };
}

function Find() {
  const [search, setSearch] = useState("");
  const pattern = useSettled(search.trim());
  const groups = useStore((state) => state.groups);
  const pages = usePages((render) => new Pages((after, limit, signal) => (pattern
    ? command("find", { pattern, after, limit }, { signal })
    : { entries: [], more: false, next: null }), render), [pattern]);
  return html`<div class="toolbar"><${Search} label=${t.groups.findFiles} value=${search}
      onInput=${setSearch} />
      ${pattern && html`<p class="count" role="status">
        ${t.files.count(count(pages.count), pages.count, pages.isWhole)}</p>`}</div>
    ${pattern ? html`<${FileList} label=${t.groups.find} pages=${pages} groups=${groups}
      empty=${t.files.noneLike} />` : html`<div class="empty"><p>${t.groups.findHint}</p></div>`}`;
}

function createGroup() {
  show((close) => html`<${CreateDialog} close=${close} />`);
}

function CreateDialog({ close }) {
  const [name, setName] = useState("");
  const { busy, error, run } = useAction();
  const submit = () => run(async () => {
    const group = name.trim();
    await command("create_group", { group });
    await readGroups();
    close();
    go("groups");
  });
  return html`<${Dialog} title=${t.groups.create} onClose=${close} onSubmit=${submit}
    actions=${html`<${Button} onClick=${close}>${t.cancel}<//>
      <${Button} type="submit" kind="primary" changes busy=${busy} disabled=${busy || !name.trim()}>
        ${t.groups.createShort}<//>`}>
    <${Field} label=${t.groups.name} hint=${t.groups.nameHint} value=${name} onInput=${setName}
      maxlength="64" autocomplete="off" data-first />
    <${FormError} error=${error} />
  <//>`;
}
