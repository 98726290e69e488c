// A table of which only the rows near the window exist. The page itself scrolls.
import { html, useEffect, useLayoutEffect, useRef, useState } from "../core/html.js";

const OVERSCAN = 8;
/** Browsers do not show elements that are higher. */
const HIGHEST = 15e6;

const phone = matchMedia("(max-width: 720px)");

export function usePhone() {
  const [isPhone, setPhone] = useState(phone.matches);
  useEffect(() => {
    const onChange = () => setPhone(phone.matches);
    phone.addEventListener("change", onChange);
    return () => phone.removeEventListener("change", onChange);
  }, []);
  return isPhone;
}

/**
 * `count` rows of one height. `row(index)` returns `{ key, cells }`, or `null` for a row that is
 * not here yet. `total` is the number for screen readers, -1 if it is not known. `onRange` is told
 * the rows that are needed.
 */
export function List({ label, columns, className, count, total = count, row, onRange, heights }) {
  const isPhone = usePhone();
  const height = isPhone ? heights[1] : heights[0];
  const body = useRef(null);
  const [range, setRange] = useState([0, 30]);
  const focused = useRef(-1);
  const most = Math.floor(HIGHEST / height);
  const shown = Math.min(count, most);

  const measure = () => {
    // The list may be gone when a scroll is told.
    if (!body.current) return;
    const top = -body.current.getBoundingClientRect().top;
    const first = Math.max(0, Math.floor(top / height) - OVERSCAN);
    const last = Math.ceil((top + innerHeight) / height) + OVERSCAN;
    setRange((old) => (old[0] === first && old[1] === last ? old : [first, last]));
  };
  useLayoutEffect(measure, [height, shown]);
  useEffect(() => {
    let frame = 0;
    const onScroll = () => {
      frame ||= requestAnimationFrame(() => {
        frame = 0;
        measure();
      });
    };
    addEventListener("scroll", onScroll, { passive: true });
    addEventListener("resize", onScroll);
    return () => {
      cancelAnimationFrame(frame);
      removeEventListener("scroll", onScroll);
      removeEventListener("resize", onScroll);
    };
  }, [height]);
  const [first, last] = [Math.min(range[0], Math.max(0, shown - 1)), Math.min(range[1], shown)];
  useEffect(() => onRange?.(first, last), [first, last, onRange]);

  const indices = [];
  for (let index = first; index < last; index += 1) indices.push(index);
  // A row that has the focus stays, also when it is scrolled out of sight.
  const kept = focused.current;
  if (kept >= 0 && kept < shown && (kept < first || kept >= last)) indices.push(kept);

  return html`<div class=${`list ${className}`} role="table" aria-label=${label}
    aria-rowcount=${total < 0 ? -1 : total + 1}>
    <div class="list-head" role="rowgroup"><div role="row" class="list-row head" aria-rowindex="1">
      ${columns.map((column) => html`<div key=${column.key} role="columnheader"
        class=${`cell ${column.key}`} aria-sort=${column.sorted}>
        ${column.onSort ? html`<button type="button" class="sort" onClick=${column.onSort}>
          ${column.text}</button>` : column.text}</div>`)}
    </div></div>
    <div class="list-body" role="rowgroup" ref=${body} style=${{ height: `${shown * height}px` }}
      onKeyDown=${(event) => moveFocus(event, height)}
      onFocusIn=${(event) => { focused.current = indexOf(event.target); }}
      onFocusOut=${() => { focused.current = -1; }}>
      ${indices.map((index) => {
        const { key, cells } = row(index) || { key: `empty ${index}`, cells: null };
        return html`<div key=${key} role="row" class=${cells ? "list-row" : "list-row waiting"}
          aria-rowindex=${index + 2} data-index=${index}
          style=${{ transform: `translateY(${index * height}px)`, height: `${height}px` }}>
          ${cells ? columns.map((column) => html`<div key=${column.key} role="cell"
            class=${`cell ${column.key}`}>${cells[column.key]}</div>`)
            : html`<div role="cell" class="cell"><span class="blank"></span></div>`}
        </div>`;
      })}
    </div>
  </div>`;
}

const rowOf = (element) => element.closest?.("[data-index]");
const indexOf = (element) => Number(rowOf(element)?.dataset.index ?? -1);

/** Up and Down move to the same control of the next row. */
function moveFocus(event, height) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  const from = rowOf(event.target);
  if (!step || !from || event.target.matches("input, select")) return;
  const controls = (row) => [...row.querySelectorAll("button:not(:disabled), a[href]")];
  const place = controls(from).indexOf(event.target);
  const to = from.parentElement.querySelector(`[data-index="${indexOf(from) + step}"]`);
  const list = to ? controls(to) : [];
  if (list.length === 0) return;
  event.preventDefault();
  list[Math.min(place, list.length - 1)].focus({ preventScroll: true });
  const box = to.getBoundingClientRect();
  const [top, bottom] = [height * 3, innerHeight - height * 2];
  if (box.top < top) scrollBy(0, box.top - top);
  else if (box.bottom > bottom) scrollBy(0, box.bottom - bottom);
}

/** A listing that is read page by page while it is scrolled. */
export function usePages(make, inputs) {
  const [, render] = useState(0);
  const current = useRef(null);
  const made = useRef(null);
  if (made.current === null || inputs.some((input, at) => input !== made.current[at])) {
    current.current?.stop();
    made.current = inputs;
    current.current = make(() => render((n) => n + 1));
  }
  const pages = current.current;
  useEffect(() => {
    pages.need(0, 0);
    return () => pages.stop();
  }, [pages]);
  return pages;
}
