// The theme: the system's, light or dark.
import { html, useReducer } from "../core/html.js";
import { keep, kept } from "../core/storage.js";
import { t } from "../core/texts.js";
import { Button } from "./controls.js";

const THEMES = ["system", "light", "dark"];
const ICONS = { system: "screen", light: "sun", dark: "moon" };

export const theme = () => (THEMES.includes(kept("theme")) ? kept("theme") : "system");

export function setTheme(name) {
  keep("theme", name);
  if (name === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
}

/** Goes to the next theme. */
export function ThemeButton() {
  const [, render] = useReducer((n) => n + 1, 0);
  const now = theme();
  const next = THEMES[(THEMES.indexOf(now) + 1) % THEMES.length];
  const onClick = () => {
    setTheme(next);
    render();
  };
  return html`<${Button} icon=${ICONS[now]} kind="ghost" label=${t.theme.switch(now)}
    onClick=${onClick} />`;
}
