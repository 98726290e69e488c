// Log-in, sign-up, and the password that must be changed first.
import { act, useAction } from "../core/actions.js";
import { command } from "../core/api.js";
import { readGroups } from "../core/groups.js";
import { html, useState } from "../core/html.js";
import { rich } from "../core/names.js";
import { useStore } from "../core/store.js";
import { t } from "../core/texts.js";
import { toast } from "../core/toasts.js";
import { Button, Check, Field, FormError } from "../parts/controls.js";
import { InvitationField } from "../parts/invitation.js";
import { NewPassword, useNewPassword } from "../parts/password.js";
import { Outside } from "./opening.js";

export function AccountScreen() {
  const account = useStore((state) => state.account);
  const [isNew, setNew] = useState(false);
  // Stays when the other form is shown.
  const [link, setLink] = useState(null);
  if (account) return html`<${MustChange} account=${account} />`;
  return isNew
    ? html`<${SignUp} link=${link} setLink=${setLink} other=${() => setNew(false)} />`
    : html`<${LogIn} link=${link} setLink=${setLink} other=${() => setNew(true)} />`;
}

/** Logs in. `cannot_stay` is a session all the same. */
async function logIn(user, password, stay) {
  try {
    await command("login", { user, password, stay });
  } catch (error) {
    if (error.code !== "cannot_stay") throw error;
    toast("alert", "{error}", { error: error.message });
  }
}

function Ended() {
  const ended = useStore((state) => state.sessionEnded);
  return ended && html`<p class="notice" role="status">${t.account.ended(ended)}</p>`;
}

function Lost() {
  const connection = useStore((state) => state.connection);
  return connection === "lost" && html`<p class="notice bad" role="status">${t.lost}</p>`;
}

function LogIn({ link, setLink, other }) {
  const [user, setUser] = useState("");
  const [password, setPassword] = useState("");
  const [stay, setStay] = useState(true);
  const { busy, error, run } = useAction();
  const submit = (event) => {
    event.preventDefault();
    run(async () => {
      await logIn(user.trim(), password, stay);
      // This form is gone by then, and its error with it.
      if (link?.trim()) await joinAfterwards(link.trim());
    });
  };
  return html`<${Outside} title=${t.account.logIn}>
    <${Lost} /><${Ended} />
    <form onSubmit=${submit}>
      <${Field} label=${t.account.user} value=${user} onInput=${setUser} autocomplete="username"
        required maxlength="80" />
      <${Field} label=${t.account.password} type="password" value=${password}
        onInput=${setPassword} autocomplete="current-password" required />
      <${Check} label=${t.account.stay} hint=${t.account.stayHint} checked=${stay}
        onChange=${setStay} />
      <${InvitationField} link=${link} onInput=${setLink} hint=${t.invitations.logInHint} />
      <${FormError} error=${error} />
      <${Button} type="submit" kind="primary" changes busy=${busy}
        disabled=${busy || !user.trim() || !password}>${t.account.logIn}<//>
    </form>
    <p class="other">${t.account.noAccount}
      <${Button} kind="link" onClick=${other}>${t.account.signUp}<//></p>
  <//>`;
}

/** Joins by an invitation; tells how it went in a message. */
async function joinAfterwards(link) {
  const { value } = await act("join", { link });
  if (!value) return;
  toast("status", t.invitations.joined, { group: value.group });
  readGroups();
}

function SignUp({ link, setLink, other }) {
  const [user, setUser] = useState("");
  const [stay, setStay] = useState(true);
  const fresh = useNewPassword();
  const { busy, error, run } = useAction();
  const submit = (event) => {
    event.preventDefault();
    if (!fresh.check()) return;
    run(async () => {
      const name = user.trim();
      const invitation = link?.trim() || undefined;
      await command("create_user", { user: name, password: fresh.password, invitation });
      await logIn(name, fresh.password, stay);
    });
  };
  return html`<${Outside} title=${t.account.signUp}>
    <${Lost} />
    <form onSubmit=${submit}>
      <${Field} label=${t.account.user} hint=${t.account.userHint} value=${user}
        onInput=${setUser} autocomplete="username" required maxlength="64" />
      <${NewPassword} fresh=${fresh} />
      <${Check} label=${t.account.stay} hint=${t.account.stayHint} checked=${stay}
        onChange=${setStay} />
      <${InvitationField} link=${link} onInput=${setLink} hint=${t.invitations.signUpHint} />
      <${FormError} error=${error} />
      <${Button} type="submit" kind="primary" changes busy=${busy}
        disabled=${busy || !user.trim() || !fresh.password}>${t.account.signUp}<//>
    </form>
    <p class="other">${t.account.haveAccount}
      <${Button} kind="link" onClick=${other}>${t.account.logIn}<//></p>
  <//>`;
}

function MustChange({ account }) {
  return html`<${Outside} title=${t.account.mustChange}>
    <p>${rich(t.account.mustChangeWhy, { user: account.user })}</p>
    <${ChangePassword} oldLabel=${t.account.operatorPassword} />
    <p class="other"><${Button} kind="link" onClick=${() => act("logout", {})}>
      ${t.account.logOut}<//></p>
  <//>`;
}

export function ChangePassword({ oldLabel, onDone }) {
  const [old, setOld] = useState("");
  const fresh = useNewPassword();
  const { busy, error, run } = useAction();
  const submit = (event) => {
    event.preventDefault();
    if (!fresh.check()) return;
    run(async () => {
      await command("change_password", { old, new: fresh.password });
      setOld("");
      fresh.clear();
      toast("status", t.account.passwordChanged);
      onDone?.();
    });
  };
  return html`<form onSubmit=${submit}>
    <${Field} label=${oldLabel} type="password" value=${old} onInput=${setOld}
      autocomplete="current-password" required />
    <${NewPassword} fresh=${fresh} />
    <${FormError} error=${error} />
    <${Button} type="submit" kind="primary" changes busy=${busy}
      disabled=${busy || !old || !fresh.password}>${t.account.changePassword}<//>
  </form>`;
}
