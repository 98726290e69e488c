// One group: its files, its members, the requests to join, and what can be done with it.
import { useAction } from "../core/actions.js";
import { command } from "../core/api.js";
import { show } from "../core/dialogs.js";
import { count } from "../core/format.js";
import { readGroups } from "../core/groups.js";
import { html, useEffect, useRef, useState } from "../core/html.js";
import { fill, Name, rich } from "../core/names.js";
import { go, link } from "../core/route.js";
import { useStore } from "../core/store.js";
import { t } from "../core/texts.js";
import { toast } from "../core/toasts.js";
import { Button, Field, FormError, Status, Tabs } from "../parts/controls.js";
import { Confirm, Dialog } from "../parts/dialog.js";
import { shareDropped } from "../parts/file_dialogs.js";
import { Heading } from "../parts/heading.js";
import { Files } from "./group_files.js";
import { Invitations, mayInvite } from "./invitations.js";
import { Members, Requests } from "./members.js";

export function Group({ route }) {
  const [, id, part = "files"] = route;
  const groups = useStore((state) => state.groups);
  const error = useStore((state) => state.groupsError);
  const group = groups?.find((one) => one.group_id === id);
  if (!groups) {
    return html`<${Heading} title=${t.groups.title} />
      <${Status} loading error=${error} onRetry=${readGroups} />`;
  }
  if (!group || group.part === "requested") {
    return html`<${Heading} title=${t.groups.title} />
      <div class="notice" role="status"><p>${group ? rich(t.group.waiting, { group: group.group })
        : t.group.noMember}</p><a class="button plain" href=${link("groups")}>${t.group.back}</a>
      </div>`;
  }
  const isOwner = group.part === "owner";
  const tabs = ["files", "members", ...(isOwner ? ["requests"] : []),
    ...(mayInvite(group) ? ["invitations"] : []), "manage"].map((name) =>
    [name, t.group.tabs[name], link("group", id, ...(name === "files" ? [] : [name])),
      name === "requests" ? group.requests : 0]);
  const current = tabs.some(([name]) => name === part) ? part : "files";
  const screens = { files: Files, members: Members, requests: Requests,
    invitations: Invitations, manage: Manage };
  return html`<${DropTarget} group=${group}>
    <p class="crumbs"><a href=${link("groups")}>${t.groups.title}</a></p>
    <${Heading} title=${html`<${Name} of=${group.group} />`}>
      <p class="quiet"><span class=${`tag ${group.part}`}>${t.groups.parts[group.part]}</span>
        ${" "}${t.groups.members(count(group.members), group.members)} · ${t.groups.ownedBy}
        ${" "}<${Name} of=${group.owner} /></p>
    <//>
    <${Tabs} label=${fill(t.group.parts, { group: group.group })} tabs=${tabs}
      current=${current} />
    <${screens[current]} key=${current} group=${group} />
  <//>`;
}

const hasFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");

/** Takes files that are dropped anywhere on the screen of a group. */
function DropTarget({ group, children }) {
  const [isOver, setOver] = useState(false);
  const depth = useRef(0);
  useEffect(() => {
    const step = (by) => (event) => {
      if (!hasFiles(event)) return;
      depth.current = Math.max(0, depth.current + by);
      setOver(depth.current > 0);
    };
    const [enter, leave] = [step(1), step(-1)];
    const drop = (event) => {
      depth.current = 0;
      setOver(false);
      if (!hasFiles(event) || document.querySelector("dialog[open]")) return;
      const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.());
      const files = [...event.dataTransfer.files].filter((_, at) => !entries[at]?.isDirectory);
      if (files.length < event.dataTransfer.files.length) toast("alert", t.drops.noDirectories);
      shareDropped(group.group, files);
    };
    addEventListener("dragenter", enter);
    addEventListener("dragleave", leave);
    addEventListener("drop", drop);
    return () => {
      removeEventListener("dragenter", enter);
      removeEventListener("dragleave", leave);
      removeEventListener("drop", drop);
    };
  }, [group.group]);
  return html`${children}${isOver && html`<div class="drop-target" aria-hidden="true">
    <p>${rich(t.drops.here, { group: group.group })}</p></div>`}`;
}

function Manage({ group }) {
  const name = group.group;
  const words = { group: name };
  const members = count(group.members);
  const isOwner = group.part === "owner";
  const isLast = group.members === 1;
  const away = () => {
    readGroups();
    go("groups");
  };
  const confirm = (props) => () => show((close) => html`<${Confirm} words=${words} onDone=${away}
    onClose=${close} ...${props} />`);
  const leave = confirm({
    title: fill(t.group.leaveTitle, words), name: "leave_group", verb: t.group.leave,
    done: t.group.left,
    consequences: [t.group.leaveShares,
      ...(isLast ? [t.group.leaveLast] : isOwner ? [t.group.leaveOwner] : [t.group.leaveAgain])],
  });
  const remove = confirm({
    title: fill(t.group.deleteTitle, words), name: "delete_group", verb: t.group.delete,
    done: t.group.deleted, agree: fill(t.group.deleteAgree, words),
    consequences: [t.group.deleteMembers(members, group.members), t.group.deleteFiles,
      t.group.deleteKeeps, t.cannotUndo],
  });
  return html`<div class="cards">
    ${isOwner && html`<section class="card"><h2>${t.group.rename}</h2><p>${t.group.renameWhy}</p>
      <${Button} changes onClick=${() => show((close) => html`<${Rename} group=${name}
        close=${close} />`)}>${t.group.rename}<//></section>`}
    <section class="card"><h2>${t.group.leave}</h2><p>${t.group.leaveShares}</p>
      <${Button} kind="danger-plain" changes onClick=${leave}>${t.group.leave}<//></section>
    ${isOwner && html`<section class="card"><h2>${t.group.delete}</h2>
      <p>${t.group.deleteMembers(members, group.members)}</p>
      <${Button} kind="danger-plain" changes onClick=${remove}>${t.group.delete}<//></section>`}
  </div>`;
}

function Rename({ group, close }) {
  const [name, setName] = useState(group);
  const { busy, error, run } = useAction();
  const submit = () => run(async () => {
    await command("rename_group", { group, name: name.trim() });
    toast("status", t.group.renamed, { group, name: name.trim() });
    await readGroups();
    close();
  });
  return html`<${Dialog} title=${t.group.rename} onClose=${close} onSubmit=${submit}
    actions=${html`<${Button} onClick=${close}>${t.cancel}<//>
      <${Button} type="submit" kind="primary" changes busy=${busy}
        disabled=${busy || !name.trim() || name.trim() === group}>${t.group.rename}<//>`}>
    <p>${t.group.renameWhy}</p>
    <${Field} label=${t.groups.name} hint=${t.groups.nameHint} value=${name} onInput=${setName}
      maxlength="64" autocomplete="off" data-first />
    <${FormError} error=${error} />
  <//>`;
}
