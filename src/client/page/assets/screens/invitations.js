// The invitations to a group: making one, and ending those that are open; and joining by one.
import { act, allPages, useAction, useLoaded } from "../core/actions.js";
import { command } from "../core/api.js";
import { show } from "../core/dialogs.js";
import { moment } from "../core/format.js";
import { readGroups } from "../core/groups.js";
import { html, useState } from "../core/html.js";
import { fill, rich } from "../core/names.js";
import { go } from "../core/route.js";
import { t } from "../core/texts.js";
import { toast } from "../core/toasts.js";
import { Button, Check, Choice, Field, FormError, Status } from "../parts/controls.js";
import { Confirm, Dialog } from "../parts/dialog.js";
import { InvitationField, QrCode } from "../parts/invitation.js";

const EVERY = 10000;
const DAYS = ["1", "7", "30", "60"];

/** Tells whether the account may invite to a group. A tracker of before knows no invitations. */
export const mayInvite = ({ part, members_invite: members }) =>
  typeof members === "boolean" && (part === "owner" || (part === "member" && members));

export function Invitations({ group }) {
  const { value, error, loading, reload } = useLoaded(() => allPages("invites"), [], EVERY);
  const open = value?.filter((one) => one.group_id === group.group_id);
  const isOwner = group.part === "owner";
  const create = () => show((close) => html`<${Create} group=${group} changed=${reload}
    close=${close} />`);
  const revoke = (one) => show((close) => html`<${Confirm} name="revoke_invite"
    title=${t.invitations.revokeTitle} words=${{ invite: one.invite }} verb=${t.invitations.revoke}
    consequences=${[t.invitations.revokeWhat, t.invitations.revokeKeeps]}
    done=${t.invitations.revoked} onDone=${reload} onClose=${close} />`);
  const letMembers = async (members_invite) => {
    await act("group_settings", { group: group.group, members_invite });
    readGroups();
  };
  return html`<p>${rich(t.invitations.why, { group: group.group })}</p>
    <div class="buttons"><${Button} icon="plus" kind="primary" changes onClick=${create}>
      ${t.invitations.create}<//></div>
    ${isOwner && html`<${Check} label=${t.invitations.members} checked=${group.members_invite}
      onChange=${letMembers} />`}
    <${Status} loading=${loading} error=${error} onRetry=${reload} />
    <ul class="plain-list">${open?.map((one) => html`<li key=${one.invite}>
      <div><p>${t.invitations.used(one.used, one.uses)}
          ${one.expires_ms < Date.now() && html` <span class="tag">${t.invitations.expired}</span>`}
        </p>
        <p class="quiet">${rich(t.invitations.madeBy, { user: one.inviter })} ·
          ${" "}${t.invitations.until(moment(one.expires_ms))} ·
          ${" "}<code>${one.invite.slice(0, 12)}</code></p></div>
      <${Button} kind="small danger-plain" changes onClick=${() => revoke(one)}
        aria-label=${fill(t.invitations.revokeLabel, { id: one.invite.slice(0, 12) })}>
        ${t.invitations.revoke}<//>
    </li>`)}</ul>
    ${open?.length === 0 && html`<p class="quiet">${t.invitations.none}</p>`}`;
}

function Create({ group, changed, close }) {
  const [uses, setUses] = useState("1");
  const [days, setDays] = useState("7");
  const [made, setMade] = useState(null);
  const { busy, error, run } = useAction();
  const submit = () => run(async () => {
    const words = { group: group.group, uses: Number(uses), days: Number(days) };
    if (!Number.isInteger(words.uses)) throw new Error(t.limits.invalidNumber);
    setMade(await command("invite", words));
    changed();
  });
  if (made) return html`<${Made} made=${made} close=${close} />`;
  return html`<${Dialog} title=${t.invitations.create} onClose=${close} onSubmit=${submit}
    actions=${html`<${Button} onClick=${close}>${t.cancel}<//>
      <${Button} type="submit" kind="primary" changes busy=${busy} disabled=${busy}>
        ${t.invitations.createShort}<//>`}>
    <p>${rich(t.invitations.why, { group: group.group })}</p>
    <${Field} label=${t.invitations.uses} value=${uses} onInput=${setUses} inputmode="numeric"
      maxlength="4" autocomplete="off" data-first />
    <${Choice} label=${t.invitations.days} value=${days} onChange=${setDays}
      options=${DAYS.map((number) => [number, t.invitations.daysNames(Number(number))])} />
    <${FormError} error=${error} />
  <//>`;
}

function Made({ made, close }) {
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(made.link);
      toast("status", t.invitations.copied);
    } catch {
      toast("alert", t.invitations.notCopied);
    }
  };
  return html`<${Dialog} title=${t.invitations.made} onClose=${close} actions=${html`
    <${Button} onClick=${copy}>${t.invitations.copy}<//>
    <${Button} kind="primary" onClick=${close}>${t.close}<//>`}>
    <p>${t.invitations.once}</p>
    <p class="secret"><code>${made.link}</code></p>
    ${made.qr && html`<${QrCode} qr=${made.qr} />`}
    <p class="quiet">${t.invitations.used(made.used, made.uses)} ·
      ${" "}${t.invitations.until(moment(made.expires_ms))}</p>
  <//>`;
}

/** Asks for a link, and joins by it. */
export function joinByInvitation() {
  show((close) => html`<${Join} close=${close} />`);
}

function Join({ close }) {
  const [link, setLink] = useState("");
  const { busy, error, run } = useAction();
  const submit = () => run(async () => {
    const joined = await command("join", { link: link.trim() });
    toast("status", t.invitations.joined, { group: joined.group });
    await readGroups();
    close();
    go("group", joined.group_id);
  });
  return html`<${Dialog} title=${t.invitations.have} onClose=${close} onSubmit=${submit}
    actions=${html`<${Button} onClick=${close}>${t.cancel}<//>
      <${Button} type="submit" kind="primary" changes busy=${busy} disabled=${busy || !link.trim()}>
        ${t.invitations.join}<//>`}>
    <p>${t.invitations.joinWhy}</p>
    <${InvitationField} link=${link} onInput=${setLink} data-first />
    <${FormError} error=${error} />
  <//>`;
}
