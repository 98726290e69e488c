// Starts the page: trades the code of the link for a token, then shows the screens.
//
// Style, vendored modules and the modules that know no command are the member's page's: they are
// links to `src/client/page/assets`.
import { forgetToken, hasToken, openSession, whenSessionLost } from "./core/api.js";
import { html, render } from "./core/html.js";
import { change, state, useStore } from "./core/store.js";
import { startUpdates, stopUpdates } from "./core/updates.js";
import { Connect } from "./screens/connect.js";
import { Opening } from "./screens/opening.js";
import { Shell } from "./screens/shell.js";
import { Toasts } from "./parts/toasts.js";

/** Opens the page's session with a one-time code. */
async function enter(code) {
  await openSession(code);
  stopUpdates();
  change({ phase: "opening", status: null, connection: "lost", linkError: null });
  startUpdates();
}

function leave() {
  stopUpdates();
  forgetToken();
  change({ phase: "connect", status: null, connection: "lost", dialog: null, toasts: [] });
}

function Page() {
  const phase = useStore((now) => now.phase);
  const screen = () => {
    if (phase === "connect") return html`<${Connect} enter=${enter} />`;
    if (phase === "opening") return html`<${Opening} />`;
    return html`<${Shell} leave=${leave} />`;
  };
  return html`${screen()}<${Toasts} />`;
}

/** Takes the one-time code out of the URL, so that it stays in no history. */
function takeCode() {
  const code = /^#code=(.+)$/.exec(location.hash)?.[1];
  if (code) history.replaceState(null, "", location.pathname + location.search);
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

whenSessionLost(leave, () => change({ rightsChanged: state.rightsChanged + 1 }));
addEventListener("hashchange", () => location.hash.startsWith("#code=") && openLink());
openLink();
document.getElementById("first").remove();
render(html`<${Page} />`, document.getElementById("page"));
