// A long list of files, of one group or of several.
import { command } from "../core/api.js";
import { show } from "../core/dialogs.js";
import { count, moment, percentText, size, when } from "../core/format.js";
import { html, useCallback, useMemo } from "../core/html.js";
import { fill, Name, plain } from "../core/names.js";
import { link } from "../core/route.js";
import { change, state as store, useStore } from "../core/store.js";
import { t } from "../core/texts.js";
import { Button, Status } from "./controls.js";
import { Confirm, Dialog } from "./dialog.js";
import { Facts } from "./facts.js";
import { askDestination, download } from "./file_dialogs.js";
import { List } from "./list.js";
import { canPlay, open } from "./player.js";

const SORTED = { name: "ascending", size: "descending", date: "descending" };
const COLUMNS = ["name", "size", "sharers", "online", "date", "actions"];
/** Rows that stand for those that have not been read yet. */
const AHEAD = 200;

/** `group` is the group of all files, or each file has its own. */
export function FileList({ label, pages, group, groups, order, onOrder, empty }) {
  const downloads = useStore((state) => state.downloads);
  const need = useCallback((first, last) => pages.need(first, last), [pages]);
  const columns = useMemo(() => COLUMNS.map((key) => ({
    key, text: t.files.columns[key],
    sorted: key === order ? SORTED[key] : undefined,
    onSort: onOrder && SORTED[key] ? () => onOrder(key) : undefined,
  })), [order, onOrder]);
  const row = (at) => {
    const file = pages.row(at);
    if (!file) return null;
    const owner = group ?? groups?.find((one) => one.group_id === file.group_id) ??
      { group: file.group, group_id: file.group_id };
    return fileRow(file, owner, group === undefined, downloads.get(file.info_hash));
  };
  const known = pages.count;
  return html`<${Status} loading=${pages.isLoading && known === 0} error=${pages.error}
      onRetry=${() => pages.refresh()} empty=${pages.isWhole && known === 0 && empty} />
    ${known > 0 && html`<${List} label=${label} className="files" columns=${columns}
      count=${known + (pages.isWhole ? 0 : AHEAD)} total=${pages.isWhole ? known : -1}
      heights=${[52, 76]} onRange=${need} row=${row} />`}`;
}

function sharersText(file) {
  const others = file.sharer_count - file.sharers.length;
  return [...file.sharers.map(plain), ...(others > 0 ? [t.files.others(others)] : [])].join(", ");
}

function fileRow(file, group, withGroup, running) {
  const names = file.sharers.slice(0, 2);
  const others = file.sharer_count - names.length;
  return {
    key: `${file.group_id} ${file.file}`,
    cells: {
      name: html`<div class="two-lines"><button type="button" class="row-link"
          onClick=${() => details(file, group)}><${Name} of=${file.file} cut /></button>
        ${withGroup && html`<a class="under" href=${link("group", file.group_id)}>
          <${Name} of=${file.group} cut /></a>`}</div>`,
      size: size(file.size),
      sharers: html`<span title=${sharersText(file)}>${names.map((name, at) => html`
        ${at ? ", " : ""}<${Name} of=${name} />`)}${others > 0 ? ` +${others}` : ""}</span>`,
      online: html`<span class=${file.online ? "is-online" : "is-offline"}>
        ${t.files.online(count(file.online), file.online)}</span>`,
      date: html`<time datetime=${new Date(file.since_ms).toISOString()}
        title=${moment(file.since_ms)}>${when(file.since_ms)}</time>`,
      actions: html`<${FileActions} file=${file} group=${group} running=${running} />`,
    },
  };
}

function FileActions({ file, group, running }) {
  const words = { file: file.file };
  if (running) {
    const text = running.state === "complete" ? t.transfers.states.complete
      : percentText(running.bytes_done, running.size);
    return html`${canPlay(file.file) && html`<${Button} icon="open" kind="ghost"
        label=${fill(t.player.open, words)} onClick=${() => open(group.group, file.file)} />`}
      <a class="tag" href=${link("transfers")}>${text}</a>`;
  }
  return html`<${Button} icon="download" kind="ghost" changes
    label=${fill(t.downloads.downloadLabel, words)}
    onClick=${() => download(group.group, file.file)} />`;
}

function details(file, group) {
  show((close) => html`<${FileDialog} file=${file} group=${group} close=${close} />`);
}

function FileDialog({ file, group, close }) {
  const running = useStore((state) => state.downloads.get(file.info_hash));
  const account = useStore((state) => state.account);
  const name = group.group;
  const mayRemove = group.part === "owner" || file.sharers[0] === account.user;
  const play = async () => {
    if (running || await download(name, file.file)) open(name, file.file);
  };
  const pieces = Math.ceil(file.size / file.piece_size);
  const facts = [
    [t.facts.group, html`<${Name} of=${name} />`],
    [t.facts.size, t.files.bytes(size(file.size), count(file.size))],
    [t.facts.shared, moment(file.since_ms)],
    [t.facts.sharers, sharersText(file)],
    [t.facts.online, t.files.onlineLong(count(file.online), file.online)],
    [t.facts.sha1, html`<code>${file.sha1}</code>`],
    [t.facts.infoHash, html`<code>${file.info_hash}</code>`],
    [t.facts.pieces, t.files.pieces(count(pieces), pieces, size(file.piece_size))],
  ];
  return html`<${Dialog} title=${html`<${Name} of=${file.file} />`} onClose=${close}>
    <${Facts} facts=${facts} />
    <div class="buttons">
      ${!running && html`<${Button} icon="download" kind="primary" changes
        onClick=${() => { close(); download(name, file.file); }}>${t.downloads.download}<//>
      <${Button} icon="folder" changes onClick=${() => askDestination(name, file.file)}>
        ${t.downloads.downloadTo}<//>`}
      ${canPlay(file.file) && html`<${Button} icon="open" changes=${!running} onClick=${play}>
        ${running ? t.player.openShort : t.player.downloadAndOpen}<//>`}
      ${mayRemove && html`<${Button} icon="close" kind="danger-plain" changes
        onClick=${() => confirmRemove(name, file.file)}>${t.files.remove}<//>`}
    </div>
  <//>`;
}

/** Asks before a file is removed from a group. */
export function confirmRemove(group, file) {
  const onDone = () => change({ filesChanged: store.filesChanged + 1 });
  show((close) => html`<${Confirm} title=${t.files.removeTitle} name="remove_file"
    words=${{ group, file }} verb=${t.files.remove} done=${t.files.removed} onDone=${onDone}
    consequences=${[fill(t.files.removeWhat, { file, group }), t.files.removeOffers,
      t.files.removeKeeps]} onClose=${close} />`);
}

/** Makes the function that reads one page of a group's files. */
export const filesOf = (group, pattern, order) => (after, limit, signal) =>
  command("list_files", { group, pattern, order, after, limit }, { signal });
