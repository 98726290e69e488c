// The devices that may log in as the user, or are logged in.
import { useLoaded } from "../core/actions.js";
import { command } from "../core/api.js";
import { show } from "../core/dialogs.js";
import { moment } from "../core/format.js";
import { html } from "../core/html.js";
import { fill, Name } from "../core/names.js";
import { t } from "../core/texts.js";
import { Button, Status } from "../parts/controls.js";
import { Confirm } from "../parts/dialog.js";
import { Section } from "../parts/section.js";

const nameOf = (device) => device.name ?? device.device.slice(0, 16);

export function Devices() {
  const { value, error, loading, reload } = useLoaded(() => command("devices"), [], 30000);
  const forget = (device) => show((close) => html`<${Confirm} name="forget_device"
    title=${fill(t.devices.forgetTitle, { device: nameOf(device) })}
    words=${{ device: device.device }} verb=${t.devices.forget} onDone=${reload}
    consequences=${device.this ? [t.devices.forgetThis, t.devices.forgetStays]
      : [t.devices.forgetWhat, t.devices.forgetStays]} onClose=${close} />`);
  return html`<${Section} name="devices">
    <${Status} loading=${loading} error=${error} onRetry=${reload} />
    <ul class="plain-list devices">${value?.map((device) => html`<li key=${device.device}>
      <div><p><${Name} of=${nameOf(device)} />${" "}
          ${device.this && html`<span class="tag">${t.devices.this}</span>`}${" "}
          <span class=${device.online ? "is-online" : "is-offline"}>
          ${device.online ? t.members.online : t.members.offline}</span></p>
        <p class="quiet">${device.stays ? t.devices.stays : t.devices.staysNot}
          ${device.seen_ms
            ? ` · ${t.devices.seen(moment(device.seen_ms), device.address)}` : ""}</p>
      </div>
      <${Button} kind="small danger-plain" changes onClick=${() => forget(device)}
        aria-label=${fill(t.devices.forgetLabel, { device: nameOf(device) })}>
        ${t.devices.forget}<//></li>`)}</ul><//>`;
}
