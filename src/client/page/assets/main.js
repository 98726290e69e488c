// Starts the page: trades the code of the link for a token, then shows the screens.
import {
  forgetToken, hasToken, openSession, whenSessionLost,
} from "./core/api.js";
import { html, render, useEffect } from "./core/html.js";
import { change, state, useStore } from "./core/store.js";
import { t } from "./core/texts.js";
import { startUpdates, stopUpdates } from "./core/updates.js";
import { AccountScreen } from "./screens/account.js";
import { Connect } from "./screens/connect.js";
import { Opening } from "./screens/opening.js";
import { Shell } from "./screens/shell.js";
import { Toasts } from "./parts/toasts.js";

/** Opens the page's session with a one-time code. */
async function enter(code) {
  await openSession(code);
  change({ phase: "opening", client: null });
  startUpdates();
}

function leave() {
  stopUpdates();
  forgetToken();
  change({
    phase: "connect", client: null, account: null, downloads: new Map(), groups: null,
    dialog: null, toasts: [],
  });
}

function Page() {
  const phase = useStore((now) => now.phase);
  const account = useStore((now) => now.account);
  useEffect(() => {
    document.title = t.product;
  }, [phase, account]);
  const screen = () => {
    if (phase === "connect") return html`<${Connect} enter=${enter} />`;
    if (phase === "opening") return html`<${Opening} />`;
    if (!account || account.must_change_password) return html`<${AccountScreen} />`;
    return html`<${Shell} key=${account.user_id} leave=${leave} />`;
  };
  return html`${screen()}<${Toasts} />`;
}

/**
 * Takes the one-time code out of the URL, so that it stays in no history; the screen to begin with,
 * as `&to=/groups` names it, stays.
 */
function takeCode() {
  const [, code, screen] = /^#code=([^&]+)(?:&to=(\/.*))?$/.exec(location.hash) ?? [];
  const rest = screen ? `#${screen}` : "";
  if (code) history.replaceState(null, "", location.pathname + location.search + rest);
  return code && decodeURIComponent(code);
}

async function openLink() {
  const code = takeCode();
  if (code) {
    change({ phase: "opening" });
    try {
      return await enter(code);
    } catch (error) {
      change({ phase: hasToken() ? "opening" : "connect", linkError: error.message });
    }
  }
  if (hasToken()) {
    if (state.phase === "connect") change({ phase: "opening" });
    startUpdates();
  }
  return undefined;
}

whenSessionLost(leave);
addEventListener("hashchange", () => location.hash.startsWith("#code=") && openLink());
// A file that misses its place must not replace the page.
for (const name of ["dragover", "drop"]) {
  addEventListener(name, (event) => event.preventDefault());
}
openLink();
document.getElementById("first").remove();
render(html`<${Page} />`, document.getElementById("page"));
