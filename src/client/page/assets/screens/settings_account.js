// The account: who is logged in, the password, log-out and deletion.
import { act } from "../core/actions.js";
import { show } from "../core/dialogs.js";
import { html } from "../core/html.js";
import { fill, Name } from "../core/names.js";
import { useStore } from "../core/store.js";
import { t } from "../core/texts.js";
import { Button } from "../parts/controls.js";
import { Confirm, Dialog } from "../parts/dialog.js";
import { ChangePassword } from "./account.js";
import { Section } from "../parts/section.js";

export function Account({ leave }) {
  const account = useStore((state) => state.account);
  const change = () => show((close) => html`<${Dialog} title=${t.account.changePassword}
    onClose=${close}><${ChangePassword} oldLabel=${t.account.oldPassword} onDone=${close} /><//>`);
  const remove = () => show((close) => html`<${Confirm} title=${t.account.deleteTitle}
    name="delete_account" words=${{}} verb=${t.account.delete} onClose=${close}
    agree=${fill(t.account.deleteAgree, { user: account.user })}
    consequences=${[...t.account.deleteWhat, t.cannotUndo]} />`);
  return html`<${Section} name="account">
    <p><${Name} of=${account.user} /> <span class="quiet">
      ${account.stays ? t.account.stays : t.account.staysNot}</span></p>
    <div class="buttons">
      <${Button} changes onClick=${change}>${t.account.changePassword}<//>
      <${Button} changes onClick=${() => act("logout", {})}>${t.account.logOut}<//>
      <${Button} onClick=${leave}>${t.account.leavePage}<//>
      <${Button} kind="danger-plain" changes onClick=${remove}>${t.account.delete}<//>
    </div>
    <p class="hint">${account.stays ? t.account.logOutStays : t.account.logOutHint}</p>
    <p class="hint">${t.account.leavePageHint}</p>
  <//>`;
}
