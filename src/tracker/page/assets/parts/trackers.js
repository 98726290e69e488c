// The trackers of the network, and what their states mean.
import { count, duration, moment } from "../core/format.js";
import { html } from "../core/html.js";
import { Name } from "../core/names.js";
import { useStore } from "../core/store.js";
import { t } from "../core/texts.js";
import { Icon } from "./icons.js";

const LIGHTS = { myself: "good", up: "good", catching_up: "middling", down: "bad",
  must_resync: "bad" };

/** The list of all trackers. `actions` renders what stands at the end of another tracker's row. */
export function TrackerList({ actions }) {
  const status = useStore((state) => state.status);
  const own = { number: status.number, address: status.address, state: "myself", lag: 0 };
  const all = [own, ...status.peers].sort((a, b) => a.number - b.number);
  return html`<ul class="plain-list trackers">${all.map((one) => html`<li key=${one.number}>
    <span class=${`dot ${LIGHTS[one.state] ?? ""}`}></span>
    <div><p><strong>${t.trackers.number(one.number)}</strong> <${Name} of=${one.address} />${" "}
        <span class="tag">${t.trackers.states[one.state] ?? one.state}</span></p>
      ${one.state !== "myself" && html`<p class="quiet">${t.trackers.meanings[one.state]}
        ${one.lag ? ` ${t.trackers.lag(count(one.lag), one.lag)}` : ""}</p>`}</div>
    ${one.state !== "myself" && actions?.(one)}
  </li>`)}</ul>`;
}

/** Says since when changes are not safe everywhere, and what that means. */
export function Degraded() {
  const status = useStore((state) => state.status);
  const at = useStore((state) => state.statusAt);
  if (!status.degraded) return null;
  const away = status.peers.filter(({ state }) => state !== "up").map(({ number }) => number);
  const seconds = status.degraded_s ?? 0;
  const since = t.degraded.since(duration(seconds), moment(at - seconds * 1000));
  return html`<div class="notice bad degraded"><${Icon} name="warning" /><div>
    <p><strong>${since}</strong></p>
    <p>${t.degraded.meaning} ${away.length > 0 && t.degraded.away(away.join(", "), away.length)}</p>
    <p>${t.degraded.advice}</p></div></div>`;
}
