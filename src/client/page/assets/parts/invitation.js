// The link of an invitation: a field for one, and one that was made, with its QR code.
import { html } from "../core/html.js";
import { t } from "../core/texts.js";
import { Button, Field } from "./controls.js";

/** A field for a link, behind a button while there is none. `link` is `null` until it is wanted. */
export function InvitationField({ link, onInput, hint, ...rest }) {
  if (link === null) {
    return html`<p class="other"><${Button} kind="link" onClick=${() => onInput("")}>
      ${t.invitations.have}<//></p>`;
  }
  return html`<${Field} label=${t.invitations.field} hint=${hint} value=${link}
    onInput=${onInput} autocomplete="off" placeholder="posse:join/…" ...${rest} />`;
}

/** Modules that stay light around a QR code. */
const MARGIN = 4;

export function QrCode({ qr }) {
  const side = qr.size + 2 * MARGIN;
  return html`<svg class="qr" viewBox=${`${-MARGIN} ${-MARGIN} ${side} ${side}`} role="img"
    aria-label=${t.invitations.qr} shape-rendering="crispEdges"><path d=${qr.path} /></svg>`;
}
