// The downloads of this device.
import { act } from "../core/actions.js";
import { show } from "../core/dialogs.js";
import { percent, percentText, rate, size } from "../core/format.js";
import { html, useMemo, useState } from "../core/html.js";
import { fill, Name } from "../core/names.js";
import { link } from "../core/route.js";
import { useStore } from "../core/store.js";
import { t } from "../core/texts.js";
import { Bar, Button, Filters, Search } from "../parts/controls.js";
import { Drops } from "../parts/drops.js";
import { List } from "../parts/list.js";
import { canPlay, open } from "../parts/player.js";
import { Heading } from "../parts/heading.js";
import { left, peersText, stateText } from "../parts/transfer_text.js";
import { TransferDialog } from "./transfer.js";

const STATES = ["running", "queued", "paused", "failed", "complete"];
const COLUMNS = ["name", "progress", "rate", "left", "peers", "actions"];

export function Transfers() {
  const downloads = useStore((state) => state.downloads);
  const [filter, setFilter] = useState("all");
  const [search, setSearch] = useState("");
  const all = useMemo(() => [...downloads.values()], [downloads]);
  const numbers = useMemo(() => {
    const sums = Object.fromEntries(STATES.map((name) => [name, 0]));
    for (const download of all) sums[download.state] += 1;
    return sums;
  }, [all]);
  const shown = useMemo(() => {
    const words = search.trim().toLowerCase();
    return all.filter((download) => (filter === "all" || download.state === filter) &&
      (!words || `${download.file}\n${download.group}`.toLowerCase().includes(words)));
  }, [all, filter, search]);
  const options = [["all", t.transfers.all, all.length],
    ...STATES.map((name) => [name, t.transfers.filters[name], numbers[name]])];
  return html`<${Heading} title=${t.transfers.title} />
    <${Drops} />
    ${all.length > 0 && html`<div class="toolbar">
      <${Filters} label=${t.transfers.filter} options=${options} value=${filter}
        onChange=${setFilter} />
      <${Search} label=${t.transfers.search} value=${search} onInput=${setSearch} /></div>`}
    ${shown.length > 0 ? html`<${List} label=${t.transfers.title} className="transfers"
      columns=${COLUMNS.map((key) => ({ key, text: t.transfers.columns[key] }))}
      count=${shown.length} heights=${[60, 96]} row=${(at) => row(shown[at])} />`
      : html`<div class="empty"><p>${all.length ? t.transfers.noneLike : t.transfers.none}</p>
        ${all.length === 0 && html`<a class="button primary" href=${link("groups")}>
          ${t.transfers.browse}</a>`}</div>`}`;
}

const isRunning = (download) => download.state === "running";

function row(download) {
  const { group, file, size: whole, bytes_done: done, state } = download;
  const text = percentText(done, whole);
  const doneText = t.transfers.done(text, size(done), size(whole));
  const part = whole ? done / whole : Number(state === "complete");
  return {
    key: download.info_hash,
    cells: {
      name: html`<div class="two-lines"><${Name} of=${file} cut />
        <span class="under"><span class=${`state ${state}`} title=${stateText(download)}>
          ${stateText(download)}</span> · <${Name} of=${group} cut /></span></div>`,
      progress: html`<${Bar} part=${part} kind=${state} text=${text}
        label=${fill(t.transfers.progress, { file })} />
        <span class="under">${state === "complete" ? size(whole)
          : html`<span class="if-wide">${doneText}</span>
            <span class="if-narrow">${t.transfers.doneShort(text, size(whole))}</span>`}</span>`,
      rate: isRunning(download) ? rate(download.bytes_per_second) : "",
      left: isRunning(download) ? left(download) : "",
      peers: isRunning(download) ? peersText(download) : "",
      actions: html`<${RowActions} download=${download} />`,
    },
  };
}


function RowActions({ download }) {
  const { group, file, state } = download;
  const words = { group, file };
  const goes = state === "running" || state === "queued";
  const isPlayable = canPlay(file) && (state === "complete" || percent(download.bytes_done, 1));
  return html`
    ${isPlayable ? html`<${Button} icon="open" kind="ghost" label=${fill(t.player.open, words)}
      onClick=${() => open(group, file)} />` : null}
    ${goes && html`<${Button} icon="pause" kind="ghost" changes
      label=${fill(t.transfers.pause, words)} onClick=${() => act("pause_download", words)} />`}
    ${(state === "paused" || state === "failed") && html`<${Button} icon="play" kind="ghost"
      changes label=${fill(t.transfers.resume, words)}
      onClick=${() => act("resume_download", words)} />`}
    <${Button} icon="info" kind="ghost" label=${fill(t.transfers.details, words)}
      onClick=${() => show((close) => html`<${TransferDialog} hash=${download.info_hash}
        close=${close} />`)} />`;
}
