// Icons: strokes on a grid of 24. They are decoration; the words are in labels.
import { html } from "../core/html.js";

const PATHS = {
  transfers: "M8 4v14M8 18l-4-4M8 18l4-4M16 20V6M16 6l-4 4M16 6l4 4",
  groups:
    "M9 11a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7M2.5 20c0-4 2.5-6 6.5-6s6.5 2 6.5 6M16 4.5" +
    "a3.5 3.5 0 0 1 0 6.5M18 14.5c2.5.5 3.5 2.5 3.5 5.5",
  shares: "M12 15V4M12 4L8 8M12 4l4 4M4 14v6h16v-6",
  activity: "M3 12h4l3-8 4 16 3-8h4",
  settings:
    "M4 7h9M19 7h1M4 17h1M11 17h9M16 4.5v5M8 14.5v5M16 4.5" +
    "a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5M8 14.5a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5",
  download: "M12 4v11M12 15l-4-4M12 15l4-4M4 16v4h16v-4",
  upload: "M12 15V4M12 4L8 8M12 4l4 4M4 16v4h16v-4",
  pause: "M8 5v14M16 5v14",
  play: "M7 4.5v15l12-7.5z",
  close: "M6 6l12 12M18 6L6 18",
  plus: "M12 5v14M5 12h14",
  search: "M10.5 17a6.5 6.5 0 1 0 0-13 6.5 6.5 0 0 0 0 13M15.5 15.5L20 20",
  info: "M12 20.5a8.5 8.5 0 1 0 0-17 8.5 8.5 0 0 0 0 17M12 11v5M12 7.5v.5",
  first: "M5 4h14M12 20V8M12 8l-5 5M12 8l5 5",
  folder: "M3 6h6l2 2.5h10V19H3z",
  file: "M6 3h8l4 4v14H6zM14 3v4h4",
  up: "M12 19V5M12 5l-6 6M12 5l6 6",
  reload: "M20 12a8 8 0 1 1-2.5-5.800M20 3v4.5h-4.5",
  warning: "M12 4L2.5 20h19zM12 10v5M12 17.5v.5",
  check: "M5 12.5l4.5 4.5L19 7",
  sun:
    "M12 16a4 4 0 1 0 0-8 4 4 0 0 0 0 8M12 2.5v2M12 19.5v2M2.5 12h2M19.5 12h2M5.300 5.300" +
    "l1.400 1.400M17.300 17.300l1.400 1.400M5.300 18.700l1.400-1.400M17.300 6.700" +
    "l1.400-1.400",
  moon: "M20 14.5A8.5 8.5 0 0 1 9.5 4 8.5 8.5 0 1 0 20 14.5",
  screen: "M3 5h18v11H3zM9 20h6M12 16v4",
  open: "M13 4h7v7M20 4l-9 9M17 14v6H4V7h6",
};

export function Icon({ name }) {
  return html`<svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">
    <path d=${PATHS[name]} /></svg>`;
}

/** The sign of Posse: three members who are joined. */
export function Sign() {
  return html`<svg class="sign" viewBox="0 0 32 32" aria-hidden="true" focusable="false">
    <path d="M16 10.5L10 21M16 10.5L22 21M10.5 21.5h11" />
    <circle cx="16" cy="9.5" r="4" /><circle cx="9.5" cy="21.5" r="4" />
    <circle cx="22.5" cy="21.5" r="4" /></svg>`;
}
