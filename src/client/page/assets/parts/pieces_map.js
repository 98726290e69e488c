// A map of the pieces of one file: a column for each bucket, filled from below by what is here.
import { useLoaded } from "../core/actions.js";
import { ofFile } from "../core/api.js";
import { count, size } from "../core/format.js";
import { html } from "../core/html.js";
import { fill } from "../core/names.js";
import { t } from "../core/texts.js";

const EVERY = 2000;
const HEIGHT = 100;
/** What is told of pieces, and in which order it is drawn from below. */
const FILLS = ["have", "partial", "requested"];

/** Counts the pieces in each state, and draws a path for each. */
export function draw(map) {
  const sums = { have: 0, partial: 0, requested: 0, missing: 0, lost: 0 };
  const paths = { have: "", partial: "", requested: "", lost: "" };
  map.have.forEach((_, at) => {
    const begin = at * map.pieces_per_bucket;
    const all = Math.min(map.pieces_per_bucket, map.pieces - begin);
    let filled = 0;
    for (const key of FILLS) {
      const number = map[key][at];
      sums[key] += number;
      if (number > 0) paths[key] += column(at, filled / all, number / all);
      filled += number;
    }
    const missing = all - filled;
    const isLost = map.availability?.[at] === 0;
    sums[isLost ? "lost" : "missing"] += missing;
    if (isLost && missing > 0) paths.lost += column(at, filled / all, missing / all);
  });
  return { sums, paths };
}

const column = (at, from, part) => {
  const bottom = HEIGHT * (1 - from);
  return `M${at} ${bottom.toFixed(1)}h1v${(-HEIGHT * part).toFixed(1)}h-1z`;
};

export function PiecesMap({ group, file }) {
  const load = () => ofFile(group, file, "pieces");
  const { value: map, error } = useLoaded(load, [group, file], EVERY);
  if (error && !map) return html`<p class="quiet">${error}</p>`;
  if (!map || map.pieces === 0) return null;
  const { sums, paths } = draw(map);
  const keys = [...FILLS, "missing", ...(map.availability ? ["lost"] : [])];
  const told = keys.map((key) => t.pieces[key](count(sums[key])));
  const label = `${fill(t.pieces.of, { file })}: ${told.join(", ")}`;
  return html`<section><h3>${t.pieces.title}</h3>
    <figure class="pieces-map">
      <svg viewBox=${`0 0 ${map.have.length} ${HEIGHT}`} preserveAspectRatio="none" role="img"
        aria-label=${label}>
        ${Object.entries(paths).map(([key, path]) => path &&
          html`<path key=${key} class=${key} d=${path} />`)}
      </svg>
      <figcaption>${keys.map((key, at) => html`<span key=${key} class=${`key ${key}`}>
        ${told[at]}</span>`)}</figcaption>
    </figure>
    <p class="hint">${t.pieces.sizes(count(map.pieces), map.pieces, size(map.piece_size))}
      ${" "}${map.pieces_per_bucket > 1 && t.pieces.bucket(count(map.pieces_per_bucket))}</p>
  </section>`;
}
