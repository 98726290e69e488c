// This tracker, the others, what the directory holds, and how that grows.
import { useLoaded } from "../core/actions.js";
import { count, duration, moment, size } from "../core/format.js";
import { html } from "../core/html.js";
import { Name } from "../core/names.js";
import { link } from "../core/route.js";
import { useStore } from "../core/store.js";
import { t } from "../core/texts.js";
import { history } from "../core/updates.js";
import { Status } from "../parts/controls.js";
import { Facts } from "../parts/facts.js";
import { Heading } from "../parts/heading.js";
import { readQuotas, Use } from "../parts/quotas.js";
import { Section } from "../parts/section.js";
import { Degraded, TrackerList } from "../parts/trackers.js";

const GROWING = ["users", "sessions", "groups", "files", "rows", "bytes"];

export function Overview() {
  return html`<${Heading} title=${t.overview.title} />
    <div role="status" class="connection"><${Degraded} /></div>
    <${Growth} /><div class="beside"><${Others} /><${Room} /><${Here} /></div>`;
}

function Here() {
  const status = useStore((state) => state.status);
  const at = useStore((state) => state.statusAt);
  const started = at - status.uptime_s * 1000;
  return html`<${Section} name="here"><${Facts} facts=${[
    [t.here.address, html`<${Name} of=${status.address} />`],
    [t.here.started, t.here.since(moment(started), duration(status.uptime_s))],
    [t.here.connections, count(status.connections)],
    [t.here.network, html`<code>${status.network}</code>`],
    [t.here.store, html`<code>${status.store}</code>`],
    [t.here.directory, html`<code>${status.directory}</code>`],
  ]} /><p class="hint">${t.here.hint}</p><//>`;
}

function Others() {
  return html`<${Section} name="trackers"><${TrackerList} />
    <p><a href=${link("trackers")}>${t.overview.manageTrackers}</a></p><//>`;
}

function Room() {
  const status = useStore((state) => state.status);
  const connection = useStore((state) => state.connection);
  const { value, error, loading, reload } = useLoaded(readQuotas, [connection]);
  return html`<${Section} name="room">
    <${Status} loading=${loading} error=${error} onRetry=${reload} />
    ${value && html`
      <${Use} label=${t.quotas.names.rows} used=${status.rows} quota=${value.rows}
        write=${count} />
      <${Use} label=${t.quotas.names.bytes} used=${status.bytes} quota=${value.bytes}
        write=${size} />`}
    <p><a href=${link("settings")}>${t.overview.changeQuotas}</a></p><//>`;
}

function Growth() {
  useStore((state) => state.statusAt);
  const samples = history();
  if (samples.length === 0) return null;
  return html`<${Section} name="growth"><div class="charts">
    ${GROWING.map((name) => html`<${Chart} key=${name} name=${name} samples=${samples}
      label=${t.numbers[name]} write=${name === "bytes" ? size : count} />`)}</div>
    <p class="hint">${t.growth.hint(moment(samples[0].at))}</p><//>`;
}

const [WIDTH, HEIGHT] = [300, 70];

function Chart({ label, samples, name, write }) {
  const values = samples.map((one) => one[name]);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const [first, last] = [values[0], values.at(-1)];
  const [begin, end] = [samples[0].at, samples.at(-1).at];
  const x = (at) => (end === begin ? WIDTH : WIDTH * (at - begin) / (end - begin));
  const y = (value) =>
    (high === low ? HEIGHT / 2 : 4 + (HEIGHT - 8) * (1 - (value - low) / (high - low)));
  const points = samples.map((one) => `${x(one.at).toFixed(1)},${y(one[name]).toFixed(1)}`);
  // One sample is a line, too.
  if (points.length === 1) points.unshift(`0,${y(first).toFixed(1)}`);
  const change = last - first;
  const told = change === 0 ? t.growth.same
    : `${change > 0 ? "+" : "−"}${write(Math.abs(change))}`;
  return html`<figure class="chart">
    <figcaption>${label} <strong>${write(last)}</strong>
      <span class="quiet">${told}</span></figcaption>
    <svg viewBox=${`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" role="img"
      aria-label=${t.growth.text(label, write(low), write(high), write(last))}>
      <polyline points=${points.join(" ")} /></svg></figure>`;
}
