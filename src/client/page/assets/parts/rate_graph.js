// The rates of the last ten minutes as two lines.
import { rate, size } from "../core/format.js";
import { html, useEffect, useReducer } from "../core/html.js";
import { history, LENGTH, traffic } from "../core/rates.js";
import { t } from "../core/texts.js";

const [WIDTH, HEIGHT] = [600, 160];

/** The next round number above a rate: 1, 2 or 5 times a power of ten. */
function ceiling(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1000)));
  return [1, 2, 5, 10].map((step) => step * power).find((round) => round >= value);
}

export function RateGraph() {
  const [, render] = useReducer((n) => n + 1, 0);
  useEffect(() => {
    const drawn = setInterval(render, 1000);
    return () => clearInterval(drawn);
  }, []);
  const samples = history();
  const most = (key) => samples.reduce((peak, one) => Math.max(peak, one[key]), 0);
  const peaks = { download: most("download"), upload: most("upload") };
  const top = ceiling(Math.max(peaks.download, peaks.upload));
  const now = samples.at(-1) ?? { download: 0, upload: 0, at: Date.now() };
  const x = (at) => WIDTH * (1 - (now.at - at) / (LENGTH * 1000));
  const y = (value) => HEIGHT * (1 - value / top);
  const line = (key) => samples.map((one) =>
    `${x(one.at).toFixed(1)},${y(one[key]).toFixed(1)}`).join(" ");
  const totals = { download: traffic().bytes_received, upload: traffic().bytes_sent };
  const text = t.graph.text(rate(now.download), rate(peaks.download), rate(now.upload),
    rate(peaks.upload));
  return html`<figure class="graph">
    <div class="graph-area">
      <svg viewBox=${`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" role="img"
        aria-label=${text}>
        ${[0, 0.25, 0.5, 0.75, 1].map((part) => html`<line key=${part} class="grid" x1="0"
          x2=${WIDTH} y1=${HEIGHT * part} y2=${HEIGHT * part} />`)}
        <polyline class="line upload" points=${line("upload")} />
        <polyline class="line download" points=${line("download")} />
      </svg>
      <span class="graph-top" aria-hidden="true">${rate(top)}</span>
      <span class="graph-bottom" aria-hidden="true">0</span>
    </div>
    <p class="graph-times" aria-hidden="true"><span>${t.graph.begin}</span>
      <span>${t.graph.end}</span></p>
    <figcaption>
      ${["download", "upload"].map((key) => html`<span key=${key} class=${`key ${key}`}>
        ${t.graph[key]} <strong>${rate(now[key])}</strong>
        <span class="quiet">${t.graph.peak(rate(peaks[key]))},
          ${" "}${t.graph.total(size(totals[key]))}</span></span>`)}
    </figcaption></figure>`;
}
