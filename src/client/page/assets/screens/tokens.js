// Tokens of other programs and browsers that use this client's API.
import { useAction, useLoaded } from "../core/actions.js";
import { command } from "../core/api.js";
import { show } from "../core/dialogs.js";
import { moment } from "../core/format.js";
import { html, useState } from "../core/html.js";
import { fill, Name } from "../core/names.js";
import { t } from "../core/texts.js";
import { toast } from "../core/toasts.js";
import { Button, Choice, Field, FormError, Status } from "../parts/controls.js";
import { Confirm, Dialog } from "../parts/dialog.js";
import { Section } from "../parts/section.js";

export function Tokens() {
  const { value, error, loading, reload } = useLoaded(() => command("tokens"), []);
  const create = () => show((close) => html`<${CreateToken} changed=${reload} close=${close} />`);
  const revoke = (token) => show((close) => html`<${Confirm} name="revoke_token"
    title=${fill(t.tokens.revokeTitle, { name: token.name })} words=${{ token: token.token_id }}
    verb=${t.tokens.revoke} consequences=${[t.tokens.revokeWhat]} onDone=${reload}
    onClose=${close} />`);
  return html`<${Section} name="tokens"><p>${t.tokens.why}</p>
    <${Status} loading=${loading} error=${error} onRetry=${reload} />
    <ul class="plain-list">${value?.map((token) => html`<li key=${token.token_id}>
      <div><p><${Name} of=${token.name} /> <span class="tag">${t.tokens.rights[token.rights]
          ?? token.rights}</span></p>
        <p class="quiet">${t.tokens.created(moment(token.created_ms))} · ${token.expires_ms
          ? t.tokens.expires(moment(token.expires_ms)) : t.tokens.never} · ${token.last_used_ms
          ? t.tokens.used(moment(token.last_used_ms)) : t.tokens.unused}</p></div>
      <${Button} kind="small danger-plain" changes onClick=${() => revoke(token)}
        aria-label=${fill(t.tokens.revokeLabel, { name: token.name })}>${t.tokens.revoke}<//>
    </li>`)}</ul>
    ${value?.length === 0 && html`<p class="quiet">${t.tokens.none}</p>`}
    <${Button} icon="plus" changes onClick=${create}>${t.tokens.create}<//><//>`;
}

const DAYS = ["7", "30", "90", "365", ""];

function CreateToken({ changed, close }) {
  const [name, setName] = useState("");
  const [rights, setRights] = useState("read");
  const [days, setDays] = useState("90");
  const [made, setMade] = useState(null);
  const { busy, error, run } = useAction();
  const submit = () => run(async () => {
    const words = { name: name.trim(), rights, days: days === "" ? null : Number(days) };
    setMade(await command("create_token", words));
    changed();
  });
  if (made) return html`<${MadeToken} made=${made} close=${close} />`;
  return html`<${Dialog} title=${t.tokens.create} onClose=${close} onSubmit=${submit}
    actions=${html`<${Button} onClick=${close}>${t.cancel}<//>
      <${Button} type="submit" kind="primary" changes busy=${busy} disabled=${busy || !name.trim()}>
        ${t.tokens.createShort}<//>`}>
    <${Field} label=${t.tokens.name} hint=${t.tokens.nameHint} value=${name} onInput=${setName}
      maxlength="64" autocomplete="off" data-first />
    <${Choice} label=${t.tokens.rightsLabel} value=${rights} onChange=${setRights}
      options=${Object.entries(t.tokens.rights)} />
    <${Choice} label=${t.tokens.days} value=${days} onChange=${setDays}
      options=${DAYS.map((number) => [number, t.tokens.daysNames(number)])} />
    <${FormError} error=${error} />
  <//>`;
}

function MadeToken({ made, close }) {
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(made.token);
      toast("status", t.tokens.copied);
    } catch {
      toast("alert", t.tokens.notCopied);
    }
  };
  return html`<${Dialog} title=${t.tokens.made} onClose=${close} actions=${html`
    <${Button} onClick=${copy}>${t.tokens.copy}<//>
    <${Button} kind="primary" onClick=${close}>${t.close}<//>`}>
    <p>${t.tokens.once}</p>
    <p class="secret"><code>${made.token}</code></p>
  <//>`;
}
