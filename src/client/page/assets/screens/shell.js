// The frame of all screens of an account: header, navigation, the screen, and the open dialog.
import { rate } from "../core/format.js";
import { readGroups } from "../core/groups.js";
import { html, useEffect, useRef, useState } from "../core/html.js";
import { Name } from "../core/names.js";
import { traffic } from "../core/rates.js";
import { link, useRoute } from "../core/route.js";
import { change, useStore } from "../core/store.js";
import { t } from "../core/texts.js";
import { readTrackers } from "../core/trackers.js";
import { retryNow } from "../core/updates.js";
import { Button } from "../parts/controls.js";
import { Icon, Sign } from "../parts/icons.js";
import { ThemeButton } from "../parts/theme.js";
import { Activity } from "./activity.js";
import { Group } from "./group.js";
import { Groups } from "./groups.js";
import { Settings } from "./settings.js";
import { Shares } from "./shares.js";
import { Transfers } from "./transfers.js";

const SCREENS = {
  transfers: Transfers, groups: Groups, group: Group, shares: Shares, activity: Activity,
  settings: Settings,
};
const NAVIGATION = ["transfers", "groups", "shares", "activity", "settings"];
const TRACKERS_EVERY = 30000;

export function Shell({ leave }) {
  const route = useRoute();
  const name = route[0] in SCREENS ? route[0] : "transfers";
  const Screen = SCREENS[name];
  const groupsChanged = useStore((state) => state.groupsChanged);
  const dialog = useStore((state) => state.dialog);
  const main = useRef(null);
  const isFirst = useRef(true);
  useEffect(() => {
    readGroups();
  }, [groupsChanged]);
  useEffect(() => () => change({ groups: null, dialog: null, trackers: null, unread: 0 }), []);
  // A new screen begins at its top, and its heading is read.
  useEffect(() => {
    if (!isFirst.current) {
      scrollTo(0, 0);
      main.current.querySelector("h1")?.focus({ preventScroll: true });
    }
    isFirst.current = false;
    change({ dialog: null });
  }, [route[0], route[1]]);
  const skip = (event) => {
    event.preventDefault();
    main.current.querySelector("h1")?.focus();
  };
  return html`<div class="shell">
    <a class="skip" href="#main" onClick=${skip}>${t.skip}</a>
    <${Header} />
    <${Navigation} current=${name === "group" ? "groups" : name} />
    <main ref=${main} id="main"><${Connection} />
      <${Screen} key=${name === "group" ? route[1] : name} route=${route} leave=${leave} /></main>
    ${dialog && html`<div key=${dialog.id}>${dialog.node()}</div>`}
  </div>`;
}

function Header() {
  const account = useStore((state) => state.account);
  return html`<header class="top">
    <a class="brand" href=${link("transfers")} aria-label=${t.product}><${Sign} />
      <span>${t.product}</span></a>
    <${Rates} /><${TrackerState} />
    <a class="who" href=${link("settings")} title=${t.header.account}>
      <${Name} of=${account.user} cut /></a>
    <${ThemeButton} />
  </header>`;
}

function Rates() {
  const [rates, setRates] = useState([0, 0]);
  useEffect(() => {
    const timer = setInterval(() => {
      const { received_per_second: download, sent_per_second: upload } = traffic();
      const now = [download, upload];
      setRates((old) => (old[0] === now[0] && old[1] === now[1] ? old : now));
      document.title = now[0] ? t.title(rate(now[0])) : t.product;
    }, 1000);
    return () => clearInterval(timer);
  }, []);
  return html`<p class="rates">
    <span title=${t.header.downloadRate}><span class="hidden">${t.header.downloadRate}</span>
      <${Icon} name="download" />${rate(rates[0])}</span>
    <span title=${t.header.uploadRate}><span class="hidden">${t.header.uploadRate}</span>
      <${Icon} name="upload" />${rate(rates[1])}</span></p>`;
}

function TrackerState() {
  const value = useStore((state) => state.trackers);
  const error = useStore((state) => state.trackersError);
  const connection = useStore((state) => state.connection);
  useEffect(() => {
    const read = () => document.hidden || readTrackers();
    read();
    const timer = setInterval(read, TRACKERS_EVERY);
    return () => clearInterval(timer);
  }, [connection]);
  const connected = value?.trackers.some((tracker) => tracker.role !== "down");
  const [kind, text] = error || (value && !connected) ? ["bad", t.header.noTracker]
    : value?.degraded ? ["middling", t.header.degraded]
      : value ? ["good", t.header.trackersUp] : ["unknown", t.loading];
  return html`<a class=${`light ${kind}`} href=${link("settings", "trackers")} title=${text}>
    <span class="dot"></span><span class="light-text" role="status">${text}</span></a>`;
}

function Navigation({ current }) {
  const groups = useStore((state) => state.groups);
  const unread = useStore((state) => state.unread);
  const asking = groups?.reduce((sum, group) => sum + (group.requests ?? 0), 0);
  const badges = { groups: [asking, t.navigation.asking], activity: [unread, t.navigation.unread] };
  return html`<nav class="main-nav" aria-label=${t.navigation.label}>
    ${NAVIGATION.map((name) => {
      const [number, says] = badges[name] ?? [];
      return html`<a key=${name} href=${link(name)}
        aria-current=${name === current ? "page" : undefined}>
        <${Icon} name=${name} /><span>${t.navigation[name]}</span>
        ${number ? html`<span class="badge"><span aria-hidden="true">${number}</span>
          <span class="hidden">${says(number)}</span></span>` : null}</a>`;
    })}
  </nav>`;
}

/** Tells when the client does not answer. */
function Connection() {
  const connection = useStore((state) => state.connection);
  const warning = useStore((state) => state.client?.warning);
  return html`<div role="status" class="connection">${connection === "lost" && html`
    <div class="notice bad"><${Icon} name="warning" /><p>${t.lost}</p>
      <${Button} onClick=${retryNow}>${t.retry}<//></div>`}
    ${warning && connection !== "lost" && html`<div class="notice"><${Icon} name="warning" />
      <p>${warning}</p></div>`}</div>`;
}
