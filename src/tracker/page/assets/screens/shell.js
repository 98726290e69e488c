// The frame of all screens: header, navigation, the screen, and the open dialog.
import { mayManage } from "../core/api.js";
import { html, useEffect, useRef } from "../core/html.js";
import { Name } from "../core/names.js";
import { link, useRoute } from "../core/route.js";
import { change, useStore } from "../core/store.js";
import { t } from "../core/texts.js";
import { retryNow } from "../core/updates.js";
import { Button } from "../parts/controls.js";
import { Icon, Sign } from "../parts/icons.js";
import { ThemeButton } from "../parts/theme.js";
import { Audit } from "./audit.js";
import { Groups } from "./groups.js";
import { Overview } from "./overview.js";
import { Settings } from "./settings.js";
import { Trackers } from "./trackers.js";
import { Users } from "./users.js";

const SCREENS = {
  overview: Overview, users: Users, groups: Groups, audit: Audit, trackers: Trackers,
  settings: Settings,
};
const ICONS = {
  overview: "activity", users: "groups", groups: "folder", audit: "file", trackers: "screen",
  settings: "settings",
};

export function Shell({ leave }) {
  const route = useRoute();
  const name = route[0] in SCREENS ? route[0] : "overview";
  const Screen = SCREENS[name];
  const dialog = useStore((state) => state.dialog);
  useStore((state) => state.rightsChanged);
  const main = useRef(null);
  const isFirst = useRef(true);
  // A new screen begins at its top, and its heading is read.
  useEffect(() => {
    if (!isFirst.current) {
      scrollTo(0, 0);
      main.current.querySelector("h1")?.focus({ preventScroll: true });
    }
    isFirst.current = false;
    change({ dialog: null });
  }, [name, route[1]]);
  const skip = (event) => {
    event.preventDefault();
    main.current.querySelector("h1")?.focus();
  };
  return html`<div class="shell">
    <a class="skip" href="#main" onClick=${skip}>${t.skip}</a>
    <${Header} />
    <${Navigation} current=${name} />
    <main ref=${main} id="main"><${Connection} />
      ${!mayManage() && html`<p class="notice">${t.readOnly}</p>`}
      <${Screen} key=${name} route=${route} leave=${leave} /></main>
    ${dialog && html`<div key=${dialog.id}>${dialog.node()}</div>`}
  </div>`;
}

function Header() {
  const status = useStore((state) => state.status);
  const connection = useStore((state) => state.connection);
  const [kind, text] = connection === "lost" ? ["bad", t.header.lost]
    : status.degraded ? ["middling", t.header.degraded] : ["good", t.header.up];
  return html`<header class="top">
    <a class="brand" href=${link("overview")} aria-label=${t.product}><${Sign} />
      <span>${t.product}</span></a>
    <p class="which">${t.trackers.number(status.number)}${" "}
      <span class="quiet"><${Name} of=${status.address} /></span></p>
    <a class=${`light ${kind}`} href=${link("trackers")} title=${text}>
      <span class="dot"></span><span class="light-text" role="status">${text}</span></a>
    <${ThemeButton} />
  </header>`;
}

function Navigation({ current }) {
  return html`<nav class="main-nav" aria-label=${t.navigation.label}>
    ${Object.keys(SCREENS).map((name) => html`<a key=${name} href=${link(name)}
      aria-current=${name === current ? "page" : undefined}>
      <${Icon} name=${ICONS[name]} /><span>${t.navigation[name]}</span></a>`)}
  </nav>`;
}

/** Tells when the tracker does not answer. */
function Connection() {
  const connection = useStore((state) => state.connection);
  return html`<div role="status" class="connection">${connection === "lost" && html`
    <div class="notice bad"><${Icon} name="warning" /><p>${t.lost}</p>
      <${Button} onClick=${retryNow}>${t.retry}<//></div>`}</div>`;
}
