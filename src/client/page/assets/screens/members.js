// The members of a group, and those who ask to join.
import { act } from "../core/actions.js";
import { command } from "../core/api.js";
import { show } from "../core/dialogs.js";
import { count, moment, when } from "../core/format.js";
import { readGroups } from "../core/groups.js";
import { html, useCallback, useEffect } from "../core/html.js";
import { fill, Name, rich } from "../core/names.js";
import { Pages } from "../core/pages.js";
import { useStore } from "../core/store.js";
import { t } from "../core/texts.js";
import { Button, Status } from "../parts/controls.js";
import { Confirm, Dialog } from "../parts/dialog.js";
import { Facts } from "../parts/facts.js";
import { List, usePages } from "../parts/list.js";

const EVERY = 10000;
const HEIGHTS = [52, 72];

/** The pages of a listing that is read again from time to time, and after events of groups. */
function usePeople(name, group) {
  const pages = usePages((render) => new Pages((after, limit, signal) =>
    command(name, { group, after, limit }, { signal }), render), [name, group]);
  const changed = useStore((state) => state.groupsChanged);
  useEffect(() => {
    if (changed) pages.refresh();
  }, [changed]);
  useEffect(() => {
    const timer = setInterval(() => document.hidden || pages.refresh(), EVERY);
    return () => clearInterval(timer);
  }, [pages]);
  return pages;
}

function People({ pages, label, columns, row, empty }) {
  const need = useCallback((first, last) => pages.need(first, last), [pages]);
  return html`<${Status} loading=${pages.isLoading && pages.count === 0} error=${pages.error}
      onRetry=${() => pages.refresh()} empty=${pages.isWhole && pages.count === 0 && empty} />
    ${pages.count > 0 && html`<${List} label=${label} className="people"
      columns=${columns.map((key) => ({ key, text: t.members.columns[key] }))}
      count=${pages.count + (pages.isWhole ? 0 : 100)} total=${pages.isWhole ? pages.count : -1}
      heights=${HEIGHTS} onRange=${need} row=${(at) => pages.row(at) && row(pages.row(at))} />`}`;
}

const date = (ms) => html`<time datetime=${new Date(ms).toISOString()} title=${moment(ms)}>
  ${when(ms)}</time>`;

export function Members({ group }) {
  const pages = usePeople("list_members", group.group);
  const account = useStore((state) => state.account);
  const row = (member) => {
    const words = { group: group.group, user: member.user };
    const isMe = member.user_id === account.user_id;
    const mayAct = group.part === "owner" && !isMe;
    return {
      key: member.user_id,
      cells: {
        name: html`<${Name} of=${member.user} cut />
          ${isMe && html`<span class="quiet">${t.members.you}</span>`}
          ${member.invited_by && html`<span class="quiet invited">
            ${rich(t.members.invitedBy, { user: member.invited_by })}</span>`}`,
        part: html`<span class=${`tag ${member.part}`}>${t.groups.parts[member.part]}</span>`,
        online: html`<span class=${member.online ? "is-online" : "is-offline"}>
          ${member.online ? t.members.online : t.members.offline}</span>`,
        since: html`<span class="phone-only">${t.members.since} </span>${date(member.since_ms)}`,
        actions: mayAct && html`<${Button} kind="small" changes
          aria-label=${fill(t.members.manageLabel, words)}
          onClick=${() => manage(words, member, pages)}>${t.members.manage}<//>`,
      },
    };
  };
  return html`<p class="count" role="status">
      ${t.groups.members(count(pages.count), pages.count)}</p>
    <${People} pages=${pages} label=${t.members.title} row=${row}
      columns=${["name", "part", "online", "since", "actions"]} />`;
}

function manage(words, member, pages) {
  const facts = [
    [t.facts.group, html`<${Name} of=${words.group} />`],
    [t.facts.part, t.groups.parts[member.part]],
    [t.members.columns.online, member.online ? t.members.online : t.members.offline],
    [t.members.columns.since, moment(member.since_ms)],
    ...(member.invited_by
      ? [[t.members.inviter, html`<${Name} of=${member.invited_by} />`]] : []),
  ];
  show((close) => html`<${Dialog} title=${html`<${Name} of=${member.user} />`} onClose=${close}>
    <${Facts} facts=${facts} />
    <div class="buttons">
      <${Button} changes onClick=${() => confirmTransfer(words, pages)}>${t.members.transfer}<//>
      <${Button} kind="danger-plain" changes onClick=${() => confirmRemove(words, pages)}>
        ${t.members.remove}<//></div><//>`);
}

function confirmRemove(words, pages) {
  const onDone = () => {
    pages.refresh();
    readGroups();
  };
  show((close) => html`<${Confirm} title=${fill(t.members.removeTitle, words)} words=${words}
    name="remove_member" verb=${t.members.remove} done=${t.members.removed} onDone=${onDone}
    consequences=${[fill(t.members.removeWhat, words), t.members.removeShares,
      fill(t.members.removeInvites, words),
      t.members.removeKeeps]} onClose=${close} />`);
}

function confirmTransfer(words, pages) {
  const onDone = () => {
    pages.refresh();
    readGroups();
  };
  show((close) => html`<${Confirm} title=${fill(t.members.transferTitle, words)} words=${words}
    name="transfer_group" verb=${t.members.transfer} done=${t.members.transferred} onDone=${onDone}
    consequences=${[fill(t.members.transferWhat, words), t.members.transferYou]}
    onClose=${close} />`);
}

export function Requests({ group }) {
  const pages = usePeople("list_requests", group.group);
  const answer = (name, user, done) => async () => {
    await act(name, { group: group.group, user }, done);
    pages.refresh();
    readGroups();
  };
  const row = ({ user, user_id: id, since_ms: since }) => ({
    key: id,
    cells: {
      name: html`<${Name} of=${user} cut />`,
      asked: html`<span class="phone-only">${t.members.askedSince} </span>${date(since)}`,
      actions: html`<${Button} kind="small primary" changes
          aria-label=${fill(t.members.acceptLabel, { user })}
          onClick=${answer("accept_request", user, t.members.accepted)}>${t.members.accept}<//>
        <${Button} kind="small" changes aria-label=${fill(t.members.rejectLabel, { user })}
          onClick=${answer("reject_request", user, t.members.rejected)}>${t.members.reject}<//>`,
    },
  });
  return html`<${People} pages=${pages} label=${t.members.requests} row=${row}
    columns=${["name", "asked", "actions"]} empty=${t.members.noRequests} />`;
}
