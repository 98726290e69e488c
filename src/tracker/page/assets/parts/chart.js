// One number of the status over the time for which the page has been open.
import { html } from "../core/html.js";
import { t } from "../core/texts.js";

const [WIDTH, HEIGHT] = [300, 70];

export function Chart({ label, samples, name, write }) {
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
    : t.growth.change(`${change > 0 ? "+" : "−"}${write(Math.abs(change))}`);
  return html`<figure class="chart">
    <figcaption><span>${label}</span> <strong>${write(last)}</strong>
      <span class="quiet">${told}</span></figcaption>
    <svg viewBox=${`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" role="img"
      aria-label=${t.growth.text(label, write(low), write(high), write(last))}>
      <polyline class="line download" points=${points.join(" ")} /></svg></figure>`;
}
