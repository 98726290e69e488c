// Buttons, fields and other small controls.
import { mayManage } from "../core/api.js";
import { html, useEffect, useId, useRef } from "../core/html.js";
import { t } from "../core/texts.js";
import { Icon } from "./icons.js";

/**
 * A button. `label` names it where it shows an icon alone. With `changes` it needs the right to
 * manage.
 */
export function Button({
  icon, label, kind = "plain", changes = false, busy = false, disabled, onClick, type = "button",
  children, ...rest
}) {
  const isForbidden = changes && !mayManage();
  const title = isForbidden ? t.readOnly : label;
  return html`<button type=${type} class=${`button ${kind} ${children ? "" : "bare"}`}
    aria-label=${children ? undefined : label} title=${title}
    disabled=${disabled || isForbidden} aria-busy=${busy || undefined} onClick=${onClick}
    ...${rest}>
    ${icon && html`<${Icon} name=${icon} />`}${children}</button>`;
}

/** A labelled input. */
export function Field({ label, hint, error, value, onInput, inputRef, ...rest }) {
  const id = useId();
  const described = [hint && `${id}-hint`, error && `${id}-error`].filter(Boolean).join(" ");
  return html`<div class="field">
    <label for=${id}>${label}</label>
    <input id=${id} ref=${inputRef} value=${value} aria-describedby=${described || undefined}
      aria-invalid=${error ? "true" : undefined} spellcheck=${false} autocapitalize="none"
      onInput=${(event) => onInput(event.target.value)} ...${rest} />
    ${hint && html`<p class="hint" id=${`${id}-hint`}>${hint}</p>`}
    ${error && html`<p class="error" id=${`${id}-error`}>${error}</p>`}
  </div>`;
}

export function Check({ label, hint, checked, onChange, ...rest }) {
  const id = useId();
  return html`<div class="check">
    <input type="checkbox" id=${id} checked=${checked}
      aria-describedby=${hint ? `${id}-hint` : undefined}
      onChange=${(event) => onChange(event.target.checked)} ...${rest} />
    <label for=${id}>${label}</label>
    ${hint && html`<p class="hint" id=${`${id}-hint`}>${hint}</p>`}
  </div>`;
}

export function Choice({ label, value, options, onChange }) {
  const id = useId();
  return html`<div class="field">
    <label for=${id}>${label}</label>
    <select id=${id} value=${value} onChange=${(event) => onChange(event.target.value)}>
      ${options.map(([key, text]) =>
        html`<option key=${key} value=${key} selected=${key === value}>${text}</option>`)}
    </select>
  </div>`;
}

/** A search field. It tells the text after a short pause. */
export function Search({ label, value, onInput }) {
  return html`<div class="search">
    <${Icon} name="search" />
    <input type="search" aria-label=${label} placeholder=${label} value=${value} maxlength="255"
      spellcheck=${false} autocapitalize="none" autocomplete="off"
      onInput=${(event) => onInput(event.target.value)} />
  </div>`;
}

export function FormError({ error }) {
  return html`<div role="alert" class="form-error">
    ${error && html`<${Icon} name="warning" /><p>${error}</p>`}</div>`;
}

/** Says that something loads, failed to load, or is empty. */
export function Status({ loading, error, empty, onRetry, children }) {
  if (error) {
    return html`<div class="notice bad" role="alert"><${Icon} name="warning" /><p>${error}</p>
      ${onRetry && html`<${Button} onClick=${onRetry}>${t.retry}<//>`}</div>`;
  }
  if (loading) return html`<p class="quiet" role="status">${t.loading}</p>`;
  if (empty) return html`<div class="empty"><p>${empty}</p>${children}</div>`;
  return null;
}

/** A bar of progress with its value for screen readers. */
export function Bar({ part, label, text, kind = "" }) {
  const width = `${Math.round(part * 1000) / 10}%`;
  return html`<div class=${`bar ${kind}`} role="progressbar" aria-label=${label} aria-valuemin="0"
    aria-valuemax="100" aria-valuenow=${Math.floor(part * 100)} aria-valuetext=${text}>
    <div class="bar-done" style=${{ width }}></div></div>`;
}

/** Links to the parts of one screen. */
export function Tabs({ label, tabs, current }) {
  const [list, shown] = [useRef(null), useRef(null)];
  // `scrollIntoView` would also move the place from which Tab goes on.
  useEffect(() => {
    if (!shown.current) return;
    const { offsetLeft, offsetWidth } = shown.current;
    list.current.scrollLeft = offsetLeft + offsetWidth - list.current.clientWidth;
  }, [current]);
  return html`<nav class="tabs" aria-label=${label} ref=${list}>
    ${tabs.map(([key, text, href, badge]) => html`<a key=${key} href=${href}
      ref=${key === current ? shown : undefined}
      aria-current=${key === current ? "page" : undefined}>${text}
      ${badge ? html` <span class="badge">${badge}</span>` : null}</a>`)}
  </nav>`;
}

/** Choices of which one is pressed, as filters. */
export function Filters({ label, options, value, onChange }) {
  return html`<div class="filters" role="group" aria-label=${label}>
    ${options.map(([key, text, number]) => html`<button type="button" key=${key} class="filter"
      aria-pressed=${key === value ? "true" : "false"} onClick=${() => onChange(key)}>${text}
      ${number === undefined ? null : html` <span class="number">${number}</span>`}</button>`)}
  </div>`;
}
