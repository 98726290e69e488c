// Settings of the page, limits, trackers, account, devices and tokens.
import { useAction, useLoaded } from "../core/actions.js";
import { command, mayManage } from "../core/api.js";
import { show } from "../core/dialogs.js";
import {
  destination, dropDirectory, setDestination, setDropDirectory,
} from "../core/downloads.js";
import { count, rate, readRate, writeRate } from "../core/format.js";
import { html, useEffect, useReducer, useState } from "../core/html.js";
import { Name } from "../core/names.js";
import { useStore } from "../core/store.js";
import { t } from "../core/texts.js";
import { toast } from "../core/toasts.js";
import { readTrackers } from "../core/trackers.js";
import { Button, Choice, Field, Status } from "../parts/controls.js";
import { Confirm } from "../parts/dialog.js";
import { Facts } from "../parts/facts.js";
import { DirectoryDialog } from "../parts/file_dialogs.js";
import { Heading } from "../parts/heading.js";
import { Section } from "../parts/section.js";
import { setTheme, theme } from "../parts/theme.js";
import { Account } from "./settings_account.js";
import { Devices } from "./devices.js";
import { Tokens } from "./tokens.js";

const TRACKERS_EVERY = 5000;

export function Settings({ route, leave }) {
  const section = route[1];
  useEffect(() => {
    if (section) document.getElementById(`settings-${section}`)?.scrollIntoView();
  }, [section]);
  return html`<${Heading} title=${t.settings.title} />
    ${!mayManage() && html`<p class="notice">${t.readOnly}</p>`}
    <div class="cards">
      <${Appearance} /><${Directory} /><${Limits} /><${Trackers} />
      <${Account} leave=${leave} /><${Devices} /><${Tokens} /><${About} />
    </div>`;
}

function Appearance() {
  const [, render] = useReducer((n) => n + 1, 0);
  const onChange = (name) => {
    setTheme(name);
    render();
  };
  return html`<${Section} name="appearance"><${Choice} label=${t.theme.label} value=${theme()}
    onChange=${onChange} options=${Object.entries(t.theme.names)} /><//>`;
}

function Directory() {
  const [, render] = useReducer((n) => n + 1, 0);
  const row = (label, path, set) => {
    const choose = () => show((close) => html`<${DirectoryDialog} title=${label} path=${path}
      onPath=${(chosen) => { set(chosen); render(); }} close=${close} />`);
    return html`<div class="setting"><div><p class="setting-label">${label}</p>
      <p class="quiet">${path ? html`<${Name} of=${path} />` : t.settings.askEachTime}</p></div>
      <div class="buttons"><${Button} kind="small" onClick=${choose}
          aria-label=${`${t.settings.choose}: ${label}`}>${t.settings.choose}<//>
        ${path && html`<${Button} kind="small" onClick=${() => { set(null); render(); }}
          aria-label=${`${t.settings.clear}: ${label}`}>${t.settings.clear}<//>`}</div></div>`;
  };
  return html`<${Section} name="directories">
    ${row(t.settings.downloadDirectory, destination(), setDestination)}
    ${row(t.settings.dropDirectory, dropDirectory(), setDropDirectory)}
    <p class="hint">${t.settings.inThisBrowser}</p><//>`;
}

function Limits() {
  const { value, error, loading, reload } = useLoaded(() => command("limits"), []);
  return html`<${Section} name="limits">
    <${Status} loading=${loading} error=${error} onRetry=${reload} />
    ${value && html`
      <${Limit} label=${t.limits.download} value=${writeRate(value.download)} changed=${reload}
        save=${(limit) => command("limit_downloads", { limit })} />
      <${Limit} label=${t.limits.upload} value=${writeRate(value.upload)} changed=${reload}
        save=${(limit) => command("limit_uploads", { limit })} />
      <${Running} value=${value.downloads} changed=${reload} />
      ${value.limited.length > 0 && html`<h3>${t.limits.limited}</h3>
        <ul class="plain-list">${value.limited.map((one) => html`<li key=${one.info_hash}>
          <${Name} of=${one.file} cut />
          <span class="quiet">${rate(one.limit)}</span></li>`)}
        </ul>`}
      <p class="hint">${t.limits.until}</p>`}<//>`;
}

function Limit({ label, value, save, changed }) {
  const [text, setText] = useState(value);
  const { busy, error, run, setError } = useAction();
  const submit = (event) => {
    event.preventDefault();
    const limit = readRate(text);
    if (limit === undefined) return setError(t.limits.invalid);
    return run(async () => {
      await save(limit);
      toast("status", t.limits.saved);
      changed();
    });
  };
  return html`<form class="with-button" onSubmit=${submit}>
    <${Field} label=${label} hint=${t.limits.hint} value=${text} onInput=${setText}
      placeholder=${t.limits.none} autocomplete="off" error=${error} />
    <${Button} type="submit" changes busy=${busy} aria-label=${`${t.limits.set}: ${label}`}>
      ${t.limits.set}<//></form>`;
}

function Running({ value, changed }) {
  const [text, setText] = useState(String(value ?? 0));
  const { busy, error, run, setError } = useAction();
  const submit = (event) => {
    event.preventDefault();
    if (!/^\d{1,6}$/.test(text.trim())) return setError(t.limits.invalidNumber);
    return run(async () => {
      await command("limit_running", { count: Number(text) });
      toast("status", t.limits.saved);
      changed();
    });
  };
  return html`<form class="with-button" onSubmit=${submit}>
    <${Field} label=${t.limits.running} hint=${t.limits.runningHint} value=${text}
      onInput=${setText} inputmode="numeric" autocomplete="off" error=${error} />
    <${Button} type="submit" changes busy=${busy}
      aria-label=${`${t.limits.set}: ${t.limits.running}`}>${t.limits.set}<//></form>`;
}

function Trackers() {
  const value = useStore((state) => state.trackers);
  const error = useStore((state) => state.trackersError);
  useEffect(() => {
    const read = () => document.hidden || readTrackers();
    read();
    const timer = setInterval(read, TRACKERS_EVERY);
    return () => clearInterval(timer);
  }, []);
  return html`<${Section} name="trackers">
    <${Status} loading=${!value} error=${error} onRetry=${readTrackers} />
    ${value?.degraded && html`<p class="notice">${t.trackers.degraded}</p>`}
    <ul class="plain-list trackers">${value?.trackers.map((one) => html`<li key=${one.number}>
      <span class=${`dot ${one.state === "up" && one.role !== "down" ? "good"
        : one.role === "down" ? "bad" : "middling"}`}></span>
      <div><p><${Name} of=${one.address} /> <span class="quiet">
        ${t.trackers.roles[one.role]} · ${t.trackers.states[one.state] ?? one.state}
        ${one.lag > 0 ? ` · ${t.trackers.lag(count(one.lag))}` : ""}</span></p>
        ${one.error && html`<p class="error"><${Name} of=${one.error} /></p>`}</div></li>`)}</ul>
    ${value && html`<p class="quiet">${value.safe_on.length
      ? t.trackers.safe(value.safe_on.join(", "), value.safe_on.length)
      : t.trackers.unknown}</p>`}<//>`;
}

function About() {
  const client = useStore((state) => state.client);
  const facts = [
    [t.facts.version, client.version], [t.facts.address, client.address],
    [t.facts.device, html`<code>${client.device}</code>`],
    [t.facts.network, html`<code>${client.network ?? t.trackers.noNetwork}</code>`],
    [t.facts.dataDirectory, html`<${Name} of=${client.data_dir} />`],
  ];
  const stop = () => show((close) => html`<${Confirm} title=${t.settings.shutdownTitle}
    name="shutdown" words=${{}} verb=${t.settings.shutdown} onClose=${close}
    consequences=${[t.settings.shutdownWhat, t.settings.shutdownPage]} />`);
  return html`<${Section} name="about"><${Facts} facts=${facts} />
    <${Button} kind="danger-plain" changes onClick=${stop}>${t.settings.shutdown}<//><//>`;
}
